"""Models with a transformer: Stable Diffusion 3 and Flux."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .guidance import Moment
from .model import Model
from .text import Encoded


class Sd3Prediction:
    """Asks Stable Diffusion 3's transformer."""

    def __init__(self, model: Model) -> None:
        self.model = model

    def __call__(self, x: Tensor, moment: Moment, text: Encoded, twice: bool) -> Tensor:
        """See `Predict`."""
        dtype = self.model.dtype
        pooled = None if text.pooled is None else text.pooled.to(dtype)
        out = self.model.denoiser(hidden_states=x.to(dtype), timestep=moment.time.to(x.device).expand(len(x)),
                                  encoder_hidden_states=text.tokens.to(dtype), pooled_projections=pooled, return_dict=False)
        return out[0].float()


class FluxPrediction:
    """Asks Flux's transformer, which sees latents as a row of 2x2 patches."""

    def __init__(self, model: Model, distilled_guidance: float) -> None:
        self.model, self.distilled_guidance = model, distilled_guidance

    def __call__(self, x: Tensor, moment: Moment, text: Encoded, twice: bool) -> Tensor:
        """See `Predict`."""
        transformer, dtype = self.model.denoiser, self.model.dtype
        height, width = x.shape[-2:]
        pooled = None if text.pooled is None else text.pooled.to(dtype)
        guidance: dict[str, Any] = {}
        if transformer.config.guidance_embeds:
            guidance["guidance"] = torch.full((len(x),), self.distilled_guidance, device=x.device, dtype=torch.float32)
        out = transformer(hidden_states=pack(x).to(dtype), timestep=(moment.time / 1000).to(x.device, dtype).expand(len(x)),
                          encoder_hidden_states=text.tokens.to(dtype), pooled_projections=pooled,
                          txt_ids=torch.zeros(text.tokens.shape[1], 3, device=x.device, dtype=dtype),
                          img_ids=places(height // 2, width // 2).to(x.device, dtype), return_dict=False, **guidance)
        return unpack(out[0].float(), height, width)


def pack(x: Tensor) -> Tensor:
    """Latents `[N, C, h, w]` as `[N, h/2 * w/2, 4 C]`: one row for each 2x2 patch."""
    count, channels, height, width = x.shape
    patches = x.reshape(count, channels, height // 2, 2, width // 2, 2).permute(0, 2, 4, 1, 3, 5)
    return patches.reshape(count, height // 2 * (width // 2), channels * 4)


def unpack(rows: Tensor, height: int, width: int) -> Tensor:
    """Latents `[N, C, height, width]` from what `pack` gave."""
    count, _, wide = rows.shape
    patches = rows.reshape(count, height // 2, width // 2, wide // 4, 2, 2).permute(0, 3, 1, 4, 2, 5)
    return patches.reshape(count, wide // 4, height, width)


def places(height: int, width: int) -> Tensor:
    """Where each patch lies: float `[height * width, 3]`, the row in the second column, the column in the third."""
    ids = torch.zeros(height, width, 3)
    ids[..., 1] = torch.arange(height)[:, None]
    ids[..., 2] = torch.arange(width)[None, :]
    return ids.reshape(-1, 3)
