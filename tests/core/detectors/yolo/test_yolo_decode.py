"""Letterbox, selection and masks as numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detailer_core.detectors.yolo.decode import (
    GREY,
    Selected,
    input_masks,
    letterbox,
    letterbox_fixed,
    non_maximum_suppression,
    picture_mask,
    select,
)

SIDE = st.integers(1, 3000)


def columns(*rows: tuple[float, ...]) -> np.ndarray:
    """Columns from boxes x0, y0, x1, y1 and scores."""
    return np.array([((x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0, *rest) for x0, y0, x1, y1, *rest in rows], np.float32).T


@given(SIDE, SIDE, st.integers(1, 20).map(lambda n: n * 32), st.sampled_from([32, 64]))
def test_letterbox_holds_the_picture(width: int, height: int, side: int, stride: int) -> None:
    """The input has sides of multiples of the stride and bars that differ by at most a pixel; the picture keeps its aspect."""
    frame = letterbox((width, height), side, stride)
    assert all(length % stride == 0 for length in frame.input_wh)
    assert max(frame.scaled_wh) == max(frame.input_wh) == -(-side // stride) * stride
    for outer, inner, start in zip(frame.input_wh, frame.scaled_wh, (frame.left, frame.top), strict=True):
        assert 0 <= start <= outer - inner - start <= start + 1
        assert outer - inner < stride or inner == 1
    scale = max(frame.input_wh) / max(width, height)
    for length, scaled in zip((width, height), frame.scaled_wh, strict=True):
        assert scaled == 1 or abs(scaled - length * scale) <= 0.5 + 1e-6


@given(SIDE, SIDE)
def test_boxes_come_back(width: int, height: int) -> None:
    """The corners of the picture in the input are the corners of the picture, within the rounding of the scaled size."""
    frame = letterbox((width, height), 640, 32)
    box = np.array([[frame.left, frame.top, frame.left + frame.scaled_wh[0], frame.top + frame.scaled_wh[1]]], np.float32)
    tolerance = max(width, height) / 640 + 1e-3
    np.testing.assert_allclose(frame.to_picture(box)[0], [0, 0, width, height], atol=tolerance)


def test_bars_are_grey() -> None:
    """The picture is centred between grey bars."""
    frame = letterbox((64, 30), 64, 32)
    result = frame.apply(np.full((30, 64, 3), 255, np.uint8))
    assert (frame.input_wh, frame.top) == ((64, 32), 1)
    assert result.shape == (32, 64, 3)
    assert (result[0] == GREY).all() and (result[31] == GREY).all() and (result[1:31] == 255).all()


def test_fixed_input() -> None:
    """A fixed input is filled as far as the aspect allows."""
    frame = letterbox_fixed((100, 50), (64, 64))
    assert (frame.input_wh, frame.scaled_wh, frame.left, frame.top) == ((64, 64), (64, 32), 0, 16)


def test_selection() -> None:
    """Overlapping boxes of one class are one, of two classes two, or one on request."""
    rows = columns((0, 0, 10, 10, 0.9, 0.1), (1, 0, 11, 10, 0.8, 0.1), (1, 1, 11, 11, 0.1, 0.7), (50, 50, 60, 60, 0.2, 0.29))
    found = select(rows, 2, confidence=0.3, iou=0.5, limit=10)
    np.testing.assert_allclose(found.boxes_xyxy, [[0, 0, 10, 10], [1, 1, 11, 11]])
    np.testing.assert_allclose(found.scores, [0.9, 0.7])
    assert found.classes.tolist() == [0, 1]
    assert select(rows, 2, confidence=0.3, iou=0.5, limit=10, across_classes=True).classes.tolist() == [0]
    assert select(rows, 2, confidence=0.3, iou=0.5, limit=10, wanted=frozenset({1})).classes.tolist() == [1]
    assert len(select(rows, 2, confidence=0.0, iou=1.0, limit=3).scores) == 3
    assert len(select(rows, 2, confidence=0.95, iou=0.5, limit=10).scores) == 0
    assert len(select(rows[:, :0], 2, confidence=0.1, iou=0.5, limit=10).scores) == 0
    rows[0, 0], rows[2, 2] = np.nan, np.inf
    assert select(rows, 2, confidence=0.3, iou=0.5, limit=10).scores.tolist() == pytest.approx([0.8])


@given(st.lists(st.tuples(*[st.integers(0, 20)] * 2, *[st.integers(1, 20)] * 2, st.integers(0, 1)), max_size=25), st.floats(0, 1))
def test_suppression_is_greedy(rows: list[tuple[int, ...]], iou: float) -> None:
    """A box is kept if and only if no kept box before it, of its class, overlaps it by more."""
    boxes = np.array([(x, y, x + w, y + h) for x, y, w, h, _ in rows], np.float32).reshape(-1, 4)
    classes = np.array([row[4] for row in rows], np.intp)
    kept: list[int] = []
    for index, (x0, y0, x1, y1) in enumerate(boxes):
        def overlap(other: int, box: tuple[float, ...] = (x0, y0, x1, y1)) -> float:
            a0, b0, a1, b1 = boxes[other]
            common = max(0, min(a1, box[2]) - max(a0, box[0])) * max(0, min(b1, box[3]) - max(b0, box[1]))
            area = (a1 - a0) * (b1 - b0) + (box[2] - box[0]) * (box[3] - box[1]) - common
            return np.inf if common > np.float32(iou * area) else 0
        if not any(classes[other] == classes[index] and overlap(other) for other in kept):
            kept.append(index)
    assert non_maximum_suppression(boxes, classes, iou, 100, False).tolist() == kept


def _selected(*boxes: tuple[float, ...]) -> Selected:
    """Detections with one coefficient of 1."""
    count = len(boxes)
    return Selected(boxes_xyxy=np.array(boxes, np.float32).reshape(-1, 4), scores=np.ones(count, np.float32),
                    classes=np.zeros(count, np.intp), coefficients=np.ones((count, 1), np.float32))


def test_masks_are_cut_to_their_boxes() -> None:
    """A mask that is everywhere positive is its box; one that is nowhere positive is empty; none give none."""
    ones = np.ones((1, 8, 8), np.float32)
    masks = input_masks(_selected((3.5, 4, 20, 30), (-5, -5, 99, 99)), ones, (32, 32))
    assert masks[1].all()
    assert masks[0].sum() == 16 * 26
    assert masks[0, 4:30, 4:20].all()
    assert not input_masks(_selected((0, 0, 32, 32)), -ones, (32, 32)).any()
    assert input_masks(_selected(), ones, (32, 16)).shape == (0, 16, 32)


def test_picture_mask_leaves_out_the_bars() -> None:
    """A mask of the lower half of the picture is that in the picture's own pixels, whatever the bars."""
    frame = letterbox((200, 100), 64, 32)
    mask = np.zeros((frame.input_wh[1], frame.input_wh[0]), np.bool_)
    mask[frame.top + frame.scaled_wh[1] // 2:] = True
    result = picture_mask(mask, frame, (20, 10, 180, 90))
    assert (result.shape, result.dtype) == ((80, 160), np.float32)
    assert (result[:36] == 0).all() and (result[44:] == 1).all()
    assert picture_mask(mask, frame, (5, 5, 5, 9)).shape == (4, 0)


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_picture_mask_at_whole_factors(scale: int) -> None:
    """At the input's own size a mask is copied; enlarged, it stays where it is."""
    rng = np.random.default_rng(0)
    mask = rng.random((32, 64)) > 0.5
    frame = letterbox((64 * scale, 32 * scale), 64, 32)
    result = picture_mask(mask, frame, (0, 0, 64 * scale, 32 * scale))
    blocks = result.reshape(32, scale, 64, scale).mean((1, 3)) > 0.5
    assert (blocks == mask).mean() > (0.999 if scale == 1 else 0.8)
