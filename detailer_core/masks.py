"""Masks: shapes, dilation, offset, combination, and a mask picture as segments.

Convention: a mask is a float32 CPU tensor `[h, w]` in 0..1, 1 = redraw. Boxes are half-open integer pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal, TypeAlias

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .errors import MaskError
from .geometry import Box, SizeWH, box_size_wh, grow, intersect, make_crop_region
from .image_ops import nonzero_box
from .segments import Segment, Segments, combined_mask

Shape: TypeAlias = Literal["box", "rounded", "ellipse"]


def as_mask(values: object, *, where: str = "mask") -> Tensor:
    """A mask from a numpy array or tensor: bool becomes 0 and 1, uint8 0..255 becomes 0..1, float must lie in 0..1 already.

    values: `[h, w]`, or with leading axes of length 1. Comes back as float32 `[h, w]` on the CPU. Source: REFERENCE item 33.
    Raises: MaskError for other types, shapes or ranges.
    """
    if isinstance(values, np.ndarray):
        if values.dtype != np.bool_ and values.dtype != np.uint8 and not np.issubdtype(values.dtype, np.floating):
            raise MaskError(f"{where}: expected bool, uint8 0..255 or float 0..1, got {values.dtype}")
        # A copy: torch cannot read flipped arrays, and warns of those that are read-only.
        values = torch.from_numpy(np.array(values, dtype=np.float32 if np.issubdtype(values.dtype, np.floating) else values.dtype, order="C"))
    if not isinstance(values, Tensor):
        raise MaskError(f"{where}: expected a numpy array or a torch tensor, got {type(values).__name__}")
    tensor = values.detach().cpu()
    while tensor.ndim > 2 and tensor.shape[0] == 1:
        tensor = tensor[0]
    if tensor.ndim != 2:
        raise MaskError(f"{where}: expected a mask [height, width], got shape {tuple(tensor.shape)}")
    if tensor.dtype == torch.bool:
        return tensor.float()
    if tensor.dtype == torch.uint8:
        return tensor.float() / 255
    if not tensor.is_floating_point():
        raise MaskError(f"{where}: expected bool, uint8 0..255 or float 0..1, got {tensor.dtype}")
    mask = tensor.float()
    if mask.numel() and not bool(((mask >= 0) & (mask <= 1)).all()):
        raise MaskError(f"{where}: values must lie in 0..1, got {float(mask.min()):g}..{float(mask.max()):g}")
    return mask


def shape_mask(size_wh: SizeWH, box_xyxy: Box, shape: Shape = "box", corner_radius: float = 0.25) -> Tensor:
    """A mask of `size_wh` pixels that is 1 inside a shape drawn into the box.

    corner_radius: for "rounded", as a share of the box's short side, 0..0.5. The ellipse touches the box's sides. A pixel counts as
    inside when its centre is. The part of the box outside the mask is cut.
    """
    width, height = size_wh
    mask = torch.zeros(height, width)
    x0, y0, x1, y1 = intersect(box_xyxy, (0, 0, width, height))
    if x0 >= x1 or y0 >= y1:
        return mask
    if shape == "box":
        mask[y0:y1, x0:x1] = 1
        return mask
    half_w, half_h = (box_xyxy[2] - box_xyxy[0]) / 2, (box_xyxy[3] - box_xyxy[1]) / 2
    dx = (torch.arange(x0, x1) + 0.5 - (box_xyxy[0] + half_w)).abs()[None]
    dy = (torch.arange(y0, y1) + 0.5 - (box_xyxy[1] + half_h)).abs()[:, None]
    if shape == "ellipse":
        inside = (dx / half_w) ** 2 + (dy / half_h) ** 2 <= 1
    else:
        radius = corner_radius * 2 * min(half_w, half_h)
        beyond_x, beyond_y = (dx - (half_w - radius)).clamp(min=0), (dy - (half_h - radius)).clamp(min=0)
        inside = beyond_x**2 + beyond_y**2 <= radius**2
    mask[y0:y1, x0:x1] = inside.float()
    return mask


def dilate(mask_hw: Tensor, pixels: int) -> Tensor:
    """The mask grown by a square kernel of `pixels` (shrunk, if negative); what lies outside counts as neutral (REFERENCE item 37).

    A kernel of n pixels moves an edge by about n / 2. float32 `[h, w]` in and out; 0 = unchanged.
    """
    if pixels == 0 or mask_hw.numel() == 0:
        return mask_hw
    kernel = np.ones((abs(pixels), abs(pixels)), np.uint8)
    operation = cv2.dilate if pixels > 0 else cv2.erode
    return torch.from_numpy(operation(mask_hw.numpy(), kernel))


def offset(mask_hw: Tensor, dx: int, dy: int) -> Tensor:
    """The mask moved right by `dx` and down by `dy` pixels; what leaves is lost, what enters is 0 (nothing wraps around)."""
    height, width = mask_hw.shape
    moved = torch.zeros_like(mask_hw)
    if abs(dx) >= width or abs(dy) >= height:
        return moved
    moved[max(dy, 0) : height + min(dy, 0), max(dx, 0) : width + min(dx, 0)] = \
        mask_hw[max(-dy, 0) : height + min(-dy, 0), max(-dx, 0) : width + min(-dx, 0)]
    return moved


def crop_of_picture_mask(mask_hw: Tensor, picture_wh: SizeWH, crop_xyxy: Box) -> Tensor:
    """The part of a picture-wide mask that belongs to a crop region, whatever the mask's own resolution.

    x is scaled by the width ratio and y by the height ratio (better than REFERENCE item 35); at least one pixel comes back.
    """
    height, width = mask_hw.shape
    rx, ry = width / picture_wh[0], height / picture_wh[1]
    x0, y0 = min(round(crop_xyxy[0] * rx), width - 1), min(round(crop_xyxy[1] * ry), height - 1)
    x1, y1 = max(x0 + 1, round(crop_xyxy[2] * rx)), max(y0 + 1, round(crop_xyxy[3] * ry))
    return mask_hw[y0:y1, x0:x1]


def intersect_mask(segments: Segments, mask_hw: Tensor) -> Segments:
    """Each segment's mask times a picture-wide mask `[H, W]`: only what lies in both. Raises: MaskError if the sizes differ."""
    return _with_masks(segments, mask_hw, torch.minimum if _is_binary(mask_hw) else torch.mul)


def subtract_mask(segments: Segments, mask_hw: Tensor) -> Segments:
    """Each segment's mask less a picture-wide mask `[H, W]`, not below 0. Raises: MaskError if the sizes differ."""
    return _with_masks(segments, mask_hw, _difference)


def dilate_segments(segments: Segments, pixels: int) -> Segments:
    """Each segment with its mask grown (shrunk, if negative) inside its crop region, see `dilate`."""
    return segments.with_items([replace(segment, mask_hw=dilate(segment.mask_hw, pixels)) for segment in segments])


def _is_binary(mask_hw: Tensor) -> bool:
    return bool(((mask_hw == 0) | (mask_hw == 1)).all())


def _difference(own: Tensor, other: Tensor) -> Tensor:
    return (own - other).clamp(min=0)


def _with_masks(segments: Segments, mask_hw: Tensor, combine: Callable[[Tensor, Tensor], Tensor]) -> Segments:
    width, height = segments.size_wh
    if tuple(mask_hw.shape) != (height, width):
        raise MaskError(f"the mask has {mask_hw.shape[1]}x{mask_hw.shape[0]} pixels, the picture {width}x{height}; they must be equal")
    items = []
    for segment in segments:
        x0, y0, x1, y1 = segment.crop_xyxy
        items.append(replace(segment, mask_hw=combine(segment.mask_hw, mask_hw[y0:y1, x0:x1])))
    return segments.with_items(items)


def scale_bbox(segment: Segment, factor: float, picture_wh: SizeWH) -> Segment:
    """The segment with its box scaled around its centre, and its mask cut to (or filled to) the scaled box (SEG_ELT_BBOX_ScaleBy)."""
    x0, y0, x1, y1 = segment.bbox_xyxy
    width, height = x1 - x0, y1 - y0
    grow_x, grow_y = int((width * factor - width) / 2), int((height * factor - height) / 2)
    scaled = (max(0, x0 - grow_x), max(0, y0 - grow_y), min(picture_wh[0], x1 + grow_x), min(picture_wh[1], y1 + grow_y))
    cx, cy = segment.crop_xyxy[:2]
    local = (scaled[0] - cx, scaled[1] - cy, scaled[2] - cx, scaled[3] - cy)
    return replace(segment, bbox_xyxy=scaled, mask_hw=shape_mask(box_size_wh(segment.crop_xyxy), local))


def merge(segments: Segments, crop_factor: float) -> Segments:
    """All segments as one: its mask is the union, its box encloses all boxes, its crop region is made anew; none stays none."""
    if len(segments) < 2:
        return segments
    boxes = [s.bbox_xyxy for s in segments]
    bbox = (min(b[0] for b in boxes), min(b[1] for b in boxes), max(b[2] for b in boxes), max(b[3] for b in boxes))
    crop = make_crop_region(segments.size_wh, bbox, crop_factor)
    x0, y0, x1, y1 = crop
    best = max(segments, key=lambda s: s.confidence)
    merged = replace(best, bbox_xyxy=bbox, crop_xyxy=crop, mask_hw=combined_mask(segments)[y0:y1, x0:x1].clone())
    return segments.with_items([merged])


def components(mask_hw: Tensor) -> list[tuple[Box, NDArray[np.bool_]]]:
    """The connected areas (8 neighbours) of what is above 0, from top to bottom: box, and the area `[h, w]` inside that box."""
    binary = (mask_hw > 0).numpy().astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(binary, connectivity=8)
    found: list[tuple[Box, NDArray[np.bool_]]] = []
    for index in range(1, count):
        x, y, w, h = (int(v) for v in stats[index, :4])
        found.append(((x, y, x + w, y + h), np.asarray(labels[y : y + h, x : x + w] == index)))
    # OpenCV numbers areas in blocks of rows, and differently from version to version.
    return sorted(found, key=lambda one: (one[0][1], one[0][0]))


def cut_to(segment: Segment, box_xyxy: Box) -> Segment:
    """The segment with its mask 0 outside the box (picture pixels)."""
    cx, cy = segment.crop_xyxy[:2]
    x0, y0, x1, y1 = intersect(box_xyxy, segment.crop_xyxy)
    mask = torch.zeros_like(segment.mask_hw)
    if x0 < x1 and y0 < y1:
        inside = (slice(y0 - cy, y1 - cy), slice(x0 - cx, x1 - cx))
        mask[inside] = segment.mask_hw[inside]
    return replace(segment, mask_hw=mask)


def bounding_box(mask_hw: Tensor, margin: int = 0) -> Box | None:
    """The smallest box around what is not 0, with a margin in pixels, inside the mask; None if all is 0."""
    inner = nonzero_box(mask_hw)
    return None if inner is None else grow(inner, margin, (mask_hw.shape[1], mask_hw.shape[0]))
