"""From a mask of the whole picture to segments, as the reference's MaskToSEGS does it, and segments pasted onto a picture (SEGSPaste)."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from .errors import MaskError
from .geometry import Box, box_size_wh, make_crop_region, shift
from .image_ops import blur_mask, crop, paste_
from .masks import as_mask, shape_mask
from .segments import Segment, Segments


def mask_to_segments(mask_hw: Tensor, *, combined: bool = False, bbox_fill: bool = False, crop_factor: float = 3.0, drop_size: int = 10,
                     label: str = "A") -> Segments:
    """Segments from a mask `[H, W]`: one for each outlined area, or one for all (`combined`).

    Areas come in the order in which OpenCV outlines them, from the bottom; holes are filled. bbox_fill: the whole box is masked. drop_size:
    areas not wider and higher than this, in pixels, are left out (not in `combined`, whose box ends one pixel early, as the reference's).
    Raises: MaskError if the mask has a wrong type, shape or range.
    """
    mask = as_mask(mask_hw)
    size_wh = (mask.shape[1], mask.shape[0])
    found = _combined(mask) if combined else _outlined(mask, drop_size)
    items: list[Segment] = []
    for bbox, whole in found:
        region = make_crop_region(size_wh, bbox, crop_factor)
        x0, y0, x1, y1 = region
        own = shape_mask(box_size_wh(region), shift(bbox, -x0, -y0)) if bbox_fill else whole[y0:y1, x0:x1].clone()
        if bbox_fill and combined:
            own = torch.maximum(own, whole[y0:y1, x0:x1])
        items.append(Segment(bbox_xyxy=bbox, crop_xyxy=region, mask_hw=own, label=label))
    return Segments(size_wh=size_wh, items=tuple(items))


def _combined(mask: Tensor) -> list[tuple[Box, Tensor]]:
    rows, columns = mask.nonzero(as_tuple=True)
    if not len(rows):
        return []
    box = (int(columns.min()), int(rows.min()), int(columns.max()), int(rows.max()))
    return [(box, mask)] if box[0] < box[2] and box[1] < box[3] else []


def _outlined(mask: Tensor, drop_size: int) -> list[tuple[Box, Tensor]]:
    binary = (mask > 0).numpy().astype(np.uint8)
    outlines, _ = cv2.findContours(binary, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    found: list[tuple[Box, Tensor]] = []
    for outline in outlines:
        x, y, width, height = (int(v) for v in cv2.boundingRect(outline))
        if width > drop_size and height > drop_size:
            filled = cv2.drawContours(np.zeros_like(binary), [outline], 0, 1, -1)
            found.append(((x, y, x + width, y + height), torch.from_numpy(filled.astype(np.float32))))
    return found


def paste_segments(picture_bchw: Tensor, drawn: list[tuple[Segment, Tensor]], *, feather: int, alpha: float = 1.0) -> Tensor:
    """A copy of the picture with drawn crops pasted in order.

    drawn: segments, each with its picture float 0..1 `[1, 3, h, w]` of the crop region's size. feather: pixels. alpha: opacity, 0..1.
    Raises: MaskError for an alpha out of range; PictureError if a crop does not fit.
    """
    if not 0 <= alpha <= 1:
        raise MaskError(f"alpha must lie in 0..1, got {alpha:g}")
    result = picture_bchw.clone()
    for segment, image in drawn:
        mask = blur_mask(segment.mask_hw[None, None].to(result), feather)
        paste_(result, image.to(result), segment.crop_xyxy, mask * alpha)
    return result


def crops_of(picture_bchw: Tensor, segments: Segments) -> list[tuple[Segment, Tensor]]:
    """Each segment with its own crop of a picture, as `paste_segments` takes them. Raises: PictureError if a crop lies outside."""
    return [(segment, crop(picture_bchw, segment.crop_xyxy)) for segment in segments]
