"""Pictures into the network's shape, and the network's answer back into boxes and masks of the picture.

Convention: `picture` pixels are those of the user's picture; `input` pixels those of the letterboxed picture that the network sees.
Columns are the network's raw answer, float32 `[4 + classes + m, n]`: centre x, centre y, width, height in input pixels, scores 0..1,
and `m` weights of mask prototypes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from detailer_core.geometry import Box, SizeWH

Floats = NDArray[np.float32]

GREY = 114
"""Value of the bars around a letterboxed picture, 0..255."""
MAX_CANDIDATES = 30_000
"""At most so many anchors, the best ones, compete; as ultralytics does."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Letterbox:
    """How a picture lies in the network's input.

    picture_wh: size of the picture. input_wh: size of the input, with the bars. scaled_wh: size of the picture inside of the input.
    left, top: bars before the picture, in input pixels.
    """

    picture_wh: SizeWH
    input_wh: SizeWH
    scaled_wh: SizeWH
    left: int
    top: int

    def apply(self, picture_hwc: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The picture scaled, with grey bars: uint8 `[input height, input width, 3]`."""
        if self.scaled_wh != self.picture_wh:
            picture_hwc = cv2.resize(picture_hwc, self.scaled_wh, interpolation=cv2.INTER_LINEAR)  # type: ignore[assignment]
        if self.scaled_wh == self.input_wh:
            return picture_hwc
        result = np.full((self.input_wh[1], self.input_wh[0], 3), GREY, np.uint8)
        result[self.top:self.top + self.scaled_wh[1], self.left:self.left + self.scaled_wh[0]] = picture_hwc
        return result

    def to_picture(self, boxes_xyxy: Floats) -> Floats:
        """Boxes `[n, 4]` in input pixels as picture pixels, cut at the picture's edges."""
        scale = min(outer / inner for outer, inner in zip(self.input_wh, self.picture_wh, strict=True))
        boxes = (boxes_xyxy - np.array([self.left, self.top] * 2, np.float32)) / np.float32(scale)
        return np.minimum(np.maximum(boxes, 0), np.array(self.picture_wh * 2, np.float32)).astype(np.float32, copy=False)


def letterbox(picture_wh: SizeWH, long_side: int, stride: int) -> Letterbox:
    """The smallest input with sides of multiples of `stride` that holds the picture at `long_side`, aspect kept, centred.

    long_side: in pixels; rounded up to a multiple of `stride`.
    stride: in pixels.
    """
    side = math.ceil(long_side / stride) * stride
    scale = side / max(picture_wh)
    scaled_w, scaled_h = (max(1, round(length * scale)) for length in picture_wh)
    return _centred(picture_wh, (scaled_w, scaled_h), (math.ceil(scaled_w / stride) * stride, math.ceil(scaled_h / stride) * stride))


def letterbox_fixed(picture_wh: SizeWH, input_wh: SizeWH) -> Letterbox:
    """The picture in an input of a fixed size, aspect kept, centred."""
    scale = min(input_wh[0] / picture_wh[0], input_wh[1] / picture_wh[1])
    scaled_w, scaled_h = (min(limit, max(1, round(length * scale))) for length, limit in zip(picture_wh, input_wh, strict=True))
    return _centred(picture_wh, (scaled_w, scaled_h), input_wh)


def _centred(picture_wh: SizeWH, scaled_wh: SizeWH, input_wh: SizeWH) -> Letterbox:
    """Equal bars on both sides; an odd pixel goes after the picture."""
    left, top = ((outer - inner) // 2 for outer, inner in zip(input_wh, scaled_wh, strict=True))
    return Letterbox(picture_wh=picture_wh, input_wh=input_wh, scaled_wh=scaled_wh, left=left, top=top)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Selected:
    """Detections that are left, most confident first.

    boxes_xyxy: `[n, 4]` in input pixels. scores: `[n]`, 0..1. classes: `[n]` numbers. coefficients: `[n, m]`, m = 0 without masks.
    """

    boxes_xyxy: Floats
    scores: Floats
    classes: NDArray[np.intp]
    coefficients: Floats


def select(columns: Floats, class_count: int, *, confidence: float, iou: float, limit: int, wanted: frozenset[int] = frozenset(),
           across_classes: bool = False) -> Selected:
    """The detections above the thresholds, without those that a better one overlaps.

    columns: see the module. confidence, iou: 0..1. limit: most detections.
    wanted: numbers of the classes to keep; empty = all. An anchor counts for its best class only.
    across_classes: a better box of another class displaces a box as well.
    """
    scores_all = columns[4:4 + class_count]
    classes = scores_all.argmax(0)
    scores = scores_all.max(0)
    keep = (scores > confidence) & np.isfinite(columns).all(0)
    if wanted:
        keep &= np.isin(classes, list(wanted))
    order = np.flatnonzero(keep)
    order = order[np.argsort(-scores[order], kind="stable")[:MAX_CANDIDATES]]
    centres, halves = np.transpose(columns[:2, order]), np.transpose(columns[2:4, order]) / 2
    boxes = np.concatenate((centres - halves, centres + halves), 1).astype(np.float32, copy=False)
    left = non_maximum_suppression(boxes, classes[order], iou, limit, across_classes)
    order = order[left]
    return Selected(boxes_xyxy=boxes[left], scores=scores[order], classes=classes[order],
                    coefficients=np.transpose(columns[4 + class_count:, order]))


def non_maximum_suppression(boxes_xyxy: Floats, classes: NDArray[np.intp], iou: float, limit: int,
                            across_classes: bool) -> NDArray[np.intp]:
    """Indices of the boxes that no better box of their class (or of any class) overlaps by more than `iou`; at most `limit`.

    boxes_xyxy: `[n, 4]`, best first.
    """
    x0, y0, x1, y1 = (boxes_xyxy[:, side] for side in range(4))
    areas = (x1 - x0) * (y1 - y0)
    rest = np.arange(len(boxes_xyxy))
    kept: list[int] = []
    while rest.size and len(kept) < limit:
        best, rest = rest[0], rest[1:]
        kept.append(int(best))
        width = np.minimum(x1[best], x1[rest]) - np.maximum(x0[best], x0[rest])
        height = np.minimum(y1[best], y1[rest]) - np.maximum(y0[best], y0[rest])
        common = np.maximum(width, 0) * np.maximum(height, 0)
        apart = common <= iou * (areas[best] + areas[rest] - common)
        if not across_classes:
            apart |= classes[rest] != classes[best]
        rest = rest[apart]
    return np.array(kept, np.intp)


def input_masks(selected: Selected, prototypes: Floats, input_wh: SizeWH) -> NDArray[np.bool_]:
    """Masks `[n, input height, input width]`: the prototypes mixed, enlarged to the input and cut to each box.

    prototypes: `[m, height, width]`.
    """
    width, height = input_wh
    count, *size_hw = prototypes.shape
    logits: Floats = np.reshape(selected.coefficients @ np.reshape(prototypes, (count, -1)), (-1, *size_hw))
    result = np.zeros((len(logits), height, width), np.bool_)
    limits = np.array([width, height] * 2, np.float32)
    corners = np.minimum(np.maximum(np.ceil(selected.boxes_xyxy), 0), limits).astype(np.intp).tolist()
    for mask, logit, (x0, y0, x1, y1) in zip(result, logits, corners, strict=True):
        mask[y0:y1, x0:x1] = cv2.resize(logit, (width, height), interpolation=cv2.INTER_LINEAR)[y0:y1, x0:x1] > 0
    return result


def picture_mask(mask_hw: NDArray[np.bool_], frame: Letterbox, box_xyxy: Box) -> Floats:
    """The part of a mask inside of `box_xyxy`, float32 0..1 `[height, width]` of the box, edges smoothed by bilinear scaling.

    mask_hw: at the input's size; its bars are left out. box_xyxy: picture pixels.
    """
    x0, y0, x1, y1 = box_xyxy
    if x1 <= x0 or y1 <= y0:
        return np.zeros((max(0, y1 - y0), max(0, x1 - x0)), np.float32)
    width, height = frame.scaled_wh
    step_x, step_y = width / frame.picture_wh[0], height / frame.picture_wh[1]
    left, top = max(0, int(x0 * step_x) - 2), max(0, int(y0 * step_y) - 2)
    right, bottom = min(width, int(x1 * step_x) + 3), min(height, int(y1 * step_y) + 3)
    part = mask_hw[frame.top + top:frame.top + bottom, frame.left + left:frame.left + right].astype(np.float32)
    to_input = np.array([[step_x, 0, (x0 + 0.5) * step_x - 0.5 - left], [0, step_y, (y0 + 0.5) * step_y - 0.5 - top]])
    result = cv2.warpAffine(part, to_input, (x1 - x0, y1 - y0), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                            borderMode=cv2.BORDER_REPLICATE)
    return np.minimum(np.maximum(result, 0), 1).astype(np.float32, copy=False)
