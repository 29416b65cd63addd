"""Segments: what they may hold, order, filters, picks, another size."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from detailer_core.errors import MaskError, SettingsError
from detailer_core.geometry import Box
from detailer_core.segments import (
    Segment,
    Segments,
    combined_mask,
    measure,
    parse_picks,
    pick,
    scale_to,
    split_labels,
    split_ordered,
    split_range,
)


def segment(crop: Box = (0, 0, 10, 10), label: str = "face", confidence: float = 1.0, weight: float = 1.0, bbox: Box | None = None) -> Segment:
    """A segment whose whole crop region is masked."""
    mask = torch.full((crop[3] - crop[1], crop[2] - crop[0]), weight)
    return Segment(bbox_xyxy=bbox or crop, crop_xyxy=crop, mask_hw=mask, label=label, confidence=confidence)


def several(*items: Segment) -> Segments:
    """In a picture of 100x80 pixels."""
    return Segments(size_wh=(100, 80), items=items)


def labels(segments: Segments) -> list[str]:
    """Labels in order."""
    return [s.label for s in segments]


@pytest.mark.parametrize("mask", [torch.ones(10, 9), torch.ones(1, 20, 10), torch.ones(20, 10, dtype=torch.uint8),
                                  torch.ones(20, 10, dtype=torch.bool)])
def test_a_mask_of_another_size_or_type_is_refused(mask: torch.Tensor) -> None:
    """The mask is float and exactly as large as the crop region; the message says what was expected, what was got and what converts."""
    text = rf"float tensor of its crop region, 20x10 \(height x width\); got {mask.dtype} \({mask.shape[0]}, .*`masks.as_mask` converts"
    with pytest.raises(MaskError, match=text):
        Segment(bbox_xyxy=(0, 0, 5, 5), crop_xyxy=(5, 5, 15, 25), mask_hw=mask)


def test_segments_are_a_sequence_that_does_not_change() -> None:
    """They have a length, an order and places; other items make another object."""
    one, two = segment(label="a"), segment(label="b")
    both = several(one, two)
    assert len(both) == 2
    assert list(both) == [one, two]
    assert both[1] is two
    assert labels(both.with_items([two])) == ["b"]
    assert both.with_items([two]).size_wh == (100, 80)
    assert len(both) == 2
    with pytest.raises(AttributeError):
        both.items = ()  # type: ignore[misc]


@pytest.mark.parametrize(("what", "value"), [("area", 800), ("width", 40), ("height", 20), ("x0", 10), ("y0", 5), ("x1", 50), ("y1", 25),
                                             ("length_percent", 200.0), ("confidence_percent", 25.0)])
def test_measures_are_of_the_crop_region(what: str, value: float) -> None:
    """The filters measure the crop region and not the box (REFERENCE item 46)."""
    assert measure(segment((10, 5, 50, 25), confidence=0.25, bbox=(20, 10, 22, 19)), what) == value  # type: ignore[arg-type]


def test_the_length_of_a_region_without_area_is_zero() -> None:
    """No division by zero."""
    assert measure(segment((10, 10, 10, 20)), "length_percent") == 0


def test_unknown_measures_are_refused() -> None:
    """The message lists what there is."""
    with pytest.raises(SettingsError, match="unknown measure 'size'; choose one of area, width, height, x0") as caught:
        measure(segment(), "size")  # type: ignore[arg-type]
    assert caught.value.field == "measure"


SHAPES = several(segment((0, 0, 10, 10), "a"), segment((5, 0, 25, 20), "b"), segment((0, 5, 10, 15), "c"), segment((0, 0, 5, 5), "d"))


@pytest.mark.parametrize(("what", "descending", "start", "count", "kept", "rest"), [
    ("area", False, 0, 2, "da", "cb"), ("area", True, 0, 2, "ba", "cd"), ("area", True, 1, 2, "ac", "bd"), ("area", True, 3, 9, "d", "bac"),
    ("area", True, 9, 2, "", "bacd"), ("x0", False, 0, 0, "", "acdb"), ("y0", True, 0, 1, "c", "abd"),
])
def test_split_ordered_by_hand(what: str, descending: bool, start: int, count: int, kept: str, rest: str) -> None:
    """Equal measures keep their order, both ways."""
    taken, others = split_ordered(SHAPES, what, descending=descending, start=start, count=count)  # type: ignore[arg-type]
    assert ("".join(labels(taken)), "".join(labels(others))) == (kept, rest)


@pytest.mark.parametrize(("low", "high", "inside", "kept"), [(25, 100, True, "acd"), (26, 99, True, ""), (100, 100, False, "bd"),
                                                              (101, 1e9, True, "b")])
def test_split_range_by_hand(low: float, high: float, inside: bool, kept: str) -> None:
    """Both ends count as inside; what is not taken is the rest, in order."""
    taken, others = split_range(SHAPES, "area", low=low, high=high, inside=inside)
    assert "".join(labels(taken)) == kept
    assert "".join(labels(others)) == "".join(c for c in "abcd" if c not in kept)


@pytest.mark.parametrize(("text", "kept"), [
    ("face", ["face"]), ("Face", []), (" face , hand", ["face", "hand"]), ("eyes", ["left_eye", "right_eye"]), ("all", None), ("x, all", None),
    ("", [""]), ("eye", []), ("pupils,hand", ["hand", "left_pupil"]), ("eyebrows", ["right_eyebrow"]),
])
def test_split_labels_by_hand(text: str, kept: list[str] | None) -> None:
    """Labels are exact; eyes, eyebrows and pupils stand for two; all is all (REFERENCE item 47)."""
    every = ["face", "hand", "left_eye", "right_eye", "", "left_pupil", "right_eyebrow"]
    taken, others = split_labels(several(*(segment(label=name) for name in every)), text)
    wanted = every if kept is None else kept
    assert labels(taken) == wanted
    assert labels(others) == [name for name in every if name not in wanted]


@pytest.mark.parametrize(("text", "numbers"), [("", ()), ("1", (1,)), ("3,1", (3, 1)), ("1,3-5", (1, 3, 4, 5)), (" 2 - 4 , 3,9", (2, 3, 4, 9)),
                                               ("1,,2,", (1, 2)), ("2-2", (2,)), ("10000", (10000,)), ("1,1-3", (1, 2, 3))])
def test_parse_picks_by_hand(text: str, numbers: tuple[int, ...]) -> None:
    """Numbers and ranges, in the order given, each once."""
    assert parse_picks(text) == numbers


@pytest.mark.parametrize("part", ["0", "a", "1.5", "-3", "3-", "5-3", "1-2-3", "²", "0-2", "1;2"])
def test_parts_that_are_no_numbers_are_refused(part: str) -> None:
    """The message names the part and the whole list, and shows how to write it."""
    with pytest.raises(SettingsError, match=r"cannot read '.*' in the list of numbers '.*'; write for example 1,3-5") as caught:
        parse_picks(f"1,{part}")
    assert f"'{part}'" in str(caught.value)
    assert caught.value.field == "pick"


@pytest.mark.parametrize("part", ["10001", "1-20000", pytest.param("9" * 5000, id="5000 digits")])
def test_numbers_beyond_reason_are_refused(part: str) -> None:
    """A list that would fill the memory is refused."""
    with pytest.raises(SettingsError, match="is too large; segments are numbered from 1"):
        parse_picks(part)


def test_pick_by_hand() -> None:
    """Numbers count from 1 and go beyond the last without an error."""
    assert labels(pick(SHAPES, "3,1")) == ["c", "a"]
    assert labels(pick(SHAPES, "4-9")) == ["d"]
    assert labels(pick(SHAPES, "")) == []


def test_scale_to_by_hand() -> None:
    """x goes with the width, y with the height (REFERENCE item 36), ends are truncated, the mask follows the region."""
    mask = torch.zeros(10, 20)
    mask[:, 10:] = 1
    one = Segment(bbox_xyxy=(11, 12, 29, 19), crop_xyxy=(10, 10, 30, 20), mask_hw=mask, label="x", confidence=0.5, prompt="p")
    scaled = scale_to(several(one), (50, 160))
    assert scaled.size_wh == (50, 160)
    assert scaled[0].crop_xyxy == (5, 20, 15, 40)
    assert scaled[0].bbox_xyxy == (5, 24, 14, 38)
    wanted = torch.zeros(20, 10)
    wanted[:, 5:] = 1
    assert torch.equal(scaled[0].mask_hw, wanted)
    assert (scaled[0].label, scaled[0].confidence, scaled[0].prompt) == ("x", 0.5, "p")


def test_scale_to_the_same_size_and_to_none_changes_nothing() -> None:
    """The same object comes back, also where a side is empty (REFERENCE item 36)."""
    assert scale_to(SHAPES, (100, 80)) is SHAPES
    assert scale_to(SHAPES, (0, 80)) is SHAPES
    empty = Segments(size_wh=(0, 10), items=SHAPES.items)
    assert scale_to(empty, (50, 50)) is empty


def test_scale_to_keeps_a_region_without_area_empty() -> None:
    """A region of nothing becomes a pixel that is not redrawn, and no error."""
    one = scale_to(several(segment((10, 10, 10, 20))), (200, 160))[0]
    assert one.crop_xyxy == (20, 20, 21, 40)
    assert not bool(one.mask_hw.any())


@settings(deadline=None)
@given(st.tuples(st.integers(1, 100), st.integers(1, 80)), st.tuples(st.integers(1, 300), st.integers(1, 300)), st.integers(0, 99),
       st.integers(0, 79))
def test_scaled_regions_lie_in_the_picture(size: tuple[int, int], picture: tuple[int, int], x0: int, y0: int) -> None:
    """Whatever the sizes, a region keeps at least one pixel and stays inside, and so does its mask's size."""
    crop = (x0, y0, min(100, x0 + size[0]), min(80, y0 + size[1]))
    one = scale_to(several(segment(crop)), picture)[0]
    x0, y0, x1, y1 = one.crop_xyxy
    assert 0 <= x0 < x1 <= picture[0]
    assert 0 <= y0 < y1 <= picture[1]
    assert tuple(one.mask_hw.shape) == (y1 - y0, x1 - x0)


def test_combined_mask_by_hand() -> None:
    """The largest value wins where segments overlap; elsewhere 0; the segments' own masks stay."""
    one, two = segment((0, 0, 3, 2), weight=0.5), segment((2, 1, 4, 3), weight=0.25)
    whole = combined_mask(Segments(size_wh=(5, 4), items=(one, two)))
    assert whole.tolist() == [[0.5, 0.5, 0.5, 0, 0], [0.5, 0.5, 0.5, 0.25, 0], [0, 0, 0.25, 0.25, 0], [0, 0, 0, 0, 0]]
    assert bool((two.mask_hw == 0.25).all())
    assert combined_mask(Segments(size_wh=(5, 4))).tolist() == torch.zeros(4, 5).tolist()
