"""Plays txt2img of `modules.processing`, with the hires pass; `firstpass_image` and the refiner are not played."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from modules import devices, extra_networks, images, processing, prompt_parser, rng, sd_samplers, shared
from modules._processing_base import StableDiffusionProcessing, _empty_cache
from modules._standin import _world
from PIL import Image


@dataclass(repr=False)
class StableDiffusionProcessingTxt2Img(StableDiffusionProcessing):
    """A job that starts from noise."""

    enable_hr: bool = False
    denoising_strength: float = 0.75
    firstphase_width: int = 0
    firstphase_height: int = 0
    hr_scale: float = 2.0
    hr_upscaler: str = None
    hr_second_pass_steps: int = 0
    hr_resize_x: int = 0
    hr_resize_y: int = 0
    hr_checkpoint_name: str = None
    if _world.host.new_backend:
        hr_additional_modules: list = field(default=None)
    hr_sampler_name: str = None
    if not _world.host.classic:
        hr_scheduler: str = None
    hr_prompt: str = ""
    hr_negative_prompt: str = ""
    if _world.host.forge and not _world.host.classic:
        hr_cfg: float = 1.0
    if _world.host.new_backend:
        hr_distilled_cfg: float = 3.5
    force_task_id: str = None

    cached_hr_uc = _empty_cache()
    cached_hr_c = _empty_cache()
    hr_checkpoint_info: dict = field(default=None, init=False)
    hr_upscale_to_x: int = field(default=0, init=False)
    hr_upscale_to_y: int = field(default=0, init=False)
    truncate_x: int = field(default=0, init=False)
    truncate_y: int = field(default=0, init=False)
    applied_old_hires_behavior_to: tuple = field(default=None, init=False)
    latent_scale_mode: dict = field(default=None, init=False)
    hr_c: tuple | None = field(default=None, init=False)
    hr_uc: tuple | None = field(default=None, init=False)
    all_hr_prompts: list = field(default=None, init=False)
    all_hr_negative_prompts: list = field(default=None, init=False)
    hr_prompts: list = field(default=None, init=False)
    hr_negative_prompts: list = field(default=None, init=False)
    hr_extra_network_data: list = field(default=None, init=False)

    def __post_init__(self):
        """Fills in what was left open."""
        super().__post_init__()
        self.cached_hr_uc = StableDiffusionProcessingTxt2Img.cached_hr_uc
        self.cached_hr_c = StableDiffusionProcessingTxt2Img.cached_hr_c

    def calculate_target_resolution(self):
        """Finds the size of the hires pass."""
        if self.hr_resize_x == 0 and self.hr_resize_y == 0:
            self.extra_generation_params["Hires upscale"] = self.hr_scale
            self.hr_upscale_to_x, self.hr_upscale_to_y = int(self.width * self.hr_scale), int(self.height * self.hr_scale)
            return
        self.extra_generation_params["Hires resize"] = f"{self.hr_resize_x}x{self.hr_resize_y}"
        self.hr_upscale_to_x = self.hr_resize_x or self.hr_resize_y * self.width // self.height
        self.hr_upscale_to_y = self.hr_resize_y or self.hr_resize_x * self.height // self.width

    def init(self, all_prompts, all_seeds, all_subseeds):
        """Prepares the hires pass: size, way of enlarging, twice as many jobs."""
        if not self.enable_hr:
            return
        self.extra_generation_params["Denoising strength"] = self.denoising_strength
        if not _world.host.classic and self.hr_scheduler is None:
            self.hr_scheduler = self.scheduler
        name = self.hr_upscaler if self.hr_upscaler is not None else shared.latent_upscale_default_mode
        self.latent_scale_mode = shared.latent_upscale_modes.get(name)
        if self.latent_scale_mode is None and name not in [upscaler.name for upscaler in shared.sd_upscalers]:
            raise Exception(f"could not find upscaler named {name}")
        self.calculate_target_resolution()
        if not shared.state.processing_has_refined_job_count:
            count = self.n_iter if shared.state.job_count == -1 else shared.state.job_count
            shared.total_tqdm.updateTotal((self.steps + (self.hr_second_pass_steps or self.steps)) * count)
            shared.state.job_count, shared.state.processing_has_refined_job_count = count * 2, True
        self.extra_generation_params["Hires upscaler"] = name

    def sample(self, conditioning, unconditional_conditioning, seeds, subseeds, subseed_strength, prompts):
        """The latents of one batch; pictures if the hires pass ran."""
        self.sampler = sd_samplers.create_sampler(self.sampler_name, self.sd_model)
        x = self.rng.next()
        if self.scripts is not None:
            self.scripts.process_before_every_sampling(p=self, x=x, noise=x, c=conditioning, uc=unconditional_conditioning)
        samples = self.sampler.sample(self, x, conditioning, unconditional_conditioning,
                                      image_conditioning=self.txt2img_image_conditioning(x))
        if not self.enable_hr:
            return samples
        devices.torch_gc()
        decoded = None
        if self.latent_scale_mode is None:
            decoded = processing.decode_latent_batch(self.sd_model, samples, target_device=devices.cpu, check_for_nans=True)
            decoded = torch.stack(decoded).float()
        return self.sample_hr_pass(samples, decoded, seeds, subseeds, subseed_strength, prompts)

    def sample_hr_pass(self, samples, decoded_samples, seeds, subseeds, subseed_strength, prompts):
        """The pictures of one batch, enlarged and sampled again; the latents as they are if the job was interrupted."""
        if shared.state.interrupted:
            return samples
        self.is_hr_pass = True
        self.sampler = sd_samplers.create_sampler(self.hr_sampler_name or self.sampler_name, self.sd_model)
        size_hw = self.hr_upscale_to_y, self.hr_upscale_to_x
        if self.latent_scale_mode is not None:
            samples = torch.nn.functional.interpolate(samples, size=(size_hw[0] // 8, size_hw[1] // 8), **self.latent_scale_mode)
        else:
            samples = processing.images_tensor_to_samples(_enlarged(decoded_samples, size_hw, self.hr_upscaler))
        shared.state.nextjob()
        self.rng = rng.ImageRNG(samples.shape[1:], self.seeds, subseeds=self.subseeds, subseed_strength=self.subseed_strength)
        noise = self.rng.next()
        devices.torch_gc()
        if not self.disable_extra_networks:
            extra_networks.activate(self, self.hr_extra_network_data)
        self.calculate_hr_conds()
        if self.scripts is not None:
            self.scripts.before_hr(self)
            self.scripts.process_before_every_sampling(p=self, x=samples, noise=noise, c=self.hr_c, uc=self.hr_uc)
        samples = self.sampler.sample_img2img(self, samples, noise, self.hr_c, self.hr_uc, steps=self.hr_second_pass_steps or self.steps,
                                              image_conditioning=self.txt2img_image_conditioning(samples))
        self.sampler = None
        devices.torch_gc()
        decoded = processing.decode_latent_batch(self.sd_model, samples, target_device=devices.cpu, check_for_nans=True)
        self.is_hr_pass = False
        return decoded

    def close(self):
        """Lets go of everything, the hires pass's conditionings too."""
        super().close()
        self.hr_c = self.hr_uc = None
        if not shared.opts.persistent_cond_cache:
            StableDiffusionProcessingTxt2Img.cached_hr_uc = _empty_cache()
            StableDiffusionProcessingTxt2Img.cached_hr_c = _empty_cache()

    def setup_prompts(self):
        """Prompts for each picture, and those of the hires pass."""
        super().setup_prompts()
        if not self.enable_hr:
            return
        self.hr_prompt = self.hr_prompt or self.prompt
        self.hr_negative_prompt = self.hr_negative_prompt or self.negative_prompt
        count = self.batch_size * self.n_iter
        self.all_hr_prompts = self.hr_prompt if isinstance(self.hr_prompt, list) else [self.hr_prompt] * count
        negative = self.hr_negative_prompt
        self.all_hr_negative_prompts = negative if isinstance(negative, list) else [negative] * count

    def calculate_hr_conds(self):
        """Encodes the hires pass's prompts, or takes them from a cache."""
        if self.hr_c is not None:
            return
        size = {"width": self.hr_upscale_to_x, "height": self.hr_upscale_to_y}
        positive = prompt_parser.SdConditioning(self.hr_prompts, **size)
        negative = prompt_parser.SdConditioning(self.hr_negative_prompts, is_negative_prompt=True, **size)
        steps = self.hr_second_pass_steps or self.steps
        self.hr_uc = self.get_conds_with_caching(prompt_parser.get_learned_conditioning, negative, self.firstpass_steps,
                                                 [self.cached_hr_uc, self.cached_uc], self.hr_extra_network_data, steps)
        self.hr_c = self.get_conds_with_caching(prompt_parser.get_multicond_learned_conditioning, positive, self.firstpass_steps,
                                                [self.cached_hr_c, self.cached_c], self.hr_extra_network_data, steps)

    def setup_conds(self):
        """Encodes the batch's prompts; those of the hires pass later."""
        if self.is_hr_pass:
            self.hr_c = None
            self.calculate_hr_conds()
            return
        super().setup_conds()
        self.hr_uc = self.hr_c = None

    def get_conds(self):
        """The conditionings of the running pass."""
        return (self.hr_c, self.hr_uc) if self.is_hr_pass else super().get_conds()

    def parse_extra_network_prompts(self):
        """Takes tags out of the batch's prompts, and out of the hires pass's."""
        super().parse_extra_network_prompts()
        if self.enable_hr:
            batch = slice(self.iteration * self.batch_size, (self.iteration + 1) * self.batch_size)
            self.hr_negative_prompts = self.all_hr_negative_prompts[batch]
            self.hr_prompts, self.hr_extra_network_data = extra_networks.parse_prompts(self.all_hr_prompts[batch])


def _enlarged(decoded, size_hw, upscaler_name):
    """Pictures `N,3,H,W` in -1..1 -> larger ones in 0..1, by way of 8 bit."""
    result = []
    for picture in torch.clamp((decoded + 1) / 2, 0, 1):
        image = Image.fromarray((255.0 * np.moveaxis(picture.numpy(), 0, 2)).astype(np.uint8))
        image = images.resize_image(0, image, size_hw[1], size_hw[0], upscaler_name=upscaler_name)
        result.append(np.moveaxis(np.asarray(image, dtype=np.float32) / 255.0, 2, 0))
    return torch.from_numpy(np.stack(result))
