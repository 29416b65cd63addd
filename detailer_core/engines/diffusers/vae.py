"""Pictures to latents and back, one picture at a time: that is where memory is shortest, and a batch would hardly be faster."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..memory import is_out_of_memory
from ..vae_tiles import VaeTiles
from .model import Model
from .options import Tiling


class Vae:
    """A model's VAE. Latents are in the range that the denoiser knows: about 1 in standard deviation."""

    def __init__(self, model: Model, tiling: Tiling) -> None:
        self.model, self.tiling, self._tiles = model, tiling, VaeTiles()
        if tiling == "on":
            model.vae.enable_tiling()

    def encode(self, images_bchw: Tensor) -> Tensor:
        """The latents, float32, of pictures in 0..1; the most likely ones, without noise."""
        return torch.cat([self._run(self._encode, picture[None], self.model.latent_scale) for picture in images_bchw])

    def decode(self, latents_bchw: Tensor) -> Tensor:
        """The pictures of latents, float32 in 0..1."""
        return torch.cat([self._run(self._decode, latents[None], 1) for latents in latents_bchw])

    def _encode(self, image_bchw: Tensor) -> Tensor:
        vae, config = self.model.vae, self.model.vae.config
        encoded = vae.encode((image_bchw * 2 - 1).to(self.model.device, vae.dtype))
        latents = encoded.latent_dist.mode() if hasattr(encoded, "latent_dist") else encoded.latents
        return (latents.float() - _shift(config)) * config.scaling_factor

    def _decode(self, latents_bchw: Tensor) -> Tensor:
        vae, config = self.model.vae, self.model.vae.config
        picture = vae.decode((latents_bchw / config.scaling_factor + _shift(config)).to(vae.dtype), return_dict=False)[0]
        return ((picture.float() + 1) / 2).clamp(0, 1)

    def _run(self, work: Callable[[Tensor], Tensor], source_bchw: Tensor, latent_pixel: int) -> Tensor:
        """The whole at once; in tiles where that does not fit, unless the tiles are the library's own or not wanted."""
        if self.tiling != "auto":
            return work(source_bchw)
        return self._tiles.run(work, source_bchw, key=self.model.source, latent_pixel=latent_pixel, is_full=is_out_of_memory, free=free_memory)


def _shift(config: Any) -> float:
    return float(getattr(config, "shift_factor", None) or 0.0)


def free_memory() -> None:
    """Give back what a device keeps for later."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
