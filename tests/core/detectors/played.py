"""Detectors that find what a test says, and a shelf whose files are such detectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from detailer_core.detectors.base import BoxFloat, Detection, DetectOptions, Detector
from detailer_core.detectors.registry import DetectorFolders, DetectorInfo, DetectorShelf

Look = Callable[[NDArray[np.uint8]], Sequence[Detection]]


def thing(box: BoxFloat, label: str = "face", confidence: float = 0.9, mask: bool | NDArray[np.float32] = False) -> Detection:
    """A detection; mask: an array, or True for one that is 1 everywhere in the box, whose corners are whole pixels."""
    if mask is True:
        mask = np.ones((int(box[3] - box[1]), int(box[2] - box[0])), np.float32)
    return Detection(box_xyxy=box, label=label, confidence=confidence, mask_hw=mask if isinstance(mask, np.ndarray) else None)


class Played:
    """Finds fixed detections, or what `look` sees; notes what it was asked."""

    def __init__(self, *found: Detection, look: Look | None = None, name: str = "played", class_names: tuple[str, ...] = ("face", "hand")) -> None:
        self.look: Look = look or (lambda picture: found)
        self.name, self.class_names = name, class_names
        self.asked: list[tuple[tuple[int, ...], DetectOptions]] = []

    def detect(self, picture_hwc: NDArray[np.uint8], options: DetectOptions) -> Sequence[Detection]:
        """What the test says."""
        self.asked.append((picture_hwc.shape, options))
        return self.look(picture_hwc)


class PlayedShelf(DetectorShelf):
    """Its model files are `Played` detectors; `loads` has the name of each that was loaded, in order."""

    def __init__(self, folder: Path, **players: Played) -> None:
        super().__init__(DetectorFolders(models_root=folder))
        (folder / "detailer").mkdir(parents=True, exist_ok=True)
        self.players = {f"{name}.pt": player for name, player in players.items()}
        for name in self.players:
            (folder / "detailer" / name).write_bytes(b"played")
        self.loads: list[str] = []

    def _load(self, info: DetectorInfo) -> Detector:
        self.loads.append(info.name)
        return self.players[info.name] if info.name in self.players else super()._load(info)

    def _noted_names(self, info: DetectorInfo) -> tuple[str, ...] | None:
        return self.players[info.name].class_names if info.name in self.players else super()._noted_names(info)


def blobs(smallest: int) -> Look:
    """A detector that sees white squares of at least so many pixels; where they lie in a tile's edge, the part of them."""
    def look(picture: NDArray[np.uint8]) -> Sequence[Detection]:
        count, _, stats, _ = cv2.connectedComponentsWithStats((picture[..., 0] > 128).astype(np.uint8), connectivity=4)
        rows = [tuple(float(v) for v in stats[i, :4]) for i in range(1, count)]
        return [thing((x, y, x + w, y + h), confidence=min(1.0, 0.5 + w * h / 100_000)) for x, y, w, h in rows if min(w, h) >= smallest]

    return look
