"""Plays img2img and inpainting of `modules.processing`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import torch
from modules import devices, images, masking, processing, sd_samplers, shared
from modules import scripts as scripts_module
from modules._processing_base import StableDiffusionProcessing
from modules._processing_overlay import create_binary_mask, setup_color_correction
from modules._standin import _world
from PIL import Image, ImageOps


@dataclass(repr=False)
class StableDiffusionProcessingImg2Img(StableDiffusionProcessing):
    """A job that starts from pictures."""

    init_images: list = None
    resize_mode: int = 0
    denoising_strength: float = 0.75
    image_cfg_scale: float = None
    mask: Any = None
    if _world.host.neo:
        mask_blur: int = 4
    else:
        mask_blur_x: int = 4
        mask_blur_y: int = 4
        mask_blur: int = None
    mask_round: bool = True
    inpainting_fill: int = 0
    inpaint_full_res: bool = True
    inpaint_full_res_padding: int = 0
    inpainting_mask_invert: int = 0
    initial_noise_multiplier: float = None
    latent_mask: Image = None
    force_task_id: str = None
    if _world.host.new_backend and not _world.host.neo:
        hr_distilled_cfg: float = 3.5

    image_mask: Any = field(default=None, init=False)
    nmask: torch.Tensor = field(default=None, init=False)
    image_conditioning: torch.Tensor = field(default=None, init=False)
    init_img_hash: str = field(default=None, init=False)
    mask_for_overlay: Image = field(default=None, init=False)
    init_latent: Any = field(default=None, init=_world.host.neo)

    def __post_init__(self):
        """Fills in what was left open."""
        super().__post_init__()
        self.image_mask, self.mask = self.mask, None
        if self.initial_noise_multiplier is None:
            self.initial_noise_multiplier = shared.opts.initial_noise_multiplier

    if _world.host.neo:
        @property
        def mask_blur_x(self):
            """The blur of the mask, in pixels."""
            return self.mask_blur

        @property
        def mask_blur_y(self):
            """The blur of the mask, in pixels."""
            return self.mask_blur
    else:
        @property
        def mask_blur(self):
            """The blur of the mask, in pixels; None if it differs between x and y."""
            return self.mask_blur_x if self.mask_blur_x == self.mask_blur_y else None

        @mask_blur.setter
        def mask_blur(self, value):
            if isinstance(value, int):
                self.mask_blur_x = self.mask_blur_y = value

    def init(self, all_prompts, all_seeds, all_subseeds):
        """Makes latents of the pictures, and of the mask if there is one.

        Raises: RuntimeError for more pictures than the batch has.
        """
        self.extra_generation_params["Denoising strength"] = self.denoising_strength
        self.image_cfg_scale = None
        self.sampler = sd_samplers.create_sampler(self.sampler_name, self.sd_model)
        image_mask, crop_region = self._prepare_mask()
        latent_mask = self.latent_mask if self.latent_mask is not None else image_mask
        correct = shared.opts.img2img_color_correction and self.color_corrections is None
        if correct:
            self.color_corrections = []
        pictures = [self._prepare_picture(picture, image_mask, latent_mask, crop_region, correct) for picture in self.init_images]
        batch = self._make_batch(pictures)
        self.init_latent = processing.images_tensor_to_samples(batch, None, self.sd_model)
        devices.torch_gc()
        if self.resize_mode == 3:
            self.init_latent = torch.nn.functional.interpolate(self.init_latent, size=(self.height // 8, self.width // 8), mode="bilinear")
        if image_mask is not None:
            self._prepare_latent_mask(latent_mask, all_seeds)
        self.image_conditioning = self.img2img_image_conditioning(batch * 2 - 1, self.init_latent, image_mask, self.mask_round)

    def _prepare_mask(self):
        """The mask at sampling size and, for "only masked", the part of the picture that is sampled."""
        if self.image_mask is None:
            return None, None
        mask = create_binary_mask(self.image_mask, round=self.mask_round)
        if self.inpainting_mask_invert:
            mask = ImageOps.invert(mask)
            self.extra_generation_params["Mask mode"] = "Inpaint not masked"
        mask = _blurred(mask, self.mask_blur_x, self.mask_blur_y)
        if self.mask_blur_x > 0 or self.mask_blur_y > 0:
            self.extra_generation_params["Mask blur"] = self.mask_blur
        self.overlay_images = []
        if not self.inpaint_full_res:
            mask = images.resize_image(self.resize_mode, mask, self.width, self.height)
            self.mask_for_overlay = Image.fromarray(np.clip(np.asarray(mask, dtype=np.float32) * 2, 0, 255).astype(np.uint8))
            return mask, None
        return self._crop_mask(mask)

    def _crop_mask(self, mask):
        region = None if mask.convert("L").getbbox() is None else masking.get_crop_region(mask.convert("L"), self.inpaint_full_res_padding)
        if region is None:
            self.inpaint_full_res, self.mask_for_overlay = False, None
            self.comment('Unable to perform "Inpaint Only mask" because mask is blank, switch to img2img mode.')
            return None, None
        self.mask_for_overlay = mask
        region = masking.expand_crop_region(region, self.width, self.height, mask.width, mask.height)
        x0, y0, x1, y1 = region
        self.paste_to = (x0, y0, x1 - x0, y1 - y0)
        self.extra_generation_params["Inpaint area"] = "Only masked"
        self.extra_generation_params["Masked area padding"] = self.inpaint_full_res_padding
        return images.resize_image(2, mask.convert("L").crop(region), self.width, self.height), region

    def _prepare_picture(self, picture, image_mask, latent_mask, crop_region, correct):
        """One picture `3,H,W` in 0..1 at sampling size; its overlay is kept."""
        if shared.opts.save_init_img:
            images.save_image(picture, shared.opts.outdir_init_images, None, existing_info=picture.info, save_to_dirs=False)
        picture = images.flatten(picture, shared.opts.img2img_background_color)
        if crop_region is None and self.resize_mode != 3:
            picture = images.resize_image(self.resize_mode, picture, self.width, self.height)
        if image_mask is not None:
            self._keep_overlay(picture)
        if crop_region is not None:
            picture = images.resize_image(2, picture.crop(crop_region), self.width, self.height)
        if image_mask is not None and self.inpainting_fill != 1:
            picture = masking.fill(picture, latent_mask)
        if correct:
            self.color_corrections.append(setup_color_correction(picture))
        return np.moveaxis(np.asarray(picture, dtype=np.float32) / 255.0, 2, 0)

    def _keep_overlay(self, picture):
        if self.mask_for_overlay.size != picture.size:
            self.mask_for_overlay = images.resize_image(self.resize_mode, self.mask_for_overlay, picture.width, picture.height)
        overlay = Image.new("RGBa", picture.size)
        overlay.paste(picture.convert("RGBA").convert("RGBa"), mask=ImageOps.invert(self.mask_for_overlay.convert("L")))
        self.overlay_images.append(overlay.convert("RGBA"))

    def _make_batch(self, pictures):
        """All pictures as one tensor; a single one is repeated for the whole batch."""
        if len(pictures) > 1 and len(pictures) > self.batch_size:
            raise RuntimeError(f"bad number of images passed: {len(pictures)}; expecting {self.batch_size} or less")
        if len(pictures) > 1:
            self.batch_size = len(pictures)
            return torch.from_numpy(np.stack(pictures))
        if self.overlay_images is not None:
            self.overlay_images = self.overlay_images * self.batch_size
        if self.color_corrections is not None and len(self.color_corrections) == 1:
            self.color_corrections = self.color_corrections * self.batch_size
        return torch.from_numpy(np.stack(pictures * self.batch_size))

    def _prepare_latent_mask(self, latent_mask, all_seeds):
        """Sets `nmask` (1 = redraw) and `mask` (1 = keep), both `4,h,w`, and what lies under the mask at the start."""
        channels, height, width = self.init_latent.shape[1:]
        values = np.asarray(latent_mask.convert("RGB").resize((width, height)), dtype=np.float32)[..., 0] / 255
        values = np.around(values) if self.mask_round else values
        self.nmask = torch.from_numpy(np.tile(values[None], (channels, 1, 1)))
        self.mask = 1.0 - self.nmask
        if self.inpainting_fill == 2:
            noise = processing.create_random_tensors(self.init_latent.shape[1:], all_seeds[:self.init_latent.shape[0]])
            self.init_latent = self.init_latent * self.mask + noise * self.nmask
        elif self.inpainting_fill == 3:
            self.init_latent = self.init_latent * self.mask

    def sample(self, conditioning, unconditional_conditioning, seeds, subseeds, subseed_strength, prompts):
        """The latents of one batch; what is not masked is exactly as it was."""
        x = self.rng.next()
        if self.initial_noise_multiplier != 1.0:
            self.extra_generation_params["Noise multiplier"] = self.initial_noise_multiplier
            x = x * self.initial_noise_multiplier
        if self.scripts is not None:
            self.scripts.process_before_every_sampling(p=self, x=self.init_latent, noise=x, c=conditioning, uc=unconditional_conditioning)
        samples = self.sampler.sample_img2img(self, self.init_latent, x, conditioning, unconditional_conditioning,
                                              image_conditioning=self.image_conditioning)
        if self.mask is not None:
            blended = samples * self.nmask + self.init_latent * self.mask
            if self.scripts is not None:
                args = scripts_module.MaskBlendArgs(samples, self.nmask, self.init_latent, self.mask, blended)
                self.scripts.on_mask_blend(self, args)
                blended = args.blended_latent
            samples = blended
        devices.torch_gc()
        return samples

    def get_token_merging_ratio(self, for_hr=False):
        """How much token merging was asked for; img2img has an option of its own."""
        asked = "token_merging_ratio" in self.override_settings and shared.opts.token_merging_ratio
        return self.token_merging_ratio or asked or shared.opts.token_merging_ratio_img2img or shared.opts.token_merging_ratio


def _blurred(mask, blur_x, blur_y):
    for blur, horizontal in ((blur_x, True), (blur_y, False)):
        if blur > 0:
            side = 2 * int(2.5 * blur + 0.5) + 1
            mask = Image.fromarray(cv2.GaussianBlur(np.array(mask), (side, 1) if horizontal else (1, side), blur))
    return mask
