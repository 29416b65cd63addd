"""What lies under a mask, replaced by its surroundings."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .errors import MaskError
from .image_ops import check_mask


def fill_masked(picture_bchw: Tensor, mask_b1hw: Tensor) -> Tensor:
    """The picture with the colours around the mask (float 0..1, 1 = hide) spread into it, the smoother the farther from its edge.

    Where the mask is 0 the picture keeps its bits; where it is 1 nothing of what was there is left. If it is 1 everywhere, the picture's mean is
    taken. Source of the method: push-pull interpolation (Gortler et al. 1996, "The Lumigraph", section 3.4).
    Raises: MaskError for a mask of another size than the picture.
    """
    check_mask(mask_b1hw)
    if mask_b1hw.shape[-2:] != picture_bchw.shape[-2:]:
        raise MaskError(f"mask {tuple(mask_b1hw.shape)} does not fit the picture {tuple(picture_bchw.shape)}; give it the same height and width")
    seen = 1 - mask_b1hw
    filled = _spread(picture_bchw * seen, seen, picture_bchw.mean((2, 3), keepdim=True))
    return torch.where(mask_b1hw > 0, picture_bchw * seen + filled * mask_b1hw, picture_bchw)


def _spread(colours: Tensor, seen: Tensor, nothing_seen: Tensor) -> Tensor:
    """A colour for every pixel, of those that are seen. colours: weighted by `seen`, 0..1. nothing_seen: the colour if no pixel is."""
    if colours.shape[-1] == 1 and colours.shape[-2] == 1:
        return torch.where(seen > 0, colours / seen.clamp(min=torch.finfo(seen.dtype).tiny), nothing_seen)
    # Halved, it reaches twice as far; what is seen there already is not covered by what comes from farther away.
    half_colours, half_seen = F.avg_pool2d(colours, 2, ceil_mode=True), F.avg_pool2d(seen, 2, ceil_mode=True)
    coarse = _spread(half_colours, half_seen, nothing_seen)
    coarse = F.interpolate(coarse, size=colours.shape[-2:], mode="bilinear", align_corners=False)
    return colours + coarse * (1 - seen)
