"""Two detectors as one: what the second confirms, what it does not, or what either finds.

How much of a detection of the first "lies in" what the second found is a share of its own area: of its mask where it has one, else of its
box. The second's area is all its detections together, masks where they have some, else boxes. A share of the smaller thing, and not an
intersection over union, so that a face lies in the person around it, whatever the person's size. "and" and "minus" therefore divide
the first's detections: each is in one of both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..geometry import Box, SizeWH, area, enclosing_box, intersect, shift
from .base import Detection, DetectOptions, Detector
from .boxes import overlaps
from .selection import is_wanted

Combine: TypeAlias = Literal["and", "minus", "union", "masks-and", "masks-minus"]
Mask = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """Which detections of one detector count. confidence: 0..1, at least. include, exclude: classes, as in `SelectionOptions`."""

    confidence: float = 0.0
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def keeps(self, found: Detection) -> bool:
        """Whether this one counts."""
        return found.confidence >= self.confidence and is_wanted(found.label, self.include, self.exclude)

    def narrowed(self, options: DetectOptions, known: Sequence[str]) -> DetectOptions:
        """The options asking only for wanted classes, so that no other one displaces them or uses up the most detections.

        Where none of the detector's classes is wanted, or it has none, it is asked for all: what it finds is looked through afterwards.
        """
        names = tuple(name for name in known if is_wanted(name, self.include, self.exclude))
        return replace(options, confidence=self.confidence, class_names=names if 0 < len(names) < len(known) else ())


class CombinedDetector:
    """The first detector's detections as the second one bears on them, see `combine`. Its classes are the first's."""

    def __init__(self, first: Detector, second: Detector, *, how: Combine, overlap: float, wanted: Wanted, wanted_second: Wanted) -> None:
        """overlap: as in `combine`. wanted: what counts of each."""
        self._first, self._second, self._overlap = first, second, overlap
        self._how: Combine = how
        self._wanted, self._wanted_second = wanted, wanted_second

    @property
    def name(self) -> str:
        """Both names."""
        return f"{self._first.name} {self._how} {self._second.name}"

    @property
    def class_names(self) -> tuple[str, ...]:
        """The first's."""
        return self._first.class_names

    def detect(self, picture_hwc: NDArray[np.uint8], options: DetectOptions) -> Sequence[Detection]:
        """Detections in `picture_hwc` (RGB, uint8, `[height, width, 3]`), the first detector's before the second's.

        Raises: DetectorError if one of both fails.
        """
        found = [d for d in self._first.detect(picture_hwc, options) if self._wanted.keeps(d)]
        if not found and self._how != "union":
            return ()
        asked = self._wanted_second.narrowed(options, self._second.class_names)
        other = [d for d in self._second.detect(picture_hwc, asked) if self._wanted_second.keeps(d)]
        return combine(found, other, (picture_hwc.shape[1], picture_hwc.shape[0]), how=self._how, overlap=self._overlap)


def combine(first: Sequence[Detection], second: Sequence[Detection], picture_wh: SizeWH, *, how: Combine, overlap: float) -> list[Detection]:
    """The detections of two detectors as one list.

    "and": those of the first of which at least a share `overlap` lies in what the second found; "minus": the others; both unchanged.
    "union": all of the first, then those of the second whose box overlaps none of them by an intersection over union above `overlap`:
    the first has precedence, since scores of two networks cannot be compared. "masks-and", "masks-minus": each of the first with its mask
    cut to, or cut by, what the second found, pixel by pixel, and its box made to fit; those of which nothing is left are left out.
    """
    if how == "union":
        shares, _ = overlaps([d.box_xyxy for d in second], [d.box_xyxy for d in first])
        return [*first, *(d for d, row in zip(second, shares.max(1, initial=0.0), strict=True) if row <= overlap)]
    kept: list[Detection] = []
    for detection in first:
        box = enclosing_box(detection.box_xyxy, picture_wh)
        cover = _cover(second, box, picture_wh)
        if how in ("masks-and", "masks-minus"):
            cut = _cut(detection, box, cover if how == "masks-and" else 1 - cover)
            kept += [] if cut is None else [cut]
        elif (_share_covered(detection, cover) >= overlap) == (how == "and"):
            kept.append(detection)
    return kept


def _cover(found: Sequence[Detection], box_xyxy: Box, picture_wh: SizeWH) -> Mask:
    """Where in the box something was found, 0..1 `[height, width]` of the box."""
    x, y = box_xyxy[:2]
    cover = np.zeros((box_xyxy[3] - y, box_xyxy[2] - x), np.float32)
    for detection in found:
        own = enclosing_box(detection.box_xyxy, picture_wh)
        common = intersect(own, box_xyxy)
        if area(common) == 0:
            continue
        x0, y0, x1, y1 = shift(common, -x, -y)
        u0, v0, u1, v1 = shift(common, -own[0], -own[1])
        values = 1.0 if detection.mask_hw is None else detection.mask_hw[v0:v1, u0:u1]
        cover[y0:y1, x0:x1] = np.maximum(cover[y0:y1, x0:x1], values)
    return cover


def _share_covered(detection: Detection, cover: Mask) -> float:
    weights = np.ones_like(cover) if detection.mask_hw is None else detection.mask_hw
    total = float(weights.sum())
    return float((weights * cover).sum()) / total if total > 0 else 0.0


def _cut(detection: Detection, box_xyxy: Box, keep: Mask) -> Detection | None:
    mask = keep if detection.mask_hw is None else detection.mask_hw * keep
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not rows.size:
        return None
    x0, y0, x1, y1 = int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
    return replace(detection, box_xyxy=shift((x0, y0, x1, y1), *box_xyxy[:2]), mask_hw=np.asarray(mask[y0:y1, x0:x1], np.float32))
