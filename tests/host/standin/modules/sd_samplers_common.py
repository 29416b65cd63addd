"""Plays `modules.sd_samplers_common`: what all samplers share, and the way from picture to latent and back."""

from collections import namedtuple

import numpy as np
import torch
from modules import devices, shared
from modules._standin import _world
from PIL import Image

approximation_indexes = {"Full": 0, "Approx NN": 1, "RGB" if _world.host.neo else "Approx cheap": 2, "TAESD": 3}
if _world.host.reforge:
    approximation_indexes["Approx PCA"] = 4
SamplerDataTuple = namedtuple("SamplerData", ["name", "constructor", "aliases", "options"])


class SamplerData(SamplerDataTuple):
    """A sampler's name and properties."""

    def total_steps(self, steps):
        """The number of denoiser calls for a number of steps."""
        return steps * 2 if self.options.get("second_order", False) else steps


class InterruptedException(BaseException):
    """Raised by the denoiser when the job was interrupted; the sampler catches it and returns its last latent."""


def setup_img2img_steps(p, steps=None):
    """Steps of the whole schedule, and how many of them (less one) img2img makes, from the denoising strength."""
    strength = min(p.denoising_strength, 0.999)
    if not shared.opts.img2img_fix_steps and steps is None:
        return p.steps, int(strength * p.steps)
    wanted = steps or p.steps
    return (int(wanted / strength) if strength > 0 else 0), wanted - 1


def samples_to_images_tensor(sample, approximation=None, model=None):
    """Latents -> pictures `N,3,H,W` in -1..1; approximations are not played: the model decodes."""
    return (model or shared.sd_model).decode_first_stage(sample)


def decode_first_stage(model, x):
    """Latents -> pictures `N,3,H,W` in -1..1."""
    return samples_to_images_tensor(x, approximation_indexes.get(shared.opts.sd_vae_decode_method, 0), model)


def single_sample_to_image(sample, approximation=None):
    """A latent `4,h,w` as a picture."""
    pixels = samples_to_images_tensor(sample.unsqueeze(0), approximation)[0].mul(0.5).add(0.5).clamp(0, 1)
    return Image.fromarray(np.moveaxis((pixels * 255).round().to(torch.uint8).numpy(), 0, 2))


def sample_to_image(samples, index=0, approximation=None):
    """One latent of a batch as a picture."""
    return single_sample_to_image(samples[index], approximation)


def images_tensor_to_samples(image, approximation=None, model=None):
    """Pictures `N,3,H,W` in 0..1 -> latents, encoded one by one."""
    model = model or shared.sd_model
    image = image.to(shared.device, dtype=devices.dtype_vae) * 2 - 1
    return torch.cat([model.get_first_stage_encoding(model.encode_first_stage(one.unsqueeze(0))) for one in image])


def store_latent(decoded):
    """Keeps the latent for the live preview; no preview is made."""
    shared.state.current_latent = decoded


class Sampler:
    """What every sampler has; the stand-in's own is in `modules.sd_samplers`."""

    def __init__(self, funcname):
        """Keeps what it is given."""
        self.funcname = funcname
        self.func = funcname
        self.extra_params = []
        self.sampler_noises = None
        self.stop_at = None
        self.eta = None
        self.config = None
        self.last_latent = None
        self.s_min_uncond = None
        self.s_churn = 0.0
        self.s_tmin = 0.0
        self.s_tmax = float("inf")
        self.s_noise = 1.0
        self.eta_option_field = "eta_ancestral"
        self.eta_infotext_field = "Eta"
        self.eta_default = 1.0
        self.conditioning_key = "crossattn"
        self.p = None
        self.model_wrap_cfg = None
        self.sampler_extra_args = None
        self.options = {}

    def callback_state(self, d):
        """Counts a step; a step after `stop_at` ends sampling."""
        if self.stop_at is not None and d["i"] > self.stop_at:
            raise InterruptedException
        shared.state.sampling_step = d["i"]
        shared.total_tqdm.update()

    def launch_sampling(self, steps, func):
        """What `func` returns; the last latent if it was interrupted."""
        self.model_wrap_cfg.steps = steps
        self.model_wrap_cfg.total_steps = self.config.total_steps(steps)
        shared.state.sampling_steps, shared.state.sampling_step = steps, 0
        try:
            return func()
        except InterruptedException:
            return self.last_latent

    def initialize(self, p):
        """Takes what the job says into the denoiser."""
        self.p = self.model_wrap_cfg.p = p
        self.model_wrap_cfg.mask = getattr(p, "mask", None)
        self.model_wrap_cfg.nmask = getattr(p, "nmask", None)
        self.model_wrap_cfg.step = 0
        self.model_wrap_cfg.image_cfg_scale = getattr(p, "image_cfg_scale", None)
        self.eta = p.eta if p.eta is not None else getattr(shared.opts, self.eta_option_field, 0.0)
        self.s_min_uncond = getattr(p, "s_min_uncond", 0.0)
        return {}

    def sample(self, p, x, conditioning, unconditional_conditioning, steps=None, image_conditioning=None):
        """Latents from noise.

        Raises: NotImplementedError; every sampler has its own.
        """
        raise NotImplementedError

    def sample_img2img(self, p, x, noise, conditioning, unconditional_conditioning, steps=None, image_conditioning=None):
        """Latents from latents and noise.

        Raises: NotImplementedError; every sampler has its own.
        """
        raise NotImplementedError
