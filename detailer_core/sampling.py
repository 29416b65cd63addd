"""How a wave is sampled: resolved values, no `None` that means "as elsewhere"."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from torch import Tensor

SEED_LIMIT = 2**32
"""Seeds wrap at this value, as the WebUI's own do (REFERENCE item 42)."""


def wrap_seed(seed: int) -> int:
    """The seed in 0..2^32-1."""
    return seed % SEED_LIMIT


SigmaMaker: TypeAlias = Callable[[int], Tensor]
"""Makes the noise levels of so many steps: float `[steps + 1]`, falling, the last one 0 (the reference's `scheduler_func`)."""


MaskedContent: TypeAlias = Literal["original", "fill", "latent-noise", "latent-nothing"]
"""What a noise mask covers at the start: the crop itself, the colours around it, noise, or zeros; the last two in latent space."""

NO_CONTROL = ("None", "none", "")
"""Names of no ControlNet, and of no preprocessor."""

ControlMode: TypeAlias = Literal["balanced", "prompt", "control"]


@dataclass(frozen=True, kw_only=True, slots=True)
class SegmentControl:
    """A ControlNet for one segment; its control picture is made from the segment's crop.

    model: its name. module: preprocessor, "none" = the crop itself. weight: 0 or more. start, end: share of the steps, 0..1. mode: whether the
    prompt or the ControlNet counts for more. pixel_perfect: the preprocessor works at the sampling size.
    """

    model: str
    module: str = "none"
    weight: float = 1.0
    start: float = 0.0
    end: float = 1.0
    mode: ControlMode = "balanced"
    pixel_perfect: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Refiner:
    """A second model for the end of the sampling.

    checkpoint: its name. ratio: share of the steps that it does, 0..1. prompt, negative_prompt: empty = the segment's own.
    """

    checkpoint: str
    ratio: float
    prompt: str = ""
    negative_prompt: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """What all segments of a wave share.

    steps: of the whole schedule, of which the last `denoise` share is done. cfg: guidance scale. denoise: 0..1. cycles: passes in latent
    space, at least 1. subseed_strength: 0..1. differential: the noise mask is a threshold per step and not a blend (differential
    diffusion). inpaint_model: the loaded checkpoint is to be shown the masked picture. checkpoint: "" = the loaded one.
    scheduler: a label of the engine's; "" and "Automatic" leave it to the engine. sigmas: makes the noise levels instead of the scheduler.
    restore_face: the engine's face restoration goes over the redrawn pictures. masked_content: "original" where there is no noise mask.
    vae, modules, clip_skip, noise_multiplier, distilled_cfg: what the settings of these names say; empty or None = as the engine would without.
    """

    steps: int = 20
    cfg: float = 7.0
    sampler: str = "Euler a"
    scheduler: str = "Automatic"
    denoise: float = 0.4
    cycles: int = 1
    subseed_strength: float = 0.0
    noise_mask: bool = True
    differential: bool = False
    inpaint_model: bool = False
    checkpoint: str = ""
    refiner: Refiner | None = None
    control: SegmentControl | None = None
    sigmas: SigmaMaker | None = None
    masked_content: MaskedContent = "original"
    restore_face: bool = False
    vae: str = ""
    modules: tuple[str, ...] = ()
    clip_skip: int | None = None
    noise_multiplier: float | None = None
    distilled_cfg: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class MainGeneration:
    """How the main picture was made: what settings that are `None` are taken from.

    place: of the picture in its batch, from 0; a seed that a unit sets itself counts up with it (REFERENCE item 8).
    model_side: side of the square pictures that its model was trained on, in pixels.
    """

    prompt: str = ""
    negative_prompt: str = ""
    seed: int = 0
    subseed: int = 0
    subseed_strength: float = 0.0
    steps: int = 20
    cfg: float = 7.0
    sampler: str = "Euler a"
    scheduler: str = "Automatic"
    sigmas: SigmaMaker | None = None
    place: int = 0
    model_side: int = 512
