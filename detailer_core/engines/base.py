"""The engine contract: what redraws a wave of crops.

An engine gets crops at sampling size and gives the redrawn crops back, each exactly as it would be alone (batched or not, up to the rounding
of its arithmetic), the same for the same seed. What it lacks it declares in `Capabilities`, and `check_supported` refuses settings that need it
before anything is sampled. `tests/conformance.py` holds every engine to this page.

- Noise masks come blurred, at the crop's resolution (not the sampling size); `latent_masks.to_latent_size` brings them to the latent's.
  With `sampling.differential` they are thresholds per step, see `latent_masks.differential_mask`; else they blend the kept latent in at each step.
- Cycle k samples with seed + k and starts from the latents of cycle k - 1, without a VAE round trip; the masks stay.
- Hooks are called at the points that `hooks` names, once a wave. A pass heeds what `before_sampling` returns: latents, noise, steps, cfg, denoise.
- Masked content of latents is put in by `latent.run_cycles`: a pass starts from `CycleInput.latents_bchw` and keeps `CycleInput.outside`.
- `inversion` means that the backend of `latent.run_cycles` has `invert`: the deterministic sampler run backwards, see `latent.InvertingBackend`.
- Out of memory is an EngineMemoryError; a picture-spoiling interrupt is `finished=False`; everything else that fails is an EngineError.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from ..errors import EngineUnsupportedError
from ..hooks import DetailerHook
from ..plan import Region, WavePolicy
from ..sampling import Sampling


@dataclass(frozen=True, kw_only=True, slots=True)
class Capabilities:
    """What an engine can do. samplers, schedulers: names it knows; empty = it does not care."""

    diffusion: bool = True
    noise_mask: bool = True
    differential: bool = True
    cycles: bool = True
    latents: bool = True
    inpaint_model: bool = False
    refiner: bool = False
    checkpoint: bool = False
    control: bool = False
    regions: bool = False
    sigmas: bool = False
    inversion: bool = False
    restore_face: bool = False
    vae: bool = False
    modules: bool = False
    clip_skip: bool = False
    noise_multiplier: bool = False
    distilled_cfg: bool = False
    samplers: tuple[str, ...] = ()
    schedulers: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class WaveRequest:
    """One wave, in the engine's terms; every tuple has one entry a segment.

    images_bchw: float 0..1 `[N, 3, h, w]` at sampling size. noise_masks: float 0..1 `[1, 1, hc, wc]` at the crop's resolution, or None.
    regions: regional prompts, masks cut to the crop region; empty if there are none.
    """

    images_bchw: Tensor
    noise_masks: tuple[Tensor | None, ...]
    prompts: tuple[str, ...]
    negative_prompts: tuple[str, ...]
    seeds: tuple[int, ...]
    subseeds: tuple[int, ...]
    sampling: Sampling
    hook: DetailerHook
    regions: tuple[tuple[Region, ...], ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Redrawn:
    """What came of a wave.

    images_bchw: float `[N, 3, h', w']`, as requested or as the model's decoder gives it. finished: False if it was interrupted.
    control_bchw: the control pictures `[N, 3, h, w]`, where a ControlNet had one.
    """

    images_bchw: Tensor
    finished: bool = True
    control_bchw: Tensor | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Control:
    """How the world outside talks with a run. stopped: asked between steps; True ends the run, finished segments stay."""

    stopped: Callable[[], bool] = lambda: False


class Engine(WavePolicy, Protocol):
    """Redraws waves."""

    @property
    def name(self) -> str:
        """How settings and messages call it."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """What it can do with the model that is loaded now."""
        ...

    @property
    def memory_key(self) -> str:
        """Names the model: what fitted into memory is remembered for it."""
        ...

    def redraw(self, request: WaveRequest, control: Control) -> Redrawn:
        """The wave, redrawn. Raises: EngineMemoryError, EngineError, HookError."""
        ...


def check_supported(engine: Engine, sampling: Sampling, hook: DetailerHook) -> None:
    """Raises: EngineUnsupportedError if the engine lacks what this sampling or hook needs; the message names the setting to change."""
    can = engine.capabilities
    if not can.diffusion:
        return  # it redraws without a model: settings of the sampling mean nothing to it, and its help says so
    needs = {
        "cycle": (sampling.cycles > 1 and not can.cycles, "more than one cycle"),
        "noise_mask": (sampling.noise_mask and not can.noise_mask, "a noise mask"),
        "noise_mask_feather": (sampling.differential and not can.differential, "differential diffusion (set it to 0)"),
        "inpaint_model": (sampling.inpaint_model and not can.inpaint_model, "inpainting models"),
        "refiner": (sampling.refiner is not None and not can.refiner, "a refiner"),
        "checkpoint": (bool(sampling.checkpoint) and not can.checkpoint, "another checkpoint"),
        "masked_content": (sampling.masked_content in ("latent-noise", "latent-nothing") and not can.latents,
                           "masked content in latent space; choose original or fill"),
        "restore_face": (sampling.restore_face and not can.restore_face, "face restoration here; install a model for it, or switch it off"),
        "vae": (bool(sampling.vae) and not can.vae, "another VAE; leave it open, in Forge name the VAE in modules"),
        "modules": (bool(sampling.modules) and not can.modules, "other modules, which only Forge has; leave it empty, elsewhere choose a vae"),
        "clip_skip": (sampling.clip_skip is not None and not can.clip_skip, "another clip skip; leave it open"),
        "noise_multiplier": (sampling.noise_multiplier is not None and not can.noise_multiplier, "a noise multiplier; leave it open"),
        "distilled_cfg": (sampling.distilled_cfg is not None and not can.distilled_cfg, "a distilled CFG scale, which only Forge has; leave it open"),
        "control_model": (sampling.control is not None and not can.control, "a ControlNet for a segment"),
        "sigmas": (sampling.sigmas is not None and not can.sigmas, "noise levels made by a function"),
        "hook": (hook.needs_latents and not can.latents, f"hook '{hook.name}', which works on latents"),
        "hooks": (hook.needs_inversion and not can.inversion, f"hook '{hook.name}', which runs the sampler backwards (inversion); leave it away"),
        "sampler": (bool(can.samplers) and sampling.sampler not in can.samplers, f"sampler '{sampling.sampler}'; it has {', '.join(can.samplers)}"),
        "scheduler": (bool(can.schedulers) and sampling.scheduler not in ("", *can.schedulers),
                      f"scheduler '{sampling.scheduler}'; it has {', '.join(can.schedulers)}"),
    }
    for setting, (missing, what) in needs.items():
        if missing:
            raise EngineUnsupportedError(f"{setting}: the engine '{engine.name}' does not support {what}")
