"""Waves: the two rules, the caps, and that no order of work is broken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detailer_core.geometry import Box, overlap
from detailer_core.waves import WaveItem, group

NO_CAP = 1 << 30
steady = settings(deadline=None, max_examples=200)


def item(crop: Box, paste: Box | None = None, *, picture: int = 0, key: object = None, pixels: int = 100, limit: int = 64) -> WaveItem:
    """An item that pastes its whole crop region unless told otherwise."""
    return WaveItem(picture=picture, crop_xyxy=crop, paste_xyxy=paste or crop, key=key, pixels=pixels, limit=limit)  # type: ignore[arg-type]


LEFT, RIGHT, MIDDLE = (0, 0, 10, 10), (20, 0, 30, 10), (5, 0, 25, 10)


def test_no_items_are_no_waves() -> None:
    """Nothing to do."""
    assert group([], NO_CAP) == []


def test_what_is_apart_goes_together() -> None:
    """Regions that do not touch, also those that share an edge, are one wave."""
    assert group([item(LEFT), item(RIGHT), item((10, 0, 20, 10))], NO_CAP) == [[0, 1, 2]]


def test_a_crop_that_needs_a_paste_waits_for_it() -> None:
    """The middle one sees what both others paste; what comes after the middle one waits for it, too."""
    assert group([item(LEFT), item(RIGHT), item(MIDDLE)], NO_CAP) == [[0, 1], [2]]
    assert group([item(LEFT), item(MIDDLE), item(RIGHT)], NO_CAP) == [[0], [1], [2]]


def test_overlapping_surroundings_do_not_wait() -> None:
    """Only what is pasted counts, not what is merely looked at."""
    one, two = item((0, 0, 20, 10), (2, 2, 8, 8)), item((10, 0, 30, 10), (22, 2, 28, 8))
    assert group([one, two], NO_CAP) == [[0, 1]]


def test_an_earlier_reader_may_share_a_wave_but_not_come_after() -> None:
    """The first looks at what the second pastes: the same wave will do; a later wave than the second's would be wrong."""
    reader, writer = item((0, 0, 30, 10), (0, 0, 5, 10)), item((10, 0, 30, 10), (12, 0, 20, 10))
    assert group([reader, writer], NO_CAP) == [[0, 1]]
    # The reader has to wait for an item before it, so the writer must wait, too, though nothing else keeps it.
    first = item((0, 0, 5, 10))
    assert group([first, reader, writer], NO_CAP) == [[0], [1, 2]]
    other_key = replace(writer, key="b")
    assert group([first, reader, other_key], NO_CAP) == [[0], [1], [2]]


def test_pictures_do_not_wait_for_each_other() -> None:
    """The same place in two pictures is two places, and both share a wave."""
    assert group([item(LEFT), item(LEFT, picture=1), item(LEFT), item(LEFT, picture=1)], NO_CAP) == [[0, 1], [2, 3]]


def test_keys_divide() -> None:
    """Only equal keys meet; a later item of the first key goes back to the first wave."""
    places = [(20 * i, 0, 20 * i + 10, 10) for i in range(4)]
    assert group([item(p, key=k) for p, k in zip(places, "abab", strict=True)], NO_CAP) == [[0, 2], [1, 3]]


@pytest.mark.parametrize(("limit", "waves"), [(1, [[0], [1], [2], [3], [4]]), (2, [[0, 1], [2, 3], [4]]), (5, [[0, 1, 2, 3, 4]])])
def test_the_engines_limit_holds(limit: int, waves: list[list[int]]) -> None:
    """At most so many segments in a wave."""
    assert group([item((20 * i, 0, 20 * i + 10, 10), limit=limit) for i in range(5)], NO_CAP) == waves


def test_the_smallest_limit_of_a_wave_counts() -> None:
    """One that has to be alone is alone, before and after others."""
    limits = [3, 1, 3, 2, 3]
    assert group([item((20 * i, 0, 20 * i + 10, 10), limit=n) for i, n in enumerate(limits)], NO_CAP) == [[0, 2, 4], [1], [3]]


@pytest.mark.parametrize(("cap", "waves"), [(0, [[0], [1], [2], [3]]), (99, [[0], [1], [2], [3]]), (199, [[0], [1], [2], [3]]),
                                            (200, [[0, 1], [2, 3]]), (399, [[0, 1, 2], [3]]), (400, [[0, 1, 2, 3]])])
def test_the_pixel_cap_holds(cap: int, waves: list[list[int]]) -> None:
    """100 pixels each; one that is larger than the cap is alone and not lost."""
    assert group([item((20 * i, 0, 20 * i + 10, 10)) for i in range(4)], cap) == waves


@st.composite
def batches(draw: st.DrawFn) -> list[WaveItem]:
    """Items anywhere in up to two pictures of 16x16, each pasting a part of its crop region."""
    items = []
    for _ in range(draw(st.integers(0, 12))):
        x0, y0 = draw(st.integers(0, 14)), draw(st.integers(0, 14))
        x1, y1 = draw(st.integers(x0 + 1, min(16, x0 + 8))), draw(st.integers(y0 + 1, min(16, y0 + 8)))
        u0, v0 = draw(st.integers(x0, x1 - 1)), draw(st.integers(y0, y1 - 1))
        paste = (u0, v0, draw(st.integers(u0 + 1, x1)), draw(st.integers(v0 + 1, y1)))
        items.append(item((x0, y0, x1, y1), paste, picture=draw(st.integers(0, 1)), key=draw(st.sampled_from("ab")), pixels=draw(st.integers(1, 100)),
                          limit=draw(st.integers(1, 5))))
    return items


@steady
@given(batches(), st.integers(0, 500))
def test_every_item_is_in_one_wave_within_the_caps(items: list[WaveItem], cap: int) -> None:
    """Nothing is lost or doubled, a wave has one key, and neither limit is exceeded."""
    waves = group(items, cap)
    assert sorted(i for wave in waves for i in wave) == list(range(len(items)))
    for wave in waves:
        assert wave == sorted(wave)
        assert len({items[i].key for i in wave}) == 1
        assert len(wave) <= min(items[i].limit for i in wave)
        assert len(wave) == 1 or sum(items[i].pixels for i in wave) <= cap


@steady
@given(batches(), st.integers(0, 500))
def test_the_two_rules_hold(items: list[WaveItem], cap: int) -> None:
    """Who needs a paste comes in a later wave; who would spoil what an earlier one reads does not come in an earlier wave."""
    wave_of = {i: number for number, wave in enumerate(group(items, cap)) for i in wave}
    for i, earlier in enumerate(items):
        for j, later in enumerate(items[i + 1 :], i + 1):
            if earlier.picture == later.picture:
                if overlap(later.crop_xyxy, earlier.paste_xyxy):
                    assert wave_of[j] > wave_of[i]
                if overlap(earlier.crop_xyxy, later.paste_xyxy):
                    assert wave_of[j] >= wave_of[i]


def played(items: Sequence[WaveItem], waves: list[list[int]]) -> np.ndarray:
    """Pictures after all items have read their crops and pasted a number made from what they read and who they are."""
    pictures = np.arange(2 * 16 * 16, dtype=np.uint64).reshape(2, 16, 16)
    for wave in waves:
        read = {}
        for i in wave:
            x0, y0, x1, y1 = items[i].crop_xyxy
            crop = pictures[items[i].picture, y0:y1, x0:x1]
            read[i] = hash((i, *(int(v) for v in crop.ravel()))) & (2**63 - 1)
        for i in wave:
            x0, y0, x1, y1 = items[i].paste_xyxy
            pictures[items[i].picture, y0:y1, x0:x1] = np.uint64(read[i])
    return pictures


@steady
@given(batches(), st.integers(0, 500))
def test_waves_give_what_one_by_one_gives(items: list[WaveItem], cap: int) -> None:
    """Whatever each does with its crop, the pictures are the same, number for number."""
    one_by_one = played(items, [[i] for i in range(len(items))])
    assert np.array_equal(played(items, group(items, cap)), one_by_one)
