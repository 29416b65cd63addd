"""Looking on while pictures are detailed: what an answer to a client is made of, and what is saved beside the pictures."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from PIL import Image
from torch import Tensor

from detailer_core.run import Keep, Outcome
from detailer_core.segments import Segments
from detailer_core.settings import UnitSettings


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class UnitSeen:
    """What one unit did to one picture.

    index: the picture's number in the job. unit: its number on the page, from 1. before_bchw: float `[1, C, H, W]` in 0..1, not to be changed.
    """

    index: int
    unit: int
    settings: UnitSettings
    before_bchw: Tensor
    segments: Segments
    outcomes: tuple[Outcome, ...]


class Watcher:
    """Sees what happens to a job's pictures, and does nothing. What a watcher raises is told and costs no picture."""

    keep: Keep = Keep()
    """What outcomes are to hold beside what is always there."""

    def unit_done(self, seen: UnitSeen) -> None:
        """Called after each unit, for each picture."""

    def picture_done(self, index: int, before: Image.Image, after: Image.Image) -> None:
        """Called after all units, for each picture; `after` is `before` if nothing was redrawn."""


def kept(watchers: Iterable[Watcher]) -> Keep:
    """What any of them wants to be kept."""
    wanted = [watcher.keep for watcher in watchers]
    return Keep(cropped=any(k.cropped for k in wanted), enhanced=any(k.enhanced for k in wanted), control=any(k.control for k in wanted))
