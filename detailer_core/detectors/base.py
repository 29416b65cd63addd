"""What a detector is: a picture and thresholds in, detections out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

BoxFloat = tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class DetectOptions:
    """Thresholds that every detector understands; those that a detector has no use for are ignored.

    confidence: detections below it are dropped, 0..1.
    iou: two boxes of one class that overlap more than this are one detection, 0..1.
    image_size: long side, in pixels, at which the network looks at the picture; None = the model's own.
    max_detections: at most so many, most confident first.
    class_names: only these classes; empty = all.
    across_classes: overlapping boxes of different classes are one detection as well.
    device: torch device for networks that run in torch, as text ("cpu", "cuda:0", "mps").
    """

    confidence: float = 0.3
    iou: float = 0.7
    image_size: int | None = None
    max_detections: int = 300
    class_names: tuple[str, ...] = ()
    across_classes: bool = False
    device: str = "cpu"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Detection:
    """One thing that was found.

    box_xyxy: picture pixels, x0 y0 x1 y1, end exclusive; may be fractional and reach over the picture's edge.
    label: class name, may be empty.
    confidence: 0..1.
    mask_hw: None for a detector of boxes; else float32 0..1 `[h, w]`, exactly as large as
        `geometry.enclosing_box(box_xyxy, picture size)`.
    """

    box_xyxy: BoxFloat
    label: str = ""
    confidence: float = 1.0
    mask_hw: NDArray[np.float32] | None = None


class Detector(Protocol):
    """Finds parts of a picture. Must not change the picture, nor any state of the process."""

    @property
    def name(self) -> str:
        """The name by which it was asked for."""
        ...

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes it can tell apart, in the model's order; empty if it has none."""
        ...

    def detect(self, picture_hwc: NDArray[np.uint8], options: DetectOptions) -> Sequence[Detection]:
        """Detections in `picture_hwc` (RGB, uint8, `[height, width, 3]`), most confident first.

        Raises: DetectorError if it cannot work on this picture.
        """
        ...
