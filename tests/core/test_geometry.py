"""Boxes, crop regions and sampling sizes: numbers worked out by hand, and what holds for all numbers."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detailer_core import geometry as g

steady = settings(deadline=None)
sides = st.integers(1, 3000)
places = st.integers(-300, 3300)


@st.composite
def boxes(draw: st.DrawFn) -> g.Box:
    """A box with area, that may reach out of any picture."""
    x0, y0 = draw(places), draw(places)
    return x0, y0, x0 + draw(sides), y0 + draw(sides)


def test_size_and_area() -> None:
    """Width and height are end less start; an inverted box has no area."""
    assert g.box_size_wh((2, 3, 10, 7)) == (8, 4)
    assert g.area((2, 3, 10, 7)) == 32
    assert g.area((10, 3, 2, 7)) == 0
    assert g.area((10, 7, 2, 3)) == 0, "two negative sides are no area"


@pytest.mark.parametrize(("other", "common", "shared", "ratio"), [
    ((0, 0, 10, 10), (0, 0, 10, 10), True, 1.0),
    ((5, 5, 15, 15), (5, 5, 10, 10), True, 25 / 175),
    ((9, 9, 19, 19), (9, 9, 10, 10), True, 1 / 199),
    ((10, 0, 20, 10), (10, 0, 10, 10), False, 0.0),
    ((0, 10, 10, 20), (0, 10, 10, 10), False, 0.0),
    ((12, 12, 14, 14), (12, 12, 10, 10), False, 0.0),
])
def test_intersection_by_hand(other: g.Box, common: g.Box, shared: bool, ratio: float) -> None:
    """Boxes that only touch share nothing."""
    one = (0, 0, 10, 10)
    assert g.intersect(one, other) == common
    assert g.overlap(one, other) is shared
    assert g.overlap(other, one) is shared
    assert g.iou(one, other) == pytest.approx(ratio)


def test_iou_of_two_empty_boxes_is_zero() -> None:
    """Nothing over nothing is no error."""
    assert g.iou((1, 1, 1, 1), (1, 1, 1, 1)) == 0.0


def test_grow_and_shift() -> None:
    """A box grows on each side up to the limits; a negative margin shrinks it; shifting keeps its size."""
    assert g.grow((5, 6, 10, 12), 3, (100, 100)) == (2, 3, 13, 15)
    assert g.grow((1, 98, 10, 99), 3, (12, 100)) == (0, 95, 12, 100)
    assert g.grow((5, 5, 15, 15), -2, (100, 100)) == (7, 7, 13, 13)
    assert g.shift((1, 2, 3, 4), 10, -2) == (11, 0, 13, 2)


@pytest.mark.parametrize(("box", "result"), [
    ((1.2, 2.0, 3.1, 4.0), (1, 2, 4, 4)),
    ((-5.5, -1.0, 200.5, 60.2), (0, 0, 100, 50)),
    ((120.0, 10.0, 130.0, 20.0), (100, 10, 100, 20)),
    ((10.0, 10.0, 5.0, 5.0), (10, 10, 10, 10)),
])
def test_enclosing_box_by_hand(box: tuple[float, float, float, float], result: g.Box) -> None:
    """Ends are rounded outwards, then cut at the picture."""
    assert g.enclosing_box(box, (100, 50)) == result


@steady
@given(st.tuples(*[st.floats(-1e4, 1e4)] * 4), sides, sides)
def test_enclosing_box_is_never_inverted(box: tuple[float, float, float, float], width: int, height: int) -> None:
    """Whatever a detector says, the box lies in the picture and its ends do not come before its starts."""
    x0, y0, x1, y1 = g.enclosing_box(box, (width, height))
    assert 0 <= x0 <= x1 <= width
    assert 0 <= y0 <= y1 <= height


@pytest.mark.parametrize(("limit", "start", "size", "span"), [
    (100, 10, 20, (10, 30)), (100, -5, 20, (0, 20)), (100, 95, 20, (80, 100)), (100, -5, 200, (0, 100)), (100, 5, 200, (0, 100)),
    (100, 10, 20.7, (10, 30)), (100, 90, 20.7, (79, 100)), (100, -1, 20.7, (0, 20)),
])
def test_fit_span_by_hand(limit: int, start: float, size: float, span: tuple[int, int]) -> None:
    """A span is moved, not cut, and its ends are truncated."""
    assert g.fit_span(limit, start, size) == span


@pytest.mark.parametrize(("box", "factor", "min_side", "region"), [
    ((40, 40, 60, 60), 2.0, None, (30, 30, 70, 70)),
    ((40, 40, 60, 50), 3.0, None, (20, 30, 80, 60)),
    ((0, 0, 20, 20), 2.0, None, (0, 0, 40, 40)),
    ((90, 70, 100, 80), 3.0, None, (70, 50, 100, 80)),
    ((40, 40, 60, 60), 100.0, None, (0, 0, 100, 80)),
    ((48, 38, 52, 42), 1.0, 30, (35, 25, 65, 55)),
    ((41, 41, 60, 60), 1.5, None, (36, 36, 64, 64)),  # 19 * 1.5 = 28.5: start int(50.5 - 14.25) = 36, end int(36 + 28.5) = 64
])
def test_crop_region_by_hand(box: g.Box, factor: float, min_side: int | None, region: g.Box) -> None:
    """The region lies around the box's centre and is moved into the picture."""
    assert g.make_crop_region((100, 80), box, factor, min_side) == region


@steady
@given(boxes(), sides, sides, st.floats(1, 20), st.none() | sides)
def test_crop_region_lies_in_the_picture(box: g.Box, width: int, height: int, factor: float, min_side: int | None) -> None:
    """A box anywhere, even outside, has a region inside the picture that is as large as asked, where the picture allows, to a pixel."""
    region = g.make_crop_region((width, height), box, factor, min_side)
    assert 0 <= region[0] <= region[2] <= width
    assert 0 <= region[1] <= region[3] <= height
    for axis, limit in ((0, width), (1, height)):
        wanted = min(limit, max(min_side or 0, (box[axis + 2] - box[axis]) * factor))
        assert abs((region[axis + 2] - region[axis]) - wanted) <= 1


@steady
@given(boxes(), sides, sides, st.floats(1, 20))
def test_crop_region_holds_the_box(box: g.Box, width: int, height: int, factor: float) -> None:
    """What of a box lies in the picture lies in its region, to the pixel that truncation costs."""
    region = g.make_crop_region((width, height), box, factor)
    inside = g.intersect(box, (0, 0, width, height))
    if inside[0] < inside[2] and inside[1] < inside[3]:
        assert all(region[i] <= inside[i] + 1 and region[i + 2] >= inside[i + 2] - 1 for i in (0, 1))


def rule(guide: float = 512, guide_for: str = "bbox", maximum: float = 1024, force: bool = True) -> g.SizeRule:
    """A rule, in short."""
    return g.SizeRule(guide_size=guide, guide_for=guide_for, max_size=maximum, force_inpaint=force)  # type: ignore[arg-type]


@pytest.mark.parametrize(("crop", "bbox", "given_rule", "size", "skip"), [
    ((150, 200), (50, 100), rule(256), (768, 1024), ""),          # factor 256/50 = 5.12
    ((150, 200), (50, 100), rule(256, maximum=512), (384, 512), ""),  # 768x1024 times 512/1024
    ((150, 200), (50, 100), rule(256, "crop"), (256, 341), ""),   # factor 256/150, 341.3 truncated
    ((600, 700), (520, 600), rule(force=False), (0, 0), "big"),
    ((600, 700), (520, 600), rule(), (600, 700), ""),             # forced: its own size
    ((2458, 2458), (2000, 2000), rule(), (2458, 2458), ""),       # forced beyond max_size (item 20)
    ((2000, 2000), (500, 600), rule(force=False), (0, 0), "upscale"),  # 512/500, then held down by max_size
    ((100, 100), (0, 10), rule(), (0, 0), "zero"),
    ((100, 0), (10, 10), rule(), (0, 0), "zero"),
    ((100, 100), (10, -3), rule(), (0, 0), "zero"),
    ((100, 100), (511, 512), rule(), (100, 100), ""),
    ((9000, 3), (2, 2), rule(), (9000, 3), ""),  # nothing is left of the height: forced to its own size
])
def test_decide_size_by_hand(crop: g.SizeWH, bbox: g.SizeWH, given_rule: g.SizeRule, size: g.SizeWH, skip: str) -> None:
    """Every way to a size and every reason to skip."""
    decision = g.decide_size(crop, bbox, given_rule)
    assert (decision.size_wh, decision.skip) == (size, skip)


def test_decide_size_says_what_it_did() -> None:
    """The factor is the one before truncation; keeping the crop's own size is told."""
    assert g.decide_size((150, 200), (50, 100), rule(256)).factor == pytest.approx(5.12)
    assert not g.decide_size((150, 200), (50, 100), rule(256)).at_crop_size
    assert g.decide_size((600, 700), (520, 600), rule()).at_crop_size


def test_without_force_a_crop_beyond_max_size_is_skipped() -> None:
    """A crop so long that max_size would shrink it is left out unless forced; one that is enlarged by a hair is not."""
    assert g.decide_size((9000, 3), (2, 2), rule(force=False)).skip == "upscale"
    assert g.decide_size((1024, 3), (2, 2), rule(force=False)).skip == "upscale"
    assert g.decide_size((1023, 3), (2, 2), rule(force=False)).size_wh == (1024, 3)


@steady
@given(st.tuples(sides, sides), st.tuples(sides, sides), st.integers(64, 2048), st.sampled_from(["bbox", "crop"]), st.integers(64, 4096),
       st.booleans())
def test_sizes_keep_to_max_size_and_shape(crop: g.SizeWH, bbox: g.SizeWH, guide: int, guide_for: str, maximum: int, force: bool) -> None:
    """A size that is not the crop's own exceeds no limit, enlarges, and has the crop's shape to a pixel."""
    decision = g.decide_size(crop, bbox, rule(guide, guide_for, maximum, force))
    if decision.skip:
        assert not force
        assert decision.size_wh == (0, 0)
    elif decision.at_crop_size:
        assert force
        assert decision.size_wh == crop
    else:
        assert max(decision.size_wh) <= maximum
        assert decision.factor > 1
        assert all(0 <= c * decision.factor - s < 1 for c, s in zip(crop, decision.size_wh, strict=True))


@pytest.mark.parametrize(("size", "multiple", "result"), [
    ((512, 515), 8, (512, 512)), ((517, 4), 8, (520, 8)), ((1, 7), 8, (8, 8)), ((100, 95), 64, (128, 64)), ((3, 3), 1, (3, 3)),
])
def test_round_to_latent_by_hand(size: g.SizeWH, multiple: int, result: g.SizeWH) -> None:
    """To the nearest multiple, never to nothing."""
    assert g.round_to_latent(size, multiple) == result


@steady
@given(st.tuples(sides, sides), st.sampled_from([8, 16, 64]))
def test_round_to_latent_is_near(size: g.SizeWH, multiple: int) -> None:
    """Each side is a multiple, and no more than half a multiple away unless it had to become one."""
    for old, new in zip(size, g.round_to_latent(size, multiple), strict=True):
        assert new % multiple == 0
        assert abs(new - old) <= multiple / 2 or new == multiple
