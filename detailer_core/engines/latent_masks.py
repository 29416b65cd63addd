"""Noise masks in latent space: size, and the thresholds of differential diffusion."""

from __future__ import annotations

import torch
from torch import Tensor

from ..image_ops import resample_mask


def to_latent_size(masks: tuple[Tensor | None, ...], latents_bchw: Tensor) -> Tensor:
    """The masks `[1, 1, h, w]` of a wave as one tensor `[N, 1, h/8, w/8]`, on the latents' device and of their type (REFERENCE item 31).

    No mask means 1 everywhere.
    """
    height, width = latents_bchw.shape[-2:]
    whole = torch.ones(1, 1, height, width)
    resized = [whole if mask is None else resample_mask(mask.float(), (width, height)).to("cpu") for mask in masks]
    return torch.cat(resized).to(latents_bchw)


def differential_threshold(t: float, t_from: float, t_to: float) -> float:
    """How soft a mask still has to be redrawn at this timestep: 1 at the first step, falling to 0 at the last.

    t: the model's timestep (its training step, high = noisy) that belongs to the noise level. t_from: of the first step that is done;
    t_to: of the last noise level, or of the smallest that the model knows. Source: REFERENCE item 32.
    """
    return (t - t_to) / (t_from - t_to) if t_from > t_to else 0.0


def differential_mask(masks_b1hw: Tensor, threshold: float) -> Tensor:
    """1 where the mask is at least the threshold, else 0: what is redrawn in this step (Levin & Fried 2023, "Differential Diffusion")."""
    return (masks_b1hw >= threshold).to(masks_b1hw)
