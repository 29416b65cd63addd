"""A VAE in tiles: only where it must, remembered, and without seams."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from detailer_core.engines.vae_tiles import VaeTiles, apply_in_tiles, spans
from detailer_core.errors import EngineMemoryError


def decode(latents_bchw: Tensor) -> Tensor:
    """A decoder that looks at each pixel alone."""
    return functional.interpolate(latents_bchw[:, :3], scale_factor=8, mode="nearest")


def limited(limit: int, sizes: list[int], work: Callable[[Tensor], Tensor] = decode) -> Callable[[Tensor], Tensor]:
    """The decoder on a device with room for so many latent pixels."""

    def run(latents_bchw: Tensor) -> Tensor:
        sizes.append(latents_bchw.shape[-1] * latents_bchw.shape[-2])
        if sizes[-1] > limit:
            raise MemoryError("full")
        return work(latents_bchw)

    return run


def is_full(error: Exception) -> bool:
    """As an engine tells it."""
    return isinstance(error, MemoryError)


@given(length=st.integers(1, 300), tile=st.integers(2, 64), data=st.data())
def test_spans_cover_a_side(length: int, tile: int, data: st.DataObject) -> None:
    """Every pixel lies in a tile, neighbours overlap as asked, and no tile reaches out."""
    overlap = data.draw(st.integers(0, tile - 1))
    found = spans(length, tile, overlap)
    assert found[0][0] == 0 and found[-1][1] == length and all(end - start == min(tile, length) for start, end in found)
    assert all(here[1] - there[0] >= overlap for here, there in pairwise(found))


@given(height=st.integers(20, 70), width=st.integers(20, 70))
def test_tiles_of_a_local_work_show_no_seam(height: int, width: int) -> None:
    """What looks at each pixel alone gives the same whole and in tiles, enlarged or shrunk."""
    latents = torch.rand(1, 4, height, width, generator=torch.Generator().manual_seed(height * 100 + width))
    assert torch.allclose(apply_in_tiles(decode, latents, tile=24, overlap=6), decode(latents), atol=1e-6)
    picture = decode(latents)
    shrunk = apply_in_tiles(lambda x: functional.avg_pool2d(x, 8), picture, tile=24 * 8, overlap=6 * 8)
    assert torch.allclose(shrunk, functional.avg_pool2d(picture, 8), atol=1e-6)


def test_ramps_hide_a_difference_of_tiles() -> None:
    """Two tiles of unequal brightness meet without a step larger than a ramp's."""
    calls = iter(range(2))
    made = apply_in_tiles(lambda x: x + next(calls), torch.zeros(1, 1, 8, 40), tile=24, overlap=8)
    steps = made[0, 0, 0].diff()
    assert steps.min() >= 0 and steps.max() < 0.2 and made[0, 0, 0, 0] == 0 and made[0, 0, 0, -1] == 1


def test_whole_as_long_as_it_fits() -> None:
    """Without a lack of memory there is one call, and the result is its own."""
    sizes: list[int] = []
    latents = torch.rand(1, 4, 80, 80)
    made = VaeTiles().run(limited(6400, sizes), latents, key="m", latent_pixel=1, is_full=is_full)
    assert torch.equal(made, decode(latents)) and sizes == [6400]


def test_smaller_tiles_until_they_fit_and_remembered() -> None:
    """Whole, tiles of 64, then tiles of 32; the next picture of this model and size begins with those, another size does not."""
    tiles, sizes, freed = VaeTiles(), [], []
    latents = torch.rand(1, 4, 80, 72)
    for _ in range(2):
        sizes.clear()
        made = tiles.run(limited(1024, sizes), latents, key="m", latent_pixel=1, is_full=is_full, free=lambda: freed.append(1))
        assert torch.allclose(made, decode(latents), atol=1e-6)
    assert set(sizes) == {1024} and len(freed) == 2
    sizes.clear()
    tiles.run(limited(10**6, sizes), latents[..., :70], key="m", latent_pixel=1, is_full=is_full)
    assert sizes == [80 * 70]


def test_what_never_fits() -> None:
    """Where the smallest tiles do not fit, the error says what to do."""
    with pytest.raises(EngineMemoryError, match="lower max_size"):
        VaeTiles().run(limited(100, []), torch.rand(1, 4, 80, 80), key="m", latent_pixel=1, is_full=is_full)


def test_other_errors_pass() -> None:
    """An error that has nothing to do with memory is not hidden, nor tried again."""
    sizes: list[int] = []

    def fails(_: Tensor) -> Tensor:
        sizes.append(1)
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        VaeTiles().run(fails, torch.rand(1, 4, 80, 80), key="m", latent_pixel=1, is_full=is_full)
    assert sizes == [1]
