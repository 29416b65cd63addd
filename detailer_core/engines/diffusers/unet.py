"""Models with a UNet: Stable Diffusion 1, 2, XL and XL's refiner, with ControlNets and as inpainting models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .guidance import Moment
from .model import Model
from .text import Encoded

_SCORES = (2.5, 6.0)  # aesthetic scores that XL's refiner is told: of what is not wanted, and of what is


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ControlInput:
    """A ControlNet for a pass. images_bchw: `[N, 3, h, w]` on the model's device. weight, start, end: see `SegmentControl`."""

    net: Any
    images_bchw: Tensor
    weight: float
    start: float
    end: float

    def active(self, moment: Moment) -> bool:
        """Whether this step lies in its share."""
        return moment.step / moment.steps >= self.start and (moment.step + 1) / moment.steps <= self.end


class UNetPrediction:
    """Asks the UNet. shown_bchw: what an inpainting model sees beside the latents, `[N, 5, h/8, w/8]`."""

    def __init__(self, model: Model, size_wh: tuple[int, int], control: ControlInput | None = None, shown_bchw: Tensor | None = None) -> None:
        self.model, self.size_wh, self.control, self.shown = model, size_wh, control, shown_bchw

    def __call__(self, x: Tensor, moment: Moment, text: Encoded, twice: bool) -> Tensor:
        """See `Predict`."""
        unet, dtype = self.model.denoiser, self.model.dtype
        latents = x.to(dtype)
        tokens, time = text.tokens.to(dtype), moment.time.to(x.device)
        added = self._added(text, twice)
        extra = self._control(latents, time, moment, tokens, added, twice)
        if self.shown is not None:
            latents = torch.cat([latents, self._rows(self.shown.to(dtype), twice)], 1)
        out = unet(latents, time, encoder_hidden_states=tokens, added_cond_kwargs=added, return_dict=False, **extra)
        return out[0].float()

    def _rows(self, tensor: Tensor, twice: bool) -> Tensor:
        return torch.cat([tensor, tensor]) if twice else tensor

    def _control(self, latents: Tensor, time: Tensor, moment: Moment, tokens: Tensor, added: Any, twice: bool) -> dict[str, Any]:
        control = self.control
        if control is None or not control.active(moment):
            return {}
        pictures = self._rows(control.images_bchw.to(latents.dtype), twice)
        down, middle = control.net(latents, time, encoder_hidden_states=tokens, controlnet_cond=pictures, conditioning_scale=control.weight,
                                   added_cond_kwargs=added, return_dict=False)
        return {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}

    def _added(self, text: Encoded, twice: bool) -> dict[str, Tensor] | None:
        """What XL is told beside the text: the text as a whole, and sizes (and for its refiner a score)."""
        if text.pooled is None:
            return None
        width, height = self.size_wh
        rows = len(text.tokens)
        sizes = [height, width, 0.0, 0.0]
        if self.model.family.name == "xl-refiner":
            scores = [_SCORES[0]] * (rows // 2) + [_SCORES[1]] * (rows // 2) if twice else [_SCORES[1]] * rows
            ids = [[*sizes, score] for score in scores]
        else:
            ids = [[*sizes, height, width]] * rows
        device, dtype = text.tokens.device, self.model.dtype
        return {"text_embeds": text.pooled.to(dtype), "time_ids": torch.tensor(ids, device=device, dtype=dtype)}
