"""Hooks that leave segments out, before they are numbered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from ..hooks import DetailerHook
from ..segments import Measure, Segments, split_labels, split_ordered, split_range
from .ramp import wrong


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelFilter(DetailerHook):
    """Only segments with one of these labels, comma-separated; "all" and the aliases are `segments.split_labels`'."""

    labels: str

    @property
    def name(self) -> str:
        """How messages call it."""
        return f"label {self.labels}"

    def after_detection(self, segments: Segments) -> Segments:
        """Those segments, in order."""
        return split_labels(segments, self.labels)[0]


@dataclass(frozen=True, kw_only=True, slots=True)
class OrderedFilter(DetailerHook):
    """Segments sorted by a measure of their crop region, `count` of them from the one numbered `start`, counted from 0.

    Raises: SettingsError for an unknown measure or a negative number.
    """

    by: Measure
    count: int
    start: int = 0
    descending: bool = True

    def __post_init__(self) -> None:
        check_measure(self.by)
        if self.count < 0 or self.start < 0:
            raise wrong(f"count and start must not be negative, got {self.count} and {self.start}")

    @property
    def name(self) -> str:
        """How messages call it."""
        return f"ordered {self.by}"

    def after_detection(self, segments: Segments) -> Segments:
        """Those segments, sorted."""
        return split_ordered(segments, self.by, descending=self.descending, start=self.start, count=self.count)[0]


@dataclass(frozen=True, kw_only=True, slots=True)
class RangeFilter(DetailerHook):
    """Only segments whose crop region measures `low..high`, both included; or only the others.

    Raises: SettingsError for an unknown measure, or if low is above high.
    """

    by: Measure
    low: float = float("-inf")
    high: float = float("inf")
    inside: bool = True

    def __post_init__(self) -> None:
        check_measure(self.by)
        if not self.low <= self.high:
            raise wrong(f"the range goes from low to high, got {self.low:g}..{self.high:g}")

    @property
    def name(self) -> str:
        """How messages call it."""
        return f"range {self.by}"

    def after_detection(self, segments: Segments) -> Segments:
        """Those segments, in order."""
        return split_range(segments, self.by, low=self.low, high=self.high, inside=self.inside)[0]


def check_measure(name: str) -> None:
    """Raises: SettingsError, with all that there are, for an unknown measure."""
    if name not in get_args(Measure):
        raise wrong(f"unknown measure '{name}'; choose one of {', '.join(get_args(Measure))}")
