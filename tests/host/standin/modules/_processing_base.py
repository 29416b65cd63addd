"""Plays the base of a job in `modules.processing`: its fields, prompts and conditionings."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from modules import devices, extra_networks, processing, prompt_parser, rng, sd_samplers, sd_samplers_common, shared
from modules import scripts as scripts_module
from modules._standin import _world
from PIL import Image

_SLOTS = 3 if _world.host.forge and not _world.host.classic else 2


def _empty_cache():
    return [None] * _SLOTS


def txt2img_image_conditioning(sd_model, x, width, height):
    """What a model that is not for inpainting gets as picture: nothing."""
    return x.new_zeros(x.shape[0], 5, 1, 1)


@dataclass(repr=False)
class StableDiffusionProcessing:
    """One job: what was asked, and what becomes known while it runs."""

    sd_model: object = None
    outpath_samples: str = None
    outpath_grids: str = None
    prompt: str = ""
    prompt_for_display: str = None
    negative_prompt: str = ""
    styles: list[str] = None
    seed: int = -1
    subseed: int = -1
    subseed_strength: float = 0
    seed_resize_from_h: int = -1
    seed_resize_from_w: int = -1
    seed_enable_extras: bool = True
    sampler_name: str = None
    if not _world.host.classic:
        scheduler: str = None
    batch_size: int = 1
    n_iter: int = 1
    steps: int = 50
    cfg_scale: float = 7.0
    if _world.host.new_backend:
        distilled_cfg_scale: float = 3.5
    width: int = 512
    height: int = 512
    restore_faces: bool = None
    tiling: bool = None
    do_not_save_samples: bool = False
    do_not_save_grid: bool = False
    extra_generation_params: dict[str, Any] = None
    overlay_images: list = None
    eta: float = None
    do_not_reload_embeddings: bool = False
    denoising_strength: float = None
    ddim_discretize: str = None
    s_min_uncond: float = None
    s_churn: float = None
    s_tmax: float = None
    s_tmin: float = None
    s_noise: float = None
    override_settings: dict[str, Any] = None
    override_settings_restore_afterwards: bool = True
    sampler_index: int = None
    refiner_checkpoint: str = None
    refiner_switch_at: float = None
    token_merging_ratio = 0
    token_merging_ratio_hr = 0
    disable_extra_networks: bool = False
    firstpass_image: Image = None

    scripts_value: scripts_module.ScriptRunner = field(default=None, init=False)
    script_args_value: list = field(default=None, init=False)
    scripts_setup_complete: bool = field(default=False, init=False)
    cached_uc = _empty_cache()
    cached_c = _empty_cache()
    comments: dict = None
    sampler: sd_samplers_common.Sampler | None = field(default=None, init=False)
    is_using_inpainting_conditioning: bool = field(default=False, init=False)
    paste_to: tuple | None = field(default=None, init=False)
    is_hr_pass: bool = field(default=False, init=False)
    c: tuple = field(default=None, init=False)
    uc: tuple = field(default=None, init=False)
    rng: rng.ImageRNG | None = field(default=None, init=False)
    step_multiplier: int = field(default=1, init=False)
    color_corrections: list = field(default=None, init=False)
    all_prompts: list = field(default=None, init=False)
    all_negative_prompts: list = field(default=None, init=False)
    all_seeds: list = field(default=None, init=False)
    all_subseeds: list = field(default=None, init=False)
    iteration: int = field(default=0, init=False)
    main_prompt: str = field(default=None, init=False)
    main_negative_prompt: str = field(default=None, init=False)
    prompts: list = field(default=None, init=False)
    negative_prompts: list = field(default=None, init=False)
    seeds: list = field(default=None, init=False)
    subseeds: list = field(default=None, init=False)
    extra_network_data: dict = field(default=None, init=False)
    user: str = field(default=None, init=False)
    sd_model_name: str = field(default=None, init=False)
    sd_model_hash: str = field(default=None, init=False)
    sd_vae_name: str = field(default=None, init=False)
    sd_vae_hash: str = field(default=None, init=False)
    is_api: bool = field(default=False, init=False)
    if _world.host.forge and not _world.host.classic:
        latents_after_sampling: ClassVar[list] = []  # shared between jobs on the hosts too
        pixels_after_sampling: ClassVar[list] = []

    def __post_init__(self):
        """Fills in what was left open."""
        self.comments = {}
        self.styles = self.styles or []
        self.sampler_noise_scheduler_override = None
        self.refiner_checkpoint_info = None
        self.extra_generation_params = self.extra_generation_params or {}
        self.override_settings = self.override_settings or {}
        self.script_args = self.script_args or {}
        if not self.seed_enable_extras:
            self.subseed, self.subseed_strength = -1, 0
            self.seed_resize_from_h = self.seed_resize_from_w = 0
        self.cached_uc = StableDiffusionProcessing.cached_uc
        self.cached_c = StableDiffusionProcessing.cached_c
        if _world.host.forge:
            self.extra_result_images = []
            self.modified_noise = None

    @property
    def sd_model(self):  # noqa: F811  # the hosts' jobs take it as a field too, and ignore it
        """The loaded model; setting it does nothing."""
        return shared.sd_model

    @sd_model.setter
    def sd_model(self, value):
        pass

    @property
    def scripts(self):
        """The runner; when it and the arguments are there, every script's `setup` runs, once."""
        return self.scripts_value

    @scripts.setter
    def scripts(self, value):
        self.scripts_value = value
        self._set_up_when_complete()

    @property
    def script_args(self):
        """The arguments of all scripts."""
        return self.script_args_value

    @script_args.setter
    def script_args(self, value):
        self.script_args_value = value
        self._set_up_when_complete()

    def _set_up_when_complete(self):
        if self.scripts_value and self.script_args_value and not self.scripts_setup_complete:
            self.setup_scripts()

    def setup_scripts(self):
        """Runs every script's `setup`."""
        self.scripts_setup_complete = True
        self.scripts.setup_scrips(self, is_ui=not self.is_api)

    def comment(self, text):
        """Adds a remark for the user."""
        self.comments[text] = 1

    def txt2img_image_conditioning(self, x, width=None, height=None):
        """What the model gets as picture: nothing."""
        return txt2img_image_conditioning(self.sd_model, x, width or self.width, height or self.height)

    def img2img_image_conditioning(self, source_image, latent_image, image_mask=None, round_image_mask=True):
        """What the model gets as picture: nothing, unless it is for inpainting (`sd_model.model.conditioning_key = "hybrid"`)."""
        if self.sampler.conditioning_key in ("hybrid", "concat"):
            return self.inpainting_image_conditioning(source_image, latent_image, image_mask, round_image_mask)
        return latent_image.new_zeros(latent_image.shape[0], 5, 1, 1)

    def inpainting_image_conditioning(self, source_image, latent_image, image_mask=None, round_image_mask=True):
        """Mask `N,1,h,w` (1 = redraw) and latents of the picture without the masked part, as `N,5,h,w`; encodes."""
        self.is_using_inpainting_conditioning = True
        mask = source_image.new_ones(1, 1, *source_image.shape[-2:]) if image_mask is None else _mask_tensor(image_mask)
        mask = torch.round(mask) if round_image_mask else mask
        model = self.sd_model
        latent = model.get_first_stage_encoding(model.encode_first_stage(source_image * (1 - mask)))
        small = torch.nn.functional.interpolate(mask, size=latent_image.shape[-2:]).expand(latent.shape[0], -1, -1, -1)
        return torch.cat([small, latent], dim=1)

    def init(self, all_prompts, all_seeds, all_subseeds):
        """Called once before the first batch."""

    def sample(self, conditioning, unconditional_conditioning, seeds, subseeds, subseed_strength, prompts):
        """The latents of one batch.

        Raises: NotImplementedError; every kind of job has its own.
        """
        raise NotImplementedError

    def close(self):
        """Lets go of the sampler and the conditionings; the caches too if the options say so."""
        self.sampler = self.c = self.uc = None
        if not shared.opts.persistent_cond_cache:
            StableDiffusionProcessing.cached_c = _empty_cache()
            StableDiffusionProcessing.cached_uc = _empty_cache()

    def get_token_merging_ratio(self, for_hr=False):
        """How much token merging was asked for."""
        first = self.token_merging_ratio or shared.opts.token_merging_ratio
        return (self.token_merging_ratio_hr or shared.opts.token_merging_ratio_hr or first) if for_hr else first

    def setup_prompts(self):
        """One prompt and one negative prompt for each picture of the job.

        Raises: RuntimeError if lists of different lengths were given.
        """
        if isinstance(self.prompt, list):
            self.all_prompts = self.prompt
        else:
            count = len(self.negative_prompt) if isinstance(self.negative_prompt, list) else self.batch_size * self.n_iter
            self.all_prompts = [self.prompt] * count
        negative = self.negative_prompt
        self.all_negative_prompts = negative if isinstance(negative, list) else [negative] * len(self.all_prompts)
        if len(self.all_prompts) != len(self.all_negative_prompts):
            raise RuntimeError(f"Received a different number of prompts ({len(self.all_prompts)}) and negative prompts "
                               f"({len(self.all_negative_prompts)})")
        styles = shared.prompt_styles
        self.all_prompts = [styles.apply_styles_to_prompt(text, self.styles) for text in self.all_prompts]
        self.all_negative_prompts = [styles.apply_negative_styles_to_prompt(text, self.styles) for text in self.all_negative_prompts]
        self.main_prompt, self.main_negative_prompt = self.all_prompts[0], self.all_negative_prompts[0]

    if _world.host.neo:
        def cached_params(self, required_prompts: list[str], steps: int, extra_network_data: dict, hires_steps: int | None):
            """Everything that changes the conditionings."""
            return _cond_key(self, required_prompts, steps, extra_network_data, hires_steps)
    else:
        def cached_params(self, required_prompts, steps, extra_network_data, hires_steps=None, use_old_scheduling=False):
            """Everything that changes the conditionings."""
            return _cond_key(self, required_prompts, steps, extra_network_data, hires_steps)

    def get_conds_with_caching(self, function, required_prompts, steps, caches, extra_network_data, hires_steps=None):
        """What `function` makes of the prompts; from a cache if nothing that matters has changed since."""
        key = self.cached_params(required_prompts, steps, extra_network_data, hires_steps)
        for cache in caches:
            if cache[0] is not None and cache[0] == key:
                return cache[1]
        with devices.autocast():
            caches[0][1] = function(shared.sd_model, required_prompts, steps, hires_steps)
        caches[0][0] = key
        return caches[0][1]

    def setup_conds(self):
        """Encodes the batch's prompts, or takes them from the cache."""
        config = sd_samplers.find_sampler_config(self.sampler_name)
        total = config.total_steps(self.steps) if config else self.steps
        self.step_multiplier, self.firstpass_steps = total // self.steps, total
        positive = prompt_parser.SdConditioning(self.prompts, width=self.width, height=self.height)
        negative = prompt_parser.SdConditioning(self.negative_prompts, width=self.width, height=self.height, is_negative_prompt=True)
        self.uc = self.get_conds_with_caching(prompt_parser.get_learned_conditioning, negative, total, [self.cached_uc],
                                              self.extra_network_data)
        self.c = self.get_conds_with_caching(prompt_parser.get_multicond_learned_conditioning, positive, total, [self.cached_c],
                                             self.extra_network_data)

    def get_conds(self):
        """The batch's conditionings, with and without the prompt."""
        return self.c, self.uc

    def parse_extra_network_prompts(self):
        """Takes tags out of the batch's prompts; the first prompt's count."""
        self.prompts, self.extra_network_data = extra_networks.parse_prompts(self.prompts)

    if _world.host.neo:
        def save_samples(self, *, is_video=False) -> bool:
            """Whether pictures are to be written."""
            return _saves(self)
    else:
        def save_samples(self) -> bool:
            """Whether pictures are to be written."""
            return _saves(self)

    if _world.host.new_backend:
        def clear_prompt_cache(self):
            """Forgets all conditionings."""
            self.cached_c = self.cached_uc = _empty_cache()
            StableDiffusionProcessing.cached_c = StableDiffusionProcessing.cached_uc = _empty_cache()


def _cond_key(p, required_prompts, steps, extra_network_data, hires_steps):
    return (required_prompts, steps, hires_steps, shared.opts.CLIP_stop_at_last_layers, shared.sd_model.sd_checkpoint_info,
            extra_network_data, p.width, p.height)


def _saves(p) -> bool:
    stopped = shared.state.interrupted or shared.state.skipped
    return shared.opts.samples_save and not p.do_not_save_samples and (shared.opts.save_incomplete_images or not stopped)


def _mask_tensor(mask):
    """The mask `1,1,H,W` in 0..1 of a picture or tensor."""
    if torch.is_tensor(mask):
        return mask.float()
    return torch.from_numpy(np.asarray(mask.convert("L"), dtype=np.float32) / 255.0)[None, None]


def create_random_tensors(shape, seeds, subseeds=None, subseed_strength=0.0, seed_resize_from_h=0, seed_resize_from_w=0, p=None):
    """The first noise of those seeds."""
    return rng.ImageRNG(shape, seeds, subseeds=subseeds, subseed_strength=subseed_strength).next()


class DecodedSamples(list):
    """Pictures `3,H,W` in -1..1 that need no decoding any more."""

    already_decoded = True


def decode_latent_batch(model, batch, target_device=None, check_for_nans=False):
    """The decoded pictures, one by one.

    Raises: NansException (of `modules.devices`) if a latent or picture is all NaN and `check_for_nans`.
    """
    samples = DecodedSamples()
    if check_for_nans:
        devices.test_for_nans(batch, "unet")
    for index in range(batch.shape[0]):
        sample = processing.decode_first_stage(model, batch[index:index + 1])[0]
        if check_for_nans:
            devices.test_for_nans(sample, "vae")
        samples.append(sample if target_device is None else sample.to(target_device))
    return samples


def _grad_mode():
    """Forge's family runs jobs in inference mode, A1111 without gradients."""
    return torch.inference_mode() if _world.host.forge else torch.no_grad()
