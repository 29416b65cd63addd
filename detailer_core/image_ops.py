"""Blur, crop and paste: batched, on the picture's device.

Convention: pictures are float `[B, C, H, W]` in 0..1, masks float `[B, 1, H, W]` in 0..1 with 1 = redraw; boxes are half-open `x0, y0, x1, y1`.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from .errors import MaskError, PictureError
from .geometry import Box, box_size_wh, grow, shift

BLUR_SIGMA = 10.0
"""Standard deviation, in pixels, of the feather blur, whatever its radius (REFERENCE item 29)."""


def blur_kernel_size(mask_hw: tuple[int, int], feather: int) -> int:
    """The odd kernel size, in pixels, that `blur_mask` uses on a mask of this height and width; 0 = no blur (REFERENCE item 29)."""
    if feather <= 0:
        return 0
    size, short = 2 * feather + 1, min(mask_hw)
    if short <= size:
        size = short // 2
        size += size % 2 == 0
    return size if size >= 3 else 0


def nonzero_box(mask_hw: Tensor) -> Box | None:
    """The smallest box around everything that is not 0 in a mask `[h, w]`; None if all is 0."""
    rows = mask_hw.any(dim=1).nonzero()
    if rows.numel() == 0:
        return None
    y0, y1 = int(rows[0]), int(rows[-1]) + 1
    columns = mask_hw[y0:y1].any(dim=0).nonzero()
    return int(columns[0]), y0, int(columns[-1]) + 1, y1


def blur_mask(mask_b1hw: Tensor, feather: int, sigma: float = BLUR_SIGMA, *, inner_xyxy: Box | None = None) -> Tensor:
    """The mask with a soft edge: Gaussian of `2 * feather + 1` pixels and sigma 10, reflected at its edges (REFERENCE items 29, 30).

    mask_b1hw: float 0..1 `[B, 1, h, w]`; same shape, type and device come back, the input itself if there is nothing to blur.
    feather: pixels; 0 or less = no blur. sigma: pixels. inner_xyxy: around all that is not 0, where the caller knows it: only its surroundings
    are worked on.
    Raises: MaskError if the mask is not a float tensor of four dimensions with one channel.
    """
    check_mask(mask_b1hw)
    size = blur_kernel_size((mask_b1hw.shape[-2], mask_b1hw.shape[-1]), feather)
    if not size:
        return mask_b1hw
    inner = inner_xyxy or nonzero_box(mask_b1hw[0, 0] if len(mask_b1hw) == 1 else mask_b1hw.amax(dim=(0, 1)))
    if inner is None:
        return mask_b1hw
    # One pixel more than the radius, so that what is reflected at a cut edge is 0, as what lies beyond it.
    limit_wh = (mask_b1hw.shape[-1], mask_b1hw.shape[-2])
    x0, y0, x1, y1 = _at_least(grow(inner, size // 2 + 1, limit_wh), size, limit_wh)
    window = mask_b1hw[..., y0:y1, x0:x1]
    blurred = _gaussian_on_cpu(window, size, sigma) if window.device.type == "cpu" else _gaussian_on_device(window, size, sigma)
    if (x0, y0, x1, y1) == (0, 0, *limit_wh):
        return blurred
    result = torch.zeros_like(mask_b1hw)
    result[..., y0:y1, x0:x1] = blurred
    return result


def _gaussian_on_cpu(window_b1hw: Tensor, size: int, sigma: float) -> Tensor:
    # Ten times faster than a convolution of torch, which is not made for one channel.
    planes = window_b1hw.detach().to(torch.float32 if window_b1hw.dtype in (torch.float16, torch.bfloat16) else window_b1hw.dtype).numpy()
    blurred = [cv2.GaussianBlur(np.ascontiguousarray(plane[0]), (size, size), sigma, borderType=cv2.BORDER_REFLECT_101) for plane in planes]
    return torch.from_numpy(np.stack(blurred)[:, None]).to(window_b1hw.dtype)


def _gaussian_on_device(window_b1hw: Tensor, size: int, sigma: float) -> Tensor:
    import kornia.filters  # here, because importing it takes seconds and a CPU does without

    return kornia.filters.gaussian_blur2d(window_b1hw, (size, size), (sigma, sigma), "reflect", separable=True)


def all_finite(values: Tensor) -> bool:
    """Whether no value is infinite or not a number. Their sum tells, and costs a tenth of asking each."""
    wide = torch.float64 if values.dtype == torch.float64 else torch.float32
    return bool(torch.isfinite(values.sum(dtype=wide)))


def _at_least(box_xyxy: Box, side: int, limit_wh: tuple[int, int]) -> Box:
    """The box, grown where it is shorter than `side` (reflecting needs that much), inside the limits."""
    x0, y0, x1, y1 = box_xyxy
    missing_w, missing_h = max(0, side - (x1 - x0)), max(0, side - (y1 - y0))
    return grow((x0 - missing_w, y0 - missing_h, x1 + missing_w, y1 + missing_h), 0, limit_wh)


def crop(picture_bchw: Tensor, box_xyxy: Box) -> Tensor:
    """A view of the box's pixels. Raises: PictureError if the box is empty or reaches out of the picture."""
    check_box(picture_bchw, box_xyxy)
    x0, y0, x1, y1 = box_xyxy
    return picture_bchw[..., y0:y1, x0:x1]


def paste_(picture_bchw: Tensor, patch_bchw: Tensor, box_xyxy: Box, mask_b1hw: Tensor) -> None:
    """Blend the patch into the box, in place: `(1 - mask) * picture + mask * patch`. Where the mask is 0 the picture keeps its bits.

    Patch and mask have the box's height and width; the patch may have fewer channels than the picture, the rest (alpha) stays.
    Raises: PictureError, MaskError if the shapes do not fit, or the patch holds values that are not finite.
    """
    if picture_bchw.ndim != 4 or not picture_bchw.is_floating_point():
        raise PictureError(f"expected a float picture [B, C, H, W], got {picture_bchw.dtype} with shape {tuple(picture_bchw.shape)}")
    if patch_bchw.ndim != 4:
        raise PictureError(f"expected a patch [B, C, h, w], got shape {tuple(patch_bchw.shape)}")
    target = crop(picture_bchw, box_xyxy)[:, : patch_bchw.shape[1]]
    check_mask(mask_b1hw)
    if target.shape != patch_bchw.shape:
        raise PictureError(f"patch {tuple(patch_bchw.shape)} does not fit the box {box_xyxy} of the picture {tuple(picture_bchw.shape)}")
    if mask_b1hw.shape[-2:] != target.shape[-2:] or mask_b1hw.shape[0] not in (1, target.shape[0]):
        raise MaskError(f"mask {tuple(mask_b1hw.shape)} does not fit the box {box_xyxy}")
    if not all_finite(patch_bchw):
        raise PictureError("the redrawn picture holds values that are not numbers (the model overflowed); nothing was pasted")
    # (1 - m) * a + m * b, and not a + m * (b - a): where m is 0 the first is exactly a, and it is the reference's own order of rounding.
    blended = target * (1 - mask_b1hw)
    blended.addcmul_(patch_bchw, mask_b1hw.expand_as(patch_bchw))
    target.copy_(blended)


def resample_mask(mask_b1hw: Tensor, size_wh: tuple[int, int]) -> Tensor:
    """The mask at another size, bilinear without antialiasing (REFERENCE item 31). Raises: MaskError for a wrong shape or type, or an empty side."""
    check_mask(mask_b1hw)
    if min(*mask_b1hw.shape, *size_wh) < 1:
        raise MaskError(f"cannot resample a mask {tuple(mask_b1hw.shape)} to {size_wh[0]}x{size_wh[1]} pixels: a side is empty")
    if (mask_b1hw.shape[-1], mask_b1hw.shape[-2]) == tuple(size_wh):
        return mask_b1hw
    return torch.nn.functional.interpolate(mask_b1hw, size=(size_wh[1], size_wh[0]), mode="bilinear", align_corners=False)


def split_alpha(picture_bchw: Tensor) -> tuple[Tensor, Tensor | None]:
    """The colour channels and, of a picture with 4 channels, alpha; of one with 2 (grey and alpha) likewise."""
    channels = picture_bchw.shape[1]
    if channels in (2, 4):
        return picture_bchw[:, : channels - 1], picture_bchw[:, channels - 1 :]
    return picture_bchw, None


def as_rgb(picture_bchw: Tensor) -> Tensor:
    """Three channels: grey is repeated, alpha dropped. Raises: PictureError for other than 1 to 4 channels."""
    if picture_bchw.ndim != 4 or picture_bchw.shape[1] not in (1, 2, 3, 4):
        raise PictureError(f"expected a picture [B, C, H, W] with 1 to 4 channels, got {tuple(picture_bchw.shape)}")
    colour, _ = split_alpha(picture_bchw)
    return colour if colour.shape[1] == 3 else colour.expand(-1, 3, -1, -1)


def check_box(picture_bchw: Tensor, box_xyxy: Box) -> None:
    """Raises: PictureError if the box is empty or reaches out of the picture."""
    height, width = picture_bchw.shape[-2:]
    x0, y0, x1, y1 = box_xyxy
    if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
        raise PictureError(f"box {box_xyxy} does not lie in the picture of {width}x{height} pixels")


def check_mask(mask_b1hw: Tensor) -> None:
    """Raises: MaskError unless it is a float tensor `[B, 1, h, w]`."""
    if mask_b1hw.ndim != 4 or mask_b1hw.shape[1] != 1 or not mask_b1hw.is_floating_point():
        raise MaskError(f"expected a float mask [B, 1, h, w], got {mask_b1hw.dtype} with shape {tuple(mask_b1hw.shape)}")


def window_in_box(box_xyxy: Box, window_xyxy: Box) -> Box:
    """A window given in a box's own pixels, in the picture's pixels."""
    return shift(window_xyxy, box_xyxy[0], box_xyxy[1])


def box_hw(box_xyxy: Box) -> tuple[int, int]:
    """Height and width of a box, in the order tensors have them."""
    width, height = box_size_wh(box_xyxy)
    return height, width
