"""Denoising strength, guidance and steps that change from cycle to cycle."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, get_args

from ..hooks import CycleInput, DetailerHook
from ..settings import options
from .ramp import Ramp, wrong

Scheduled: TypeAlias = Literal["denoise", "cfg", "steps"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule(DetailerHook):
    """Denoising strength, guidance or steps, changing over the cycles. of: which. Steps are rounded to the nearest whole number.

    Raises: SettingsError if the ramp leaves the range of the setting of that name.
    """

    of: Scheduled
    ramp: Ramp

    def __post_init__(self) -> None:
        if self.of not in get_args(Scheduled):
            raise wrong(f"there is no schedule of '{self.of}'; choose one of {', '.join(get_args(Scheduled))}")
        limits = options()[self.of]
        self.ramp.check(self.of, limits.minimum or 0.0, limits.maximum or 0.0, whole=self.of == "steps")

    @property
    def name(self) -> str:
        """How messages call it."""
        return f"{self.of} schedule"

    def before_sampling(self, given: CycleInput) -> CycleInput:
        """The cycle with its own value."""
        own = getattr(given.sampling, self.of)
        value = self.ramp.at(given.cycle, given.cycles, own)
        if self.of == "steps":
            value = max(1, int(value + 0.5))
        return given if value == own else replace(given, sampling=replace(given.sampling, **{self.of: value}))
