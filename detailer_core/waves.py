"""Which segments may be sampled together: dependencies, keys, and the waves that keep the sequential order's result.

For segments i before j: if j's crop region touches what i pastes, j needs a later wave than i. If i's crop region touches what j pastes,
j must not come before i; the same wave will do, since a wave reads all its crops before it pastes.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

from .geometry import Box, overlap


@dataclass(frozen=True, kw_only=True, slots=True)
class WaveItem:
    """What the grouping needs to know of a segment.

    picture: segments of different pictures never wait for each other. key: only equal keys share a wave. pixels: sampled pixels.
    limit: most segments in a wave with this one; 1 = alone.
    """

    picture: int
    crop_xyxy: Box
    paste_xyxy: Box
    key: Hashable
    pixels: int
    limit: int


@dataclass(slots=True)
class _Open:
    """A wave that is being filled."""

    key: Hashable
    limit: int
    pixels: int
    members: list[int] = field(default_factory=list)


def group(items: Sequence[WaveItem], max_pixels: int) -> list[list[int]]:
    """Indices of `items` in waves, in the order in which the waves are to run; each wave's indices ascend.

    max_pixels: at most so many sampled pixels in a wave of several. Each item goes to the earliest wave that its predecessors allow.
    """
    waves: list[_Open] = []
    wave_of: list[int] = []
    near = _Neighbours()
    for index, item in enumerate(items):
        lowest = 0
        for earlier in near.of(item):
            other = items[earlier]
            if overlap(item.crop_xyxy, other.paste_xyxy):
                lowest = max(lowest, wave_of[earlier] + 1)
            elif overlap(other.crop_xyxy, item.paste_xyxy):
                lowest = max(lowest, wave_of[earlier])
        place = next((w for w in range(lowest, len(waves)) if _fits(waves[w], item, max_pixels)), len(waves))
        if place == len(waves):
            waves.append(_Open(key=item.key, limit=item.limit, pixels=0))
        wave = waves[place]
        wave.members.append(index)
        wave.pixels += item.pixels
        wave.limit = min(wave.limit, item.limit)
        wave_of.append(place)
        near.add(index, item)
    return [wave.members for wave in waves]


def _fits(wave: _Open, item: WaveItem, max_pixels: int) -> bool:
    room = len(wave.members) < min(wave.limit, item.limit)
    return room and wave.key == item.key and wave.pixels + item.pixels <= max_pixels


class _Neighbours:
    """Earlier items of the same picture."""

    def __init__(self) -> None:
        self._by_picture: dict[int, list[int]] = {}

    def add(self, index: int, item: WaveItem) -> None:
        self._by_picture.setdefault(item.picture, []).append(index)

    def of(self, item: WaveItem) -> Sequence[int]:
        return self._by_picture.get(item.picture, ())
