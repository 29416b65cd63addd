"""Pictures as Python programs hold them: Pillow, numpy or torch in, the same kind out, untouched values as they were."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from .errors import PictureError
from .pictures import from_pil, to_pil

P = TypeVar("P", Image.Image, NDArray[Any], Tensor)
"""A kind of picture. Arrays are `[H, W]` or `[H, W, C]`, tensors `[C, H, W]` or `[1, C, H, W]`; both uint8, or float in 0..1; C = 1..4."""

_SAME_MODES = ("L", "LA", "RGB", "RGBA")


def take_in(picture: object) -> tuple[Tensor, Callable[[Tensor], Any]]:
    """The picture as the core works on it, float32 0..1 `[1, C, H, W]`, and what makes the same kind of a result of that shape.

    A Pillow picture of a mode other than L, LA, RGB and RGBA comes back in that of these which it was worked on in.
    Raises: PictureError for another type, shape or range.
    """
    if isinstance(picture, Image.Image):
        return from_pil(picture), partial(_pil_back, picture)
    if isinstance(picture, Tensor):
        work = _checked(picture if picture.ndim == 4 else picture[None] if picture.ndim == 3 else picture)
        return work, partial(_tensor_back, picture, work)
    if isinstance(picture, np.ndarray):
        array = cast("NDArray[Any]", picture)
        planes = array[..., None] if array.ndim == 2 else array
        if planes.ndim != 3:
            raise PictureError(f"expected an array [H, W] or [H, W, C], got {array.shape}")
        work = _checked(torch.from_numpy(np.array(planes)).permute(2, 0, 1)[None])
        return work, partial(_array_back, array, work)
    raise PictureError(f"expected a picture as PIL.Image, numpy array or torch tensor, got {type(picture).__name__}")


def _checked(values_bchw: Tensor) -> Tensor:
    """Float32 in 0..1, a tensor of its own."""
    shape = tuple(values_bchw.shape)
    if len(shape) != 4 or shape[0] != 1 or shape[1] not in (1, 2, 3, 4) or 0 in shape:
        raise PictureError(f"expected one picture of 1 to 4 channels (tensors [C, H, W] or [1, C, H, W], arrays [H, W] or [H, W, C]), got {shape}")
    if values_bchw.dtype == torch.uint8:
        return values_bchw.float() / 255
    if not values_bchw.is_floating_point():
        raise PictureError(f"expected uint8 or float values, got {values_bchw.dtype}")
    work = values_bchw.detach().to(torch.float32, copy=True)
    low, high = float(work.min()), float(work.max())
    if not (low >= 0 and high <= 1):  # so that what is not a number fails, too
        raise PictureError(f"expected float values in 0..1, got {low:g}..{high:g}; divide by 255, or give uint8")
    return work


def _pil_back(picture: Image.Image, result: Tensor) -> Image.Image:
    made = to_pil(result)
    if made.mode != picture.mode and picture.mode in _SAME_MODES:
        made = made.convert(picture.mode)
    made.info.update({name: value for name, value in picture.info.items() if name in ("exif", "icc_profile", "dpi")})
    return made


def _tensor_back(picture: Tensor, work: Tensor, result: Tensor) -> Tensor:
    changed = result.to(work.device) != work
    drawn = result.to(work.device)
    new = (drawn * 255 + 0.5).floor().clamp(0, 255).to(torch.uint8) if picture.dtype == torch.uint8 else drawn.to(picture.dtype)
    kept = picture.detach().reshape(work.shape)
    return torch.where(changed, new, kept).reshape(picture.shape)


def _array_back(picture: NDArray[Any], work: Tensor, result: Tensor) -> NDArray[Any]:
    changed, drawn = (tensor[0].permute(1, 2, 0).cpu().numpy().reshape(picture.shape) for tensor in (result != work, result))
    new = np.clip(np.floor(drawn * 255 + 0.5), 0, 255) if picture.dtype == np.uint8 else drawn
    return np.where(changed, new.astype(picture.dtype), picture)
