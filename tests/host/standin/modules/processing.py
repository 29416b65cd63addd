"""Plays `modules.processing`: one job from the request to the pictures, with every callback in the hosts' order."""

from __future__ import annotations

import os
import random

import numpy as np
import torch
from modules import devices, extra_networks, images, paths, rng, scripts, sd_models, sd_samplers, sd_samplers_common, sd_vae, shared
from modules._processing_base import (
    DecodedSamples,
    StableDiffusionProcessing,
    _grad_mode,
    create_random_tensors,
    decode_latent_batch,
    txt2img_image_conditioning,
)
from modules._processing_img2img import StableDiffusionProcessingImg2Img
from modules._processing_overlay import _apply_color_correction, apply_overlay, create_binary_mask, setup_color_correction, uncrop
from modules._processing_result import Processed, create_infotext, program_version
from modules._processing_txt2img import StableDiffusionProcessingTxt2Img
from modules._standin import _world
from PIL import Image

__all__ = ["DecodedSamples", "StableDiffusionProcessingImg2Img", "StableDiffusionProcessingTxt2Img", "create_binary_mask",
           "create_random_tensors", "program_version", "setup_color_correction", "txt2img_image_conditioning", "uncrop"]

# Jobs look these up here, as on the hosts, so that an extension can replace them for a while.
approximation_indexes = sd_samplers_common.approximation_indexes
decode_first_stage = sd_samplers_common.decode_first_stage
images_tensor_to_samples = sd_samplers_common.images_tensor_to_samples
opts = shared.opts
state = shared.state
opt_C = 4
opt_f = 8


def get_fixed_seed(seed):
    """The seed, or a random one for -1, None and what is no number; a list stays as it is."""
    if isinstance(seed, str):
        seed = int(seed) if seed.lstrip("-").isdigit() else -1
    return random.randrange(4294967294) if seed in (None, -1) else seed


def fix_seed(p):
    """Replaces "random" by a number, so that a repeat of the job gives the same."""
    p.seed, p.subseed = get_fixed_seed(p.seed), get_fixed_seed(p.subseed)


if _world.host.new_backend:
    def manage_model_and_prompt_cache(p: StableDiffusionProcessing):
        """Loads the model that the options ask for."""
        sd_models.forge_model_reload()

    def process_extra_images(processed: Processed):
        """Turns an extension's extra pictures into PIL pictures and drops what is none."""
        turned = [Image.fromarray(one) if isinstance(one, np.ndarray) else one for one in processed.extra_images]
        processed.extra_images = [one for one in turned if isinstance(one, Image.Image)]


def process_images(p: StableDiffusionProcessing) -> Processed:
    """The pictures of a job; the settings that it overrides are put back afterwards."""
    _world.counters.process_images += 1
    if p.scripts is not None:
        p.scripts.before_process(p)
    stored = {key: shared.opts.data[key] for key in p.override_settings if key in shared.opts.data}
    try:
        if sd_models.checkpoint_aliases.get(p.override_settings.get("sd_model_checkpoint")) is None:
            p.override_settings.pop("sd_model_checkpoint", None)
        for key, value in p.override_settings.items():
            shared.opts.set(key, value, is_api=True, run_callbacks=False)
        _load_model(p)
        sd_models.apply_token_merging(p.sd_model, p.get_token_merging_ratio())
        if not _world.host.classic:
            sd_samplers.fix_p_invalid_sampler_and_scheduler(p)
        return process_images_inner(p)
    finally:
        sd_models.apply_token_merging(p.sd_model, 0)
        if p.override_settings_restore_afterwards:
            for key, value in stored.items():
                setattr(shared.opts, key, value)


def _load_model(p):
    if _world.host.new_backend:
        manage_model_and_prompt_cache(p)
    else:
        sd_models.reload_model_weights()


def process_images_inner(p: StableDiffusionProcessing) -> Processed:
    """The pictures of a job, batch after batch."""
    _fix_request(p)
    if p.scripts is not None:
        p.scripts.process(p)
    infotexts, output_images = [], []
    with _grad_mode(), p.sd_model.ema_scope():
        with devices.autocast():
            p.init(p.all_prompts, p.all_seeds, p.all_subseeds)
        if shared.state.job_count == -1:
            shared.state.job_count = p.n_iter
        for number in range(p.n_iter):
            p.iteration = number
            shared.state.skipped = False
            if shared.state.interrupted or shared.state.stopping_generation:
                break
            if not _run_batch(p, number, infotexts, output_images):
                break
        if not infotexts:
            infotexts.append(Processed(p, []).infotext(p, 0))
        p.color_corrections = None
        first = _add_grid(p, infotexts, output_images)
    if not p.disable_extra_networks and p.extra_network_data:
        extra_networks.deactivate(p, p.extra_network_data)
    devices.torch_gc()
    more = {"extra_images_list": p.extra_result_images} if _world.host.forge else {}
    result = Processed(p, images_list=output_images, seed=p.all_seeds[0], info=infotexts[0], subseed=p.all_subseeds[0],
                       index_of_first_image=first, infotexts=infotexts, **more)
    if p.scripts is not None:
        p.scripts.postprocess(p, result)
    return result


def _fix_request(p):
    """Everything that the request left open becomes known: prompts, seeds, names of the model."""
    if p.prompt is None or p.prompt == []:
        raise AssertionError("a job needs a prompt")
    devices.torch_gc()
    seed, subseed = get_fixed_seed(p.seed), get_fixed_seed(p.subseed)
    p.restore_faces = shared.opts.face_restoration if p.restore_faces is None else p.restore_faces
    p.tiling = shared.opts.tiling if p.tiling is None else p.tiling
    p.sd_model_name = shared.sd_model.sd_checkpoint_info.name_for_extra
    p.sd_model_hash = shared.sd_model.sd_model_hash
    p.sd_vae_name, p.sd_vae_hash = sd_vae.get_loaded_vae_name(), sd_vae.get_loaded_vae_hash()
    if _world.host.forge:
        p.sd_model.comments, p.sd_model.extra_generation_params = [], {}
    for name in ("s_min_uncond", "s_churn", "s_tmin", "s_tmax", "s_noise"):
        if getattr(p, name) is None:
            setattr(p, name, getattr(shared.opts, name))
    p.s_tmax = p.s_tmax or float("inf")
    p.setup_prompts()
    count = range(len(p.all_prompts))
    p.all_seeds = seed if isinstance(seed, list) else [int(seed) + (index if p.subseed_strength == 0 else 0) for index in count]
    p.all_subseeds = subseed if isinstance(subseed, list) else [int(subseed) + index for index in count]


def _run_batch(p, number, infotexts, output_images):
    """Whether the job goes on after this batch."""
    _load_model_again(p)
    batch = slice(number * p.batch_size, (number + 1) * p.batch_size)
    p.prompts, p.negative_prompts = p.all_prompts[batch], p.all_negative_prompts[batch]
    p.seeds, p.subseeds = p.all_seeds[batch], p.all_subseeds[batch]
    p.rng = rng.ImageRNG((opt_C, p.height // opt_f, p.width // opt_f), p.seeds, subseeds=p.subseeds, subseed_strength=p.subseed_strength,
                         seed_resize_from_h=p.seed_resize_from_h, seed_resize_from_w=p.seed_resize_from_w)
    if p.scripts is not None:
        p.scripts.before_process_batch(p, batch_number=number, prompts=p.prompts, seeds=p.seeds, subseeds=p.subseeds)
    if len(p.prompts) == 0:
        return False
    _condition(p, number)
    pictures = _decode(p, _sample(p))
    devices.torch_gc()
    shared.state.nextjob()
    for index, picture in enumerate(_postprocess_batch(p, pictures, number, batch)):
        _finish_picture(p, index, picture, infotexts, output_images)
    devices.torch_gc()
    return True


def _load_model_again(p):
    if _world.host.new_backend:
        sd_models.forge_model_reload()
    else:
        sd_models.reload_model_weights()


def _condition(p, number):
    """Networks and conditionings of the batch; the first batch's infotext is written to params.txt."""
    p.parse_extra_network_prompts()
    if not p.disable_extra_networks:
        with devices.autocast():
            extra_networks.activate(p, p.extra_network_data)
    if p.scripts is not None:
        p.scripts.process_batch(p, batch_number=number, prompts=p.prompts, seeds=p.seeds, subseeds=p.subseeds)
    p.setup_conds()
    if number == 0 and not shared.cmd_opts.no_prompt_history:
        with open(os.path.join(paths.data_path, "params.txt"), "w", encoding="utf8") as file:
            file.write(Processed(p, []).infotext(p, 0))
    if p.n_iter > 1:
        shared.state.job = f"Batch {number + 1} out of {p.n_iter}"


def _sample(p):
    with devices.autocast():
        samples = p.sample(conditioning=p.c, unconditional_conditioning=p.uc, seeds=p.seeds, subseeds=p.subseeds,
                           subseed_strength=p.subseed_strength, prompts=p.prompts)
    if p.scripts is not None:
        args = scripts.PostSampleArgs(samples)
        p.scripts.post_sample(p, args)
        samples = args.samples
    return samples


def _decode(p, samples):
    """The batch's pictures `N,3,H,W` in 0..1; what a job's `sample` decoded already is taken as it is."""
    if not getattr(samples, "already_decoded", False):
        devices.test_for_nans(samples, "unet")
        samples = decode_latent_batch(p.sd_model, samples, target_device=devices.cpu, check_for_nans=True)
    return torch.clamp((torch.stack(list(samples)).float() + 1.0) / 2.0, min=0.0, max=1.0)


def _postprocess_batch(p, pictures, number, batch):
    if p.scripts is None:
        return pictures
    p.scripts.postprocess_batch(p, pictures, batch_number=number)
    p.prompts, p.negative_prompts = p.all_prompts[batch], p.all_negative_prompts[batch]
    args = scripts.PostprocessBatchListArgs(list(pictures))
    p.scripts.postprocess_batch_list(p, args, batch_number=number)
    return args.images


def _infotext(p, index=0, use_main_prompt=False):
    return create_infotext(p, p.prompts, p.seeds, p.subseeds, use_main_prompt=use_main_prompt, index=index,
                           all_negative_prompts=p.negative_prompts)


def _image_args(p, image, index):
    more = [index + p.iteration * p.batch_size] if _world.host.new_backend else []
    return scripts.PostprocessImageArgs(image, *more)


def _finish_picture(p, index, picture, infotexts, output_images):
    """One picture: cut to 8 bit (not rounded), given to the scripts, overlaid, written."""
    p.batch_index = index
    image = Image.fromarray((255.0 * np.moveaxis(picture.cpu().numpy(), 0, 2)).astype(np.uint8))
    if p.scripts is not None:
        args = _image_args(p, image, index)
        p.scripts.postprocess_image(p, args)
        image = args.image
    mask_for_overlay, overlay = _overlay(p, index)
    if p.color_corrections is not None and index < len(p.color_corrections):
        image = _apply_color_correction(p.color_corrections[index], image)
    image, _before = apply_overlay(image, p.paste_to, overlay)
    if p.scripts is not None:
        args = _image_args(p, image, index)
        p.scripts.postprocess_image_after_composite(p, args)
        image = args.image
    text = _infotext(p, index)
    if p.save_samples():
        images.save_image(image, p.outpath_samples, "", p.seeds[index], p.prompts[index], shared.opts.samples_format, info=text, p=p)
    infotexts.append(text)
    if shared.opts.enable_pnginfo:
        image.info["parameters"] = text
    output_images.append(image)
    if mask_for_overlay is not None and shared.opts.return_mask:
        output_images.append(mask_for_overlay.convert("RGB"))


def _overlay(p, index):
    """The mask and the kept part of the picture that are laid over it, after the scripts had a look."""
    overlays = p.overlay_images if shared.opts.overlay_inpaint else None
    overlay = overlays[index] if overlays is not None and index < len(overlays) else None
    mask = getattr(p, "mask_for_overlay", None)
    if p.scripts is None:
        return mask, overlay
    args = scripts.PostProcessMaskOverlayArgs(index, mask, overlay)
    p.scripts.postprocess_maskoverlay(p, args)
    return args.mask_for_overlay, args.overlay_image


def _add_grid(p, infotexts, output_images):
    """The position of the first picture: 1 if a grid was put before it."""
    opts = shared.opts
    alone = len(output_images) < 2 and opts.grid_only_if_multiple
    if not (opts.return_grid or opts.grid_save) or p.do_not_save_grid or alone or not output_images:
        return 0
    grid, text = images.image_grid(output_images, p.batch_size), _infotext(p, use_main_prompt=True)
    if opts.grid_save:
        images.save_image(grid, p.outpath_grids, "grid", p.all_seeds[0], p.all_prompts[0], opts.grid_format, info=text, p=p, grid=True)
    if not opts.return_grid:
        return 0
    infotexts.insert(0, text)
    if opts.enable_pnginfo:
        grid.info["parameters"] = text
    output_images.insert(0, grid)
    return 1
