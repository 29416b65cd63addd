"""Noise of single rows, from seeds."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor


def row_noise(like_bchw: Tensor, seeds: Sequence[int], purpose: str) -> Tensor:
    """Normal noise of this shape, type and device, each row from its own seed; another purpose gives other noise of the same seed.

    Drawn on the CPU, so that it is the same on every device.
    """
    rows = []
    for seed in seeds:
        digest = hashlib.blake2b(f"{purpose}:{seed}".encode(), digest_size=4).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest, "little"))
        rows.append(torch.randn(1, *like_bchw.shape[1:], generator=generator))
    return torch.cat(rows).to(like_bchw)
