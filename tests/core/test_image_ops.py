"""Blur, crop, paste and masks at other sizes: by hand or from the formula, for every number of pictures and channels, type and device."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from detailer_core import image_ops as ops
from detailer_core.errors import MaskError, PictureError
from detailer_core.geometry import Box

steady = settings(deadline=None, max_examples=40)
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"))]
DTYPES = {torch.float64: 1e-6, torch.float32: 2e-6, torch.float16: 3e-3, torch.bfloat16: 2e-2}
"""Types that pictures and masks may have, and how far from the exact value each may be."""


def picture(batch: int = 1, channels: int = 3, height: int = 12, width: int = 16, seed: int = 0) -> Tensor:
    """Values k/255, as pictures have them."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (batch, channels, height, width), generator=generator).float() / 255


def exact_blur(mask: Tensor, feather: int, sigma: float = 10.0) -> Tensor:
    """The formula of REFERENCE item 29 in float64: the full two-dimensional kernel over the whole mask, reflected at the edges."""
    size = ops.blur_kernel_size((mask.shape[-2], mask.shape[-1]), feather)
    x = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    line = torch.exp(-0.5 * (x / sigma) ** 2)
    line = line / line.sum()
    padded = torch.nn.functional.pad(mask.double(), [size // 2] * 4, mode="reflect")
    return torch.cat([torch.nn.functional.conv2d(p[None], (line[:, None] * line[None])[None, None]) for p in padded])


@pytest.mark.parametrize(("mask_hw", "feather", "size"), [
    ((100, 100), 5, 11), ((100, 100), 0, 0), ((100, 100), -3, 0), ((12, 100), 5, 11), ((11, 100), 5, 5), ((10, 100), 5, 5),
    ((12, 12), 20, 7), ((9, 9), 20, 5), ((4, 100), 20, 3), ((3, 100), 20, 0), ((2, 2), 1, 0), ((3, 3), 1, 0), ((4, 4), 1, 3),
])
def test_kernel_size_by_hand(mask_hw: tuple[int, int], feather: int, size: int) -> None:
    """2 * feather + 1, or about half the short side where that is not longer; below 3 there is no blur."""
    assert ops.blur_kernel_size(mask_hw, feather) == size


def test_blur_of_one_pixel_is_the_kernel() -> None:
    """A single 1 far from the edges becomes exp(-(x^2 + y^2) / 200) over its sum, and 0 outside of the kernel."""
    mask = torch.zeros(1, 1, 21, 21)
    mask[..., 10, 10] = 1
    blurred = ops.blur_mask(mask, 2)[0, 0]
    weights = [np.exp(-x * x / 200) for x in (-2, -1, 0, 1, 2)]
    for y in range(21):
        for x in range(21):
            inside = abs(x - 10) <= 2 and abs(y - 10) <= 2
            wanted = weights[y - 8] * weights[x - 8] / sum(weights) ** 2 if inside else 0.0
            assert float(blurred[y, x]) == pytest.approx(wanted, abs=1e-7)


@st.composite
def masks(draw: st.DrawFn) -> Tensor:
    """A mask of one to three pictures with a box of any place and weight in each."""
    height, width, batch = draw(st.integers(1, 60)), draw(st.integers(1, 60)), draw(st.integers(1, 3))
    mask = torch.zeros(batch, 1, height, width)
    for one in mask:
        x0, y0 = draw(st.integers(0, width)), draw(st.integers(0, height))
        one[:, y0 : draw(st.integers(y0, height)), x0 : draw(st.integers(x0, width))] = draw(st.floats(0, 1, width=32))
    return mask


@steady
@given(masks(), st.integers(0, 40))
def test_blur_is_the_formula_for_every_mask(mask: Tensor, feather: int) -> None:
    """Working only on the surroundings of what is not 0, apart in x and y, gives what the full kernel gives; 0 stays 0 beyond its reach."""
    before = mask.clone()
    blurred = ops.blur_mask(mask, feather)
    wanted = exact_blur(mask, feather) if ops.blur_kernel_size((mask.shape[-2], mask.shape[-1]), feather) else mask.double()
    assert torch.equal(mask, before), "the input is not changed"
    assert blurred.shape == mask.shape
    assert float((blurred.double() - wanted).abs().max()) <= 2e-6
    assert bool((blurred[wanted == 0] == 0).all()), "outside there is exactly nothing"


@pytest.mark.parametrize("mask", [torch.zeros(2, 1, 30, 30), torch.ones(1, 1, 3, 30), torch.ones(1, 1, 0, 30)])
def test_blur_gives_the_mask_itself_where_there_is_nothing_to_do(mask: Tensor) -> None:
    """An empty mask, and one too small for a kernel, come back as they are."""
    assert ops.blur_mask(mask, 5) is mask
    assert ops.blur_mask(mask, 0) is mask


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_blur_of_several_masks_is_that_of_each(batch: int) -> None:
    """Masks of one batch do not mix."""
    mask = torch.zeros(batch, 1, 40, 50)
    for i in range(batch):
        mask[i, :, 5 * i : 20, 10 * i : 30] = 1 / (i + 1)
    together = ops.blur_mask(mask, 6)
    apart = torch.cat([ops.blur_mask(m[None], 6) for m in mask])
    assert torch.allclose(together, apart, atol=1e-6)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_blur_works_in_every_type(dtype: torch.dtype, device: str) -> None:
    """Half-precision masks are blurred in their own type; what comes back has the type and the device of what was given."""
    mask = torch.zeros(1, 1, 40, 40)
    mask[..., 10:30, 5:25] = 1
    blurred = ops.blur_mask(mask.to(device, dtype), 5)
    assert blurred.dtype == dtype
    assert blurred.device.type == device
    assert float((blurred.double().cpu() - exact_blur(mask, 5)).abs().max()) <= DTYPES[dtype]


@pytest.mark.parametrize("mask", [torch.zeros(20, 20), torch.zeros(1, 3, 20, 20), torch.zeros(1, 1, 20, 20, dtype=torch.uint8),
                                  torch.zeros(1, 1, 20, 20, dtype=torch.bool), torch.zeros(1, 20, 20)])
def test_wrong_masks_are_refused(mask: Tensor) -> None:
    """Blur, resampling and paste want a float mask with one channel, and say what they got."""
    text = rf"expected a float mask \[B, 1, h, w\], got {mask.dtype} with shape \({mask.shape[0]}, "
    with pytest.raises(MaskError, match=text):
        ops.blur_mask(mask, 3)
    with pytest.raises(MaskError, match=text):
        ops.resample_mask(mask, (5, 5))
    with pytest.raises(MaskError, match=text):
        ops.paste_(picture(1, 3, 20, 20), picture(1, 3, 20, 20), (0, 0, 20, 20), mask)


@pytest.mark.parametrize("feather", [3, 20])
def test_blur_on_an_accelerator_is_the_same(feather: int) -> None:
    """What other devices than a CPU run gives the CPU's values."""
    mask = torch.rand(2, 1, 90, 70, generator=torch.Generator().manual_seed(feather))
    size = 2 * feather + 1
    assert torch.allclose(ops._gaussian_on_device(mask, size, 10.0), ops._gaussian_on_cpu(mask, size, 10.0), atol=1e-6)


def test_blur_needs_no_search_where_the_box_is_known() -> None:
    """With the box around the mask, the blur is the one that would have looked for it."""
    mask = torch.zeros(1, 1, 80, 90)
    mask[..., 30:50, 20:60] = 1
    assert torch.equal(ops.blur_mask(mask, 7, inner_xyxy=(20, 30, 60, 50)), ops.blur_mask(mask, 7))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_all_finite(dtype: torch.dtype) -> None:
    """One value that is not a number is found; many large ones are not taken for it, whose sum half precision could not hold."""
    values = torch.ones(1, 3, 300, 300, dtype=dtype)
    assert ops.all_finite(values) and ops.all_finite(values.permute(0, 2, 3, 1))
    for wrong in (float("nan"), float("inf"), float("-inf")):
        values[0, 1, 7, 7] = wrong
        assert not ops.all_finite(values)


def test_nonzero_box_by_hand() -> None:
    """The box is half-open and tight; nothing has no box."""
    mask = torch.zeros(10, 12)
    assert ops.nonzero_box(mask) is None
    assert ops.nonzero_box(torch.zeros(0, 5)) is None
    mask[2, 3] = mask[7, 1] = 0.001
    assert ops.nonzero_box(mask) == (1, 2, 4, 8)
    mask[0, 0] = mask[9, 11] = 1
    assert ops.nonzero_box(mask) == (0, 0, 12, 10)


def test_crop_is_a_view() -> None:
    """A crop costs no copy: writing to it changes the picture."""
    whole = picture(2, 4)
    part = ops.crop(whole, (3, 2, 7, 5))
    assert part.shape == (2, 4, 3, 4)
    part.fill_(2.0)
    assert int((whole == 2).sum()) == 2 * 4 * 3 * 4
    assert bool((whole[..., 2:5, 3:7] == 2).all())


@pytest.mark.parametrize("box", [(0, 0, 0, 5), (5, 5, 4, 8), (-1, 0, 5, 5), (0, -1, 5, 5), (0, 0, 17, 5), (0, 0, 5, 13)])
def test_boxes_outside_are_refused(box: Box) -> None:
    """An empty box and one that reaches out are refused by crop and paste, and nothing is written."""
    whole = picture()
    before = whole.clone()
    with pytest.raises(PictureError, match=r"does not lie in the picture of 16x12 pixels"):
        ops.crop(whole, box)
    with pytest.raises(PictureError, match=r"does not lie in the picture of 16x12 pixels"):
        ops.paste_(whole, picture(1, 3, 5, 5), box, torch.ones(1, 1, 5, 5))
    assert torch.equal(whole, before)


def test_paste_by_hand() -> None:
    """(1 - m) * picture + m * patch, inside the box and nowhere else."""
    whole = torch.full((1, 1, 4, 4), 0.5)
    ops.paste_(whole, torch.ones(1, 1, 1, 3), (1, 2, 4, 3), torch.tensor([[[[0.0, 0.25, 1.0]]]]))
    wanted = torch.full((4, 4), 0.5)
    wanted[2, 1:] = torch.tensor([0.5, 0.625, 1.0])
    assert torch.equal(whole[0, 0], wanted)


@st.composite
def pastes(draw: st.DrawFn) -> tuple[Tensor, Box, Tensor, Tensor]:
    """A picture of any kind, a box in it, a patch and a mask of one picture or as many as the batch has."""
    batch, channels = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    height, width = draw(st.integers(1, 20)), draw(st.integers(1, 20))
    x0, y0 = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    box = (x0, y0, draw(st.integers(x0 + 1, width)), draw(st.integers(y0 + 1, height)))
    seed = draw(st.integers(0, 1000))
    shape = box[3] - box[1], box[2] - box[0]
    mask = torch.rand(draw(st.sampled_from([1, batch])), 1, *shape, generator=torch.Generator().manual_seed(seed))
    return picture(batch, channels, height, width, seed), box, picture(batch, channels, *shape, seed + 1), mask


@steady
@given(pastes())
def test_pasting_a_crop_back_changes_nothing(case: tuple[Tensor, Box, Tensor, Tensor]) -> None:
    """paste(crop(x)) = x: bit for bit under masks of 0 and 1, and bit for bit in 8 bit under any mask."""
    whole, box, _, mask = case
    hard, soft = whole.clone(), whole.clone()
    ops.paste_(hard, ops.crop(whole, box).clone(), box, (mask > 0.5).float())
    ops.paste_(soft, ops.crop(whole, box).clone(), box, mask)
    assert torch.equal(hard, whole)
    assert torch.equal((soft * 255).round(), (whole * 255).round())
    assert torch.allclose(soft, whole, atol=1.2e-7)


@steady
@given(pastes())
def test_paste_is_the_formula_and_keeps_what_is_outside(case: tuple[Tensor, Box, Tensor, Tensor]) -> None:
    """Inside the box the formula holds; where the mask is 0, and outside the box, every bit is kept."""
    whole, box, patch, mask = case
    mask = torch.where(mask < 0.3, torch.zeros(()), mask)
    result = whole.clone()
    ops.paste_(result, patch, box, mask)
    x0, y0, x1, y1 = box
    weight = torch.zeros(whole.shape, dtype=torch.float64)
    weight[..., y0:y1, x0:x1] = mask
    new = torch.zeros(whole.shape, dtype=torch.float64)
    new[..., y0:y1, x0:x1] = patch
    assert torch.allclose(result.double(), whole * (1 - weight) + new * weight, atol=2e-7)
    assert torch.equal(result[weight == 0], whole[weight == 0])


def test_a_zero_mask_keeps_every_bit() -> None:
    """Also values that no picture should have stay as they are."""
    whole = picture()
    whole[0, 0, 0, :3] = torch.tensor([float("inf"), 1e-42, -3.0])
    before = whole.clone()
    ops.paste_(whole, picture(1, 3, 6, 6, 1), (5, 5, 11, 11), torch.zeros(1, 1, 6, 6))
    assert torch.equal(whole, before)


@pytest.mark.parametrize(("channels", "patch_channels"), [(4, 3), (2, 1)])
def test_alpha_stays_when_the_patch_has_none(channels: int, patch_channels: int) -> None:
    """A patch with fewer channels leaves the last ones alone."""
    whole = picture(2, channels)
    before = whole.clone()
    ops.paste_(whole, picture(2, patch_channels, 4, 4, 9), (0, 0, 4, 4), torch.ones(1, 1, 4, 4))
    assert torch.equal(whole[:, patch_channels:], before[:, patch_channels:])
    assert not torch.equal(whole[:, :patch_channels], before[:, :patch_channels])


@pytest.mark.parametrize(("patch", "mask", "error", "text"), [
    (torch.zeros(1, 3, 4, 5), torch.zeros(1, 1, 4, 4), PictureError, r"patch \(1, 3, 4, 5\) does not fit the box \(0, 0, 4, 4\)"),
    (torch.zeros(2, 3, 4, 4), torch.zeros(1, 1, 4, 4), PictureError, r"patch \(2, 3, 4, 4\) does not fit the box"),
    (torch.zeros(1, 4, 4, 4), torch.zeros(1, 1, 4, 4), PictureError, r"patch \(1, 4, 4, 4\) does not fit the box"),
    (torch.zeros(3, 4, 4), torch.zeros(1, 1, 4, 4), PictureError, r"expected a patch \[B, C, h, w\], got shape \(3, 4, 4\)"),
    (torch.zeros(1, 3, 4, 4), torch.zeros(1, 1, 5, 4), MaskError, r"mask \(1, 1, 5, 4\) does not fit the box"),
    (torch.zeros(1, 3, 4, 4), torch.zeros(2, 1, 4, 4), MaskError, r"mask \(2, 1, 4, 4\) does not fit the box"),
    (torch.full((1, 3, 4, 4), float("nan")), torch.zeros(1, 1, 4, 4), PictureError, r"values that are not numbers .* nothing was pasted"),
    (torch.full((1, 3, 4, 4), float("inf")), torch.ones(1, 1, 4, 4), PictureError, r"values that are not numbers .* nothing was pasted"),
])
def test_what_does_not_fit_is_not_pasted(patch: Tensor, mask: Tensor, error: type[Exception], text: str) -> None:
    """Shapes that do not meet and values that are no numbers are refused before anything is written."""
    whole = picture()
    before = whole.clone()
    with pytest.raises(error, match=text):
        ops.paste_(whole, patch, (0, 0, 4, 4), mask)
    assert torch.equal(whole, before)


def test_paste_refuses_pictures_of_whole_numbers() -> None:
    """A blend in 0..1 would be cut to 0 in a uint8 picture."""
    with pytest.raises(PictureError, match=r"expected a float picture \[B, C, H, W\], got torch.uint8 with shape \(1, 3, 8, 8\)"):
        ops.paste_(torch.zeros(1, 3, 8, 8, dtype=torch.uint8), torch.zeros(1, 3, 4, 4), (0, 0, 4, 4), torch.ones(1, 1, 4, 4))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_paste_works_in_every_type(dtype: torch.dtype, device: str) -> None:
    """The formula holds in the picture's own type, and the mask's zeros keep every bit."""
    whole, patch = picture().to(device, dtype), picture(seed=1).to(device, dtype)
    mask = torch.linspace(0, 1, 16).to(device, dtype).expand(1, 1, 12, 16)
    result = whole.clone()
    ops.paste_(result, patch, (0, 0, 16, 12), mask)
    wanted = whole.double() * (1 - mask.double()) + patch.double() * mask.double()
    assert float((result.double() - wanted).abs().max()) <= DTYPES[dtype]
    assert torch.equal(result[..., 0], whole[..., 0])
    assert torch.equal(result[..., -1], patch[..., -1])


def test_resample_mask_by_hand() -> None:
    """Bilinear with pixel centres aligned: 0, 1 at twice the size is 0, 1/4, 3/4, 1; at half the size the mean of two."""
    assert torch.allclose(ops.resample_mask(torch.tensor([[[[0.0, 1.0]]]]), (4, 1)), torch.tensor([[[[0, 0.25, 0.75, 1]]]]))
    assert torch.allclose(ops.resample_mask(torch.tensor([[[[0.0, 1.0, 0.5, 0.1]]]]), (2, 1)), torch.tensor([[[[0.5, 0.3]]]]))
    # At a quarter of the size only the two middle ones of four count: there is no antialiasing.
    assert torch.allclose(ops.resample_mask(torch.tensor([[[[1.0, 0.2, 0.4, 1.0]]]]), (1, 1)), torch.tensor([[[[0.3]]]]))


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_resample_mask_keeps_the_batch(batch: int) -> None:
    """Each mask alone gives the same; the size is width, height; the same size is the same tensor."""
    mask = torch.rand(batch, 1, 6, 9)
    resized = ops.resample_mask(mask, (5, 7))
    assert resized.shape == (batch, 1, 7, 5)
    assert torch.equal(resized, torch.cat([ops.resample_mask(m[None], (5, 7)) for m in mask]))
    assert ops.resample_mask(mask, (9, 6)) is mask


@pytest.mark.parametrize(("mask", "size"), [(torch.zeros(1, 1, 0, 5), (4, 4)), (torch.zeros(1, 1, 5, 5), (0, 4)), (torch.zeros(1, 1, 5, 5), (4, -1))])
def test_empty_masks_are_not_resampled(mask: Tensor, size: tuple[int, int]) -> None:
    """A side without pixels is a clear error."""
    with pytest.raises(MaskError, match=rf"cannot resample a mask .* to {size[0]}x{size[1]} pixels: a side is empty"):
        ops.resample_mask(mask, size)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("batch", [1, 2, 3])
def test_as_rgb_and_split_alpha(batch: int, channels: int) -> None:
    """Grey is repeated, alpha is taken off, colours stay."""
    whole = picture(batch, channels)
    rgb, (colour, alpha) = ops.as_rgb(whole), ops.split_alpha(whole)
    assert rgb.shape == (batch, 3, 12, 16)
    assert torch.equal(rgb, whole[:, :3] if channels > 2 else whole[:, :1].repeat(1, 3, 1, 1))
    assert colour.shape[1] == (1 if channels < 3 else 3)
    assert (alpha is None) == (channels in (1, 3))
    if alpha is not None:
        assert torch.equal(alpha, whole[:, -1:])


@pytest.mark.parametrize("shape", [(3, 4, 4), (1, 0, 4, 4), (1, 5, 4, 4), (4, 4)])
def test_as_rgb_refuses_other_shapes(shape: tuple[int, ...]) -> None:
    """Pictures have one to four channels."""
    with pytest.raises(PictureError, match=r"expected a picture \[B, C, H, W\] with 1 to 4 channels, got \("):
        ops.as_rgb(torch.zeros(shape))


def test_windows_and_sizes_of_boxes() -> None:
    """A window in a box's own pixels moves by the box's corner; heights come first in tensors."""
    assert ops.window_in_box((10, 20, 50, 60), (1, 2, 3, 4)) == (11, 22, 13, 24)
    assert ops.box_hw((10, 20, 50, 90)) == (70, 40)
