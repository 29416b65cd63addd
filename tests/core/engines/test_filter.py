"""The engine without a model: its formula, its mask, and that nothing else means anything to it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from detailer_core.engines.base import Control, WaveRequest
from detailer_core.engines.filter import FilterEngine
from detailer_core.hooks import DetailerHook
from detailer_core.image_ops import resample_mask
from detailer_core.plan import SegmentPlan
from detailer_core.sampling import Sampling


def request(images: Tensor, masks: tuple[Tensor | None, ...] | None = None, hook: DetailerHook | None = None, **sampling: object) -> WaveRequest:
    """A wave of these pictures."""
    count = len(images)
    return WaveRequest(images_bchw=images, noise_masks=masks or (None,) * count, prompts=("p",) * count, negative_prompts=("",) * count,
                       seeds=tuple(range(count)), subseeds=(0,) * count, sampling=Sampling(**sampling), hook=hook or DetailerHook())  # type: ignore[arg-type]


def noise(count: int = 1, height: int = 24, width: int = 32) -> Tensor:
    """Faint detail around grey, that the filter takes for detail and not for edges."""
    return 0.5 + 0.05 * (torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(4)) - 0.5)


def redraw(given: WaveRequest) -> Tensor:
    """The redrawn pictures."""
    redrawn = FilterEngine().redraw(given, Control())
    assert redrawn.finished
    return redrawn.images_bchw


def bilateral_at(image: np.ndarray, y: int, x: int) -> np.ndarray:
    """The bilateral filter's formula at one pixel: a disc of radius 4, Gaussians of 4 px in place and of 0.1 in summed colour difference."""
    total, weights = np.zeros(3), 0.0
    for dy in range(-4, 5):
        for dx in range(-4, 5):
            if dy * dy + dx * dx > 16:
                continue
            value = image[y + dy, x + dx]
            far = np.abs(value - image[y, x]).sum()
            weight = math.exp(-(dy * dy + dx * dx) / (2 * 4.0**2)) * math.exp(-far * far / (2 * 0.1**2))
            total, weights = total + weight * value, weights + weight
    return total / weights


def test_detail_is_made_stronger_as_the_formula_says() -> None:
    """picture + 2.5 * denoise * (picture - bilateral(picture)), at inner pixels worked out from the definition."""
    images = noise()
    pixels = images[0].permute(1, 2, 0).double().numpy()
    got = redraw(request(images, denoise=0.4))[0].permute(1, 2, 0).numpy()
    for y, x in ((10, 10), (5, 20), (18, 7)):
        wanted = pixels[y, x] + 2.5 * 0.4 * (pixels[y, x] - bilateral_at(pixels, y, x))
        assert got[y, x] == pytest.approx(wanted, abs=2e-4)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_wave_is_what_each_is_alone(count: int) -> None:
    """Batches mix nothing, the input stays, and a repeat is the same."""
    images = noise(count)
    before = images.clone()
    together = redraw(request(images))
    assert together.shape == images.shape
    assert torch.equal(images, before)
    assert torch.equal(together, torch.cat([redraw(request(image[None])) for image in images]))
    assert torch.equal(together, redraw(request(images)))


def test_what_has_no_detail_stays() -> None:
    """An even picture, and any picture at denoise 0, come back as they were; at 1 more changes than at a half."""
    even = torch.full((1, 3, 16, 16), 0.3)
    assert torch.allclose(redraw(request(even, denoise=1.0)), even, atol=1e-6)
    images = noise()
    assert torch.equal(redraw(request(images, denoise=0.0)), images)
    half, whole = ((redraw(request(images, denoise=d)) - images).abs().mean() for d in (0.5, 1.0))
    assert float(whole) == pytest.approx(2 * float(half), rel=1e-3)


def test_hard_edges_stay_and_values_keep_their_range() -> None:
    """A step of half the range is an edge: no halo; the result lies in 0..1."""
    edge = torch.zeros(1, 3, 24, 24)
    edge[..., 12:] = 1
    assert torch.allclose(redraw(request(edge, denoise=1.0)), edge, atol=1e-5)
    wild = torch.rand(1, 3, 24, 24, generator=torch.Generator().manual_seed(1))
    result = redraw(request(wild, denoise=1.0))
    assert float(result.min()) >= 0
    assert float(result.max()) <= 1


def test_the_noise_mask_blends() -> None:
    """Each picture has its own mask, at whatever size; 0 keeps every bit, a half gives the mean, no mask is all."""
    images = noise(3)
    mask = torch.zeros(1, 1, 12, 16)
    mask[..., 8:] = 1
    full = redraw(request(images))
    got = redraw(request(images, (mask, torch.full((1, 1, 5, 5), 0.5), None)))
    weight = resample_mask(mask, (32, 24))
    assert torch.equal(got[0][:, weight[0, 0] == 0], images[0][:, weight[0, 0] == 0])
    assert torch.allclose(got[0], torch.lerp(images[0], full[0], weight[0]), atol=1e-6)
    assert torch.allclose(got[1], (images[1] + full[1]) / 2, atol=1e-6)
    assert torch.equal(got[2], full[2])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_pictures_of_every_type(dtype: torch.dtype) -> None:
    """Worked on in float32, given back in the picture's type."""
    result = redraw(request(noise().to(dtype), (torch.ones(1, 1, 4, 4),)))
    assert result.dtype == dtype
    # What a coarse type rounds away is detail too, and is made stronger.
    assert float((result.double() - redraw(request(noise())).double()).abs().max()) <= {torch.float64: 1e-6, torch.float16: 2e-3}.get(dtype, 2e-2)


@pytest.mark.parametrize("size", [(1, 1), (3, 40), (8, 8)])
def test_small_pictures_work(size: tuple[int, int]) -> None:
    """Smaller than the filter's disc is no error."""
    assert redraw(request(noise(1, *size))).shape == (1, 3, *size)


def test_a_stop_leaves_the_wave_as_it_was() -> None:
    """Asked before each picture; what was begun is not given out."""
    asked: list[int] = []

    def stopped() -> bool:
        asked.append(1)
        return len(asked) > 1

    images = noise(3)
    redrawn = FilterEngine().redraw(request(images), Control(stopped=stopped))
    assert not redrawn.finished
    assert redrawn.images_bchw is images
    assert len(asked) == 2


def test_the_hook_sees_the_result() -> None:
    """`after_decode` is the one point that this engine passes."""
    class Black(DetailerHook):
        def after_decode(self, images_bchw: Tensor) -> Tensor:
            return images_bchw * 0

        def noise(self, *_: object) -> Tensor:  # type: ignore[override]
            raise AssertionError("there is no noise here")

    assert not bool(redraw(request(noise(), hook=Black())).any())


def test_it_says_what_it_is() -> None:
    """No diffusion, no latents, no cycles; any number of segments may meet."""
    engine = FilterEngine()
    assert (engine.capabilities.diffusion, engine.capabilities.latents, engine.capabilities.cycles) == (False, False, False)
    assert (engine.name, engine.size_multiple) == ("filter", 8)
    assert engine.wave_limit(Sampling()) > 1
    assert engine.wave_key(object.__new__(SegmentPlan)) == engine.wave_key(object.__new__(SegmentPlan))
