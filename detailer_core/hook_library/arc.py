"""Mixing noise along an arc, so that it stays as strong as noise is."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

_SAME_DIRECTION = 0.9995  # above this cosine two noises differ too little for an arc, and the chord is as good


def slerp(one: Tensor, other: Tensor, strength: float) -> Tensor:
    """The vector at `strength` (0..1) of the arc between two float tensors of one shape, taken as vectors; its length goes along linearly.

    0 and 1 give back exactly what was given. Source: Shoemake 1985, "Animating rotation with quaternion curves".
    """
    if strength in (0, 1):
        return other if strength else one
    lengths = float(one.norm()), float(other.norm())
    cosine = float((one * other).sum()) / (lengths[0] * lengths[1]) if all(lengths) else 1.0
    if abs(cosine) > _SAME_DIRECTION:
        return torch.lerp(one, other, strength)
    angle = math.acos(cosine)
    shares = [math.sin(part * angle) / math.sin(angle) for part in (1 - strength, strength)]
    length = lengths[0] + (lengths[1] - lengths[0]) * strength
    return one * (shares[0] * length / lengths[0]) + other * (shares[1] * length / lengths[1])


def by_row(act: Callable[[Tensor, Tensor], Tensor], one_bchw: Tensor, other_bchw: Tensor) -> Tensor:
    """Row by row in float32, so that a row does not depend on its neighbours by as much as rounding."""
    pairs = zip(one_bchw.float(), other_bchw.float(), strict=True)
    return torch.stack([act(one, other) for one, other in pairs]).to(one_bchw)
