"""Masks: conversion, shapes, growth, movement and combination, by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from detailer_core import masks as m
from detailer_core.errors import MaskError
from detailer_core.geometry import Box
from detailer_core.segments import Segment, Segments


def rows(text: str) -> torch.Tensor:
    """A mask from lines of digits: 0 is 0, 9 is 1, 5 is a half."""
    return torch.tensor([[{"0": 0.0, "5": 0.5, "9": 1.0}[c] for c in line] for line in text.split()])


def drawn(mask: torch.Tensor) -> str:
    """The lines of `rows` again."""
    return " ".join("".join({0.0: "0", 0.5: "5", 1.0: "9"}[v] for v in line) for line in mask.tolist())


def segment(bbox: Box, crop: Box, weight: float = 1.0, confidence: float = 1.0, label: str = "") -> Segment:
    """A segment whose box is masked."""
    mask = torch.zeros(crop[3] - crop[1], crop[2] - crop[0])
    mask[bbox[1] - crop[1] : bbox[3] - crop[1], bbox[0] - crop[0] : bbox[2] - crop[0]] = weight
    return Segment(bbox_xyxy=bbox, crop_xyxy=crop, mask_hw=mask, confidence=confidence, label=label)


READ_ONLY = np.eye(3, dtype=np.float32)
READ_ONLY.flags.writeable = False


@pytest.mark.parametrize(("values", "wanted"), [
    (np.array([[True, False]]), [[1.0, 0.0]]), (np.array([[0, 51, 255]], np.uint8), [[0.0, 0.2, 1.0]]), (np.array([[0.25, 1.0]]), [[0.25, 1.0]]),
    (np.array([[0.5]], np.float16), [[0.5]]), (np.array([[0.5]], ">f8"), [[0.5]]), (np.array([[[[0.5, 1.0]]]], np.float32), [[0.5, 1.0]]),
    (torch.tensor([[True, False]]), [[1.0, 0.0]]), (torch.tensor([[0, 255]], dtype=torch.uint8), [[0.0, 1.0]]),
    (torch.tensor([[[0.5, 0.0]]], dtype=torch.bfloat16), [[0.5, 0.0]]), (np.array([[0.1, 0.9]], np.float32)[:, ::-1], [[0.9, 0.1]]),
    (READ_ONLY, np.eye(3).tolist()), (torch.tensor([[0.5]], requires_grad=True), [[0.5]]),
])
def test_as_mask_takes_every_usual_kind(values: object, wanted: list[list[float]]) -> None:
    """bool is 0 and 1, uint8 is 0..255, float is as it is, in whatever layout (REFERENCE item 33)."""
    mask = m.as_mask(values)
    assert mask.dtype == torch.float32
    assert mask.device.type == "cpu"
    assert not mask.requires_grad
    assert torch.allclose(mask, torch.tensor(wanted))


@pytest.mark.parametrize(("values", "text"), [
    ([[1.0]], "the mask: expected a numpy array or a torch tensor, got list"),
    (None, "the mask: expected a numpy array or a torch tensor, got NoneType"),
    (np.zeros((2, 3, 4)), r"the mask: expected a mask \[height, width\], got shape \(2, 3, 4\)"),
    (np.zeros(4), r"the mask: expected a mask \[height, width\], got shape \(4,\)"),
    (np.zeros((2, 2), np.int64), "the mask: expected bool, uint8 0..255 or float 0..1, got int64"),
    (np.zeros((2, 2), np.uint16), "the mask: expected bool, uint8 0..255 or float 0..1, got uint16"),
    (np.array([["a"]], object), "the mask: expected bool, uint8 0..255 or float 0..1, got object"),
    (np.zeros((2, 2), complex), "the mask: expected bool, uint8 0..255 or float 0..1, got complex128"),
    (torch.zeros(2, 2, dtype=torch.int32), "the mask: expected bool, uint8 0..255 or float 0..1, got torch.int32"),
    (np.array([[0.0, 255.0]]), r"the mask: values must lie in 0..1, got 0..255"),
    (torch.tensor([[-0.1, 1.0]]), r"the mask: values must lie in 0..1, got -0.1..1"),
    (np.array([[0.0, np.nan]]), r"the mask: values must lie in 0..1, got nan..nan"),
])
def test_as_mask_refuses_what_it_cannot_read(values: object, text: str) -> None:
    """The message says which mask, what was expected and what was got."""
    with pytest.raises(MaskError, match=text):
        m.as_mask(values, where="the mask")


def test_a_mask_from_numpy_is_a_copy() -> None:
    """Writing to the array afterwards does not change a segment."""
    values = np.zeros((2, 2), np.float32)
    mask = m.as_mask(values)
    values[:] = 1
    assert not bool(mask.any())


@pytest.mark.parametrize(("box", "shape", "radius", "wanted"), [
    ((1, 1, 4, 3), "box", 0.25, "000000 099900 099900 000000"),
    ((-2, 2, 2, 9), "box", 0.25, "000000 000000 990000 990000"),
    ((2, 2, 2, 4), "box", 0.25, "000000 000000 000000 000000"),
    ((8, 0, 9, 4), "ellipse", 0.25, "000000 000000 000000 000000"),
    # Centres of the corner pixels lie at 1.5 of 2 in both directions: 0.5625 + 0.5625 > 1.
    ((0, 0, 4, 4), "ellipse", 0.25, "099000 999900 999900 099000"),
    ((0, 0, 6, 4), "ellipse", 0.25, "099990 999999 999999 099990"),  # corner: (2.5/3)^2 + (1.5/2)^2 = 1.26, beside it (1.5/3)^2 + .5625 = 0.81
    ((-2, 0, 2, 4), "ellipse", 0.25, "900000 990000 990000 900000"),  # cut, not squeezed
    ((0, 0, 6, 4), "rounded", 0.0, "999999 999999 999999 999999"),
    # Radius 2: the corner pixel's centre is 1.5, 1.5 from the arc's: 4.5 > 4.
    ((0, 0, 6, 4), "rounded", 0.5, "099990 999999 999999 099990"),
    # Radius 1: 0.5, 0.5 from the arc's centre is within 1.
    ((0, 0, 6, 4), "rounded", 0.25, "999999 999999 999999 999999"),
])
def test_shapes_by_hand(box: Box, shape: str, radius: float, wanted: str) -> None:
    """A pixel belongs to a shape when its centre does."""
    assert drawn(m.shape_mask((6, 4), box, shape, radius)) == wanted  # type: ignore[arg-type]


@settings(deadline=None)
@given(st.integers(1, 60), st.integers(1, 60))
def test_an_ellipse_has_its_area(width: int, height: int) -> None:
    """Pi/4 of the box, to the pixels at its edge; a rounded box lies between ellipse and box."""
    box = (0, 0, width, height)
    ellipse, rounded = m.shape_mask((width, height), box, "ellipse"), m.shape_mask((width, height), box, "rounded", 0.5)
    assert abs(float(ellipse.sum()) - np.pi / 4 * width * height) <= 2 * (width + height)
    assert bool((rounded >= ellipse).all())
    assert torch.equal(ellipse, ellipse.flip(0).flip(1))


@pytest.mark.parametrize(("pixels", "wanted"), [
    (0, "0000000 0000000 0009000 0000000 0000000"), (1, "0000000 0000000 0009000 0000000 0000000"),
    (2, "0000000 0000000 0009900 0009900 0000000"),  # an even kernel reaches one pixel less to the left and up
    (3, "0000000 0099900 0099900 0099900 0000000"), (5, "0999990 0999990 0999990 0999990 0999990"), (-3, "0000000 0000000 0000000 0000000 0000000"),
])
def test_dilate_by_hand(pixels: int, wanted: str) -> None:
    """One pixel grows to the kernel's square; a kernel of 1 changes nothing; shrinking removes it."""
    mask = torch.zeros(5, 7)
    mask[2, 3] = 1
    assert drawn(m.dilate(mask, pixels)) == wanted


def test_erode_by_hand() -> None:
    """A box shrinks by half the kernel; at the picture's edge it does not, what lies outside is neutral (REFERENCE item 37)."""
    assert drawn(m.dilate(rows("000000 099990 099990 099990 000000"), -3)) == "000000 000000 009900 000000 000000"
    assert drawn(m.dilate(rows("999 999 999"), -3)) == "999 999 999"
    assert drawn(m.dilate(rows("059 055 000"), 3)) == "599 599 555"


def test_dilate_takes_any_layout_and_nothing() -> None:
    """Views work as copies do; a mask without pixels comes back; the input stays."""
    whole = (torch.rand(20, 30, generator=torch.Generator().manual_seed(1)) > 0.9).float()
    before = whole.clone()
    for view in (whole.T, whole[3:15, 5:20], whole[:, ::2]):
        assert torch.equal(m.dilate(view, 3), m.dilate(view.contiguous(), 3))
    assert torch.equal(whole, before)
    assert m.dilate(torch.zeros(0, 5), 4).shape == (0, 5)


@pytest.mark.parametrize(("dx", "dy", "wanted"), [(0, 0, "950 000 009"), (1, 0, "095 000 000"), (-1, 0, "500 000 090"), (0, 1, "000 950 000"),
                                                  (0, -2, "009 000 000"), (2, 2, "000 000 009"), (3, 0, "000 000 000"), (0, -3, "000 000 000"),
                                                  (-9, 9, "000 000 000")])
def test_offset_by_hand(dx: int, dy: int, wanted: str) -> None:
    """What leaves is lost, what enters is 0."""
    assert drawn(m.offset(rows("950 000 009"), dx, dy)) == wanted


@pytest.mark.parametrize(("mask_wh", "crop", "taken"), [
    ((10, 10), (20, 40, 60, 80), (2, 4, 6, 8)), ((20, 10), (20, 40, 60, 80), (4, 4, 12, 8)), ((10, 10), (24, 26, 36, 34), (2, 3, 4, 4)),
    ((10, 10), (26, 24, 34, 36), (3, 2, 4, 4)), ((10, 10), (99, 99, 100, 100), (9, 9, 10, 10)), ((200, 50), (10, 10, 20, 20), (20, 5, 40, 10)),
    ((1, 1), (50, 50, 60, 60), (0, 0, 1, 1)),
])
def test_crop_of_picture_mask_by_hand(mask_wh: tuple[int, int], crop: Box, taken: Box) -> None:
    """x by the width ratio, y by the height ratio, at least one pixel; the picture has 100x100."""
    numbered = torch.arange(mask_wh[0] * mask_wh[1]).reshape(mask_wh[1], mask_wh[0]).float()
    assert torch.equal(m.crop_of_picture_mask(numbered, (100, 100), crop), numbered[taken[1] : taken[3], taken[0] : taken[2]])


def test_intersect_and_subtract_by_hand() -> None:
    """Under a mask of 0 and 1 the smaller value counts, under a soft one the product; subtraction stops at 0."""
    segments = Segments(size_wh=(6, 4), items=(segment((1, 1, 3, 3), (1, 1, 5, 3), 0.5),))
    hard, soft = rows("000000 009900 000000 000000"), rows("000000 055550 000000 000000")
    assert drawn(m.intersect_mask(segments, hard)[0].mask_hw) == "0500 0000"
    assert m.intersect_mask(segments, soft)[0].mask_hw.tolist() == [[0.25, 0.25, 0, 0], [0, 0, 0, 0]]
    assert drawn(m.subtract_mask(segments, hard)[0].mask_hw) == "5000 5500"
    assert drawn(m.subtract_mask(segments, soft)[0].mask_hw) == "0000 5500"
    assert drawn(segments[0].mask_hw) == "5500 5500", "the segments given stay"


@pytest.mark.parametrize("combine", [m.intersect_mask, m.subtract_mask])
def test_masks_of_another_size_are_not_combined(combine: object) -> None:
    """The message names both sizes."""
    segments = Segments(size_wh=(6, 4), items=(segment((1, 1, 3, 3), (1, 1, 5, 3)),))
    with pytest.raises(MaskError, match="the mask has 4x6 pixels, the picture 6x4; they must be equal"):
        combine(segments, torch.zeros(6, 4))  # type: ignore[operator]


@pytest.mark.parametrize(("factor", "bbox", "mask"), [
    (1.0, (2, 2, 6, 4), "00000000 00999900 00999900 00000000"), (1.5, (1, 2, 7, 4), "00000000 09999990 09999990 00000000"),
    (2.0, (0, 1, 8, 5), "99999999 99999999 99999999 99999999"), (0.5, (3, 2, 5, 4), "00000000 00099000 00099000 00000000"),
])
def test_scale_bbox_by_hand(factor: float, bbox: Box, mask: str) -> None:
    """Each side moves by half of what the box grows, truncated; the mask is the box."""
    got = m.scale_bbox(segment((2, 2, 6, 4), (0, 1, 8, 5)), factor, (9, 9))
    assert got.bbox_xyxy == bbox
    assert drawn(got.mask_hw) == mask
    assert got.crop_xyxy == (0, 1, 8, 5)


def test_merge_by_hand() -> None:
    """Boxes are enclosed, masks united, the region is new, label and confidence are those of the surest."""
    one, two = segment((2, 2, 4, 4), (0, 0, 6, 6), 0.5, 0.3, "a"), segment((8, 6, 10, 8), (7, 5, 12, 10), 1.0, 0.9, "b")
    merged = m.merge(Segments(size_wh=(20, 12), items=(one, two)), 1.5)
    assert len(merged) == 1
    assert merged[0].bbox_xyxy == (2, 2, 10, 8)
    assert merged[0].crop_xyxy == (0, 0, 12, 9)
    assert (merged[0].label, merged[0].confidence) == ("b", 0.9)
    wanted = torch.zeros(9, 12)
    wanted[2:4, 2:4], wanted[6:8, 8:10] = 0.5, 1
    assert torch.equal(merged[0].mask_hw, wanted)


def test_one_segment_or_none_is_not_merged() -> None:
    """They come back as they are."""
    for items in ((), (segment((2, 2, 4, 4), (0, 0, 6, 6)),)):
        segments = Segments(size_wh=(20, 12), items=items)
        assert m.merge(segments, 3.0) is segments


def test_components_by_hand() -> None:
    """Areas that touch at a corner are one; they come by their top, then left, with the area inside their box."""
    found = m.components(rows("000000099 090000000 005000000 000009000 990009900"))
    assert [box for box, _ in found] == [(7, 0, 9, 1), (1, 1, 3, 3), (5, 3, 7, 5), (0, 4, 2, 5)]
    assert found[1][1].tolist() == [[True, False], [False, True]]
    assert found[2][1].tolist() == [[True, False], [True, True]]
    assert m.components(torch.zeros(4, 4)) == []


def test_cut_to_by_hand() -> None:
    """Outside of the box, in the picture's pixels, nothing is left; a box elsewhere leaves nothing at all."""
    whole = segment((10, 20, 16, 24), (10, 20, 16, 24))
    assert drawn(m.cut_to(whole, (12, 0, 15, 22)).mask_hw) == "009990 009990 000000 000000"
    assert not bool(m.cut_to(whole, (16, 20, 18, 24)).mask_hw.any())
    assert bool((whole.mask_hw == 1).all())


def test_bounding_box_by_hand() -> None:
    """Tight, with a margin that ends at the mask's edges; nothing has none."""
    mask = rows("00000 00500 00090 00000")
    assert m.bounding_box(mask) == (2, 1, 4, 3)
    assert m.bounding_box(mask, 2) == (0, 0, 5, 4)
    assert m.bounding_box(torch.zeros(3, 3), 2) is None
