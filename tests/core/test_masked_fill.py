"""Surroundings spread into a hole."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from detailer_core.errors import MaskError
from detailer_core.masked_fill import fill_masked


def random(channels: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
    """Values 0..1."""
    return torch.rand(1, channels, height, width, generator=torch.Generator().manual_seed(seed))


def hole(height: int, width: int) -> torch.Tensor:
    """A mask with its middle half hidden."""
    mask = torch.zeros(1, 1, height, width)
    mask[..., height // 4 : height - height // 4, width // 4 : width - width // 4] = 1
    return mask


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 99))
def test_what_is_seen_keeps_its_bits_and_nothing_is_new(height: int, width: int, seed: int) -> None:
    """Any size: outside of the mask no bit changes, and inside no colour is beyond those outside."""
    picture, mask = random(3, height, width, seed), (random(1, height, width, seed + 1) > 0.4).float()
    filled = fill_masked(picture, mask)
    seen = (mask == 0).expand_as(picture)
    assert torch.equal(filled[seen], picture[seen])
    if bool(seen.any()):
        for channel in range(3):
            known, made = picture[0, channel][mask[0, 0] == 0], filled[0, channel]
            assert float(known.min()) - 1e-5 <= float(made.min()) and float(made.max()) <= float(known.max()) + 1e-5


def test_what_was_there_is_gone() -> None:
    """The fill does not depend on what the mask hides; half a mask leaves half of it."""
    picture, mask = random(3, 33, 50), hole(33, 50)
    other = torch.where(mask > 0, torch.ones(()), picture)
    assert torch.equal(fill_masked(picture, mask), fill_masked(other, mask))
    half = fill_masked(torch.where(mask > 0, 1.0, 0.0).expand(1, 3, -1, -1), mask * 0.5)
    assert 0.5 <= float(half[0, 0, 16, 25]) < 1


def test_the_near_side_counts_more() -> None:
    """Between black on the left and white on the right the hole goes from dark to light, without a step."""
    picture = torch.zeros(1, 1, 32, 64)
    picture[..., 32:] = 1
    row = fill_masked(picture, hole(32, 64))[0, 0, 16]
    assert float(row[17]) < 0.2 < 0.8 < float(row[46]) and float((row[17:47] - row[16:46]).abs().max()) < 0.2


def test_nothing_is_seen() -> None:
    """Under a mask without a hole all becomes the picture's mean."""
    picture = random(3, 20, 30)
    filled = fill_masked(picture, torch.ones(1, 1, 20, 30))
    assert torch.allclose(filled, picture.mean((2, 3), keepdim=True).expand_as(picture), atol=1e-6)


def test_each_picture_has_its_own_mask() -> None:
    """A batch is as one by one."""
    pictures, masks = torch.cat([random(3, 24, 24, 1), random(3, 24, 24, 2)]), torch.cat([hole(24, 24), torch.zeros(1, 1, 24, 24)])
    both = fill_masked(pictures, masks)
    assert torch.equal(both[:1], fill_masked(pictures[:1], masks[:1])) and torch.equal(both[1:], pictures[1:])


@pytest.mark.parametrize("mask", [torch.zeros(1, 1, 8, 9), torch.zeros(8, 8), torch.zeros(1, 1, 8, 8, dtype=torch.int64)])
def test_a_mask_that_does_not_fit(mask: torch.Tensor) -> None:
    """Another size, shape or type is refused."""
    with pytest.raises(MaskError, match="mask"):
        fill_masked(random(3, 8, 8), mask)
