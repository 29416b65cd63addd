"""Selection: which detections become segments, and with what mask."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from detailer_core.detectors.base import BoxFloat, Detection
from detailer_core.detectors.selection import SelectionOptions, select
from detailer_core.errors import DetectorError, MaskError, SettingsError
from detailer_core.geometry import Box, area, enclosing_box, intersect, make_crop_region, shift
from detailer_core.masks import dilate, offset, shape_mask
from detailer_core.segments import Segment, Segments, combined_mask

WH = (200, 160)
PLAIN = SelectionOptions(dilation=0)


def found(*box: float, label: str = "face", confidence: float = 0.9, mask: np.ndarray | None = None) -> Detection:
    """A detection."""
    return Detection(box_xyxy=(box[0], box[1], box[2], box[3]), label=label, confidence=confidence, mask_hw=mask)


def boxes(segments: Segments) -> list[Box]:
    """The boxes, in order."""
    return [s.bbox_xyxy for s in segments]


def whole(segment: Segment, wh: tuple[int, int] = WH) -> torch.Tensor:
    """The segment's mask on the picture."""
    return combined_mask(Segments(size_wh=wh, items=(segment,)))


LARGE, SMALL, WIDE = (
    found(10, 20, 90, 100),
    found(120, 30, 150, 60, confidence=0.95, label="hand"),
    found(100, 100, 180, 130, confidence=0.5),
)


def test_a_detection_becomes_a_segment() -> None:
    """Box, label and confidence are taken over, the crop region is made from the box, the mask is the box."""
    (segment,) = select([found(10.4, 20.6, 49.2, 60)], WH, PLAIN)
    assert segment.bbox_xyxy == (10, 20, 50, 60)
    assert segment.crop_xyxy == make_crop_region(WH, (10, 20, 50, 60), 3.0)
    assert (segment.label, segment.confidence) == ("face", 0.9)
    assert torch.equal(whole(segment), shape_mask(WH, (10, 20, 50, 60)))


def test_nothing_found_gives_no_segments() -> None:
    """No detections, no segments, whatever the merging."""
    for merge in ("none", "merge", "merge-overlapping", "merge-invert"):
        assert len(select([], WH, SelectionOptions(merge=merge))) == 0


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({}, [LARGE, SMALL, WIDE]),
        ({"min_confidence": 0.9}, [LARGE, SMALL]),
        ({"include_labels": ("hand",)}, [SMALL]),
        ({"include_labels": ("all",)}, [LARGE, SMALL, WIDE]),
        ({"exclude_labels": ("hand", "foot")}, [LARGE, WIDE]),
        ({"include_labels": ("face", "hand"), "exclude_labels": ("face",)}, [SMALL]),
        ({"drop_size": 29}, [LARGE, SMALL, WIDE]),
        ({"drop_size": 30}, [LARGE]),
        ({"min_ratio": 0.1}, [LARGE]),
        ({"max_ratio": 0.1}, [SMALL, WIDE]),
        ({"min_side": 31}, [LARGE]),
        ({"max_side": 79}, [SMALL]),
        ({"max_count": 1}, [LARGE]),
        ({"max_count": 2}, [LARGE, WIDE]),
        ({"max_count": 1, "max_count_by": "confidence"}, [SMALL]),
        ({"max_count": 1, "max_count_by": "position", "order": "right-left"}, [WIDE]),
        ({"max_count": 9}, [LARGE, SMALL, WIDE]),
        ({"pick": "3,1"}, [WIDE, LARGE]),
        ({"pick": "2-9"}, [SMALL, WIDE]),
        ({"pick": " "}, [LARGE, SMALL, WIDE]),
    ],
)
def test_filters(options: dict[str, object], kept: list[Detection]) -> None:
    """Each filter keeps what it should."""
    segments = select([LARGE, SMALL, WIDE], WH, SelectionOptions(**options))  # type: ignore[arg-type]
    assert boxes(segments) == [enclosing_box(d.box_xyxy, WH) for d in kept]


@pytest.mark.parametrize(
    ("order", "kept"),
    [
        ("none", [LARGE, SMALL, WIDE]),
        ("left-right", [LARGE, WIDE, SMALL]),
        ("right-left", [WIDE, SMALL, LARGE]),
        ("top-bottom", [LARGE, SMALL, WIDE]),
        ("bottom-top", [WIDE, LARGE, SMALL]),
        ("centre-edge", [SMALL, WIDE, LARGE]),
        ("largest", [LARGE, WIDE, SMALL]),
        ("smallest", [SMALL, WIDE, LARGE]),
        ("confidence", [SMALL, LARGE, WIDE]),
    ],
)
def test_orders(order: str, kept: list[Detection]) -> None:
    """Each order sorts as it says."""
    segments = select([LARGE, SMALL, WIDE], WH, SelectionOptions(order=order))  # type: ignore[arg-type]
    assert boxes(segments) == [enclosing_box(d.box_xyxy, WH) for d in kept]


def test_orders_are_stable() -> None:
    """Equals stay in the order in which they came."""
    same = [found(10, 10, 40, 40, label=str(i)) for i in range(5)]
    assert [s.label for s in select(same, WH, SelectionOptions(order="largest"))] == list("01234")


def test_eyes_stand_for_both() -> None:
    """The aliases of the label filter work here as well."""
    eyes = [found(10, 10, 40, 40, label=label) for label in ("left_eye", "right_eye", "mouth")]
    assert [s.label for s in select(eyes, WH, SelectionOptions(include_labels=("eyes",)))] == ["left_eye", "right_eye"]


def test_boxes_without_area_are_dropped() -> None:
    """Empty, inverted, outside, or no numbers: left out without an error."""
    nan, inf = float("nan"), float("inf")
    bad: list[BoxFloat] = [(50, 50, 50, 90), (90, 50, 50, 90), (300, 50, 400, 90), (-90, 5, 0, 50), (nan, 0, 50, 50), (0, 0, inf, 50)]
    assert len(select([found(*b) for b in bad], WH, SelectionOptions(drop_size=0))) == 0
    assert len(select([found(*b) for b in bad], WH, SelectionOptions(drop_size=-1000, dilation=9))) == 0


def test_boxes_are_cut_at_the_edges() -> None:
    """What reaches over the edge is cut; drop size measures the detector's own box."""
    (segment,) = select([found(-30, 150, 8, 400)], WH, PLAIN)
    assert segment.bbox_xyxy == (0, 150, 8, 160)


@pytest.mark.parametrize("shape", ["box", "rounded", "ellipse"])
def test_mask_shapes(shape: str) -> None:
    """Shapes are drawn into the box, whatever mask the detector has."""
    mask = np.ones((40, 40), np.float32) * 0.5
    (segment,) = select([found(10, 20, 50, 60, mask=mask)], WH, SelectionOptions(dilation=0, mask_shape=shape, corner_radius=0.5))  # type: ignore[arg-type]
    assert torch.equal(whole(segment), shape_mask(WH, (10, 20, 50, 60), shape, 0.5))  # type: ignore[arg-type]


def test_pixel_masks_are_kept() -> None:
    """The detector's mask is taken as it is, soft values included; 'pixel' without a mask is the box."""
    mask = np.random.default_rng(1).random((41, 40), np.float32)
    (segment,) = select([found(10, 19.5, 50, 60, mask=mask)], WH, PLAIN)
    assert torch.equal(whole(segment)[19:60, 10:50], torch.from_numpy(mask))
    assert float(whole(segment).sum()) == pytest.approx(float(mask.sum()), rel=1e-5)


def test_masks_of_another_size_are_refused() -> None:
    """A detector whose mask does not fit its box is named with both sizes; values out of range are a MaskError."""
    with pytest.raises(DetectorError) as caught:
        select([found(10, 20, 50, 60, mask=np.zeros((40, 41), np.float32))], WH, PLAIN)
    assert str(caught.value) == (
        "the mask of the detection 'face' has 41x40 pixels, its box (10, 20, 50, 60) 40x40; the detector must cut it to "
        "`geometry.enclosing_box`"
    )
    with pytest.raises(MaskError, match=r"mask of the detection 'face': values must lie in 0\.\.1"):
        select([found(10, 20, 50, 60, mask=np.full((40, 40), 3, np.float32))], WH, PLAIN)


@given(
    box=st.tuples(st.floats(-20, 60), st.floats(-20, 60), st.floats(11, 50), st.floats(11, 50)),
    dilation=st.integers(-12, 12),
    dx=st.integers(-70, 70),
    dy=st.integers(-70, 70),
    shape=st.sampled_from(["box", "rounded", "ellipse", "pixel"]),
    factor=st.floats(1, 4),
)
def test_work_on_a_window_equals_work_on_the_whole_picture(
    box: BoxFloat, dilation: int, dx: int, dy: int, shape: str, factor: float
) -> None:
    """Shape, offset and dilation on the small window give what the whole picture would, cut at the crop region."""
    wh = (60, 50)
    raw = (box[0], box[1], box[0] + box[2], box[1] + box[3])
    cut = enclosing_box(raw, wh)
    mask = np.random.default_rng(5).random((cut[3] - cut[1], cut[2] - cut[0]), np.float32)
    options = SelectionOptions(dilation=dilation, offset_x=dx, offset_y=dy, mask_shape=shape, crop_factor=factor)  # type: ignore[arg-type]
    segments = select([found(*raw, mask=mask)], wh, options)
    expected = shape_mask(wh, cut, shape if shape != "pixel" else "box")  # type: ignore[arg-type]
    if shape == "pixel":
        expected[cut[1] : cut[3], cut[0] : cut[2]] = torch.from_numpy(mask)
    expected = dilate(offset(expected, dx, dy), dilation)
    for segment in segments:
        x0, y0, x1, y1 = segment.crop_xyxy
        assert torch.equal(segment.mask_hw, expected[y0:y1, x0:x1])
        assert segment.bbox_xyxy == (max(0, cut[0] + dx), max(0, cut[1] + dy), min(wh[0], cut[2] + dx), min(wh[1], cut[3] + dy))
    if len(segments) == 0:
        # Of a box that the offset has pushed out of the picture but for a pixel, the crop region, truncated as the reference's, may miss the rest.
        seen = intersect(shift(cut, dx, dy), (0, 0, *wh))
        x0, y0, x1, y1 = make_crop_region(wh, seen, factor) if area(seen) > 0 else (0, 0, 0, 0)
        assert float(expected[y0:y1, x0:x1].sum()) == 0


def test_dilation_reaches_beyond_the_box_but_not_the_crop_region() -> None:
    """The box stays, the mask grows, and the crop region is made from the box (as the reference does)."""
    (segment,) = select([found(50, 50, 90, 90)], WH, SelectionOptions(dilation=100, crop_factor=1.5))
    assert segment.bbox_xyxy == (50, 50, 90, 90)
    assert segment.crop_xyxy == (40, 40, 100, 100)
    assert bool((segment.mask_hw == 1).all())


def test_what_is_eroded_away_is_left_out() -> None:
    """A mask with nothing in it makes no segment."""
    assert len(select([found(50, 50, 70, 70)], WH, SelectionOptions(dilation=-60))) == 0


def test_merge_makes_one_of_all() -> None:
    """The box encloses all boxes, the mask is the union, the most confident gives label and confidence; the crop region is made anew."""
    (segment,) = select([LARGE, SMALL], WH, SelectionOptions(dilation=0, merge="merge", crop_factor=1.2, crop_min_side=110))
    assert segment.bbox_xyxy == (10, 20, 150, 100)
    assert segment.crop_xyxy == make_crop_region(WH, (10, 20, 150, 100), 1.2, 110)
    assert (segment.label, segment.confidence) == ("hand", 0.95)
    assert torch.equal(whole(segment), torch.maximum(shape_mask(WH, (10, 20, 90, 100)), shape_mask(WH, (120, 30, 150, 60))))


def test_merge_overlapping_makes_groups() -> None:
    """Those whose masks' extents overlap, also through others, are one; dilation may bring them together."""
    chain = [found(10, 10, 40, 40), found(120, 10, 150, 40, label="far"), found(60, 10, 90, 40), found(38, 10, 62, 40)]
    assert boxes(select(chain, WH, SelectionOptions(dilation=0, merge="merge-overlapping"))) == [(10, 10, 90, 40), (120, 10, 150, 40)]
    near = [found(10, 10, 40, 40), found(43, 10, 80, 40)]
    assert len(select(near, WH, SelectionOptions(dilation=0, merge="merge-overlapping"))) == 2
    assert len(select(near, WH, SelectionOptions(dilation=9, merge="merge-overlapping"))) == 1


def test_merge_invert_takes_everything_else() -> None:
    """The mask is 1 less the union; where everything was found nothing remains."""
    (segment,) = select([LARGE, SMALL], WH, SelectionOptions(dilation=0, merge="merge-invert"))
    assert (segment.bbox_xyxy, segment.crop_xyxy) == ((0, 0, *WH), (0, 0, *WH))
    assert torch.equal(segment.mask_hw, 1 - torch.maximum(shape_mask(WH, (10, 20, 90, 100)), shape_mask(WH, (120, 30, 150, 60))))
    assert len(select([found(0, 0, *WH)], WH, SelectionOptions(merge="merge-invert"))) == 0


@pytest.mark.parametrize(
    ("options", "message", "field"),
    [
        ({"crop_factor": 0.5}, "crop_factor must be 1 or more, got 0.5", "crop_factor"),
        ({"crop_factor": float("nan")}, "crop_factor must be", "crop_factor"),
        ({"max_count": -1}, "max_count must be 0 (all) or more, got -1", "max_count"),
        ({"corner_radius": 0.7}, "corner_radius must lie in 0..0.5", "corner_radius"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, float], message: str, field: str) -> None:
    """The error names the option and what it may be."""
    with pytest.raises(SettingsError) as caught:
        SelectionOptions(**options)  # type: ignore[arg-type]
    assert message in str(caught.value)
    assert caught.value.field == field


def test_unreadable_numbers_are_refused() -> None:
    """`pick` that is no list of numbers is an error."""
    with pytest.raises(SettingsError, match="cannot read 'x' in the list of numbers '1,x'; write for example 1,3-5"):
        select([LARGE], WH, SelectionOptions(pick="1,x"))


def test_memory_does_not_depend_on_the_picture() -> None:
    """Two hundred small detections in a picture of 16000 x 16000 pixels take no mask of its size (each would be 1 GiB)."""
    many = [found(i * 70, i * 70, i * 70 + 60, i * 70 + 60) for i in range(200)]
    segments = select(many, (16000, 16000), SelectionOptions())
    assert len(segments) == 200
    assert sum(s.mask_hw.numel() for s in segments) <= 200 * 181 * 181
