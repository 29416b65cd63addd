"""From detections to segments: which are taken, in what order, with what mask and crop region.

In this order: filters, the most of them (`max_count`), mask shape, offset, dilation, merging, order, picked numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from ..errors import DetectorError, SettingsError
from ..geometry import Box, SizeWH, area, box_size_wh, enclosing_box, grow, intersect, make_crop_region, overlap, shift
from ..image_ops import nonzero_box
from ..masks import Shape, as_mask, dilate, shape_mask
from ..segments import LABEL_ALIASES, Segment, Segments, pick
from .base import Detection

By: TypeAlias = Literal["area", "confidence", "position"]
Order: TypeAlias = Literal["none", "left-right", "right-left", "top-bottom", "bottom-top", "centre-edge", "largest", "smallest",
                           "confidence"]
MaskShape: TypeAlias = Literal["pixel", "box", "rounded", "ellipse"]
Merge: TypeAlias = Literal["none", "merge", "merge-overlapping", "merge-invert"]


@dataclass(frozen=True, kw_only=True, slots=True)
class SelectionOptions:
    """How detections become segments. Sides are in pixels, measured at the detector's own box; limits are included.

    min_confidence: 0..1. include_labels: only these, empty = all; exclude_labels: none of these. Both know the words "all",
        "eyes", "eyebrows", "pupils" (REFERENCE item 47).
    drop_size: both sides must be longer than this (REFERENCE item 49).
    min_ratio, max_ratio: the box's part in the picture, as a share of the picture's area, 0..1. min_side, max_side: of both
        sides; None = any.
    max_count: at most so many, 0 = all: the largest, the most confident, or ("position") the first in the chosen order.
    mask_shape: "pixel" = the detector's mask, the box if it has none. corner_radius: of "rounded", as a share of the short side, 0..0.5.
    dilation: kernel in pixels, negative shrinks (REFERENCE item 37); may reach beyond the box, is cut at the crop region.
    offset_x, offset_y: mask and box move so many pixels right and down before the crop region is made; what leaves the picture is cut.
    merge: one segment of all, one of each group whose masks' extents overlap, or one of everything else (if something was found at all).
    crop_factor: crop region's side over the box's, 1 or more. crop_min_side: in pixels, None = any. pick: numbers such as "1,3-5",
        empty = all.
    Raises: SettingsError if a number is out of range.
    """

    min_confidence: float = 0.3
    include_labels: tuple[str, ...] = ()
    exclude_labels: tuple[str, ...] = ()
    drop_size: int = 10
    min_ratio: float = 0.0
    max_ratio: float = 1.0
    min_side: int | None = None
    max_side: int | None = None
    max_count: int = 0
    max_count_by: By = "area"
    order: Order = "none"
    mask_shape: MaskShape = "pixel"
    corner_radius: float = 0.25
    dilation: int = 4
    offset_x: int = 0
    offset_y: int = 0
    merge: Merge = "none"
    crop_factor: float = 3.0
    crop_min_side: int | None = None
    pick: str = ""

    def __post_init__(self) -> None:
        """Refuse numbers that make no sense."""
        if not (math.isfinite(self.crop_factor) and self.crop_factor >= 1):
            raise SettingsError(f"crop_factor must be 1 or more, got {self.crop_factor:g}", field="crop_factor")
        if self.max_count < 0:
            raise SettingsError(f"max_count must be 0 (all) or more, got {self.max_count}", field="max_count")
        if not 0 <= self.corner_radius <= 0.5:
            raise SettingsError(f"corner_radius must lie in 0..0.5, got {self.corner_radius:g}", field="corner_radius")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Shaped:
    """A box with its mask on a window of the picture that is just large enough; both lie inside the picture."""

    box_xyxy: Box
    window_xyxy: Box
    mask_hw: Tensor
    label: str
    confidence: float


def select(detections: Sequence[Detection], picture_wh: SizeWH, options: SelectionOptions) -> Segments:
    """The segments of a picture of this size. Detections without area in the picture, and segments whose mask is empty, are left out.

    Work and memory per segment depend on the size of its box and crop region, not on the picture's.
    Raises: SettingsError for numbers in `pick` that cannot be read; DetectorError if a detection's mask does not fit its box; MaskError if
    it is no mask.
    """
    kept = [d for d in detections if _fits(d, picture_wh, options)]
    shaped = [s for s in (_shape(d, picture_wh, options) for d in _at_most(kept, picture_wh, options)) if s is not None]
    merged = _merge(shaped, picture_wh, options.merge)
    items = [_segment(s, picture_wh, options) for s in _ordered(merged, picture_wh, options.order)]
    segments = Segments(size_wh=picture_wh, items=tuple(s for s in items if bool(s.mask_hw.any())))
    return pick(segments, options.pick) if options.pick.strip() else segments


def _fits(detection: Detection, picture_wh: SizeWH, options: SelectionOptions) -> bool:
    if not all(math.isfinite(v) for v in detection.box_xyxy):
        return False
    x0, y0, x1, y1 = detection.box_xyxy
    sides, share = (x1 - x0, y1 - y0), area(enclosing_box(detection.box_xyxy, picture_wh)) / max(1, picture_wh[0] * picture_wh[1])
    return (detection.confidence >= options.min_confidence
            and is_wanted(detection.label, options.include_labels, options.exclude_labels)
            and share > 0 and options.min_ratio <= share <= options.max_ratio
            and min(sides) > options.drop_size
            and (options.min_side is None or min(sides) >= options.min_side)
            and (options.max_side is None or max(sides) <= options.max_side))


def is_wanted(label: str, include: Sequence[str], exclude: Sequence[str]) -> bool:
    """Whether a class is asked for: one of `include` (empty = any) and none of `exclude`; both know the words of `SelectionOptions`."""
    def among(names: Sequence[str]) -> bool:
        return "all" in names or label in names or any(label in LABEL_ALIASES.get(name, ()) for name in names)

    return (not include or among(include)) and not among(exclude)


def _at_most(found: Sequence[Detection], picture_wh: SizeWH, options: SelectionOptions) -> list[Detection]:
    """The `max_count` first by the chosen measure, in the order in which they came."""
    if not 0 < options.max_count < len(found):
        return list(found)
    boxes = [enclosing_box(d.box_xyxy, picture_wh) for d in found]
    orders: dict[By, Order] = {"area": "largest", "confidence": "confidence", "position": options.order}
    keys = [_order_key(box, d.confidence, picture_wh, orders[options.max_count_by]) for box, d in zip(boxes, found, strict=True)]
    best = sorted(range(len(found)), key=keys.__getitem__)[: options.max_count]
    return [found[i] for i in sorted(best)]


def _shape(detection: Detection, picture_wh: SizeWH, options: SelectionOptions) -> _Shaped | None:
    box = enclosing_box(detection.box_xyxy, picture_wh)
    mask = _own_mask(detection, box, options)
    moved = shift(box, options.offset_x, options.offset_y)
    seen = intersect(moved, (0, 0, *picture_wh))
    if area(seen) == 0:
        return None
    # One pixel of surroundings when shrinking, so that the erosion sees that there is nothing beyond the box.
    window = grow(seen, max(1, options.dilation) if options.dilation else 0, picture_wh)
    whole = torch.zeros(window[3] - window[1], window[2] - window[0])
    _part(whole, window, seen).copy_(_part(mask, moved, seen))
    return _Shaped(box_xyxy=seen, window_xyxy=window, mask_hw=dilate(whole, options.dilation), label=detection.label,
                   confidence=detection.confidence)


def _own_mask(detection: Detection, box_xyxy: Box, options: SelectionOptions) -> Tensor:
    size_wh = box_size_wh(box_xyxy)
    if options.mask_shape != "pixel" or detection.mask_hw is None:
        shape: Shape = "box" if options.mask_shape == "pixel" else options.mask_shape
        return shape_mask(size_wh, (0, 0, *size_wh), shape, options.corner_radius)
    mask = as_mask(detection.mask_hw, where=f"mask of the detection '{detection.label}'")
    if tuple(mask.shape) != size_wh[::-1]:
        raise DetectorError(f"the mask of the detection '{detection.label}' has {mask.shape[1]}x{mask.shape[0]} pixels, its box {box_xyxy} "
                            f"{size_wh[0]}x{size_wh[1]}; the detector must cut it to `geometry.enclosing_box`")
    return mask


def _part(mask_hw: Tensor, window_xyxy: Box, box_xyxy: Box) -> Tensor:
    """The box's pixels of a mask that lies on the window, as a view."""
    x, y = window_xyxy[:2]
    return mask_hw[box_xyxy[1] - y : box_xyxy[3] - y, box_xyxy[0] - x : box_xyxy[2] - x]


def _merge(shaped: Sequence[_Shaped], picture_wh: SizeWH, how: Merge) -> list[_Shaped]:
    if how == "none" or not shaped:
        return list(shaped)
    if how == "merge-overlapping":
        return [_union(group) for group in _groups(shaped)]
    union = _union(shaped)
    return [union] if how == "merge" else _inverted(union, picture_wh)


def _union(group: Sequence[_Shaped]) -> _Shaped:
    """One of all: the largest mask value at each pixel, boxes that enclose all, label and confidence of the most confident."""
    if len(group) == 1:
        return group[0]
    window = _enclosing([s.window_xyxy for s in group])
    mask = torch.zeros(window[3] - window[1], window[2] - window[0])
    for one in group:
        view = _part(mask, window, one.window_xyxy)
        torch.maximum(view, one.mask_hw, out=view)
    best = max(group, key=lambda s: s.confidence)
    box = _enclosing([s.box_xyxy for s in group])
    return _Shaped(box_xyxy=box, window_xyxy=window, mask_hw=mask, label=best.label, confidence=best.confidence)


def _inverted(union: _Shaped, picture_wh: SizeWH) -> list[_Shaped]:
    mask = torch.ones(picture_wh[1], picture_wh[0])
    whole: Box = (0, 0, *picture_wh)
    _part(mask, whole, union.window_xyxy).copy_(1 - union.mask_hw)
    box = nonzero_box(mask)
    return [] if box is None else [_Shaped(box_xyxy=box, window_xyxy=whole, mask_hw=mask, label=union.label, confidence=union.confidence)]


def _groups(shaped: Sequence[_Shaped]) -> list[list[_Shaped]]:
    """Those whose masks' extents overlap, directly or through others, together; in the order of each group's first."""
    extents = [shift(inner, *s.window_xyxy[:2]) if (inner := nonzero_box(s.mask_hw)) is not None else (0, 0, 0, 0) for s in shaped]
    free = list(range(len(shaped)))
    groups: list[list[_Shaped]] = []
    while free:
        members: list[int] = []
        queue = [free.pop(0)]
        while queue:
            one = queue.pop()
            members.append(one)
            near = [i for i in free if overlap(extents[one], extents[i])]
            free = [i for i in free if i not in near]
            queue += near
        groups.append([shaped[i] for i in sorted(members)])
    return groups


def _enclosing(boxes: Sequence[Box]) -> Box:
    return min(b[0] for b in boxes), min(b[1] for b in boxes), max(b[2] for b in boxes), max(b[3] for b in boxes)


def _ordered(shaped: Sequence[_Shaped], picture_wh: SizeWH, order: Order) -> list[_Shaped]:
    return sorted(shaped, key=lambda s: _order_key(s.box_xyxy, s.confidence, picture_wh, order))


def _order_key(box_xyxy: Box, confidence: float, picture_wh: SizeWH, order: Order) -> float:
    x0, y0, x1, y1 = box_xyxy
    from_centre = math.hypot((x0 + x1 - picture_wh[0]) / 2, (y0 + y1 - picture_wh[1]) / 2)
    return {"none": 0, "left-right": x0, "right-left": -x1, "top-bottom": y0, "bottom-top": -y1, "centre-edge": from_centre,
            "largest": -area(box_xyxy), "smallest": area(box_xyxy), "confidence": -confidence}[order]


def _segment(shaped: _Shaped, picture_wh: SizeWH, options: SelectionOptions) -> Segment:
    crop = make_crop_region(picture_wh, shaped.box_xyxy, options.crop_factor, options.crop_min_side)
    mask = torch.zeros(crop[3] - crop[1], crop[2] - crop[0])
    common = intersect(crop, shaped.window_xyxy)
    if area(common) > 0:
        _part(mask, crop, common).copy_(_part(shaped.mask_hw, shaped.window_xyxy, common))
    return Segment(bbox_xyxy=shaped.box_xyxy, crop_xyxy=crop, mask_hw=mask, label=shaped.label, confidence=shaped.confidence)
