"""Pictures of Pillow, numpy and torch: in as the core works on them, out as they came."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from detailer_core.errors import PictureError
from detailer_core.picture_kinds import take_in

LEVELS = np.random.default_rng(1).integers(0, 256, (6, 8, 4), dtype=np.uint8)


def kinds() -> list[Any]:
    """One picture of each kind that comes back as it is."""
    floats = [LEVELS.astype(dtype) / np.array(255, dtype) for dtype in (np.float16, np.float32, np.float64)]
    tensors = [torch.from_numpy(LEVELS).permute(2, 0, 1), torch.rand(1, 3, 6, 8), torch.rand(2, 6, 8).half(), torch.rand(1, 6, 8).double()]
    return [*(Image.fromarray(LEVELS).convert(mode) for mode in ("L", "LA", "RGB", "RGBA")), LEVELS, LEVELS[..., :3], LEVELS[..., 0], LEVELS[..., :1],
            *floats, floats[1][..., 0], *tensors]


def name_of(picture: Any) -> str:
    """What a picture is, for the test's name."""
    return f"{type(picture).__name__} {getattr(picture, 'mode', getattr(picture, 'dtype', ''))} {getattr(picture, 'shape', '')}"


def same(one: Any, other: Any) -> bool:
    """Whether two pictures are of one kind and equal in every value."""
    if isinstance(one, Image.Image):
        return one.mode == other.mode and one.tobytes() == other.tobytes()
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    return one.dtype == other.dtype and one.shape == other.shape and bool((one == other).all())


@pytest.mark.parametrize("picture", kinds(), ids=name_of)
def test_there_and_back(picture: Any) -> None:
    """The core sees float32 in 0..1, one picture of 1 to 4 channels; what it does not change comes back value by value, of the same kind."""
    work, back = take_in(picture)
    assert work.dtype == torch.float32 and work.shape[0] == 1 and work.shape[-2:] == (6, 8) and 0 <= float(work.min()) <= float(work.max()) <= 1
    assert same(back(work.clone()), picture) and type(back(work)) is type(picture)


@pytest.mark.parametrize("picture", kinds(), ids=name_of)
def test_only_what_changed_changes(picture: Any) -> None:
    """A changed value is there, rounded to levels where the kind has them; all others, and the given picture, stay."""
    before = picture.copy() if not isinstance(picture, torch.Tensor) else picture.clone()
    work, back = take_in(picture)
    bent = work.clone()
    bent[..., 2, 3] = 1 - bent[..., 2, 3]
    result = back(bent)
    assert same(picture, before) and not same(result, picture)
    again, _ = take_in(result)
    assert float((again - bent).abs().max()) <= (0.501 / 255 if isinstance(picture, Image.Image) or str(picture.dtype).endswith("uint8") else 1e-3)
    again[..., 2, 3] = work[..., 2, 3]
    assert torch.equal(again, work)


def test_other_modes_of_pillow_come_back_as_they_are_worked_on() -> None:
    """A palette has no place for new colours."""
    for mode, expected in (("P", "RGB"), ("1", "L"), ("CMYK", "RGB")):
        work, back = take_in(Image.fromarray(LEVELS[..., :3]).convert(mode))
        assert back(work).mode == expected


def test_profile_and_exif_stay() -> None:
    """What describes the picture is handed on."""
    picture = Image.fromarray(LEVELS)
    picture.info.update(icc_profile=b"profile", exif=b"exif", other=1)
    work, back = take_in(picture)
    assert back(work).info == {"icc_profile": b"profile", "exif": b"exif"}


@pytest.mark.parametrize(("picture", "message"), [
    ("photo.png", "expected a picture as PIL.Image, numpy array or torch tensor, got str"), (np.zeros((2, 2, 2, 2)), r"array \[H, W\] or"),
    (np.zeros((4, 4, 5)), "1 to 4 channels"), (np.zeros((0, 4, 3)), "1 to 4 channels"), (torch.zeros(2, 3, 4, 4), "expected one picture"),
    (torch.zeros(4, 4), "expected one picture"), (np.zeros((4, 4), np.int32), "uint8 or float values, got torch.int32"),
    (np.full((4, 4), 255.0), r"in 0\.\.1, got 255\.\.255; divide by 255"), (torch.full((1, 4, 4), torch.nan), r"in 0\.\.1, got nan")])
def test_what_is_no_picture(picture: Any, message: str) -> None:
    """It is refused with what was expected, what was got, and what to do."""
    with pytest.raises(PictureError, match=message):
        take_in(picture)
