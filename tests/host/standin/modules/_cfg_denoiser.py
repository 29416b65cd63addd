"""Plays the denoiser of `modules.sd_samplers_cfg_denoiser`: one step of guidance, with mask blending and the hosts' callbacks."""

import torch
from modules import prompt_parser, sd_samplers_common, shared
from modules._standin import _world
from modules.script_callbacks import (
    AfterCFGCallbackParams,
    CFGDenoisedParams,
    CFGDenoiserParams,
    cfg_after_cfg_callback,
    cfg_denoised_callback,
    cfg_denoiser_callback,
)

SIGMA_MAX, SIGMA_MIN = 14.6, 0.03
BY_TIMESTEP = ("DDIM", "DDIM CFG++", "PLMS", "UniPC")


class ModelWrap:
    """The model as samplers know it, with the noise level of each of its 1000 timesteps.

    A1111's wrapper for DDIM, PLMS and UniPC has no `sigmas`: those samplers say timesteps where the others say noise levels.
    """

    def __init__(self, model, by_timestep):
        """Keeps what it is given."""
        self.inner_model = model
        self._by_timestep = by_timestep
        self._levels = torch.linspace(SIGMA_MIN ** (1 / 7), SIGMA_MAX ** (1 / 7), 1000) ** 7
        if by_timestep:
            self.alphas_cumprod = 1 / (1 + self._levels ** 2)
        else:
            self.sigmas = self._levels

    def said(self, level):
        """What the sampler says for a noise level: the level, or the timestep nearest to it."""
        return (self._levels - level).abs().argmin() if self._by_timestep else level

    def denoise(self, latent, sigma, cond, image_cond):
        """The latents `N,4,h,w` without noise."""
        return self.inner_model.denoise(latent, self._levels[sigma.long()] if self._by_timestep else sigma, cond, image_cond)


class CFGDenoiser(torch.nn.Module):
    """Denoises with and without the prompt and goes further in the direction of the difference.

    A1111 blends the kept area in after denoising (before it for samplers with `mask_before_denoising`). Forge's family
    always puts the kept area, with NEW noise from torch's global generator, in before, and blends after.
    """

    def __init__(self, sampler):
        """Keeps what it is given."""
        super().__init__()
        self.model_wrap = None
        self.mask = None
        self.nmask = None
        self.init_latent = None
        self.steps = None
        self.total_steps = None
        self.step = 0
        self.image_cfg_scale = None
        self.padded_cond_uncond = False
        self.padded_cond_uncond_v0 = False
        self.sampler = sampler
        self.p = None
        self.mask_before_denoising = False

    @property
    def inner_model(self):
        """The loaded model in its wrapper."""
        if self.model_wrap is None:
            by_timestep = self.sampler.config.name in BY_TIMESTEP and not _world.host.forge
            self.model_wrap = ModelWrap(shared.sd_model, by_timestep)
        return self.model_wrap

    if _world.host.reforge or _world.host.neo:
        def forward(self, x, sigma, uncond, cond, cond_scale, s_min_uncond, image_cond, **kwargs):
            """The latents `N,4,h,w` without noise, as guided by the prompts."""
            return self._forward(x, sigma, uncond, cond, cond_scale, image_cond)
    else:
        def forward(self, x, sigma, uncond, cond, cond_scale, s_min_uncond, image_cond):
            """The latents `N,4,h,w` without noise, as guided by the prompts."""
            return self._forward(x, sigma, uncond, cond, cond_scale, image_cond)

    def _forward(self, x, sigma, uncond, cond, cond_scale, image_cond):
        _world.faults.before_step(len(_world.sampler_log) - 1, self.step, shared.state)
        if shared.state.interrupted or shared.state.skipped:
            raise sd_samplers_common.InterruptedException
        _world.counters.steps += 1
        parts, tensor = prompt_parser.reconstruct_multicond_batch(cond, self.step)
        uncond = prompt_parser.reconstruct_cond_batch(uncond, self.step)
        x = self._with_kept_area(x, sigma)
        run = self._guided_forge if _world.host.forge else self._guided
        denoised = run(x, sigma, parts, tensor, uncond, cond_scale, image_cond)
        if self.mask is not None and (_world.host.forge or not self.mask_before_denoising):
            denoised = self._blend(denoised, sigma)
        self.sampler.last_latent = denoised
        sd_samplers_common.store_latent(denoised)
        after = AfterCFGCallbackParams(denoised, shared.state.sampling_step, shared.state.sampling_steps)
        cfg_after_cfg_callback(after)
        self.step += 1
        return after.x

    def _with_kept_area(self, x, sigma):
        if self.mask is None:
            return x
        if _world.host.forge:
            noise = torch.randn_like(self.init_latent)
            return x * self.nmask + (self.init_latent + sigma[:, None, None, None] * noise) * self.mask
        return self._blend(x, sigma) if self.mask_before_denoising else x

    def _blend(self, current, sigma):
        blended = current * self.nmask + self.init_latent * self.mask
        if self.p.scripts is None:
            return blended
        from modules import scripts

        args = scripts.MaskBlendArgs(current, self.nmask, self.init_latent, self.mask, blended, denoiser=self, sigma=sigma)
        self.p.scripts.on_mask_blend(self.p, args)
        return args.blended_latent

    def _guided(self, x, sigma, parts, tensor, uncond, cond_scale, image_cond):
        """A1111: callbacks see one row per part of a prompt, then one per picture without its prompt."""
        rows = [index for index, pairs in enumerate(parts) for _ in pairs] + list(range(len(parts)))
        params = CFGDenoiserParams(x[rows], image_cond[rows], sigma[rows], shared.state.sampling_step, shared.state.sampling_steps,
                                   tensor, uncond, self)
        cfg_denoiser_callback(params)
        count = len(params.text_cond)
        with_prompt = self.inner_model.denoise(params.x[:count], params.sigma[:count], params.text_cond, params.image_cond[:count])
        without = self.inner_model.denoise(params.x[count:], params.sigma[count:], params.text_uncond, params.image_cond[count:])
        output = CFGDenoisedParams(torch.cat([with_prompt, without]), shared.state.sampling_step, shared.state.sampling_steps,
                                   self.inner_model)
        cfg_denoised_callback(output)
        return _combine(output.x[:count], output.x[count:], parts, cond_scale)

    def _guided_forge(self, x, sigma, parts, tensor, uncond, cond_scale, image_cond):
        """Forge: callbacks see one row per picture; there is no callback after the model (`cfg_denoised`)."""
        params = CFGDenoiserParams(x, image_cond, sigma, shared.state.sampling_step, shared.state.sampling_steps, tensor, uncond, self)
        cfg_denoiser_callback(params)
        rows = [index for index, pairs in enumerate(parts) for _ in pairs]
        with_prompt = self.inner_model.denoise(params.x[rows], params.sigma[rows], params.text_cond, params.image_cond[rows])
        without = self.inner_model.denoise(params.x, params.sigma, params.text_uncond, params.image_cond)
        return _combine(with_prompt, without, parts, cond_scale)


def _combine(with_prompt, without, parts, cond_scale):
    """Guidance per picture: away from `without`, towards each part of its prompt by its weight."""
    result = without.clone()
    for picture, pairs in enumerate(parts):
        for row, weight in pairs:
            result[picture] += (with_prompt[row] - without[picture]) * (weight * cond_scale)
    return result
