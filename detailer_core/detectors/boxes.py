"""Overlaps of fractional boxes, and the suppression of those that a better one covers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .base import BoxFloat, Detection
from .yolo.decode import non_maximum_suppression

Floats = NDArray[np.float64]


def overlaps(one: Sequence[BoxFloat], other: Sequence[BoxFloat]) -> tuple[Floats, Floats]:
    """`[n, m]` each: intersection over union, and intersection over the area of each of `one`; 0..1, 0 where there is no area."""
    a, b = (np.array(boxes, np.float64).reshape(-1, 4) for boxes in (one, other))
    sides = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    common = np.clip(sides, 0, None).prod(2)
    area_a, area_b = (np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(1) for boxes in (a, b))
    union = area_a[:, None] + area_b[None] - common
    return _share(common, union), _share(common, np.broadcast_to(area_a[:, None], common.shape))


def _share(part: Floats, whole: Floats) -> Floats:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def suppressed(ordered: Sequence[Detection], *, iou: float, across_classes: bool) -> list[Detection]:
    """The detections, best first, that no earlier one of those that are left overlaps by more than `iou`; of one class, or of any."""
    numbers = {label: number for number, label in enumerate({d.label for d in ordered})}
    boxes = np.array([d.box_xyxy for d in ordered], np.float32).reshape(-1, 4)
    classes = np.array([numbers[d.label] for d in ordered], np.intp)
    return [ordered[i] for i in non_maximum_suppression(boxes, classes, iou, len(ordered), across_classes)]
