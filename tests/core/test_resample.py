"""Resampling: against the formula written out, against Pillow in float and in 8 bit, and by hand."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from detailer_core.errors import PictureError
from detailer_core.geometry import Box
from detailer_core.resample import bilinear, lanczos, lanczos_bands, pillow_8bit, resample, truncate_to_uint8

steady = settings(deadline=None, max_examples=40)
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"))]
DTYPES = {torch.float64: 2e-6, torch.float32: 2e-6, torch.float16: 6e-3, torch.bfloat16: 5e-2}
"""Types of pictures, and how far from the exact value each may be."""
SIZES = [(40, 30), (13, 30), (40, 11), (7, 5), (20, 60), (64, 64), (1, 1), (21, 17)]


def picture(batch: int = 1, channels: int = 3, height: int = 17, width: int = 21, seed: int = 0) -> Tensor:
    """Values k/255, as pictures have them."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (batch, channels, height, width), generator=generator).float() / 255


def weights_by_hand(old: int, new: int) -> np.ndarray:
    """The matrix `[new, old]` of Lanczos with three lobes in float64, from its definition: sinc(x) sinc(x/3), widened by the reduction."""
    matrix = np.zeros((new, old))
    scale = old / new
    stretch = max(scale, 1.0)
    for i in range(new):
        centre = (i + 0.5) * scale
        for j in range(old):
            x = (j + 0.5 - centre) / stretch
            if abs(x) < 3:
                matrix[i, j] = 1.0 if x == 0 else 3 * math.sin(math.pi * x) * math.sin(math.pi * x / 3) / (math.pi * x) ** 2
        matrix[i] /= matrix[i].sum()
    return matrix


def exact(values: Tensor, size_wh: tuple[int, int]) -> Tensor:
    """The picture resampled with the matrices by hand, in float64."""
    rows, columns = (torch.from_numpy(weights_by_hand(old, new)) for old, new in
                     ((values.shape[-2], size_wh[1]), (values.shape[-1], size_wh[0])))
    return rows @ values.double() @ columns.T


@pytest.mark.parametrize("size", SIZES)
def test_lanczos_is_the_formula(size: tuple[int, int]) -> None:
    """Enlarged, shrunk, one axis each way: all as the matrices written out."""
    given_picture = picture()
    assert torch.allclose(lanczos(given_picture, size).double(), exact(given_picture, size), atol=2e-6)


@pytest.mark.parametrize("size", SIZES)
def test_lanczos_is_pillows_in_float(size: tuple[int, int]) -> None:
    """Pillow's own Lanczos of a float picture, which is not truncated to 8 bit, gives the same."""
    given_picture = picture(1, 1)
    wanted = np.asarray(Image.fromarray(given_picture[0, 0].numpy()).resize(size, Image.Resampling.LANCZOS))
    assert np.abs(lanczos(given_picture, size)[0, 0].numpy() - wanted).max() <= 3e-6


def test_two_pixels_by_hand() -> None:
    """0, 1 at four times the size: each value is one weight over the sum of both, symmetric about 1/2."""
    def lobe(x: float) -> float:
        return 3 * math.sin(math.pi * x) * math.sin(math.pi * x / 3) / (math.pi * x) ** 2

    centres = [(i + 0.5) / 4 for i in range(8)]
    wanted = [lobe(1.5 - c) / (lobe(0.5 - c) + lobe(1.5 - c)) for c in centres]
    got = lanczos(torch.tensor([[[[0.0, 1.0]]]]), (8, 1))[0, 0, 0]
    assert got.tolist() == pytest.approx(wanted, abs=1e-6)
    assert [a + b for a, b in zip(wanted, reversed(wanted), strict=True)] == pytest.approx([1.0] * 8)


@steady
@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 64))
def test_bands_are_the_matrix(old: int, new: int, block: int) -> None:
    """Put together, the blocks of rows are the whole matrix; every row sums to 1."""
    matrix = np.zeros((new, old))
    first = 0
    for low, high, weights in lanczos_bands(old, new, 0, new, block):
        assert weights.shape[0] <= block
        matrix[first : first + weights.shape[0], low:high] = weights
        first += weights.shape[0]
    assert first == new
    assert np.abs(matrix - weights_by_hand(old, new)).max() <= 1e-6
    assert np.abs(matrix.sum(1) - 1).max() <= 1e-5


@steady
@given(st.tuples(st.integers(1, 40), st.integers(1, 40)), st.tuples(st.integers(1, 150), st.integers(1, 150)), st.randoms(use_true_random=False),
       st.sampled_from(["lanczos", "pillow-8bit"]))
def test_a_window_is_that_part_of_the_whole(old: tuple[int, int], new: tuple[int, int], rng: random.Random, resampler: str) -> None:
    """Resampling a window only gives what cutting it out of the whole gives."""
    given_picture = picture(1, 3, *old)
    x0, y0 = rng.randrange(new[0]), rng.randrange(new[1])
    window = (x0, y0, rng.randint(x0 + 1, new[0]), rng.randint(y0 + 1, new[1]))
    whole = resample(given_picture, new, resampler)  # type: ignore[arg-type]
    part = resample(given_picture, new, resampler, window)  # type: ignore[arg-type]
    assert torch.allclose(part, whole[..., window[1] : window[3], window[0] : window[2]], atol=1e-6)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("batch", [1, 2, 3])
def test_pictures_and_channels_do_not_mix(batch: int, channels: int) -> None:
    """Every channel of every picture is resampled as it would be alone."""
    given_picture = picture(batch, channels)
    together = lanczos(given_picture, (30, 9))
    assert together.shape == (batch, channels, 9, 30)
    for b in range(batch):
        for c in range(channels):
            assert torch.allclose(together[b, c], lanczos(given_picture[b : b + 1, c : c + 1], (30, 9))[0, 0], atol=1e-6)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_the_layout_in_memory_does_not_matter(channels: int) -> None:
    """Channels last, a crop of a larger picture, a picture whose alpha was cut off, a repeated grey one, a transposed one."""
    large = picture(2, channels + 1, 24, 26)
    last = large.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    views = [last[:, :, 3:20, 4:24], last[:, :channels, 3:20, 4:24], large[:, :channels, 3:20, 4:24], large.transpose(-1, -2),
             large[:, :1].expand(-1, 3, -1, -1), large[:, :, :1], large[..., :1], last[:, :channels].contiguous(memory_format=torch.channels_last)]
    for view in views:
        assert torch.allclose(lanczos(view, (29, 15)), lanczos(view.contiguous().clone(), (29, 15)), atol=1e-6)


def test_the_input_is_not_changed_and_not_given_back_clamped() -> None:
    """`resample` gives a tensor of its own, also at the same size, and leaves the picture alone."""
    given_picture = picture() * 1.5 - 0.25
    before = given_picture.clone()
    for size in ((21, 17), (21, 30), (30, 17), (30, 30)):
        result = resample(given_picture, size)
        result.mul_(0)
    assert torch.equal(given_picture, before)


@pytest.mark.parametrize("size", [(21, 17), (40, 40), (5, 5)])
def test_values_stay_in_range(size: tuple[int, int]) -> None:
    """Lanczos overshoots at a hard edge; `resample` clamps that, `lanczos` does not."""
    edge = torch.zeros(1, 3, 17, 21)
    edge[..., 10:] = 1
    assert float(resample(edge, size).min()) >= 0
    assert float(resample(edge, size).max()) <= 1
    if size == (40, 40):
        assert float(lanczos(edge, size).max()) > 1.01


@steady
@given(st.floats(0, 1, width=32), st.tuples(st.integers(1, 30), st.integers(1, 30)), st.tuples(st.integers(1, 90), st.integers(1, 90)))
def test_an_even_picture_stays_even(value: float, old: tuple[int, int], new: tuple[int, int]) -> None:
    """Weights sum to 1 at every place, edges included."""
    result = lanczos(torch.full((1, 1, *old), value), new)
    assert torch.allclose(result, torch.full_like(result, value), atol=2e-6)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("way", ["lanczos", "pillow-8bit", "bilinear"])
def test_every_type_is_resampled_in_its_own(way: str, dtype: torch.dtype, device: str) -> None:
    """Half-precision pictures are worked on as they are; type and device stay."""
    given_picture = picture().to(device, dtype)
    result = bilinear(given_picture, (30, 30)) if way == "bilinear" else resample(given_picture, (30, 30), way)  # type: ignore[arg-type]
    full = bilinear(picture(), (30, 30)) if way == "bilinear" else resample(picture(), (30, 30), way)  # type: ignore[arg-type]
    assert result.dtype == dtype
    assert result.device.type == device
    # The way through 8 bit truncates: what half precision rounds down costs one level more, amplified by the overshoot.
    tolerance = DTYPES[dtype] + (0 if dtype in (torch.float32, torch.float64) or way != "pillow-8bit" else 2 / 255)
    assert float((result.cpu().double() - full.double()).abs().max()) <= tolerance


def bad_inputs() -> list[tuple[Tensor, tuple[int, int], str]]:
    """What no resampler takes."""
    good = torch.zeros(1, 3, 4, 5)
    return [
        (good[0], (2, 2), r"expected a float tensor \[B, C, H, W\], got torch.float32 with shape \(3, 4, 5\)"),
        (good.byte(), (2, 2), r"expected a float tensor \[B, C, H, W\], got torch.uint8 with shape \(1, 3, 4, 5\)"),
        (good, (0, 2), r"cannot resample \(1, 3, 4, 5\) to 0x2 pixels: a side is empty"),
        (good, (2, -1), r"cannot resample \(1, 3, 4, 5\) to 2x-1 pixels: a side is empty"),
        (good[..., :0], (2, 2), r"cannot resample \(1, 3, 4, 0\) to 2x2 pixels: a side is empty"),
        (good[:0], (2, 2), r"cannot resample \(0, 3, 4, 5\) to 2x2 pixels: a side is empty"),
    ]


@pytest.mark.parametrize(("values", "size", "text"), bad_inputs())
@pytest.mark.parametrize("function", [lanczos, pillow_8bit, bilinear, resample])
def test_wrong_input_is_refused(function: object, values: Tensor, size: tuple[int, int], text: str) -> None:
    """Every resampler says what it got and what it wants."""
    with pytest.raises(PictureError, match=text):
        function(values, size)  # type: ignore[operator]


@pytest.mark.parametrize("window", [(0, 0, 0, 5), (0, 0, 31, 5), (-1, 0, 5, 5), (0, 20, 5, 31), (6, 6, 5, 8)])
@pytest.mark.parametrize("resampler", ["lanczos", "pillow-8bit"])
def test_windows_outside_are_refused(resampler: str, window: Box) -> None:
    """A window lies in the result and has area, whatever the resampler."""
    with pytest.raises(PictureError, match=r"window \(.*\) does not lie in the resampled picture of 30x30 pixels"):
        resample(picture(), (30, 30), resampler, window)  # type: ignore[arg-type]


@pytest.mark.parametrize(("value", "byte"), [(0.0, 0), (1.0, 255), (0.5, 127), (0.999, 254), (-0.5, 0), (1.7, 255), (254.9 / 255, 254)])
def test_truncation_by_hand(value: float, byte: int) -> None:
    """255 times the value, cut down, not rounded."""
    assert int(truncate_to_uint8(torch.tensor(value))) == byte


def test_every_byte_survives() -> None:
    """k / 255 becomes k again (REFERENCE item 23)."""
    assert torch.equal(truncate_to_uint8(torch.arange(256) / 255), torch.arange(256).to(torch.uint8))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("batch", [1, 2])
def test_8bit_is_pillows_own(batch: int, channels: int, size: tuple[int, int]) -> None:
    """The way through 8 bit is Pillow's resize of the truncated picture, bit for bit, alpha premultiplied as Pillow does it."""
    given_picture = picture(batch, channels) * 0.999
    got = pillow_8bit(given_picture, size)
    for one, result in zip(given_picture, got, strict=True):
        bytes_hwc = (one * 255).to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
        wanted = np.asarray(Image.fromarray(bytes_hwc).resize(size, Image.Resampling.LANCZOS))
        assert np.array_equal((result * 255).round().byte().permute(1, 2, 0).numpy(), wanted)


def test_8bit_takes_one_channel_bilinearly_and_refuses_two() -> None:
    """As the reference does it with masks; grey with alpha is no kind of picture that it knows."""
    assert torch.equal(pillow_8bit(picture(2, 1), (9, 9)), bilinear(picture(2, 1), (9, 9)))
    with pytest.raises(PictureError, match="expected 1, 3 or 4 channels for a picture, got 2"):
        pillow_8bit(picture(1, 2), (9, 9))


def test_bilinear_by_hand() -> None:
    """Rows 0, 1 at twice the height: 0, 1/4, 3/4, 1, in every column."""
    rows = torch.tensor([0.0, 1.0])[None, None, :, None].expand(1, 1, 2, 3)
    assert torch.allclose(bilinear(rows, (3, 4))[0, 0], torch.tensor([0, 0.25, 0.75, 1])[:, None].expand(4, 3))
