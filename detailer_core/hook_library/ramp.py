"""Numbers that change linearly over the cycles."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import SettingsError


@dataclass(frozen=True, kw_only=True, slots=True)
class Ramp:
    """A number that goes linearly over the cycles from `start` (None = what it would be without the hook) to `target`, in the last cycle.

    With a single cycle there is no way to go: it is the start.
    """

    target: float
    start: float | None = None

    def at(self, cycle: int, cycles: int, own: float = 0.0) -> float:
        """The number in this cycle, 0-based of `cycles`. own: what it would be without the hook."""
        start = own if self.start is None else self.start
        if cycle <= 0 or cycles <= 1:
            return start
        return self.target if cycle >= cycles - 1 else start + (self.target - start) * cycle / (cycles - 1)

    def check(self, what: str, low: float, high: float, *, whole: bool = False) -> None:
        """Raises: SettingsError if one of its ends lies outside of `low..high`, or is no whole number where it must be."""
        for end in (self.start, self.target):
            if end is None:
                continue
            if not low <= end <= high:
                raise wrong(f"{what} must lie in {low:g}..{high:g}, got {end:g}")
            if whole and end != int(end):
                raise wrong(f"{what} must be a whole number, got {end:g}")


def constant(value: float) -> Ramp:
    """The same number in every cycle."""
    return Ramp(start=value, target=value)


def wrong(message: str) -> SettingsError:
    """The error of everything that a hook cannot be made of."""
    return SettingsError(message, field="hooks")
