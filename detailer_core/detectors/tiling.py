"""A detector that looks at overlapping tiles of a picture, for things that are small in a large one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..geometry import Box
from .base import Detection, DetectOptions, Detector
from .boxes import overlaps, suppressed

MAX_TILES = 1024
"""Most tiles of one picture; with more, they are made larger."""

_MOST = 3000
_SAME = 0.5
_AT_EDGE = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Tiling:
    """side: of a tile, in pixels. overlap: share of a tile that the next one covers at least, 0..0.9."""

    side: int
    overlap: float = 0.25


def tile_boxes(picture_wh: tuple[int, int], tiling: Tiling) -> list[Box]:
    """Tiles that cover the picture, evenly spread, row by row; one if it is no larger than a tile."""
    side = tiling.side
    while True:
        columns, rows = (spans(length, side, tiling.overlap) for length in picture_wh)
        if len(columns) * len(rows) <= MAX_TILES:
            return [(x0, y0, x1, y1) for y0, y1 in rows for x0, x1 in columns]
        side *= 2


def spans(length: int, side: int, overlap: float) -> list[tuple[int, int]]:
    """Spans of `side` pixels over `length`, the first at 0 and the last at the end; the next covers at least a share `overlap` of one."""
    side = min(side, length)
    step = max(1.0, side * (1 - overlap))
    count = math.ceil((length - side) / step) + 1
    starts = [round(i * (length - side) / (count - 1)) if count > 1 else 0 for i in range(count)]
    return [(start, start + side) for start in starts]


def detect_tiled(detector: Detector, picture_hwc: NDArray[np.uint8], options: DetectOptions, tiling: Tiling | None) -> Sequence[Detection]:
    """What the detector finds in the picture and in its tiles, most confident first; in the picture alone if there is but one tile.

    What a tile's edge cuts through counts only where nothing that is seen whole covers half of it: the next tile, or the look at the
    whole picture, shows all of it. Then the usual suppression, by `iou` of the options.
    Raises: DetectorError if the detector fails.
    """
    height, width = picture_hwc.shape[:2]
    tiles = [] if tiling is None else tile_boxes((width, height), tiling)
    whole = list(detector.detect(picture_hwc, options))
    if len(tiles) < 2:
        return whole
    cut: list[Detection] = []
    for tile in tiles:
        x0, y0, x1, y1 = tile
        for found in detector.detect(np.ascontiguousarray(picture_hwc[y0:y1, x0:x1]), options):
            moved = _moved(found, tile)
            if moved is not None:
                (cut if _is_cut(moved, tile, (width, height)) else whole).append(moved)
    return _merged(whole, cut, options)


def _moved(found: Detection, tile: Box) -> Detection | None:
    """A tile's detection in the picture's pixels, cut at the tile's edges; None if it has no area there."""
    width, height = tile[2] - tile[0], tile[3] - tile[1]
    x0, y0, x1, y1 = found.box_xyxy
    if not all(math.isfinite(v) for v in found.box_xyxy):
        return None
    inside = (max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height)))
    if inside[2] <= inside[0] or inside[3] <= inside[1]:
        return None
    box = (inside[0] + tile[0], inside[1] + tile[1], inside[2] + tile[0], inside[3] + tile[1])
    return replace(found, box_xyxy=box)


def _is_cut(found: Detection, tile: Box, picture_wh: tuple[int, int]) -> bool:
    """Whether the box ends at an edge of the tile that is not the picture's."""
    x0, y0, x1, y1 = found.box_xyxy
    return ((tile[0] > 0 and x0 < tile[0] + _AT_EDGE) or (tile[1] > 0 and y0 < tile[1] + _AT_EDGE)
            or (tile[2] < picture_wh[0] and x1 > tile[2] - _AT_EDGE) or (tile[3] < picture_wh[1] and y1 > tile[3] - _AT_EDGE))


def _merged(whole: Sequence[Detection], cut: Sequence[Detection], options: DetectOptions) -> list[Detection]:
    full = suppressed(_best_first(whole), iou=options.iou, across_classes=options.across_classes)
    partial = _best_first(cut)
    _, covered = overlaps([d.box_xyxy for d in partial], [d.box_xyxy for d in full])
    rivals = np.array([[options.across_classes or c.label == f.label for f in full] for c in partial], bool).reshape(covered.shape)
    parts = [c for c, row in zip(partial, (covered * rivals).max(1, initial=0.0), strict=True) if row <= _SAME]
    # Those that are seen whole come first, so that none of them gives way to a part of itself.
    kept = suppressed([*full, *parts], iou=options.iou, across_classes=options.across_classes)
    return _best_first(kept)[: options.max_detections]


def _best_first(found: Sequence[Detection]) -> list[Detection]:
    return sorted(found, key=lambda d: -d.confidence)[:_MOST]
