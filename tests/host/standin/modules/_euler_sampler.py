"""The one sampler behind all labels: Euler steps along a schedule, with fresh noise for the samplers that add some.

Ancestral samplers ("a") draw from `p.rng` at each step, SDE samplers from one generator per entry of `p.all_seeds`,
DDIM and UniPC blend the mask before denoising, "DPM adaptive" lets the pictures of a batch influence each other. The latents of
DDIM, PLMS and UniPC are not scaled down as on A1111; their noise levels are said as timesteps.
"""

import torch
from modules import sd_samplers_common, shared
from modules._cfg_denoiser import SIGMA_MAX, SIGMA_MIN, CFGDenoiser
from modules._standin import _world
from modules.script_callbacks import ExtraNoiseParams, extra_noise_callback


def is_sde(name):
    """Whether the sampler draws from a Brownian tree."""
    return "SDE" in name


def _is_ancestral(name):
    return " a" in name or name == "LCM"


class EulerLike(sd_samplers_common.Sampler):
    """Euler steps along the schedule, with fresh noise for the samplers that add some."""

    def __init__(self, data):
        """Keeps what it is given."""
        super().__init__(data.name)
        self.config = data
        self.model_wrap_cfg = CFGDenoiser(self)
        self.conditioning_key = shared.sd_model.model.conditioning_key
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
            said = self.model_wrap_cfg.inner_model.said(now)
            denoised = self.model_wrap_cfg(x, said.repeat(len(x)), **self.sampler_extra_args)
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
        if is_sde(self.config.name):
            first = p.iteration * p.batch_size
            generators = [torch.Generator().manual_seed(int(seed)) for seed in p.all_seeds[first:first + p.batch_size]]
            return lambda: torch.stack([torch.randn(x.shape[1:], generator=generator) for generator in generators])
        return p.rng.next if _is_ancestral(self.config.name) else None


def _schedule(p, sampler_name, steps):
    """`steps` falling noise levels and a zero."""
    if not _world.host.has_schedulers:
        rho = 7.0 if "Karras" in sampler_name else 5.0
        ramp = torch.linspace(0, 1, steps)
        levels = (SIGMA_MAX ** (1 / rho) + ramp * (SIGMA_MIN ** (1 / rho) - SIGMA_MAX ** (1 / rho))) ** rho
        return torch.cat([levels, levels.new_zeros(1)])
    from modules import sd_schedulers

    scheduler = sd_schedulers.schedulers_map.get(p.scheduler)
    if scheduler is None or scheduler.function is None:
        scheduler = sd_schedulers.schedulers_map["karras"]
    else:
        p.extra_generation_params["Schedule type"] = scheduler.label
    return scheduler.function(steps, SIGMA_MIN, SIGMA_MAX, "cpu")
