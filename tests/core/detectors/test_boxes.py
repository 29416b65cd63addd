"""Overlaps of boxes, and suppression."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from played import thing

from detailer_core.detectors.boxes import overlaps, suppressed
from detailer_core.geometry import area, intersect, iou

boxes = st.lists(st.tuples(*[st.integers(-20, 40)] * 4), max_size=5)


@settings(deadline=None)
@given(boxes, boxes)
def test_overlaps_are_those_of_single_boxes(one: list[tuple[int, int, int, int]], other: list[tuple[int, int, int, int]]) -> None:
    """Each with each, empty and inverted boxes included: intersection over union, and over the first's area."""
    union, share = overlaps(one, other)
    assert union.shape == share.shape == (len(one), len(other))
    for i, a in enumerate(one):
        for j, b in enumerate(other):
            assert union[i, j] == pytest.approx(iou(a, b))
            assert share[i, j] == pytest.approx(area(intersect(a, b)) / area(a) if area(a) else 0)


def test_suppression_keeps_the_first_of_those_that_overlap() -> None:
    """By class, or across classes; a box that overlaps only one that was left out stays."""
    chain = [thing((0, 0, 10, 10)), thing((0, 4, 10, 14)), thing((0, 8, 10, 18)), thing((0, 0, 10, 10), "hand")]
    assert suppressed(chain, iou=0.3, across_classes=False) == [chain[0], chain[2], chain[3]]
    assert suppressed(chain, iou=0.3, across_classes=True) == [chain[0], chain[2]]
    assert suppressed(chain, iou=1.0, across_classes=True) == chain
    assert suppressed([], iou=0.5, across_classes=True) == []
    assert np.array_equal(overlaps([], [])[0], np.zeros((0, 0)))
