"""Pictures to latents and back, one picture at a time: that is where memory is shortest, and a batch would hardly be faster."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..memory import is_out_of_memory
from .model import Model
from .options import Tiling

logger = logging.getLogger(__name__)


class Vae:
    """A model's VAE. Latents are in the range that the denoiser knows: about 1 in standard deviation."""

    def __init__(self, model: Model, tiling: Tiling) -> None:
        self.model, self.tiling = model, tiling
        if tiling == "on":
            self.model.vae.enable_tiling()

    def encode(self, images_bchw: Tensor) -> Tensor:
        """The latents, float32, of pictures in 0..1; the most likely ones, without noise."""
        rows = [self._trying(lambda picture=picture: self._encode(picture[None])) for picture in images_bchw]
        return torch.cat(rows)

    def decode(self, latents_bchw: Tensor) -> Tensor:
        """The pictures of latents, float32 in 0..1."""
        rows = [self._trying(lambda latents=latents: self._decode(latents[None])) for latents in latents_bchw]
        return torch.cat(rows)

    def _encode(self, image_bchw: Tensor) -> Tensor:
        vae, config = self.model.vae, self.model.vae.config
        encoded = vae.encode((image_bchw * 2 - 1).to(self.model.device, vae.dtype))
        latents = encoded.latent_dist.mode() if hasattr(encoded, "latent_dist") else encoded.latents
        return (latents.float() - _shift(config)) * config.scaling_factor

    def _decode(self, latents_bchw: Tensor) -> Tensor:
        vae, config = self.model.vae, self.model.vae.config
        picture = vae.decode((latents_bchw / config.scaling_factor + _shift(config)).to(vae.dtype), return_dict=False)[0]
        return ((picture.float() + 1) / 2).clamp(0, 1)

    def _trying(self, work: Callable[[], Tensor]) -> Tensor:
        """The work's result; in tiles if the memory was full the first time."""
        try:
            return work()
        except Exception as error:
            if self.tiling != "auto" or not is_out_of_memory(error):
                raise
            logger.info("the VAE does not fit into memory; from now on it works in tiles")
        # Not from the handler: the error holds the tensors that did not fit.
        free_memory()
        self.tiling = "on"
        self.model.vae.enable_tiling()
        return work()


def _shift(config: Any) -> float:
    return float(getattr(config, "shift_factor", None) or 0.0)


def free_memory() -> None:
    """Give back what a device keeps for later."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
