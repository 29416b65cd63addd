"""Noise masks at the latents' size, and the thresholds of differential diffusion, by hand."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from detailer_core.engines.latent_masks import differential_mask, differential_threshold, to_latent_size
from detailer_core.errors import MaskError

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"))]


def test_masks_of_different_sizes_meet_at_the_latents() -> None:
    """Bilinear without antialiasing: 0, 1 over two pixels is 0, 1/4, 3/4, 1 over four; no mask is 1 everywhere; the order stays."""
    ramp = torch.tensor([0.0, 1.0]).expand(1, 1, 5, 2)
    half = torch.full((1, 1, 40, 40), 0.5)
    got = to_latent_size((ramp, None, half), torch.zeros(3, 4, 3, 4))
    assert got.shape == (3, 1, 3, 4)
    assert torch.allclose(got[0, 0], torch.tensor([0, 0.25, 0.75, 1]).expand(3, 4))
    assert bool((got[1] == 1).all())
    assert bool((got[2] == 0.5).all())


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_masks_take_the_latents_type_and_device(dtype: torch.dtype, device: str) -> None:
    """Whatever type the masks have."""
    masks = (torch.ones(1, 1, 9, 9), torch.zeros(1, 1, 5, 7, dtype=torch.float16), None)
    got = to_latent_size(masks, torch.zeros(3, 4, 2, 2, dtype=dtype, device=device))
    assert got.dtype == dtype
    assert got.device.type == device
    assert got.flatten(1).tolist() == [[1] * 4, [0] * 4, [1] * 4]


@pytest.mark.parametrize("mask", [torch.zeros(5, 5), torch.zeros(1, 3, 5, 5)])
def test_wrong_masks_are_refused(mask: torch.Tensor) -> None:
    """A mask has one channel and four dimensions."""
    with pytest.raises(MaskError, match=r"expected a float mask \[B, 1, h, w\], got torch.float32"):
        to_latent_size((mask,), torch.zeros(1, 4, 2, 2))


@pytest.mark.parametrize(("t", "t_from", "t_to", "threshold"), [(999, 999, 0, 1.0), (0, 999, 0, 0.0), (400, 500, 100, 0.75), (100, 100, 100, 0.0),
                                                                (50, 40, 60, 0.0)])
def test_thresholds_by_hand(t: float, t_from: float, t_to: float, threshold: float) -> None:
    """From 1 at the first step to 0 at the last, in proportion; one step alone redraws all."""
    assert differential_threshold(t, t_from, t_to) == pytest.approx(threshold)


def test_differential_mask_by_hand() -> None:
    """At or above the threshold is redrawn, below is not; type and shape stay."""
    masks = torch.tensor([0.0, 0.25, 0.5, 1.0], dtype=torch.float16).reshape(1, 1, 2, 2)
    got = differential_mask(masks, 0.5)
    assert got.dtype == torch.float16
    assert got.tolist() == [[[[0, 0], [1, 1]]]]
    assert differential_mask(masks, 0.0).tolist() == [[[[1, 1], [1, 1]]]]


@settings(deadline=None)
@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=9), st.integers(2, 30))
def test_what_is_redrawn_only_grows(weights: list[float], steps: int) -> None:
    """From step to step a pixel never falls out again, a weight of 1 is redrawn from the first step, and by the last step all is."""
    masks = torch.tensor(weights).reshape(1, 1, 1, -1)
    kept = [differential_mask(masks, differential_threshold(float(t), float(steps - 1), 0.0)) for t in range(steps - 1, -1, -1)]
    assert all(bool((a <= b).all()) for a, b in pairwise(kept))
    assert torch.equal(kept[0], (masks >= 1).float())
    assert bool((kept[-1] == 1).all())
