"""Engine `filter`: sharpens without a model, to try the pipeline. It is a preview, not a diffusion model."""

from __future__ import annotations

from collections.abc import Hashable

import cv2
import numpy as np
import torch
from torch import Tensor

from ..image_ops import resample_mask
from ..plan import SegmentPlan
from ..sampling import Sampling
from .base import Capabilities, Control, Redrawn, WaveRequest

_STRENGTH = 2.5  # how much stronger detail is at denoise 1
_EDGE = 0.1  # colour steps above this (of 1) are edges and are kept as they are


class FilterEngine:
    """Preview of the pipeline: makes fine detail of the enlarged crop stronger and leaves edges alone. No diffusion model.

    Prompt, seed, steps, cfg, sampler and cycles mean nothing to it; `denoise` is its strength.
    """

    name = "filter"
    capabilities = Capabilities(diffusion=False, differential=False, latents=False, cycles=False)
    memory_key = "filter"
    size_multiple = 8

    def wave_limit(self, sampling: Sampling) -> int:
        """Any number: nothing is shared between pictures."""
        return 64

    def wave_key(self, item: SegmentPlan) -> Hashable:
        """All may meet."""
        return None

    def redraw(self, request: WaveRequest, control: Control) -> Redrawn:
        """The crops with stronger detail; where there is a noise mask, only inside it."""
        drawn: list[Tensor] = []
        for image, mask in zip(request.images_bchw, request.noise_masks, strict=True):
            if control.stopped():
                return Redrawn(images_bchw=request.images_bchw, finished=False)
            drawn.append(self._enhance(image, mask, request.sampling.denoise))
        return Redrawn(images_bchw=request.hook.after_decode(torch.stack(drawn)))

    def _enhance(self, image_chw: Tensor, mask: Tensor | None, denoise: float) -> Tensor:
        pixels = np.ascontiguousarray(image_chw.permute(1, 2, 0).float().cpu().numpy())
        # The bilateral filter keeps edges (Tomasi & Manduchi 1998): what it removes is detail and not halo.
        base = cv2.bilateralFilter(pixels, d=9, sigmaColor=_EDGE, sigmaSpace=4.0)
        enhanced = torch.from_numpy(pixels + _STRENGTH * denoise * (pixels - base)).permute(2, 0, 1).to(image_chw).clamp(0, 1)
        if mask is None:
            return enhanced
        weight = resample_mask(mask.to(image_chw), (image_chw.shape[-1], image_chw.shape[-2]))[0]
        return torch.lerp(image_chw, enhanced, weight)
