"""The inpaint mask of the page in place of a detector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from detailer_core.detectors.base import Detection, DetectOptions
from detailer_core.detectors.fixed import MaskDetector


class PageMaskDetector:
    """Each white area of the mask is a segment; the mask is scaled to the picture."""

    name = "mask"
    class_names = ()

    def __init__(self, mask: Image.Image) -> None:
        self._mask = mask.convert("L")

    def detect(self, picture_hwc: NDArray[np.uint8], options: DetectOptions) -> Sequence[Detection]:
        """The mask's areas, from top to bottom."""
        size = (picture_hwc.shape[1], picture_hwc.shape[0])
        mask = self._mask if self._mask.size == size else self._mask.resize(size, Image.Resampling.BILINEAR)
        return MaskDetector(np.array(mask)).detect(picture_hwc, options)


class MaskShelf:
    """A shelf whose detector "mask" is the page's mask; all others are the real shelf's."""

    def __init__(self, shelf: Any, mask: Image.Image) -> None:
        self._shelf = shelf
        self._detector = PageMaskDetector(mask)

    def get(self, name: str, **rest: Any) -> Any:
        """The detector of that name. Raises: as the real shelf does."""
        return self._detector if name == "mask" else self._shelf.get(name, **rest)

    def handle(self, name: str, **rest: Any) -> Any:
        """As `get`, with the real shelf's own extras for all others."""
        return self._detector if name == "mask" else self._shelf.handle(name, **rest)

    def release(self, name: str) -> None:
        """Let a detector go; the mask stays."""
        if name != "mask":
            self._shelf.release(name)
