"""Hooks of noise: added to the latents, varied, or taken out of the latents themselves.

All randomness is drawn for each row of a wave from that row's own seed, and rows never meet: a wave gives what single runs give.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from ..hooks import CycleInput, DetailerHook
from .arc import by_row, slerp
from .ramp import Ramp, constant
from .row_noise import row_noise

NOISE_LIMIT = 10.0
"""Most that noise injection adds: latents have a standard deviation of about 1, and hardly anything of them is seen through ten times that."""

_ALWAYS = constant(1.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class NoiseInjection(DetailerHook):
    """Adds noise to the latents before each cycle, inside the noise masks, which brings detail where little is redrawn.

    strength: its standard deviation, where latents have one of about 1; 0 to `NOISE_LIMIT`. Raises: SettingsError if it lies elsewhere.
    """

    strength: Ramp

    def __post_init__(self) -> None:
        self.strength.check("the strength", 0.0, NOISE_LIMIT)

    @property
    def name(self) -> str:
        """How messages call it."""
        return "noise injection"

    def before_sampling(self, given: CycleInput) -> CycleInput:
        """The cycle with noisier latents."""
        strength = self.strength.at(given.cycle, given.cycles)
        if strength == 0:
            return given
        added = strength * row_noise(given.latents_bchw, given.seeds, "injection")
        if given.masks_b1hw is not None:
            added = added * given.masks_b1hw
        return replace(given, latents_bchw=given.latents_bchw + added)


@dataclass(frozen=True, kw_only=True, slots=True)
class NoiseVariation(DetailerHook):
    """Turns each segment's noise towards other noise and keeps its length: a picture like the one of its seed, and yet another.

    seed: together with the segment's own it gives the other noise. strength: share of the arc between both, 0..1.
    Raises: SettingsError if the strength lies elsewhere.
    """

    seed: int
    strength: Ramp

    def __post_init__(self) -> None:
        self.strength.check("the strength", 0.0, 1.0)

    @property
    def name(self) -> str:
        """How messages call it."""
        return "noise variation"

    def before_sampling(self, given: CycleInput) -> CycleInput:
        """The cycle with other noise."""
        strength = self.strength.at(given.cycle, given.cycles)
        if strength == 0:
            return given
        noise = given.noise_bchw
        other = row_noise(noise, given.seeds, f"variation {self.seed}")
        return replace(given, noise_bchw=by_row(lambda one, two: slerp(one, two * (one.norm() / two.norm()), strength), noise, other))


@dataclass(frozen=True, kw_only=True, slots=True)
class Unsampling(DetailerHook):
    """Takes the noise out of the latents themselves: what the model's own deterministic sampler, run backwards, makes of them.

    Keeps much of a part at a high denoising strength. strength: share of the way from the seed's noise to it, 0..1. normalise: give it mean 0
    and standard deviation 1, for each segment. Raises: SettingsError if the strength lies elsewhere.
    """

    strength: Ramp = _ALWAYS
    normalise: bool = False

    def __post_init__(self) -> None:
        self.strength.check("the strength", 0.0, 1.0)

    @property
    def name(self) -> str:
        """How messages call it."""
        return "unsampling"

    @property
    def needs_inversion(self) -> bool:
        """It does."""
        return True

    def before_sampling(self, given: CycleInput) -> CycleInput:
        """The cycle with the noise of its own latents."""
        strength = self.strength.at(given.cycle, given.cycles)
        if strength == 0:
            return given
        found = given.invert(given)
        if self.normalise:
            found = by_row(lambda row, _: _normalised(row), found, found)
        return replace(given, noise_bchw=by_row(lambda one, two: slerp(one, two, strength), given.noise_bchw, found))


def _normalised(row: Tensor) -> Tensor:
    deviation = row.std(unbiased=False)
    return (row - row.mean()) / deviation if float(deviation) > 0 else row
