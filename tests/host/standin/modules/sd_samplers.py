"""Plays `modules.sd_samplers`: every label of the host, one simple Euler-like sampler behind all of them.

Ancestral samplers ("a") draw from `p.rng` at each step, SDE samplers from one generator per entry of `p.all_seeds`,
DDIM and UniPC blend the mask before denoising, "DPM adaptive" lets the pictures of a batch influence each other.
"""

import torch

from modules import sd_samplers_common, shared
from modules._standin import _world
from modules.sd_samplers_cfg_denoiser import CFGDenoiser
from modules.sd_samplers_common import Sampler, SamplerData, sample_to_image
from modules.script_callbacks import ExtraNoiseParams, extra_noise_callback

__all__ = ["sample_to_image"]
_SIGMA_MAX, _SIGMA_MIN = 14.6, 0.03


def _is_sde(name):
    return "SDE" in name


def _is_ancestral(name):
    return " a" in name or name == "LCM"


class _EulerLike(Sampler):
    """Euler steps along the schedule, with fresh noise for the samplers that add some."""

    def __init__(self, data):
        super().__init__(data.name)
        self.config = data
        self.model_wrap_cfg = CFGDenoiser(self)
        self.model_wrap_cfg.mask_before_denoising = data.name.startswith(("DDIM", "UniPC"))

    def sample(self, p, x, conditioning, unconditional_conditioning, steps=None, image_conditioning=None):
        """Latents from noise."""
        steps = steps or p.steps
        self._note("txt2img", p, x, steps)
        sigmas = _schedule(p, self.config.name, steps)
        self.initialize(p)
        self.last_latent = x
        return self._launch(p, x * sigmas[0], sigmas, conditioning, unconditional_conditioning, image_conditioning, steps)

    def sample_img2img(self, p, x, noise, conditioning, unconditional_conditioning, steps=None, image_conditioning=None):
        """Latents from latents and noise."""
        steps, last = sd_samplers_common.setup_img2img_steps(p, steps)
        self._note("img2img", p, x, last + 1)
        sigmas = _schedule(p, self.config.name, max(1, steps))[max(0, steps - last - 1):]
        noisy = x + noise * sigmas[0]
        if shared.opts.img2img_extra_noise > 0:
            p.extra_generation_params["Extra noise"] = shared.opts.img2img_extra_noise
            params = ExtraNoiseParams(noise, x, noisy)
            extra_noise_callback(params)
            noisy = noisy + params.noise * shared.opts.img2img_extra_noise
        self.initialize(p)
        self.model_wrap_cfg.init_latent = self.last_latent = x
        return self._launch(p, noisy, sigmas, conditioning, unconditional_conditioning, image_conditioning, last + 1)

    def _note(self, kind, p, x, steps):
        _world.note_sampling(kind, p, x, steps, self.config.name)

    def _launch(self, p, x, sigmas, cond, uncond, image_cond, steps):
        self.sampler_extra_args = {"cond": cond, "image_cond": image_cond, "uncond": uncond, "cond_scale": p.cfg_scale,
                                   "s_min_uncond": self.s_min_uncond}
        return self.launch_sampling(steps, lambda: self._walk(p, x, sigmas))

    def _walk(self, p, x, sigmas):
        draw = self._noise_source(p, x)
        for index in range(len(sigmas) - 1):
            now, after = sigmas[index], sigmas[index + 1]
            denoised = self.model_wrap_cfg(x, now.repeat(len(x)), **self.sampler_extra_args)
            self.callback_state({"x": x, "i": index, "sigma": now, "sigma_hat": now, "denoised": denoised})
            added = after * 0.5 if draw is not None and after > 0 else after * 0
            direction = (x - denoised) / now
            x = denoised + direction * (after ** 2 - added ** 2).sqrt()
            if added > 0:
                x = x + draw() * added
            if self.config.name == "DPM adaptive":
                x = x + 0.02 * torch.tanh(denoised.mean())
        return x

    def _noise_source(self, p, x):
        """What draws the noise of one step, or None for samplers without."""
        if _is_sde(self.config.name):
            first = p.iteration * p.batch_size
            generators = [torch.Generator().manual_seed(int(seed)) for seed in p.all_seeds[first:first + p.batch_size]]
            return lambda: torch.stack([torch.randn(x.shape[1:], generator=generator) for generator in generators])
        return p.rng.next if _is_ancestral(self.config.name) else None


def _schedule(p, sampler_name, steps):
    """`steps` falling noise levels and a zero."""
    if not _world.host.has_schedulers:
        rho = 7.0 if "Karras" in sampler_name else 5.0
        ramp = torch.linspace(0, 1, steps)
        levels = (_SIGMA_MAX ** (1 / rho) + ramp * (_SIGMA_MIN ** (1 / rho) - _SIGMA_MAX ** (1 / rho))) ** rho
        return torch.cat([levels, levels.new_zeros(1)])
    from modules import sd_schedulers

    scheduler = sd_schedulers.schedulers_map.get(p.scheduler)
    if scheduler is None or scheduler.function is None:
        scheduler = sd_schedulers.schedulers_map["karras"]
    else:
        p.extra_generation_params["Schedule type"] = scheduler.label
    return scheduler.function(steps, _SIGMA_MIN, _SIGMA_MAX, "cpu")


all_samplers = [SamplerData(name, _EulerLike, [name.lower().replace(" ", "_")], {"brownian_noise": True} if _is_sde(name) else {})
                for name in _world.host.sampler_labels]
all_samplers_map = {data.name: data for data in all_samplers}
samplers = []
samplers_for_img2img = []
samplers_map = {}
samplers_hidden = {}


def find_sampler_config(name):
    """The sampler with that label (the first one for None), or None."""
    return all_samplers[0] if name is None else all_samplers_map.get(name)


if _world.host.reforge:
    def create_sampler(name, model, scheduler=None):
        """A sampler, made anew.

        Raises: Exception if there is none with that label.
        """
        return _create(name)
else:
    def create_sampler(name, model):
        """A sampler, made anew.

        Raises: Exception if there is none with that label.
        """
        return _create(name)


def _create(name):
    config = find_sampler_config(name)
    if config is None:
        raise Exception(f"bad sampler name: {name}")
    return config.constructor(config)


def set_samplers():
    """Fills the lists that the page uses."""
    hidden = set(shared.opts.hide_samplers)
    samplers_hidden.clear()
    samplers_hidden.update(dict.fromkeys(hidden))
    samplers[:] = all_samplers
    samplers_for_img2img[:] = all_samplers
    samplers_map.clear()
    for data in all_samplers:
        samplers_map.update({alias.lower(): data.name for alias in (data.name, *data.aliases)})


def visible_sampler_names():
    """The labels that are not hidden."""
    return [data.name for data in all_samplers if data.name not in samplers_hidden]


if not _world.host.classic:
    def visible_samplers():
        """The samplers that are not hidden."""
        return [data for data in all_samplers if data.name not in samplers_hidden]

    def get_sampler_and_scheduler(sampler_name, scheduler_name, *, convert_automatic=True):
        """The labels of a sampler and a scheduler; a sampler name that ends with a scheduler's label is taken apart."""
        from modules import sd_schedulers

        found = sd_schedulers.schedulers_map.get(scheduler_name, sd_schedulers.schedulers[0])
        name = sampler_name or all_samplers[0].name
        for scheduler in sd_schedulers.schedulers:
            if name not in all_samplers_map and name.lower().endswith(f" {scheduler.label.lower()}"):
                found, name = scheduler, name[:-len(scheduler.label) - 1]
                break
        sampler = all_samplers_map.get(name, all_samplers[0])
        return sampler.name, found.label

    def fix_p_invalid_sampler_and_scheduler(p):
        """Takes apart a sampler's label that has the scheduler in it."""
        p.sampler_name, p.scheduler = get_sampler_and_scheduler(p.sampler_name, p.scheduler, convert_automatic=False)


set_samplers()
