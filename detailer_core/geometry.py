"""Boxes, crop regions and sampling sizes: numbers in, numbers out.

Convention: a box is half-open integer pixels `(x0, y0, x1, y1)`; a size is `(width, height)` where its name says `wh`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

Box: TypeAlias = tuple[int, int, int, int]
SizeWH: TypeAlias = tuple[int, int]

LATENT_PIXELS = 8
"""Side, in pixels, of what one latent pixel stands for in every supported model."""


def box_size_wh(box_xyxy: Box) -> SizeWH:
    """Width and height of a box, in pixels."""
    return box_xyxy[2] - box_xyxy[0], box_xyxy[3] - box_xyxy[1]


def area(box_xyxy: Box) -> int:
    """Area in pixels; 0 for an empty or inverted box."""
    width, height = box_size_wh(box_xyxy)
    return max(0, width) * max(0, height)


def intersect(one_xyxy: Box, other_xyxy: Box) -> Box:
    """The common part of two boxes; its area is 0 where there is none."""
    return (max(one_xyxy[0], other_xyxy[0]), max(one_xyxy[1], other_xyxy[1]),
            min(one_xyxy[2], other_xyxy[2]), min(one_xyxy[3], other_xyxy[3]))


def overlap(one_xyxy: Box, other_xyxy: Box) -> bool:
    """Whether two boxes share at least one pixel."""
    return area(intersect(one_xyxy, other_xyxy)) > 0


def iou(one_xyxy: Box, other_xyxy: Box) -> float:
    """Intersection over union, 0..1; 0 if both are empty."""
    common = area(intersect(one_xyxy, other_xyxy))
    union = area(one_xyxy) + area(other_xyxy) - common
    return common / union if union else 0.0


def grow(box_xyxy: Box, margin: int, limit_wh: SizeWH) -> Box:
    """The box with `margin` pixels more on each side, cut at the limits `0..width`, `0..height`."""
    x0, y0, x1, y1 = box_xyxy
    return max(0, x0 - margin), max(0, y0 - margin), min(limit_wh[0], x1 + margin), min(limit_wh[1], y1 + margin)


def shift(box_xyxy: Box, dx: int, dy: int) -> Box:
    """The box moved by `dx`, `dy` pixels."""
    x0, y0, x1, y1 = box_xyxy
    return x0 + dx, y0 + dy, x1 + dx, y1 + dy


def enclosing_box(box_xyxy: tuple[float, float, float, float], limit_wh: SizeWH) -> Box:
    """The smallest integer box around a fractional one, cut at the picture's edges; may be empty, never inverted."""
    width, height = limit_wh
    x0, y0 = (min(max(math.floor(v), 0), n) for v, n in zip(box_xyxy[:2], limit_wh, strict=True))
    x1 = min(max(math.ceil(box_xyxy[2]), x0), width)
    y1 = min(max(math.ceil(box_xyxy[3]), y0), height)
    return x0, y0, x1, y1


def fit_span(limit: int, start: float, size: float) -> tuple[int, int]:
    """A span of `size` pixels moved (not cut) into `0..limit`, as integers `(start, end)`.

    Source: REFERENCE item 38. The ends are truncated, so near an edge the length may be floor or ceil of `size`.
    """
    if start < 0:
        return 0, int(min(limit, size))
    if start + size > limit:
        return int(max(0, limit - size)), int(limit)
    return int(start), int(min(limit, start + size))


def make_crop_region(picture_wh: SizeWH, bbox_xyxy: tuple[float, float, float, float], crop_factor: float,
                     min_side: int | None = None) -> Box:
    """The box with its surroundings: `crop_factor` times as wide and high, moved into the picture.

    min_side: the region is at least so many pixels wide and high where the picture allows. Source: REFERENCE item 38.
    """
    x0, y0, x1, y1 = bbox_xyxy
    spans = []
    for limit, start, end in ((picture_wh[0], x0, x1), (picture_wh[1], y0, y1)):
        side = end - start
        size = side * crop_factor
        if min_side is not None:
            size = max(min_side, size)
        spans.append(fit_span(limit, int(start + side / 2 - size / 2), size))
    (left, right), (top, bottom) = spans
    return left, top, right, bottom


@dataclass(frozen=True, kw_only=True, slots=True)
class SizeRule:
    """How large a crop is sampled.

    guide_size: the short side of what `guide_for` names becomes so many pixels.
    guide_for: measure the segment's box, or its crop region.
    max_size: no sampling side is longer, in pixels (`force_inpaint` may exceed it: REFERENCE item 20).
    force_inpaint: a segment that is large enough already is sampled at its own size instead of being left out.
    """

    guide_size: float = 512
    guide_for: Literal["bbox", "crop"] = "bbox"
    max_size: float = 1024
    force_inpaint: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class SizeDecision:
    """What `decide_size` found: the sampling size, or why there is none.

    size_wh: sampling size in pixels as the reference computes it, (0, 0) when skipped.
    skip: "" or the reason: "big" (box has guide size already), "upscale" (factor not above 1), "zero" (nothing left).
    factor: enlargement before truncation to whole pixels.
    at_crop_size: force_inpaint kept the crop's own size.
    """

    size_wh: SizeWH
    skip: Literal["", "big", "upscale", "zero"] = ""
    factor: float = 1.0
    at_crop_size: bool = False


def decide_size(crop_wh: SizeWH, bbox_wh: tuple[float, float], rule: SizeRule) -> SizeDecision:
    """The sampling size of one segment. Source: REFERENCE items 17-22 (22: a box without area is skipped, not an error)."""
    crop_w, crop_h = crop_wh
    if not rule.force_inpaint and bbox_wh[0] >= rule.guide_size and bbox_wh[1] >= rule.guide_size:
        return SizeDecision(size_wh=(0, 0), skip="big")
    measured = bbox_wh if rule.guide_for == "bbox" else crop_wh
    if min(crop_w, crop_h, *measured) <= 0:
        return SizeDecision(size_wh=(0, 0), skip="zero", factor=0.0)
    factor = rule.guide_size / min(measured)
    new_w, new_h = int(crop_w * factor), int(crop_h * factor)
    if new_w > rule.max_size or new_h > rule.max_size:
        factor *= rule.max_size / max(new_w, new_h)
        new_w, new_h = int(crop_w * factor), int(crop_h * factor)
    if factor <= 1.0 and not rule.force_inpaint:
        return SizeDecision(size_wh=(0, 0), skip="upscale", factor=factor)
    if factor <= 1.0 or new_w == 0 or new_h == 0:
        at_crop_size = rule.force_inpaint
        if not at_crop_size:
            return SizeDecision(size_wh=(0, 0), skip="zero", factor=factor)
        return SizeDecision(size_wh=crop_wh, factor=1.0, at_crop_size=True)
    return SizeDecision(size_wh=(new_w, new_h), factor=factor)


def round_to_latent(size_wh: SizeWH, multiple: int = LATENT_PIXELS) -> SizeWH:
    """The size with both sides rounded to the nearest multiple, at least one multiple."""
    return (max(multiple, round(size_wh[0] / multiple) * multiple), max(multiple, round(size_wh[1] / multiple) * multiple))
