"""One wave as one img2img job of the host: own picture, mask, prompts and seed for each segment.

What the host's job does for one picture it does for N; the overrides below only replace what would mix the pictures up: the VAE's noise, the
noise masks, the cycles, and prompts encoded as one list. Proven against runs of one segment each, see DESIGN section 5.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from modules import devices, processing, prompt_parser, rng, shared
from PIL import Image
from torch import Tensor

from detailer_core.engines.base import Control, WaveRequest
from detailer_core.engines.latent import run_cycles
from detailer_core.engines.latent_masks import differential_mask, differential_threshold, to_latent_size
from detailer_core.engines.memory import is_out_of_memory
from detailer_core.hooks import CycleInput
from detailer_core.image_ops import resample_mask
from detailer_core.pictures import to_pil

from . import host
from .control_guide import ControlGuide
from .engine_memory import EngineMemory
from .guest_scripts import CALLBACKS, Guest, call


class WaveJob(processing.StableDiffusionProcessingImg2Img):
    """The host's img2img job, for a wave. Set up with `prepare` before it is processed; `redrawn` holds the pictures, None if interrupted."""

    request: WaveRequest
    control: Control
    memory: EngineMemory
    redrawn: Tensor | None = None
    skipped: bool = False
    guide: ControlGuide | None = None

    def prepare(self, request: WaveRequest, control: Control, memory: EngineMemory, guests: Sequence[Guest] = ()) -> None:
        """Take over a wave. guests: other extensions' scripts that see it."""
        self.request, self.control, self.memory = request, control, memory
        self.blender = MaskBlender(request)
        self.scripts = QuietRunner(self.blender, guests)
        self.guide = None if request.sampling.control is None else ControlGuide(request)
        if self.guide is not None:
            self.guide.join(self)
        self.cached_c, self.cached_uc = list(self.cached_c), list(self.cached_uc)
        if request.sampling.sigmas is not None:
            self.sampler_noise_scheduler_override = request.sampling.sigmas
        # An empty list keeps the host from correcting colours towards the crop, which the paste mask makes pointless.
        self.color_corrections = []

    def init(self, all_prompts: list[str], all_seeds: list[int], all_subseeds: list[int]) -> None:
        """As the host does it, but each crop is encoded in float and with its own seed."""
        with self._encoding_each_with_its_seed():
            super().init(all_prompts, all_seeds, all_subseeds)
        self.blender.masks = to_latent_size(self.request.noise_masks, self.init_latent)
        # The host then asks us to blend at each step. All ones means: Forge's own blending, which draws from one generator for all
        # pictures, changes nothing.
        self.nmask = torch.ones_like(self.init_latent)
        self.mask = torch.zeros_like(self.init_latent)
        if getattr(self, "is_using_inpainting_conditioning", False):
            self.image_conditioning = self._inpainting_conditioning()
        self.skipped = shared.state.skipped  # the host forgets what was asked for before it samples

    @contextmanager
    def _encoding_each_with_its_seed(self) -> Iterator[None]:
        encode = processing.images_tensor_to_samples

        def encode_each(image: Tensor, approximation: Any = None, model: Any = None) -> Tensor:
            latents = []
            for seed, picture in zip(self.request.seeds, self.request.images_bchw, strict=True):
                devices.manual_seed(seed)
                latents.append(self._whole_or_tiles(lambda x: encode(x, approximation, model), picture[None].to(image), latent_pixel=8))
            return torch.cat(latents)

        processing.images_tensor_to_samples = encode_each
        try:
            yield
        finally:
            processing.images_tensor_to_samples = encode

    def _inpainting_conditioning(self) -> Tensor:
        """The masked pictures for an inpainting model, one by one: the host would give all of them one mask."""
        parts = []
        for index, (seed, picture) in enumerate(zip(self.request.seeds, self.request.images_bchw, strict=True)):
            mask = self.request.noise_masks[index]
            if mask is None:
                mask = picture.new_ones(1, 1, *picture.shape[-2:])
            source = picture[None].to(shared.device, devices.dtype_vae) * 2 - 1
            devices.manual_seed(seed)
            sized = resample_mask(mask.float(), (picture.shape[-1], picture.shape[-2])).to(source)
            parts.append(self.inpainting_image_conditioning(source, self.init_latent[index : index + 1], image_mask=sized.round()))
        return torch.cat(parts)

    def get_conds_with_caching(self, function: Any, required_prompts: Any, steps: int, caches: Any, extra_network_data: Any,
                               hires_steps: Any = None) -> Any:
        """Each distinct prompt is encoded once and kept."""
        def encode(prompt: str) -> Any:
            one = prompt_parser.SdConditioning([prompt], copy_from=required_prompts)
            slots = [[None] * len(caches[0])]
            return super(WaveJob, self).get_conds_with_caching(function, one, steps, slots, extra_network_data, hires_steps)

        def key(prompt: str) -> Any:
            one = prompt_parser.SdConditioning([prompt], copy_from=required_prompts)
            with self._size_as_it_matters():
                params = self._cond_key(one, steps, _plain(extra_network_data), hires_steps)
            # A ControlNet of A1111 marks its job's encodings, which must not get into other jobs.
            return function.__name__, one.is_negative_prompt, host.model_key(), host.text_key(), repr(params), self.guide is not None

        return self.memory.conds.join([self.memory.conds.get(key(prompt), lambda prompt=prompt: encode(prompt)) for prompt in required_prompts])

    @contextmanager
    def _size_as_it_matters(self) -> Iterator[None]:
        """No size for the models whose encoding does not depend on it: crops of all sizes then share their prompts."""
        size = self.width, self.height
        if getattr(shared.sd_model, "is_sd1", False) or getattr(shared.sd_model, "is_sd2", False):
            self.width = self.height = 0
        try:
            yield
        finally:
            self.width, self.height = size

    def _cond_key(self, one: Any, steps: int, extra_network_data: Any, hires_steps: Any) -> Any:
        try:
            return self.cached_params(one, steps, extra_network_data, hires_steps, shared.opts.data.get("use_old_scheduling", False))
        except TypeError:  # Neo's takes no old scheduling
            return self.cached_params(one, steps, extra_network_data, hires_steps)

    def sample(self, conditioning: Any, unconditional_conditioning: Any, seeds: list[int], subseeds: list[int], subseed_strength: float,
               prompts: list[str]) -> Any:
        """All cycles, then the pictures; what the host gets back is only a token, since nothing of its further work is needed."""
        if self.skipped:
            return self._token()
        backend = _Backend(self)
        latents = self.request.hook.after_encode(self.init_latent, self.request.seeds)
        # Whoever asks to stop after this picture wants no half of it: the wave's further cycles belong to it.
        control = Control(stopped=lambda: self.control.stopped() and (host.broken_off() or not shared.state.stopping_generation))
        done = run_cycles(backend, self.request, latents, control)
        if done is not None:
            self.redrawn = self._decode(self.request.hook.before_decode(done))
            if self.guide is not None:
                self.redrawn = self.guide.finish(self, self.redrawn)
        return self._token()

    def _token(self) -> Any:
        return processing.DecodedSamples([torch.zeros(3, 8, 8) for _ in self.request.seeds])

    def end_control(self) -> None:
        """Take the ControlNet off the model, if there is one and the host has not done it: a job may fail at any point."""
        if self.guide is not None:
            self.guide.end(self)

    def _decode(self, latents_bchw: Tensor) -> Tensor:
        # Neo's check puts zeros in the place of what is no number, a black patch, and Forge's does nothing; A1111's may repair its VAE.
        check = not hasattr(self.sd_model, "forge_objects")

        def decode(latent_bchw: Tensor) -> Tensor:
            return torch.stack(list(processing.decode_latent_batch(self.sd_model, latent_bchw, target_device=None, check_for_nans=check)))

        def decode_numbers(latent_bchw: Tensor) -> Tensor:
            if bool(torch.isfinite(latent_bchw).all()):
                return self._whole_or_tiles(decode, latent_bchw, latent_pixel=1)
            # A1111 would give up the whole wave for it: so this one picture is none.
            return torch.full_like(self.request.images_bchw[:1], torch.nan).to(latent_bchw.device)

        images = torch.cat([decode_numbers(latent[None]).float() for latent in latents_bchw])
        return self.request.hook.after_decode(((images + 1) / 2).clamp(0, 1))

    def _whole_or_tiles(self, work: Callable[[Tensor], Tensor], source_bchw: Tensor, *, latent_pixel: int) -> Tensor:
        return self.memory.tiles.run(work, source_bchw, key=host.model_key(), latent_pixel=latent_pixel, is_full=is_out_of_memory,
                                     free=devices.torch_gc)


def _plain(networks: Any) -> Any:
    """The active extra networks as plain values: the host's own objects differ each time."""
    return {kind: [list(p.items) for p in params] for kind, params in (networks or {}).items()}


class _Backend:
    """The host's sampler, as the loop over the cycles wants it."""

    def __init__(self, job: WaveJob) -> None:
        self.job = job

    def encode(self, request: WaveRequest) -> Tensor:
        """Done by the host's `init`."""
        return self.job.init_latent

    def noise(self, request: WaveRequest, latents_bchw: Tensor, seeds: tuple[int, ...], cycle: int) -> Tensor:
        """The host's noise for these seeds; some samplers draw more of it later, from the same generators."""
        job = self.job
        if cycle:
            job.seeds = job.all_seeds = list(seeds)
            job.rng = rng.ImageRNG(tuple(latents_bchw.shape[1:]), job.seeds, subseeds=job.subseeds, subseed_strength=job.subseed_strength,
                                   seed_resize_from_h=job.seed_resize_from_h, seed_resize_from_w=job.seed_resize_from_w)
        noise = job.rng.next()
        return noise if job.initial_noise_multiplier == 1.0 else noise * job.initial_noise_multiplier

    def sample(self, request: WaveRequest, given: CycleInput) -> Tensor | None:
        """One pass of the host's sampler."""
        job, sampling = self.job, given.sampling
        job.init_latent = given.latents_bchw
        steps_changed = sampling.steps != job.steps
        job.steps, job.cfg_scale, job.denoising_strength = sampling.steps, sampling.cfg, sampling.denoise
        if steps_changed:
            job.setup_conds()
        job.blender.begin_cycle(given.kept_bchw)
        job.scripts.begin_cycle(job, given)
        with nullcontext(given.noise_bchw) if job.guide is None else job.guide.sampling(job, given.latents_bchw, given.noise_bchw) as noise:
            samples = job.sampler.sample_img2img(job, given.latents_bchw, noise, job.c, job.uc, image_conditioning=job.image_conditioning)
        # The host returns half-done latents as if they were done; only its state tells.
        if host.broken_off():
            return None
        return job.blender.last(samples, given.outside, job.sampler)

    def decode(self, request: WaveRequest, latents_bchw: Tensor) -> Tensor:
        """The pictures, float 0..1."""
        return self.job._decode(latents_bchw)


class MaskBlender:
    """Keeps what lies outside the noise masks, at every step: softly, or by differential diffusion's threshold.

    masks: float `[N, 1, h/8, w/8]`, set when the latents' size is known.
    """

    masks: Tensor

    def __init__(self, request: WaveRequest) -> None:
        self.active = any(mask is not None for mask in request.noise_masks)
        self.differential = request.sampling.differential
        self.first: float | None = None
        self.kept: Tensor | None = None

    def begin_cycle(self, kept_bchw: Tensor | None) -> None:
        """Forget the cycle before. kept_bchw: latents of what stays, where they are not those that sampling starts from."""
        self.first, self.kept = None, kept_bchw

    def blend(self, args: Any) -> None:
        """Called by the host at each step with its `MaskBlendArgs`."""
        if self.active:
            mask = self._mask_at(args).to(args.current_latent)
            kept = args.init_latent if self.kept is None else self.kept
            args.blended_latent = args.current_latent * mask + kept.to(args.current_latent) * (1 - mask)

    def _mask_at(self, args: Any) -> Tensor:
        if not self.differential:
            return self.masks
        timestep = _timestep(args.denoiser, args.sigma)
        if self.first is None:
            self.first = timestep
        return differential_mask(self.masks, differential_threshold(timestep, self.first, 0.0))

    def last(self, samples: Tensor, init_latent: Tensor, sampler: Any) -> Tensor:
        """The finished latents: samplers that blend before each step (DDIM, UniPC) leave the kept area to us."""
        before = getattr(sampler.model_wrap_cfg, "mask_before_denoising", False)
        if not (self.active and before):
            return samples
        mask = (self.masks > 0).to(samples) if self.differential else self.masks.to(samples)
        return samples * mask + init_latent.to(samples) * (1 - mask)


def _timestep(denoiser: Any, sigma: Tensor) -> float:
    """The model's timestep of a noise level: the nearest of its own levels. Samplers without noise levels give the timestep itself."""
    level = sigma.flatten()[0]
    sigmas = getattr(denoiser.inner_model, "sigmas", None)
    if sigmas is None:
        return float(level)
    return float(torch.argmin(torch.abs(sigmas.to(level) - level)))


class QuietRunner:
    """Stands where the host expects its scripts: nothing runs inside a detail pass but the blending of masks, and guests."""

    def __init__(self, blender: MaskBlender, guests: Sequence[Guest] = ()) -> None:
        self.blender, self.guests = blender, guests
        self.scripts: list[Any] = []
        self.alwayson_scripts: list[Any] = []
        self.selectable_scripts: list[Any] = []

    def on_mask_blend(self, p: Any, args: Any) -> None:
        """The one callback that is ours."""
        self.blender.blend(args)

    def begin_cycle(self, p: Any, given: CycleInput) -> None:
        """Before each pass of the sampler: what the host's own `sample`, which a wave does without, tells scripts."""
        if not self.guests:
            return
        unpatched = getattr(p.sd_model, "forge_objects_after_applying_lora", None)
        if unpatched is not None:  # else a guest that patches the model would patch what it has patched in the cycle before
            p.sd_model.forge_objects = unpatched.shallow_copy()
        self.process_before_every_sampling(p, x=given.latents_bchw, noise=given.noise_bchw, c=p.c, uc=p.uc)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "guests":
            raise AttributeError(name)
        return partial(call, self.guests, name) if name in CALLBACKS and self.guests else _nothing


def _nothing(*_: Any, **__: Any) -> None:
    return None


def placeholder_pictures(request: WaveRequest) -> list[Image.Image]:
    """Pictures of the right number and size for the host's checks; the crops themselves go to the VAE in float, and here only for a ControlNet."""
    if request.sampling.control is not None:
        return [to_pil(image[None].cpu().float()) for image in request.images_bchw]
    height, width = request.images_bchw.shape[-2:]
    return [Image.new("RGB", (width, height)) for _ in request.seeds]
