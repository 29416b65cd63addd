"""Lanczos resampling in floating point, on any device, for any window of the result.

Resampling along one axis is a matrix with a narrow band of weights. Rows are taken in blocks, each a small dense product with just the
input pixels it needs: BLAS does the work, nothing is truncated to 8 bit, and a caller that needs only a window pays only for the window.

Convention: pictures are `B,C,H,W` float tensors; sizes are `(width, height)`; windows are half-open boxes in pixels of the result.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal, TypeAlias

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .errors import PictureError
from .geometry import Box, SizeWH

Resampler: TypeAlias = Literal["lanczos", "pillow-8bit"]

_LOBES = 3
_INPUTS = 32  # rows or columns that a product reads at most, on a CPU: fewer wastes calls, more wastes multiplications by zero
_BLOCKS = 8, 32  # least and most that it gives


def _lanczos(x: np.ndarray) -> np.ndarray:
    return np.where(np.abs(x) < _LOBES, np.sinc(x) * np.sinc(x / _LOBES), 0.0)


@lru_cache(maxsize=256)
def lanczos_bands(old: int, new: int, start: int, end: int, block: int) -> tuple[tuple[int, int, Tensor], ...]:
    """Weights that resample `old` pixels to `new`, for result pixels `start..end`, in blocks of at most `block` rows.

    Each entry is (first input pixel, end of input pixels, float32 `[rows, inputs]`) on the CPU. The kernel has 3 lobes and grows with the
    reduction factor, so shrinking does not alias. Source of the formula: Pillow's documentation of `Resampling.LANCZOS` (Duchon 1979).
    """
    scale = old / new
    stretch = max(scale, 1.0)
    support = _LOBES * stretch
    bands: list[tuple[int, int, Tensor]] = []
    for first in range(start, end, block):
        last = min(first + block, end)
        centres = (np.arange(first, last) + 0.5) * scale
        low = np.maximum(np.floor(centres - support + 0.5), 0).astype(int)
        high = np.minimum(np.floor(centres + support + 0.5), old).astype(int)
        inputs = np.arange(low[0], high[-1])
        weights = _lanczos((inputs[None] - centres[:, None] + 0.5) / stretch)
        weights[(inputs[None] < low[:, None]) | (inputs[None] >= high[:, None])] = 0.0
        weights /= weights.sum(1, keepdims=True)
        bands.append((int(low[0]), int(high[-1]), torch.from_numpy(weights.astype(np.float32))))
    return tuple(bands)


Bands: TypeAlias = tuple[tuple[int, int, Tensor], ...]


def _bands_for(picture: Tensor, old: int, new: int, start: int, end: int) -> Bands:
    # An accelerator multiplies one large matrix faster than it starts many small products.
    block = min(max(_INPUTS * new // old, _BLOCKS[0]), _BLOCKS[1]) if picture.device.type == "cpu" else max(end - start, 1)
    return lanczos_bands(old, new, start, end, block)


def _rows(matrix: Tensor, bands: Bands, out: Tensor) -> Tensor:
    """Resample the rows of a matrix `[h, n]` into `out` `[h', n]`; both may be windows of larger ones."""
    first = 0
    for low, high, weights in bands:
        last = first + weights.shape[0]
        torch.mm(weights.to(matrix), matrix[low:high], out=out[first:last])
        first = last
    return out


def _columns(matrix: Tensor, bands: Bands, out: Tensor, left: int) -> Tensor:
    """Resample the columns of a matrix `[n, w]`, which begins with column `left`, into `out` `[n, w']`; both may be windows of larger ones."""
    first = 0
    for low, high, weights in bands:
        last = first + weights.shape[0]
        torch.mm(matrix[:, low - left:high - left], weights.to(matrix).T, out=out[:, first:last])
        first = last
    return out


def _resample_rows(picture_chw: Tensor, new_height: int, start: int, end: int) -> Tensor:
    """Rows `start..end` of the picture at another height, `[C, end - start, W]`."""
    channels, old, width = picture_chw.shape
    if old == new_height:
        return picture_chw[:, start:end]
    bands = _bands_for(picture_chw, old, new_height, start, end)
    if channels > 1 and picture_chw.stride(0) == 1 and picture_chw.stride(2) == channels:
        # Channels last: pixels of a row lie side by side, so all channels are one matrix and nothing has to be copied.
        matrix = picture_chw.permute(1, 2, 0).as_strided((old, width * channels), (picture_chw.stride(1), 1), picture_chw.storage_offset())
        rows = _rows(matrix, bands, picture_chw.new_empty(end - start, width * channels))
        return rows.view(end - start, width, channels).permute(2, 0, 1)
    out = picture_chw.new_empty(channels, end - start, width)
    for plane, target in zip(picture_chw, out, strict=True):
        _rows(plane, bands, target)
    return out


def _resample_chw(picture_chw: Tensor, size_wh: SizeWH, window_xyxy: Box) -> Tensor:
    """The window of one picture at another size. Rows first: that product can read a part of a picture, and channels that come last, uncopied."""
    x0, y0, x1, y1 = window_xyxy
    old = picture_chw.shape[2]
    if old == size_wh[0]:
        return _resample_rows(picture_chw[..., x0:x1], size_wh[1], y0, y1)
    bands = _bands_for(picture_chw, old, size_wh[0], x0, x1)
    left = bands[0][0]
    rows = _resample_rows(picture_chw[..., left:bands[-1][1]], size_wh[1], y0, y1)
    channels, height, width = rows.shape
    out = rows.new_empty(channels, height, x1 - x0)
    _columns(rows.reshape(channels * height, width), bands, out.view(channels * height, x1 - x0), left)
    return out


def lanczos(picture_bchw: Tensor, size_wh: SizeWH, window_xyxy: Box | None = None) -> Tensor:
    """The picture resampled to `size_wh`, or just `window_xyxy` of that result.

    picture_bchw: float `[B, C, H, W]`, any range; a new tensor of the same type and device comes back, never a view of the input unless
    nothing had to be done. Values may overshoot the input's range by a little, as Lanczos does; the caller clamps.
    Raises: PictureError if a side is empty or the window lies outside the result.
    """
    _check(picture_bchw, size_wh)
    window = window_xyxy or (0, 0, *size_wh)
    _check_window(window, size_wh)
    pictures = [_resample_chw(picture, size_wh, window) for picture in picture_bchw]
    return torch.stack(pictures) if len(pictures) > 1 else pictures[0][None]


def pillow_8bit(picture_bchw: Tensor, size_wh: SizeWH) -> Tensor:
    """The picture resampled as the reference does it: truncated to 8 bit, Pillow Lanczos, back to float (REFERENCE item 23).

    picture_bchw: float 0..1 `[B, C, H, W]` with 3 or 4 channels; a fourth channel is alpha and is premultiplied by Pillow. One channel is
    resampled bilinearly in float, as the reference does. Result on the input's device. Raises: PictureError for other channel counts.
    """
    _check(picture_bchw, size_wh)
    channels = picture_bchw.shape[1]
    if channels == 1:
        return bilinear(picture_bchw, size_wh)
    if channels not in (3, 4):
        raise PictureError(f"expected 1, 3 or 4 channels for a picture, got {channels}")
    eight_bit = truncate_to_uint8(picture_bchw).permute(0, 2, 3, 1).contiguous().cpu().numpy()
    resized = [np.asarray(Image.fromarray(picture).resize(size_wh, Image.Resampling.LANCZOS)) for picture in eight_bit]
    return torch.from_numpy(np.stack(resized)).to(picture_bchw).permute(0, 3, 1, 2) / 255


def bilinear(picture_bchw: Tensor, size_wh: SizeWH) -> Tensor:
    """The picture resampled bilinearly, without antialiasing, pixel centres aligned (REFERENCE items 31, 34): for masks."""
    _check(picture_bchw, size_wh)
    return torch.nn.functional.interpolate(picture_bchw, size=(size_wh[1], size_wh[0]), mode="bilinear", align_corners=False)


def truncate_to_uint8(picture: Tensor) -> Tensor:
    """Float 0..1 as uint8, truncated and clipped as both the reference and the WebUI do it."""
    return (picture.float() * 255).clamp(0, 255).to(torch.uint8)


def resample(picture_bchw: Tensor, size_wh: SizeWH, resampler: Resampler = "lanczos", window_xyxy: Box | None = None) -> Tensor:
    """The picture at `size_wh`, clamped to 0..1; with `window_xyxy` only that window of it.

    Raises: PictureError as `lanczos` and `pillow_8bit` do.
    """
    if resampler == "lanczos":
        result = lanczos(picture_bchw, size_wh, window_xyxy)
        same = (picture_bchw.shape[-1], picture_bchw.shape[-2]) == tuple(size_wh)
        return result.clamp(0, 1) if same else result.clamp_(0, 1)
    whole = pillow_8bit(picture_bchw, size_wh)
    if window_xyxy is None:
        return whole
    _check_window(window_xyxy, size_wh)
    x0, y0, x1, y1 = window_xyxy
    return whole[..., y0:y1, x0:x1]


def _check_window(window_xyxy: Box, size_wh: SizeWH) -> None:
    x0, y0, x1, y1 = window_xyxy
    width, height = size_wh
    if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
        raise PictureError(f"window {(x0, y0, x1, y1)} does not lie in the resampled picture of {width}x{height} pixels")


def _check(picture_bchw: Tensor, size_wh: SizeWH) -> None:
    if picture_bchw.ndim != 4 or not picture_bchw.is_floating_point():
        raise PictureError(f"expected a float tensor [B, C, H, W], got {picture_bchw.dtype} with shape {tuple(picture_bchw.shape)}")
    if min(*size_wh, *picture_bchw.shape) < 1 or not all(math.isfinite(v) for v in size_wh):
        raise PictureError(f"cannot resample {tuple(picture_bchw.shape)} to {size_wh[0]}x{size_wh[1]} pixels: a side is empty")
