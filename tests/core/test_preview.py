"""Previews: what is drawn where, at every size."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from detailer_core.errors import PictureError
from detailer_core.geometry import Box, make_crop_region
from detailer_core.masks import shape_mask
from detailer_core.preview import draw_preview, side_by_side
from detailer_core.segments import Segment, Segments


def segment(wh: tuple[int, int], box: Box, label: str = "face") -> Segment:
    """A segment whose mask is its box."""
    crop = make_crop_region(wh, box, 2.0)
    x, y = crop[:2]
    mask = shape_mask((crop[2] - x, crop[3] - y), (box[0] - x, box[1] - y, box[2] - x, box[3] - y))
    return Segment(bbox_xyxy=box, crop_xyxy=crop, mask_hw=mask, label=label, confidence=0.9)


@pytest.mark.parametrize("side", [8, 40, 300, 1000, 3000])
def test_a_segment_is_drawn_at_every_size(side: int) -> None:
    """Box, tint and text are there on pictures of every size, outside of the crop region and the text nothing changes."""
    box = (side // 3, side // 2, side // 3 + max(2, side // 5), side // 2 + max(2, side // 4))
    item = segment((side, side), box)
    picture = np.full((side, side, 3), 180, np.uint8)
    preview = np.array(draw_preview(picture, Segments(size_wh=(side, side), items=(item,))))
    assert preview.shape == picture.shape
    assert (picture == 180).all()
    inside = preview[box[1] + 1 : box[3] - 1, box[0] + 1 : box[2] - 1]
    assert inside.size == 0 or (inside != 180).any(axis=2).all()
    if side >= 300:
        assert (preview[box[3] + side // 5 :] == 180).all()
        text_rows = (preview.max(axis=2) < 120)[: box[1] - 4 - side // 400].any(axis=1).sum()
        assert text_rows >= 7, "letters are at least 7 pixels high"
        assert text_rows >= side * 0.012


def test_nothing_found_leaves_the_picture() -> None:
    """Without segments the preview is the picture."""
    picture = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
    assert (np.array(draw_preview(picture, Segments(size_wh=(7, 5)))) == picture).all()


def test_tensors_and_arrays_look_the_same() -> None:
    """A float picture, also grey with alpha, is drawn like its uint8 RGB."""
    levels = np.full((60, 80, 3), 120, np.uint8)
    found = Segments(size_wh=(80, 60), items=(segment((80, 60), (10, 20, 40, 50)),))
    tensor = torch.full((1, 2, 60, 80), 120 / 255)
    assert draw_preview(tensor, found).tobytes() == draw_preview(levels, found).tobytes()


@pytest.mark.parametrize("label", ["", "лицо", "顔", "Größe", "a\nb", "x" * 300])
def test_any_label_can_be_drawn(label: str) -> None:
    """Labels of every script, of none and of any length do not stop the drawing."""
    found = Segments(
        size_wh=(300, 200), items=(segment((300, 200), (250, 2, 299, 60), label), segment((300, 200), (0, 150, 9, 200), label))
    )
    preview = draw_preview(np.zeros((200, 300, 3), np.uint8), found, states=["done", "failed"])
    assert preview.size == (300, 200)


def test_states_change_the_text() -> None:
    """What became of a segment is part of its text."""
    found = Segments(size_wh=(300, 200), items=(segment((300, 200), (50, 50, 100, 100)),))
    picture = np.zeros((200, 300, 3), np.uint8)
    assert draw_preview(picture, found, states=["skipped"]).tobytes() != draw_preview(picture, found).tobytes()


def test_boxes_without_area_are_passed_over() -> None:
    """An empty box is no error: its number is still told."""
    item = Segment(bbox_xyxy=(5, 5, 5, 5), crop_xyxy=(5, 5, 5, 5), mask_hw=torch.zeros(0, 0))
    assert draw_preview(np.zeros((50, 50, 3), np.uint8), Segments(size_wh=(50, 50), items=(item,))).size == (50, 50)


def test_what_does_not_fit_is_refused() -> None:
    """Another size, too few states, or another kind of array are errors that say both numbers."""
    found = Segments(size_wh=(30, 20), items=(segment((30, 20), (5, 5, 10, 10)),))
    with pytest.raises(
        PictureError, match=r"the picture has 20x30 pixels, the segments are of one of 30x20; scale them with `segments.scale_to`"
    ):
        draw_preview(np.zeros((30, 20, 3), np.uint8), found)
    with pytest.raises(PictureError, match="2 states for 1 segments; give one word for each"):
        draw_preview(np.zeros((20, 30, 3), np.uint8), found, states=["a", "b"])
    with pytest.raises(PictureError, match=r"expected a picture \[H, W, 3\] in uint8, got float64 \(20, 30, 3\)"):
        draw_preview(np.zeros((20, 30, 3)), found)


def test_side_by_side_has_both_and_a_divider() -> None:
    """Left the one, right the other, a white line between; sizes may differ."""
    both = np.array(side_by_side(Image.new("L", (400, 30), 10), Image.new("RGB", (100, 50), (1, 2, 3))))
    assert both.shape == (50, 502, 3)
    assert (both[:30, :400] == 10).all()
    assert (both[:, 400:402] == 255).all()
    assert (both[:, 402:] == (1, 2, 3)).all()
