"""Detectors without a model: masks, the whole picture, tiles."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from detailer_core.detectors.base import DetectOptions
from detailer_core.detectors.fixed import MaskDetector, TilesDetector, WholeDetector
from detailer_core.errors import DetectorError
from detailer_core.geometry import enclosing_box

PICTURE = np.zeros((30, 40, 3), np.uint8)


def two_areas() -> np.ndarray:
    """A mask with two areas: a hard one, and a soft one with a diagonal neighbour."""
    mask = np.zeros((30, 40), np.float32)
    mask[5:10, 20:26] = 1
    mask[15:18, 3:7] = 0.75
    mask[18, 7] = 0.6
    mask[14, 3:7] = 0.3
    return mask


def test_each_area_is_a_detection() -> None:
    """Two areas, from top to bottom, with soft values; what is not above the threshold is 0."""
    first, second = MaskDetector(two_areas()).detect(PICTURE, DetectOptions())
    assert first.box_xyxy == (20, 5, 26, 10)
    assert second.box_xyxy == (3, 15, 8, 19)
    assert first.mask_hw is not None and second.mask_hw is not None
    assert (first.mask_hw == 1).all()
    assert (first.confidence, first.label) == (1.0, "mask")
    assert second.mask_hw.dtype == np.float32
    assert (second.mask_hw == two_areas()[15:19, 3:8]).all()


def test_a_lower_threshold_keeps_soft_edges() -> None:
    """At 0.2 the faint row belongs to the area."""
    assert MaskDetector(two_areas(), threshold=0.2).detect(PICTURE, DetectOptions())[1].box_xyxy == (3, 14, 8, 19)


def test_areas_do_not_see_each_other() -> None:
    """An area's mask is 0 where another reaches into its box."""
    mask = np.zeros((30, 40), bool)
    mask[5:20, 5] = mask[19, 5:20] = True
    mask[7, 8:30] = True
    found = MaskDetector(mask).detect(PICTURE, DetectOptions())
    assert len(found) == 2
    assert sum(float(f.mask_hw.sum()) for f in found if f.mask_hw is not None) == mask.sum()


@pytest.mark.parametrize(
    "source", [two_areas(), torch.from_numpy(two_areas())[None], (two_areas() * 255).astype(np.uint8), two_areas() > 0.5]
)
def test_arrays_and_tensors_are_masks(source: object) -> None:
    """Every kind of array that is a mask has the same areas."""
    found = MaskDetector(source).detect(PICTURE, DetectOptions())  # type: ignore[arg-type]
    assert [f.box_xyxy for f in found] == [(20, 5, 26, 10), (3, 15, 8, 19)]


@pytest.mark.parametrize("mode", ["L", "RGB", "1", "LA", "RGBA", "P"])
def test_mask_pictures_are_read(tmp_path: Path, mode: str) -> None:
    """Mask pictures of every mode, in a file of any name; what is transparent is not marked."""
    path = tmp_path / "маска 1.png"
    Image.fromarray((two_areas() > 0.5).astype(np.uint8) * 255).convert(mode).save(path)
    assert [f.box_xyxy for f in MaskDetector(path).detect(PICTURE, DetectOptions())] == [(20, 5, 26, 10), (3, 15, 8, 19)]
    if mode.endswith("A"):
        clear = Image.new(mode, (40, 30), (255,) * (len(mode) - 1) + (0,))
        clear.save(path)
        assert len(MaskDetector(path).detect(PICTURE, DetectOptions())) == 0


def test_an_empty_mask_has_no_areas() -> None:
    """Nothing marked is no error."""
    assert len(MaskDetector(np.zeros((30, 40), np.float32)).detect(PICTURE, DetectOptions())) == 0


def test_the_number_is_limited() -> None:
    """`max_detections` holds."""
    assert len(MaskDetector(two_areas()).detect(PICTURE, DetectOptions(max_detections=1))) == 1


def test_another_size_is_refused(tmp_path: Path) -> None:
    """Both sizes are named, and the file."""
    path = tmp_path / "mask.png"
    Image.new("L", (8, 9)).save(path)
    with pytest.raises(DetectorError) as caught:
        MaskDetector(path).detect(PICTURE, DetectOptions())
    assert str(caught.value) == f"mask {path} has 8x9 pixels, the picture 40x30; scale the mask to the picture's size"
    with pytest.raises(DetectorError, match="the mask has 40x31 pixels, the picture 40x30"):
        MaskDetector(np.zeros((31, 40), bool)).detect(PICTURE, DetectOptions())


def test_bad_masks_are_refused(tmp_path: Path) -> None:
    """A missing file, wrong values, and a threshold out of range are DetectorErrors."""
    with pytest.raises(DetectorError, match=r"detector 'mask': picture .*none\.png not found; check the name"):
        MaskDetector(tmp_path / "none.png")
    with pytest.raises(DetectorError, match=r"detector 'mask': mask: values must lie in 0\.\.1, got 0\.\.2"):
        MaskDetector(np.array([[0.0, 2.0]]))
    with pytest.raises(DetectorError, match=r"the threshold must lie in 0\.\.1 \(1 excluded\), got 1"):
        MaskDetector(two_areas(), threshold=1)


@given(st.integers(1, 12), st.integers(1, 12), st.data())
def test_areas_make_up_the_mask(height: int, width: int, data: st.DataObject) -> None:
    """All areas together are exactly the mask above the threshold, each in its enclosing box."""
    bits = data.draw(st.lists(st.sampled_from([0.0, 0.4, 0.6, 1.0]), min_size=height * width, max_size=height * width))
    mask = np.array(bits, np.float32).reshape(height, width)
    total = np.zeros_like(mask)
    for found in MaskDetector(mask).detect(np.zeros((height, width, 3), np.uint8), DetectOptions()):
        x0, y0, x1, y1 = enclosing_box(found.box_xyxy, (width, height))
        assert found.mask_hw is not None
        total[y0:y1, x0:x1] += found.mask_hw
    assert (total == np.where(mask > 0.5, mask, 0)).all()


def test_the_whole_picture_is_one_detection() -> None:
    """Its box is the picture."""
    (found,) = WholeDetector().detect(PICTURE, DetectOptions())
    assert found.box_xyxy == (0, 0, 40, 30)
    assert (WholeDetector().name, WholeDetector().class_names, found.label) == ("whole", (), "picture")


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(64, 1024), st.floats(0, 0.5))
def test_tiles_cover_the_picture(width: int, height: int, tile: int, overlap: float) -> None:
    """Every pixel lies in a tile, tiles are equally large, lie inside, and overlap as much as asked for."""
    boxes = [
        f.box_xyxy
        for f in TilesDetector(tile=tile, overlap=overlap).detect(np.broadcast_to(np.uint8(0), (height, width, 3)), DetectOptions())
    ]
    for low, high, length in ((0, 2, width), (1, 3, height)):
        spans = sorted({(b[low], b[high]) for b in boxes})
        side = min(tile, length)
        assert {b - a for a, b in spans} == {side}
        assert (spans[0][0], spans[-1][1]) == (0, length)
        assert all(one[1] - other[0] >= side * overlap - 1 for one, other in itertools.pairwise(spans))
    assert len(boxes) == len(set(boxes))


def test_tiles_have_names_and_limits() -> None:
    """Four tiles of a picture, row by row; tiles that make no sense are refused."""
    found = TilesDetector(tile=20, overlap=0.1).detect(PICTURE, DetectOptions(max_detections=2))
    assert [f.box_xyxy for f in found] == [
        (0, 0, 20, 20),
        (10, 0, 30, 20),
        (20, 0, 40, 20),
        (0, 10, 20, 30),
        (10, 10, 30, 30),
        (20, 10, 40, 30),
    ]
    for tile, overlap in ((7, 0.1), (64, 0.95), (64, -0.1)):
        with pytest.raises(DetectorError, match=r"a tile has at least 8 pixels and overlaps by 0\.\.0\.9, got"):
            TilesDetector(tile=tile, overlap=overlap)
