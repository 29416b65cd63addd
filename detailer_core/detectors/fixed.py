"""Detectors that need no model: what a mask shows, the whole picture, a grid of tiles."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..errors import DetectorError, PictureError
from ..masks import as_mask, components
from ..pictures import read_picture
from .base import Detection, DetectOptions
from .tiling import spans


class MaskDetector:
    """Each connected area of a mask (8 neighbours) is a detection with its mask. Only the number of detections is limited by the options.

    An area is made of the pixels above the threshold; their soft values are kept, the others are 0. A lower threshold keeps more of a
    soft edge.
    """

    def __init__(self, source: str | os.PathLike[str] | NDArray[np.generic] | Tensor, *, threshold: float = 0.5) -> None:
        """source: a mask picture (brightness, times alpha if it has some; white = redraw), or an array as `masks.as_mask` takes it.

        Raises: DetectorError if the mask cannot be read or the threshold does not lie in 0..1 (1 excluded).
        """
        if not 0 <= threshold < 1:
            raise DetectorError(f"detector 'mask': the threshold must lie in 0..1 (1 excluded), got {threshold:g}")
        self._threshold = threshold
        self._where = f"mask {os.fspath(source)}" if isinstance(source, (str, os.PathLike)) else "the mask"
        try:
            self._mask_hw = _read_mask(source) if isinstance(source, (str, os.PathLike)) else as_mask(source)
        except PictureError as error:
            raise DetectorError(f"detector 'mask': {error}") from error

    @property
    def name(self) -> str:
        """The name by which it was asked for."""
        return "mask"

    @property
    def class_names(self) -> tuple[str, ...]:
        """None: a mask tells no classes apart."""
        return ()

    def detect(self, picture_hwc: NDArray[np.uint8], options: DetectOptions) -> Sequence[Detection]:
        """The mask's areas, from top to bottom; none if it is empty. Raises: DetectorError if it is not as large as the picture."""
        height, width = self._mask_hw.shape
        if (height, width) != picture_hwc.shape[:2]:
            raise DetectorError(f"{self._where} has {width}x{height} pixels, the picture {picture_hwc.shape[1]}x{picture_hwc.shape[0]}; "
                                f"scale the mask to the picture's size")
        found: list[Detection] = []
        for (x0, y0, x1, y1), area_hw in components((self._mask_hw > self._threshold).float())[: options.max_detections]:
            values = np.where(area_hw, self._mask_hw[y0:y1, x0:x1].numpy(), np.float32(0))
            found.append(Detection(box_xyxy=(x0, y0, x1, y1), label="mask", mask_hw=np.asarray(values, np.float32)))
        return found


def _read_mask(path: str | os.PathLike[str]) -> Tensor:
    image = read_picture(path).image_bchw
    channels = image.shape[1]
    colours = image[0, : channels - 1 + channels % 2]
    # ITU-R 601-2 luma, as Pillow's conversion to grey.
    grey = colours[0] if len(colours) == 1 else (0.299 * colours[0] + 0.587 * colours[1] + 0.114 * colours[2]).clamp(0, 1)
    return grey if channels % 2 else grey * image[0, -1]


class WholeDetector:
    """One detection: the picture."""

    @property
    def name(self) -> str:
        """The name by which it was asked for."""
        return "whole"

    @property
    def class_names(self) -> tuple[str, ...]:
        """None."""
        return ()

    def detect(self, picture_hwc: NDArray[np.uint8], options: DetectOptions) -> Sequence[Detection]:
        """The picture's own box."""
        height, width = picture_hwc.shape[:2]
        return (Detection(box_xyxy=(0, 0, width, height), label="picture"),)


class TilesDetector:
    """A grid of overlapping tiles that covers the picture, row by row; all of them, whatever the options say."""

    def __init__(self, *, tile: int = 512, overlap: float = 0.125) -> None:
        """tile: side in pixels, less where the picture is smaller. overlap: the next tile covers at least this share of one, 0..0.9.

        Raises: DetectorError if one is out of range.
        """
        if tile < 8 or not 0 <= overlap <= 0.9:
            raise DetectorError(f"detector 'tiles': a tile has at least 8 pixels and overlaps by 0..0.9, got {tile} and {overlap:g}")
        self._tile, self._overlap = tile, overlap

    @property
    def name(self) -> str:
        """The name by which it was asked for."""
        return "tiles"

    @property
    def class_names(self) -> tuple[str, ...]:
        """None."""
        return ()

    def detect(self, picture_hwc: NDArray[np.uint8], options: DetectOptions) -> Sequence[Detection]:
        """The tiles' boxes."""
        height, width = picture_hwc.shape[:2]
        tiles = ((x0, y0, x1, y1) for y0, y1 in spans(height, self._tile, self._overlap) for x0, x1 in spans(width, self._tile, self._overlap))
        return [Detection(box_xyxy=tile, label="tile") for tile in tiles]
