"""A mask of the whole picture as segments, and drawn segments pasted: by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from detailer_core.errors import MaskError, PictureError
from detailer_core.geometry import Box
from detailer_core.mask_segments import crops_of, mask_to_segments, paste_segments
from detailer_core.segments import Segment, Segments


def canvas(*boxes: Box, weight: float = 1.0) -> torch.Tensor:
    """A mask of 60x40 pixels with boxes in it."""
    mask = torch.zeros(40, 60)
    for x0, y0, x1, y1 in boxes:
        mask[y0:y1, x0:x1] = weight
    return mask


def test_each_area_is_a_segment() -> None:
    """From the bottom up; the mask is the area alone, also where another lies in the same crop region; boxes are half-open."""
    found = mask_to_segments(canvas((5, 2, 20, 14), (30, 20, 50, 35)), crop_factor=3.0)
    assert [s.bbox_xyxy for s in found] == [(30, 20, 50, 35), (5, 2, 20, 14)]
    assert [s.crop_xyxy for s in found] == [(0, 0, 60, 40), (0, 0, 45, 36)]
    assert found.size_wh == (60, 40)
    for segment in found:
        x0, y0, x1, y1 = segment.crop_xyxy
        wanted = canvas(segment.bbox_xyxy)[y0:y1, x0:x1]
        assert torch.equal(segment.mask_hw, wanted)
        assert segment.label == "A"


@pytest.mark.parametrize(("drop_size", "count"), [(9, 2), (10, 1), (12, 1), (14, 1), (15, 0)])
def test_small_areas_are_dropped(drop_size: int, count: int) -> None:
    """An area must be wider and higher than the limit: here 20x15 and 30x10."""
    assert len(mask_to_segments(canvas((5, 2, 35, 12), (30, 20, 50, 35)), drop_size=drop_size)) == count


def test_holes_are_filled_and_soft_values_become_1() -> None:
    """The outline counts, as in the reference; a half is as good as 1 there."""
    mask = canvas((5, 5, 30, 30), weight=0.5)
    mask[10:20, 10:20] = 0
    found = mask_to_segments(mask, crop_factor=1.0)
    assert len(found) == 1
    assert found[0].crop_xyxy == (5, 5, 30, 30)
    assert bool((found[0].mask_hw == 1).all())


def test_combined_is_one_segment_with_the_values_as_they_are() -> None:
    """Its box ends one pixel early, as the reference's does; soft values stay."""
    found = mask_to_segments(canvas((5, 2, 20, 14), (30, 20, 50, 35), weight=0.5), combined=True, crop_factor=1.0)
    assert [s.bbox_xyxy for s in found] == [(5, 2, 49, 34)]
    assert torch.equal(found[0].mask_hw, canvas((5, 2, 20, 14), (30, 20, 50, 35), weight=0.5)[2:34, 5:49])


@pytest.mark.parametrize("combined", [False, True])
def test_bbox_fill_masks_the_whole_box(combined: bool) -> None:
    """A triangle becomes its box; combined, the box ends early and what lies beyond stays as it was."""
    mask = torch.zeros(40, 60)
    for y in range(20):
        mask[10 + y, 15 : 16 + y] = 1
    found = mask_to_segments(mask, combined=combined, bbox_fill=True, crop_factor=1.5)
    x0, y0, _, _ = found[0].crop_xyxy
    assert bool((found[0].mask_hw[10 - y0 : 29 - y0, 15 - x0 : 34 - x0] == 1).all())
    assert int(found[0].mask_hw.sum()) == (19 * 19 + 20 if combined else 400)


@pytest.mark.parametrize("combined", [False, True])
def test_an_empty_mask_gives_no_segments(combined: bool) -> None:
    """No error; a single pixel has no box when combined."""
    assert len(mask_to_segments(torch.zeros(40, 60), combined=combined)) == 0
    assert len(mask_to_segments(canvas((3, 3, 4, 4)), combined=combined, drop_size=1)) == 0


@pytest.mark.parametrize(("mask", "text"), [(np.full((4, 4), 2.0), "mask: values must lie in 0..1, got 2..2"),
                                            (np.zeros((4, 4), np.int32), "mask: expected bool, uint8 0..255 or float 0..1, got int32"),
                                            (np.zeros((3, 4, 4)), r"mask: expected a mask \[height, width\], got shape \(3, 4, 4\)")])
def test_wrong_masks_are_refused(mask: np.ndarray, text: str) -> None:
    """As `as_mask` refuses them."""
    with pytest.raises(MaskError, match=text):
        mask_to_segments(mask)  # type: ignore[arg-type]


def segments(*crops: Box) -> Segments:
    """Whole regions as masks, in a picture of 60x40."""
    return Segments(size_wh=(60, 40), items=tuple(
        Segment(bbox_xyxy=c, crop_xyxy=c, mask_hw=torch.ones(c[3] - c[1], c[2] - c[0])) for c in crops))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("batch", [1, 2, 3])
def test_crops_pasted_back_are_the_picture(batch: int, channels: int) -> None:
    """Cut out and pasted without a feather, every bit is as it was, and it is a copy."""
    picture = torch.rand(batch, channels, 40, 60, generator=torch.Generator().manual_seed(batch))
    result = paste_segments(picture, crops_of(picture, segments((0, 0, 30, 30), (10, 10, 60, 40))), feather=0)
    assert torch.equal(result, picture)
    assert result.data_ptr() != picture.data_ptr()


def test_paste_by_hand() -> None:
    """alpha times the patch and the rest of the picture; the later segment lies on top."""
    picture = torch.full((1, 3, 40, 60), 0.5)
    one, two = segments((0, 0, 20, 20), (10, 10, 30, 30))
    result = paste_segments(picture, [(one, torch.ones(1, 3, 20, 20)), (two, torch.zeros(1, 3, 20, 20))], feather=0, alpha=0.5)
    assert [float(result[0, 0, y, x]) for x, y in ((5, 5), (15, 15), (25, 25), (40, 5))] == [0.75, 0.375, 0.25, 0.5]
    assert bool((picture == 0.5).all())


def test_the_feather_softens_the_mask_inside_its_region() -> None:
    """A mask inside a larger region fades over its edge and ends after `feather` pixels."""
    mask = torch.zeros(30, 30)
    mask[10:20, 10:20] = 1
    one = Segment(bbox_xyxy=(20, 15, 30, 25), crop_xyxy=(10, 5, 40, 35), mask_hw=mask)
    row = paste_segments(torch.zeros(1, 1, 40, 60), [(one, torch.ones(1, 1, 30, 30))], feather=3)[0, 0, 20, 10:40]
    assert float(row[6]) == 0.0
    assert float(row[23]) == 0.0
    assert all(0 < float(row[x]) < float(row[x + 1]) for x in range(7, 12))
    assert float(row[14]) == pytest.approx(1, abs=1e-6)


def test_what_cannot_be_pasted_is_refused() -> None:
    """alpha lies in 0..1, crops fit their regions, and regions lie in the picture."""
    picture = torch.zeros(1, 3, 40, 60)
    (one,) = segments((0, 0, 20, 20))
    for alpha in (-0.1, 1.1):
        with pytest.raises(MaskError, match=f"alpha must lie in 0..1, got {alpha}"):
            paste_segments(picture, [(one, torch.ones(1, 3, 20, 20))], feather=0, alpha=alpha)
    with pytest.raises(PictureError, match=r"patch \(1, 3, 20, 21\) does not fit the box"):
        paste_segments(picture, [(one, torch.ones(1, 3, 20, 21))], feather=0)
    with pytest.raises(PictureError, match="does not lie in the picture of 10x40 pixels"):
        crops_of(picture[..., :10], segments((0, 0, 20, 20)))
