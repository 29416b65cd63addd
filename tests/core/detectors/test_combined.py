"""Two detectors as one: what counts as confirmed, by boxes and by masks, and each way to combine."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from played import Played, thing

from detailer_core.detectors.base import Detection, DetectOptions
from detailer_core.detectors.combined import Combine, CombinedDetector, Wanted, combine

SIZE = (100, 100)
PICTURE = np.zeros((100, 100, 3), np.uint8)
FACE, FAR = thing((10, 10, 30, 30)), thing((70, 70, 90, 90))
PERSON = thing((0, 0, 60, 100), "person")


def boxes_of(found: list[Detection]) -> list[tuple[float, ...]]:
    """Their boxes."""
    return [one.box_xyxy for one in found]


def test_a_face_lies_in_its_person() -> None:
    """However large the person is: what counts is the share of the face."""
    assert combine([FACE, FAR], [PERSON], SIZE, how="and", overlap=0.9) == [FACE]
    assert combine([FACE, FAR], [PERSON], SIZE, how="minus", overlap=0.9) == [FAR]


def test_the_second_s_detections_count_together() -> None:
    """Two halves confirm a whole; the share is asked for exactly."""
    halves = [thing((10, 10, 20, 30)), thing((20, 10, 30, 30))]
    assert combine([FACE], halves, SIZE, how="and", overlap=1.0) == [FACE]
    assert combine([FACE], halves[:1], SIZE, how="and", overlap=0.5) == [FACE]
    assert combine([FACE], halves[:1], SIZE, how="and", overlap=0.51) == []


def test_masks_count_where_there_are_some() -> None:
    """Of either detector: a box over a hole in the mask is not confirmed, and a mask is measured by its own pixels."""
    hollow = np.ones((100, 60), np.float32)
    hollow[10:30, 10:30] = 0
    assert combine([FACE], [thing((0, 0, 60, 100), mask=hollow)], SIZE, how="and", overlap=0.01) == []
    left = np.zeros((20, 20), np.float32)
    left[:, :5] = 1
    slim = thing((10, 10, 30, 30), mask=left)
    assert combine([slim], [thing((10, 10, 15, 30))], SIZE, how="and", overlap=1.0) == [slim]
    assert combine([slim], [thing((15, 10, 30, 30))], SIZE, how="minus", overlap=0.01) == [slim]


box = st.tuples(st.floats(-10, 90), st.floats(-10, 90), st.floats(0, 40), st.floats(0, 40)).map(lambda v: (v[0], v[1], v[0] + v[2], v[1] + v[3]))
things = st.lists(box.map(thing), max_size=5)


@settings(deadline=None)
@given(things, things, st.floats(0.01, 1))
def test_and_and_minus_divide_the_first_s(first: list[Detection], second: list[Detection], overlap: float) -> None:
    """Each detection of the first is in one of both, unchanged and in order."""
    kept, left = (combine(first, second, SIZE, how=how, overlap=overlap) for how in ("and", "minus"))
    assert [one for one in first if one in kept] == kept
    assert [one for one in first if one in left] == left
    assert len(kept) + len(left) == len(first)


@settings(deadline=None)
@given(things, things, st.floats(0.01, 1))
def test_union_has_all_of_the_first_s_and_nothing_twice(first: list[Detection], second: list[Detection], overlap: float) -> None:
    """The first's come first and unchanged; of the second's only what is elsewhere, so that uniting again adds nothing."""
    both = combine(first, second, SIZE, how="union", overlap=overlap)
    assert both[: len(first)] == first
    assert set(map(id, both[len(first):])) <= set(map(id, second))
    assert combine(both, [one for one in second if one not in both], SIZE, how="union", overlap=overlap) == both


def test_union_takes_the_first_s_word() -> None:
    """The same face by both is one, the first's box and label; what only the second sees is added."""
    mine, other = thing((10, 10, 30, 30), "face", 0.4), thing((11, 11, 31, 31), "head", 0.99)
    assert combine([mine], [other, FAR], SIZE, how="union", overlap=0.5) == [mine, FAR]
    assert combine([mine], [other], SIZE, how="union", overlap=0.95) == [mine, other]
    assert combine([], [FAR], SIZE, how="union", overlap=0.5) == [FAR]


def test_masks_are_cut_pixel_by_pixel() -> None:
    """A person without the face, and the face's part in the person; boxes shrink to what is left, and soft masks stay soft."""
    (body,) = combine([PERSON], [thing((0, 0, 60, 40))], SIZE, how="masks-minus", overlap=0.5)
    assert body.box_xyxy == (0, 40, 60, 100)
    assert body.label == "person"
    assert body.mask_hw is not None and body.mask_hw.shape == (60, 60) and body.mask_hw.all()
    soft = thing((10, 10, 30, 30), mask=np.full((20, 20), 0.5, np.float32))
    (common,) = combine([thing((20, 20, 60, 60))], [soft], SIZE, how="masks-and", overlap=0.5)
    assert common.box_xyxy == (20, 20, 30, 30)
    assert common.mask_hw is not None and (common.mask_hw == 0.5).all()
    assert combine([FACE], [PERSON], SIZE, how="masks-minus", overlap=0.5) == []
    assert combine([FAR], [PERSON], SIZE, how="masks-and", overlap=0.5) == []


@settings(deadline=None)
@given(things, things)
def test_cut_masks_are_disjoint_and_whole_together(first: list[Detection], second: list[Detection]) -> None:
    """Pixels of a detection that are cut to the second's and those that are cut by it make up its box, and share none."""
    for one in first:
        parts = [np.zeros((100, 100), np.float32), np.zeros((100, 100), np.float32)]
        for part, how in zip(parts, ("masks-and", "masks-minus"), strict=True):
            for cut in combine([one], second, SIZE, how=how, overlap=0.5):
                x0, y0, x1, y1 = (int(v) for v in cut.box_xyxy)
                assert cut.mask_hw is not None and cut.mask_hw.shape == (y1 - y0, x1 - x0)
                part[y0:y1, x0:x1] = cut.mask_hw
        assert not (parts[0] * parts[1]).any()
        whole = np.zeros((100, 100), np.float32)
        x0, y0, x1, y1 = one.box_xyxy
        whole[max(0, int(np.floor(y0))):max(0, int(np.ceil(y1))), max(0, int(np.floor(x0))):max(0, int(np.ceil(x1)))] = 1
        np.testing.assert_array_equal(parts[0] + parts[1], whole)


def pair(first: Played, second: Played, how: Combine = "and", **wanted: Wanted) -> CombinedDetector:
    """Both as one."""
    return CombinedDetector(first, second, how=how, overlap=0.5, **{"wanted": Wanted(), "wanted_second": Wanted(), **wanted})


def test_each_detector_is_asked_for_its_own() -> None:
    """The second with its confidence and classes, and what it finds beside them does not count."""
    second = Played(PERSON, thing((0, 0, 100, 100), "dog"), thing((0, 0, 100, 100), "person", 0.5), class_names=("person", "dog", "cat"))
    both = pair(Played(FACE, FAR), second, wanted_second=Wanted(confidence=0.6, include=("person",)))
    assert both.detect(PICTURE, DetectOptions(confidence=0.2, iou=0.4)) == [FACE]
    assert second.asked[0][1] == DetectOptions(confidence=0.6, iou=0.4, class_names=("person",))
    assert (both.name, both.class_names) == ("played and played", ("face", "hand"))


def test_the_second_is_not_asked_in_vain() -> None:
    """Where the first finds nothing that counts, nothing can be confirmed; for a union the second is asked."""
    for how, count in (("and", 0), ("minus", 0), ("masks-minus", 0), ("union", 1)):
        second = Played(FAR)
        assert len(pair(Played(FACE), second, how, wanted=Wanted(confidence=0.95)).detect(PICTURE, DetectOptions())) == count
        assert len(second.asked) == count


@pytest.mark.parametrize(("include", "exclude", "asked"), [((), (), ()), (("face",), (), ("face",)), ((), ("face",), ("hand", "eye")),
                                                           (("all",), (), ()), (("foot",), (), ()), (("face", "hand"), ("hand",), ("face",))])
def test_only_wanted_classes_are_asked_for(include: tuple[str, ...], exclude: tuple[str, ...], asked: tuple[str, ...]) -> None:
    """Included and not excluded; all where that leaves all or none."""
    options = Wanted(confidence=0.7, include=include, exclude=exclude).narrowed(DetectOptions(), ("face", "hand", "eye"))
    assert options == DetectOptions(confidence=0.7, class_names=asked)
