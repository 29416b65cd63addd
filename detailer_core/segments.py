"""Segments: the parts of a picture that are to be redrawn; order, filter, pick, scale.

Convention: boxes are half-open integer pixels of the picture; a segment's mask is a float32 CPU tensor `[h, w]` in 0..1, exactly as large as
its crop region, 1 = redraw. The filters that the reference has measure the crop region (REFERENCE item 46).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from .errors import MaskError, SettingsError
from .geometry import Box, SizeWH, area, box_size_wh
from .image_ops import resample_mask
from .sampling import SegmentControl

Measure: TypeAlias = Literal["area", "width", "height", "x0", "y0", "x1", "y1", "length_percent", "confidence_percent"]

LABEL_ALIASES: dict[str, tuple[str, ...]] = {
    "eyes": ("left_eye", "right_eye"),
    "eyebrows": ("left_eyebrow", "right_eyebrow"),
    "pupils": ("left_pupil", "right_pupil"),
}
"""Words that stand for two labels in a label filter (REFERENCE item 47)."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Segment:
    """One part of a picture.

    bbox_xyxy: what was found. crop_xyxy: with its surroundings, inside the picture. mask_hw: float32 0..1 of the crop region's size.
    confidence: 0..1. prompt: text for this segment alone; None = the unit's. control: a ControlNet for this segment alone.
    Raises: MaskError if the mask is not a float tensor of the crop region's size.
    """

    bbox_xyxy: Box
    crop_xyxy: Box
    mask_hw: Tensor
    label: str = ""
    confidence: float = 1.0
    prompt: str | None = None
    control: SegmentControl | None = None

    def __post_init__(self) -> None:
        width, height = box_size_wh(self.crop_xyxy)
        if not self.mask_hw.is_floating_point() or tuple(self.mask_hw.shape) != (height, width):
            raise MaskError(f"the mask of a segment must be a float tensor of its crop region, {height}x{width} (height x width); "
                            f"got {self.mask_hw.dtype} {tuple(self.mask_hw.shape)}; `masks.as_mask` converts")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Segments:
    """Segments of one picture, in order. size_wh: the picture's size in pixels."""

    size_wh: SizeWH
    items: tuple[Segment, ...] = ()

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Segment]:
        return iter(self.items)

    def __getitem__(self, index: int) -> Segment:
        return self.items[index]

    def with_items(self, items: Sequence[Segment]) -> Segments:
        """The same picture, other segments."""
        return replace(self, items=tuple(items))


_MEASURES: dict[str, Callable[[Segment], float]] = {
    "area": lambda s: area(s.crop_xyxy),
    "width": lambda s: box_size_wh(s.crop_xyxy)[0],
    "height": lambda s: box_size_wh(s.crop_xyxy)[1],
    "x0": lambda s: s.crop_xyxy[0],
    "y0": lambda s: s.crop_xyxy[1],
    "x1": lambda s: s.crop_xyxy[2],
    "y1": lambda s: s.crop_xyxy[3],
    "length_percent": lambda s: _length_percent(s.crop_xyxy),
    "confidence_percent": lambda s: s.confidence * 100,
}


def _length_percent(box_xyxy: Box) -> float:
    width, height = box_size_wh(box_xyxy)
    return max(height / width, width / height) * 100 if width > 0 and height > 0 else 0.0


def measure(segment: Segment, what: Measure) -> float:
    """One number of a segment's crop region: pixels, square pixels or percent. Raises: SettingsError for an unknown measure."""
    if what not in _MEASURES:
        raise SettingsError(f"unknown measure '{what}'; choose one of {', '.join(_MEASURES)}", field="measure")
    return _MEASURES[what](segment)


def split_ordered(segments: Segments, what: Measure, *, descending: bool, start: int, count: int) -> tuple[Segments, Segments]:
    """The segments sorted by a measure (stable both ways): those from `start`, `count` of them, and the rest (REFERENCE item 46).

    Raises: SettingsError for an unknown measure.
    """
    ordered = sorted(segments, key=lambda s: measure(s, what), reverse=descending)
    end = start + count
    return segments.with_items(ordered[start:end]), segments.with_items(ordered[:start] + ordered[end:])


def split_range(segments: Segments, what: Measure, *, low: float, high: float, inside: bool = True) -> tuple[Segments, Segments]:
    """The segments whose measure lies in `low..high`, both ends included (or outside it), and the rest, in order.

    Raises: SettingsError for an unknown measure.
    """
    return _split(segments, lambda s: (low <= measure(s, what) <= high) == inside)


def split_labels(segments: Segments, labels: str) -> tuple[Segments, Segments]:
    """The segments with one of the comma-separated labels, and the rest (REFERENCE item 47).

    "all" takes every segment, an empty label those without one.
    """
    names = {name.strip() for name in labels.split(",")}
    if "all" in names:
        return segments, segments.with_items(())
    for alias, meant in LABEL_ALIASES.items():
        if alias in names:
            names |= set(meant)
    return _split(segments, lambda s: s.label in names)


def _split(segments: Segments, keep: Callable[[Segment], bool]) -> tuple[Segments, Segments]:
    kept = [s for s in segments if keep(s)]
    rest = [s for s in segments if not keep(s)]
    return segments.with_items(kept), segments.with_items(rest)


def parse_picks(text: str) -> tuple[int, ...]:
    """The numbers in a list such as "1,3-5", as they are written: 1-based, in the order given, each once.

    Raises: SettingsError if a part is not a number or a range from small to large.
    """
    numbers: list[int] = []
    for part in filter(None, (p.strip() for p in text.split(","))):
        first, dash, last = part.partition("-")
        bounds = (first.strip(), last.strip() if dash else first.strip())
        readable = all(b.isdecimal() for b in bounds)
        if readable and (any(len(b) > 9 for b in bounds) or int(bounds[1]) > 10_000):
            raise SettingsError(f"'{part[:40]}' in '{text[:80]}' is too large; segments are numbered from 1", field="pick")
        if not readable or not 1 <= int(bounds[0]) <= int(bounds[1]):
            raise SettingsError(f"cannot read '{part}' in the list of numbers '{text}'; write for example 1,3-5", field="pick")
        numbers += [n for n in range(int(bounds[0]), int(bounds[1]) + 1) if n not in numbers]
    return tuple(numbers)


def pick(segments: Segments, text: str) -> Segments:
    """The segments with these numbers, counted from 1, in the order given; numbers beyond the last are passed over.

    Raises: SettingsError as `parse_picks` does.
    """
    return segments.with_items([segments[n - 1] for n in parse_picks(text) if n <= len(segments)])


def scale_to(segments: Segments, size_wh: SizeWH) -> Segments:
    """The segments on a copy of the picture of another size; boxes are truncated to whole pixels, masks resampled bilinearly.

    x is scaled by the width ratio and y by the height ratio (better than REFERENCE item 36). Boxes stay inside the picture and keep one pixel.
    """
    if size_wh == segments.size_wh or min(*segments.size_wh, *size_wh) <= 0:
        return segments
    ratios = size_wh[0] / segments.size_wh[0], size_wh[1] / segments.size_wh[1]
    items = []
    for segment in segments:
        crop = _scale_box(segment.crop_xyxy, ratios, size_wh)
        width, height = box_size_wh(crop)
        # A crop region without area has a mask without pixels, which stays empty on the pixel that the region keeps.
        mask = resample_mask(segment.mask_hw[None, None], (width, height))[0, 0] if segment.mask_hw.numel() else torch.zeros(height, width)
        items.append(replace(segment, bbox_xyxy=_scale_box(segment.bbox_xyxy, ratios, size_wh), crop_xyxy=crop, mask_hw=mask))
    return Segments(size_wh=size_wh, items=tuple(items))


def _scale_box(box_xyxy: Box, ratios: tuple[float, float], limit_wh: SizeWH) -> Box:
    def span(low: int, high: int, ratio: float, limit: int) -> tuple[int, int]:
        start = min(int(low * ratio), limit - 1)
        return start, max(start + 1, min(int(high * ratio), limit))

    (x0, x1), (y0, y1) = (span(box_xyxy[i], box_xyxy[i + 2], ratios[i], limit_wh[i]) for i in (0, 1))
    return x0, y0, x1, y1


def add(one: Segments, other: Segments) -> Segments:
    """The segments of both, in order. Raises: MaskError if they belong to pictures of different sizes."""
    if one.size_wh != other.size_wh:
        raise MaskError(f"segments of a picture of {one.size_wh} pixels cannot be added to those of one of {other.size_wh}; use `scale_to` first")
    return one.with_items([*one, *other])


def combined_mask(segments: Segments) -> Tensor:
    """One mask of the whole picture, float32 `[H, W]` on the CPU: the largest value of any segment at each pixel."""
    width, height = segments.size_wh
    whole = torch.zeros(height, width)
    for segment in segments:
        x0, y0, x1, y1 = segment.crop_xyxy
        view = whole[y0:y1, x0:x1]
        torch.maximum(view, segment.mask_hw.to(view), out=view)
    return whole
