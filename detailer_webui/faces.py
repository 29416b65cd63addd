"""The host's face restoration."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from modules import shared
from torch import Tensor


def face_restorer() -> Any:
    """The face restoration that is chosen in the host's settings; None if there is none."""
    chosen = getattr(shared.opts, "face_restoration_model", None)
    return next((restorer for restorer in shared.face_restorers if chosen is None or restorer.name() == chosen), None)


def restore_faces(image_chw: Tensor) -> Tensor:
    """The picture (float 0..1 `[3, H, W]`) after the host's face restoration, which works in 8 bit; as it is if there is none."""
    restorer = face_restorer()
    if restorer is None:
        return image_chw
    pixels = (image_chw.permute(1, 2, 0).float().cpu().numpy() * 255).round().clip(0, 255).astype(np.uint8)
    restored = np.ascontiguousarray(restorer.restore(pixels))
    return torch.from_numpy(restored).permute(2, 0, 1).to(image_chw) / 255
