"""A unit's detector from its settings: every setting of the group reaches what it should, and what cannot be had is told."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from played import Played, PlayedShelf, blobs, thing

from detailer_core.detectors.assembly import check_detectors, detect_options, selection_options, unit_detector
from detailer_core.detectors.base import Detection, DetectOptions
from detailer_core.detectors.registry import DetectorFolders, DetectorInfo, DetectorShelf
from detailer_core.errors import DetectorError, DetectorNotFoundError, SettingsError
from detailer_core.pictures import from_pil
from detailer_core.settings import UnitSettings, make_settings
from detailer_core.unit import find_segments

PICTURE = torch.zeros(1, 3, 100, 200)
PLAIN: dict[str, Any] = {"detector": "a.pt", "dilation": 0, "drop_size": 1, "crop_factor": 1.0}
FACES = (thing((10, 10, 40, 50), "face", 0.9), thing((60, 10, 70, 25), "face", 0.6), thing((100, 10, 190, 90), "hand", 0.7))


def settings(**values: Any) -> UnitSettings:
    """Settings that change nothing of what is found, but for those given."""
    return make_settings(PLAIN | values)


def found(folder: Path, *detections: Detection, second: Played | None = None, **values: Any) -> list[tuple[int, ...]]:
    """Boxes of the segments that a unit makes of these detections."""
    players = {"a": Played(*(detections or FACES))} | ({"b": second} if second else {})
    shelf, unit = PlayedShelf(folder, **players), settings(**values)
    return [segment.bbox_xyxy for segment in find_segments(PICTURE, unit, unit_detector(shelf, unit))]


def asked(**values: Any) -> DetectOptions:
    """What the detector is asked for."""
    return detect_options(settings(**values), Played(), "cuda:1")


def test_defaults_ask_for_what_they_always_did() -> None:
    """Nothing but confidence and device."""
    assert detect_options(make_settings(), Played(), "cuda:1") == DetectOptions(confidence=0.3, device="cuda:1")
    assert detect_options(make_settings(), Played()) == DetectOptions()


@pytest.mark.parametrize(("values", "field", "value"), [
    ({"iou": 0.4}, "iou", 0.4), ({"across_classes": True}, "across_classes", True), ({"image_size": 0}, "image_size", None),
    ({"image_size": 1280}, "image_size", 1280), ({"image_size": 1}, "image_size", 32), ({"detector_device": "cpu"}, "device", "cpu"),
    ({"labels": "hand"}, "class_names", ("hand",)), ({"exclude_labels": "face, foot"}, "class_names", ("hand",))])
def test_settings_reach_the_detector(values: dict[str, Any], field: str, value: object) -> None:
    """Each changes its own field and no other."""
    changed = {name for name in DetectOptions.__dataclass_fields__ if getattr(asked(**values), name) != getattr(asked(), name)}
    assert changed <= {field}
    assert getattr(asked(**values), field) == value


@pytest.mark.parametrize(("values", "numbers"), [
    ({}, (0, 1, 2)), ({"exclude_labels": "hand"}, (0, 1)), ({"exclude_labels": "face,hand"}, ()), ({"labels": "face", "exclude_labels": "face"}, ()),
    ({"labels": "hand"}, (2,)), ({"min_side": 11}, (0, 2)), ({"min_side": 10}, (0, 1, 2)), ({"max_side": 40}, (0, 1)), ({"max_side": 39}, (1,)),
    ({"min_side": 11, "max_side": 89}, (0,)), ({"max_count": 1}, (2,)), ({"max_count": 1, "max_count_by": "confidence"}, (0,)),
    ({"max_count": 2, "max_count_by": "confidence"}, (0, 2)), ({"max_count": 1, "max_count_by": "position", "order": "smallest"}, (1,)),
    ({"max_count": 1, "max_count_by": "position"}, (0,)), ({"confidence": 0.65}, (0, 2))])
def test_settings_choose_among_detections(tmp_path: Path, values: dict[str, Any], numbers: tuple[int, ...]) -> None:
    """Each leaves the detections that it says."""
    assert found(tmp_path, **values) == [FACES[n].box_xyxy for n in numbers]


def test_corners_are_round(tmp_path: Path) -> None:
    """The radius changes the mask of 'rounded' and of nothing else; 0 is the box."""
    areas: dict[tuple[str, float], float] = {}
    for shape in ("rounded", "box", "ellipse"):
        for radius in (0.0, 0.25, 0.5):
            unit = settings(mask_shape=shape, corner_radius=radius)
            detector = unit_detector(PlayedShelf(tmp_path, a=Played(FACES[0])), unit)
            areas[shape, radius] = float(find_segments(PICTURE, unit, detector)[0].mask_hw.sum())
    assert areas["box", 0.0] == areas["rounded", 0.0] > areas["rounded", 0.25] > areas["rounded", 0.5]
    assert len({areas["ellipse", r] for r in (0.0, 0.25, 0.5)}) == 1


def test_tiles_find_what_is_small(tmp_path: Path) -> None:
    """With tiles a detector sees more, at its place; how far they overlap counts as well."""
    picture = np.zeros((300, 400, 3), np.uint8)
    picture[50:62, 90:102] = 255
    player = Played(look=lambda part: blobs(10)(part) if part.shape[1] < 400 else [])
    boxes, looks = [], []
    for values in ({}, {"tile_size": 100, "tile_overlap": 0.0}, {"tile_size": 100, "tile_overlap": 0.5}, {"tile_size": 1}):
        unit = settings(**values)
        before = len(player.asked)
        boxes.append([s.bbox_xyxy for s in find_segments(_tensor(picture), unit, unit_detector(PlayedShelf(tmp_path, a=player), unit))])
        looks.append(len(player.asked) - before)
    assert boxes[0] == []
    assert boxes[2] == [(90, 50, 102, 62)]
    assert boxes[1] == [(90, 50, 100, 62)]  # cut by the only tile that sees most of it
    assert looks[:3] == [1, 13, 36]
    assert looks[3] < 100, "tiles of one pixel are made larger"


def _tensor(picture_hwc: np.ndarray) -> torch.Tensor:
    from PIL import Image

    return from_pil(Image.fromarray(picture_hwc))


@pytest.mark.parametrize("keep", [True, False])
def test_a_detector_that_is_not_kept_is_let_go(tmp_path: Path, keep: bool) -> None:
    """On: loaded once. Off: after each picture nothing holds it, and the next picture loads it anew."""
    alive: list[weakref.ref[Played]] = []

    class Shelf(PlayedShelf):
        def _load(self, info: DetectorInfo) -> Played:
            self.loads.append(info.name)
            alive.append(weakref.ref(player := Played(*FACES)))
            return player

    unit = settings(keep_detector=keep)
    shelf = Shelf(tmp_path, a=Played())
    check_detectors(shelf, unit)
    detector = unit_detector(shelf, unit)
    for level in (0.0, 0.5):
        find_segments(torch.full((1, 3, 100, 200), level), unit, detector)
        gc.collect()
        assert (alive[-1]() is not None) is keep
    assert len(shelf.loads) == (1 if keep else 3)


FACE_IN_PERSON, ALONE = thing((10, 10, 30, 30)), thing((150, 10, 170, 30))
PEOPLE = Played(thing((0, 0, 60, 100), "person", 0.8), thing((140, 0, 200, 100), "dog", 0.8), class_names=("person", "dog"))


@pytest.mark.parametrize(("values", "boxes"), [
    ({}, [FACE_IN_PERSON.box_xyxy, ALONE.box_xyxy]),
    ({"second_labels": "person"}, [FACE_IN_PERSON.box_xyxy]),
    ({"second_labels": "person", "combine": "minus"}, [ALONE.box_xyxy]),
    ({"second_confidence": 0.85}, []),
    ({"combine": "union"}, [FACE_IN_PERSON.box_xyxy, ALONE.box_xyxy, (0, 0, 60, 100), (140, 0, 200, 100)]),
    ({"combine": "union", "labels": "face", "confidence": 0.85}, [FACE_IN_PERSON.box_xyxy, ALONE.box_xyxy, (0, 0, 60, 100), (140, 0, 200, 100)]),
    ({"combine": "union", "combine_overlap": 0.01}, [FACE_IN_PERSON.box_xyxy, ALONE.box_xyxy]),
    ({"combine": "union", "min_side": 50}, [(0, 0, 60, 100), (140, 0, 200, 100)]),
    ({"combine": "masks-minus", "second_labels": "person", "mask_shape": "box"}, [ALONE.box_xyxy])])
def test_two_detectors(tmp_path: Path, values: dict[str, Any], boxes: list[tuple[int, ...]]) -> None:
    """Each way to combine, with the second's own confidence and classes; sizes are filtered afterwards."""
    assert found(tmp_path, FACE_IN_PERSON, ALONE, second=PEOPLE, second_detector="b.pt", **values) == boxes


def test_the_overlap_decides(tmp_path: Path) -> None:
    """A face that is confirmed by half is or is not, as the setting says."""
    half = Played(thing((10, 10, 20, 30)))
    for overlap, count in ((0.5, 1), (0.6, 0)):
        assert len(found(tmp_path, FACE_IN_PERSON, second=half, second_detector="b.pt", combine_overlap=overlap)) == count


def test_masks_that_were_cut_stay_as_they_are(tmp_path: Path) -> None:
    """A mask shape does not draw them anew."""
    unit = settings(second_detector="b.pt", combine="masks-minus", mask_shape="ellipse")
    shelf = PlayedShelf(tmp_path, a=Played(thing((0, 0, 60, 60))), b=Played(thing((0, 0, 60, 20))))
    (segment,) = find_segments(PICTURE, unit, unit_detector(shelf, unit))
    assert segment.bbox_xyxy == (0, 20, 60, 60)
    assert bool((segment.mask_hw == 1).all())
    assert selection_options(unit, Played()).mask_shape == "ellipse"


def test_a_mask_may_be_the_second(tmp_path: Path) -> None:
    """Faces inside of a mask that the user draws."""
    mask = np.zeros((100, 200), np.float32)
    mask[:, 120:] = 1
    unit = settings(second_detector="mask")
    detector = unit_detector(PlayedShelf(tmp_path, a=Played(FACE_IN_PERSON, ALONE)), unit, mask=mask)
    assert [s.bbox_xyxy for s in find_segments(PICTURE, unit, detector)] == [ALONE.box_xyxy]
    with pytest.raises(DetectorError, match="detector 'mask' needs a mask picture"):
        unit_detector(PlayedShelf(tmp_path, a=Played()), unit)


def test_fixed_detectors_are_not_tiled(tmp_path: Path) -> None:
    """The whole picture is one also where detectors look at tiles."""
    unit = settings(detector="whole", tile_size=64)
    assert [s.bbox_xyxy for s in find_segments(PICTURE, unit, unit_detector(PlayedShelf(tmp_path), unit))] == [(0, 0, 200, 100)]


@pytest.mark.parametrize(("values", "error", "text"), [
    ({"detector": "c.pt"}, DetectorNotFoundError, "detector 'c.pt' not found; did you mean"),
    ({"second_detector": "bb.pt"}, DetectorNotFoundError, "detector 'bb.pt' not found; did you mean 'b.pt'"),
    ({"labels": "fase"}, SettingsError, "labels .*: the detector 'played' has no class 'fase'; did you mean 'face'"),
    ({"exclude_labels": "hand, xyz"}, SettingsError, "exclude_labels .* has no class 'xyz'; it knows face, hand"),
    ({"second_detector": "b.pt", "second_labels": "face"}, SettingsError, "second_labels .* has no class 'face'; it knows person, dog"),
    ({"detector": "mask"}, DetectorError, "needs a mask picture")])
def test_what_cannot_be_had_is_told(tmp_path: Path, values: dict[str, Any], error: type[Exception], text: str) -> None:
    """Before anything is drawn, with what was meant."""
    with pytest.raises(error, match=text):
        check_detectors(PlayedShelf(tmp_path, a=Played(), b=PEOPLE), settings(**values))


@pytest.mark.parametrize("values", [{}, {"labels": "face, hand"}, {"labels": "all"}, {"labels": "eyes"}, {"second_detector": "b.pt"},
                                    {"second_labels": "anything"}, {"detector": "whole", "labels": "anything"}])
def test_what_can_be_had_is_not_told(tmp_path: Path, values: dict[str, Any]) -> None:
    """Known classes, words that stand for several, a second detector's classes without one, and detectors without classes."""
    check_detectors(PlayedShelf(tmp_path, a=Played(), b=PEOPLE), settings(**values))


def test_names_are_read_without_loading(tmp_path: Path) -> None:
    """A handle knows its classes, and its name as the list has it."""
    shelf = PlayedShelf(tmp_path, a=Played())
    handle = shelf.handle("detailer/a.pt")
    assert (handle.name, handle.class_names, shelf.loads) == ("a.pt", ("face", "hand"), [])
    with pytest.raises(DetectorNotFoundError):
        DetectorShelf(DetectorFolders(models_root=tmp_path / "none")).handle("a.pt")
