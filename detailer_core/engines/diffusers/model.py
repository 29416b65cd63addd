"""A model that is loaded: its parts under one roof."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from .families import Family


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Model:
    """A model. pipe: its pipeline of diffusers, of which only the parts are driven. source: where it came from. dtype: of its arithmetic."""

    pipe: Any
    family: Family
    source: str
    dtype: torch.dtype

    @property
    def denoiser(self) -> Any:
        """What predicts: a UNet or a transformer."""
        return self.pipe.transformer if self.family.flow else self.pipe.unet

    @property
    def vae(self) -> Any:
        """What turns pictures into latents and back."""
        return self.pipe.vae

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.pipe._execution_device

    @property
    def scheduler_config(self) -> dict[str, Any]:
        """The settings of its own scheduler."""
        return dict(self.pipe.scheduler.config)

    @property
    def latent_channels(self) -> int:
        """Channels of its latents."""
        return int(self.vae.config.latent_channels)

    @property
    def latent_scale(self) -> int:
        """Pixels a side that one latent pixel stands for."""
        blocks = getattr(self.vae.config, "block_out_channels", None) or self.vae.config.decoder_block_out_channels
        return 2 ** (len(blocks) - 1)

    @property
    def size_multiple(self) -> int:
        """Sampling sizes are multiples of this, in pixels; never less than 8."""
        return max(8, self.latent_scale * self.family.patch)

    @property
    def side(self) -> int:
        """The side of the pictures that it was trained with, in pixels."""
        own = getattr(self.denoiser.config, "sample_size", None)
        return own * self.latent_scale if isinstance(own, int) else self.family.main.model_side

    @property
    def shows_mask(self) -> bool:
        """Whether it is an inpainting model, which is shown mask and masked picture beside the latents."""
        return not self.family.flow and int(self.denoiser.config.in_channels) == 2 * self.latent_channels + 1
