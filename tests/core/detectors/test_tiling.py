"""Tiles: where they lie, and how what is found in them becomes one list."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from played import Played, blobs, thing

from detailer_core.detectors.base import DetectOptions
from detailer_core.detectors.tiling import MAX_TILES, Tiling, detect_tiled, spans, tile_boxes
from detailer_core.geometry import enclosing_box

OPTIONS = DetectOptions(iou=0.5)


def white(size_wh: tuple[int, int], *boxes: tuple[int, int, int, int]) -> np.ndarray:
    """A black picture with white boxes."""
    picture = np.zeros((size_wh[1], size_wh[0], 3), np.uint8)
    for x0, y0, x1, y1 in boxes:
        picture[y0:y1, x0:x1] = 255
    return picture


@settings(deadline=None)
@given(st.integers(1, 5000), st.integers(64, 2000), st.floats(0, 0.9))
def test_spans_cover_all_and_overlap(length: int, side: int, overlap: float) -> None:
    """The first begins at 0, the last ends at the end, all are alike, and neighbours share at least the overlap, but for rounding."""
    found = spans(length, side, overlap)
    assert found[0][0] == 0 and found[-1][1] == length
    assert {end - start for start, end in found} == {min(side, length)}
    for (_, end), (start, _) in itertools.pairwise(found):
        assert end - start >= min(side, length) * overlap - 1


@settings(deadline=None)
@given(st.tuples(st.integers(1, 3000), st.integers(1, 3000)), st.integers(64, 700))
def test_tiles_cover_the_picture(picture_wh: tuple[int, int], side: int) -> None:
    """Every pixel lies in a tile, and every tile in the picture."""
    tiles = tile_boxes(picture_wh, Tiling(side=side))
    seen = np.zeros((picture_wh[1] // 7 + 1, picture_wh[0] // 7 + 1), bool)
    for x0, y0, x1, y1 in tiles:
        assert 0 <= x0 < x1 <= picture_wh[0] and 0 <= y0 < y1 <= picture_wh[1]
        seen[-(-y0 // 7):-(-y1 // 7), -(-x0 // 7):-(-x1 // 7)] = True
    assert seen[: -(-picture_wh[1] // 7), : -(-picture_wh[0] // 7)].all()


def test_tiles_are_not_without_number() -> None:
    """In a huge picture they become larger instead."""
    assert 1 < len(tile_boxes((100_000, 100_000), Tiling(side=64, overlap=0.9))) <= MAX_TILES


def test_no_tiles_are_one_look() -> None:
    """Without tiling, or where one tile is the picture, the detector is asked once, with the picture."""
    detector = Played(thing((1, 2, 3, 4)))
    for tiling in (None, Tiling(side=200)):
        assert detect_tiled(detector, white((100, 80)), OPTIONS, tiling) == [detector.look(white((1, 1)))[0]]
    assert [shape for shape, _ in detector.asked] == [(80, 100, 3)] * 2


def test_small_things_are_found_and_large_ones_once() -> None:
    """What is too small for the whole picture is found in the tiles, at its place; what is large is not found in pieces as well."""
    small, large = (300, 40, 312, 52), (60, 100, 260, 290)
    picture = white((400, 300), small, large)

    def look(part: np.ndarray) -> list:
        return list(blobs(40 if part.shape == picture.shape else 10)(part))

    found = detect_tiled(Played(look=look), picture, OPTIONS, Tiling(side=128, overlap=0.25))
    assert {one.box_xyxy for one in found} == {small, large}
    assert [one.confidence for one in found] == sorted((one.confidence for one in found), reverse=True)


def test_what_only_tiles_see_in_parts_stays() -> None:
    """A thing that no look sees whole is not lost: one of its parts is there."""
    picture = white((400, 100), (100, 40, 300, 60))
    found = detect_tiled(Played(look=lambda part: [] if part.shape == picture.shape else blobs(10)(part)), picture, OPTIONS, Tiling(side=100))
    assert found
    assert all(100 <= one.box_xyxy[0] < one.box_xyxy[2] <= 300 for one in found)


@pytest.mark.parametrize(("across", "count"), [(False, 2), (True, 1)])
def test_the_same_thing_in_two_tiles_is_one(across: bool, count: int) -> None:
    """By class, or across classes if that is asked for; the surest stays."""
    picture = white((300, 100), (120, 40, 150, 60))

    def look(part: np.ndarray) -> list:
        label = "face" if part[0, 0, 0] else "hand"
        return [replace(one, label=label, confidence=0.9 if label == "hand" else 0.5) for one in blobs(10)(part)]

    picture[0, 0] = 255  # only the first tile and the whole picture see it
    found = detect_tiled(Played(look=look), picture, replace(OPTIONS, across_classes=across), Tiling(side=200, overlap=0.9))
    assert len(found) == count
    assert found[0].label == "hand"


def test_masks_move_with_their_boxes() -> None:
    """A mask still fits the pixels of its box, also where a box reaches over its tile's edge or lies between pixels."""
    size_wh = (200, 160)

    def look(part: np.ndarray) -> list:
        height, width = part.shape[:2]
        boxes = [(-3.5, 10.25, 20.5, 30.75), (width - 8.5, 50.5, width + 9.0, 70.0)] if width < 200 else []
        found = []
        for box in boxes:
            x0, y0, x1, y1 = enclosing_box(box, (width, height))
            found.append(thing(box, mask=part[y0:y1, x0:x1, 0].astype(np.float32) / 255))
        return found

    picture = np.random.default_rng(0).integers(0, 256, (160, 200, 3), np.uint8)
    found = detect_tiled(Played(look=look), picture, replace(OPTIONS, iou=1.0), Tiling(side=100, overlap=0.0))
    assert len(found) == 8
    for one in found:
        x0, y0, x1, y1 = enclosing_box(one.box_xyxy, size_wh)
        assert one.mask_hw is not None
        np.testing.assert_array_equal(one.mask_hw, picture[y0:y1, x0:x1, 0].astype(np.float32) / 255)


def test_boxes_that_are_no_numbers_are_left_out() -> None:
    """A network that overflows in one tile costs nothing else; a box outside of its tile is none."""
    bad = [thing((float("nan"), 0, 5, 5)), thing((500, 0, 600, 5))]
    found = detect_tiled(Played(look=lambda part: [] if part.shape[1] == 300 else bad), white((300, 100)), OPTIONS, Tiling(side=100))
    assert found == []


def test_at_most_so_many() -> None:
    """The limit of the options holds for all tiles together, the surest first."""
    many = [thing((10 * i, 0, 10 * i + 8, 8), confidence=i / 100) for i in range(9)]
    found = detect_tiled(Played(*many), white((300, 100)), replace(OPTIONS, max_detections=4), Tiling(side=100))
    assert len(found) == 4
    assert min(one.confidence for one in found) >= 0.07
