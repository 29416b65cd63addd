"""MediaPipe: both of its interfaces, with stand-ins for the library; with the library itself where it is installed."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from detailer_core.detectors.base import DetectOptions
from detailer_core.detectors.mediapipe import KINDS, MediaPipeDetector
from detailer_core.errors import DetectorError, DetectorNotFoundError, ModelFileError
from detailer_core.geometry import enclosing_box

PICTURE = np.zeros((100, 200, 3), np.uint8)
SQUARE = [(0.1, 0.2), (0.3, 0.2), (0.3, 0.6), (0.1, 0.6), (0.5, 0.1), (0.6, 0.1), (0.6, 0.3), (0.5, 0.3)]
"""Eight landmarks: the left eye's four corners, then the right eye's."""
LEFT, RIGHT = frozenset({(0, 1), (1, 2), (2, 3)}), frozenset({(4, 5), (5, 6), (6, 7)})


def landmarks(points: list[tuple[float, float]]) -> list[Any]:
    """Landmarks as the library has them."""
    return [SimpleNamespace(x=x, y=y, z=0.0) for x, y in points]


class Network:
    """A network of either interface that always finds the same."""

    def __init__(self, result: Any, seen: dict[str, Any]) -> None:
        self.result, self.seen = result, seen

    def __enter__(self) -> Network:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Remember that it was closed."""
        self.seen["closed"] = True

    def process(self, _: object) -> Any:
        """What it finds, by the old interface's name."""
        return self.result

    detect = process


def old_library(seen: dict[str, Any], *, found: bool = True) -> Any:
    """The interface `mediapipe.solutions`."""

    def maker(result: Any) -> Any:
        return lambda **options: seen.update(options) or Network(result, seen)

    box = SimpleNamespace(xmin=0.1, ymin=-0.2, width=0.2, height=0.5)
    face = SimpleNamespace(location_data=SimpleNamespace(relative_bounding_box=box), score=[0.75])
    points = SimpleNamespace(landmark=landmarks(SQUARE))
    hands = SimpleNamespace(
        multi_hand_landmarks=[points] if found else None,
        multi_handedness=[SimpleNamespace(classification=[SimpleNamespace(score=0.6)])] if found else None,
    )
    return SimpleNamespace(
        solutions=SimpleNamespace(
            face_detection=SimpleNamespace(FaceDetection=maker(SimpleNamespace(detections=[face] if found else None))),
            face_mesh=SimpleNamespace(
                FaceMesh=maker(SimpleNamespace(multi_face_landmarks=[points] if found else None)),
                FACEMESH_LEFT_EYE=LEFT,
                FACEMESH_RIGHT_EYE=RIGHT,
            ),
            hands=SimpleNamespace(Hands=maker(hands)),
        )
    )


def new_library(seen: dict[str, Any]) -> Any:
    """The interface `mediapipe.tasks`."""

    def task(result: Any) -> Any:
        def create(options: Any) -> Network:
            if options["base_options"] == b"bad":
                raise RuntimeError("Unable to open zip archive.")
            seen.update(options)
            return Network(result, seen)

        return SimpleNamespace(create_from_options=create)

    box = SimpleNamespace(origin_x=20, origin_y=-20, width=40, height=50)
    face = SimpleNamespace(bounding_box=box, categories=[SimpleNamespace(score=0.75)])
    lines = {
        f"FACE_LANDMARKS_{name}_EYE": [SimpleNamespace(start=a, end=b) for a, b in eye] for name, eye in (("LEFT", LEFT), ("RIGHT", RIGHT))
    }
    vision = SimpleNamespace(
        FaceDetector=task(SimpleNamespace(detections=[face])),
        FaceDetectorOptions=dict,
        FaceLandmarkerOptions=dict,
        HandLandmarkerOptions=dict,
        FaceLandmarker=task(SimpleNamespace(face_landmarks=[landmarks(SQUARE)])),
        FaceLandmarksConnections=SimpleNamespace(**lines),
        HandLandmarker=task(SimpleNamespace(hand_landmarks=[landmarks(SQUARE)], handedness=[[SimpleNamespace(score=0.6)]])),
    )
    return SimpleNamespace(
        tasks=SimpleNamespace(vision=vision, BaseOptions=lambda model_asset_buffer: model_asset_buffer),
        Image=lambda **options: options,
        ImageFormat=SimpleNamespace(SRGB=1),
    )


@pytest.fixture(params=["old", "new"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[dict[str, Any], Path]:
    """What the library was told, and the folder of its models; once for each interface."""
    seen: dict[str, Any] = {}
    monkeypatch.setitem(sys.modules, "mediapipe", old_library(seen) if request.param == "old" else new_library(seen))
    for kind in KINDS.values():
        (tmp_path / kind.models[-1]).write_bytes(b"model")
    return seen, tmp_path


@pytest.mark.parametrize("name", ["mediapipe_face_full", "mediapipe_face_short"])
def test_faces_are_boxes(library: tuple[dict[str, Any], Path], name: str) -> None:
    """Boxes in pixels with their score; they may reach over the edge; the threshold is passed on."""
    detector = MediaPipeDetector(name, folders=[library[1] / "none", library[1]])
    (found,) = detector.detect(PICTURE, DetectOptions(confidence=0.2))
    assert found.box_xyxy == pytest.approx((20, -20, 60, 30))
    assert (found.confidence, found.label, found.mask_hw) == (0.75, "face", None)
    assert library[0]["min_detection_confidence"] == 0.2
    assert library[0]["closed"]
    assert (detector.name, detector.class_names) == (name, ("face",))


@pytest.mark.parametrize(("name", "label", "confidence"), [("mediapipe_face_mesh", "face", 1.0), ("mediapipe_hands", "hand", 0.6)])
def test_landmarks_become_hulls(library: tuple[dict[str, Any], Path], name: str, label: str, confidence: float) -> None:
    """The mask is the hull of all landmarks, in the box around them."""
    (found,) = MediaPipeDetector(name, folders=[library[1]]).detect(PICTURE, DetectOptions())
    assert found.box_xyxy == pytest.approx((20, 10, 120, 60))
    assert (found.label, found.confidence) == (label, confidence)
    assert found.mask_hw is not None
    x0, y0, x1, y1 = enclosing_box(found.box_xyxy, (200, 100))
    assert found.mask_hw.shape == (y1 - y0, x1 - x0)
    assert found.mask_hw[20, 50] == 1
    assert found.mask_hw[-1, -1] == 0


def test_eyes_are_two_hulls_in_one_detection(library: tuple[dict[str, Any], Path]) -> None:
    """Both eyes of a face are marked, not what lies between them."""
    (found,) = MediaPipeDetector("mediapipe_face_mesh_eyes_only", folders=[library[1]]).detect(PICTURE, DetectOptions())
    assert found.box_xyxy == pytest.approx((20, 10, 120, 60))
    assert found.mask_hw is not None
    assert (found.label, found.mask_hw[30, 20], found.mask_hw[10, 90], found.mask_hw[15, 60]) == ("eyes", 1, 1, 0)


@pytest.mark.parametrize("name", KINDS)
def test_nothing_found_is_no_error(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The old interface says None where there is nothing."""
    monkeypatch.setitem(sys.modules, "mediapipe", old_library({}, found=False))
    assert len(MediaPipeDetector(name).detect(PICTURE, DetectOptions())) == 0


def test_a_missing_library_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without MediaPipe the error says how to get it."""
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    with pytest.raises(
        DetectorError,
        match=r"detector 'mediapipe_hands' needs MediaPipe, which is not installed .*; install it \(pip install mediapipe\) or",
    ):
        MediaPipeDetector("mediapipe_hands")


def test_a_missing_model_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The new interface has no models inside: the error names the file and where it was looked for."""
    monkeypatch.setitem(sys.modules, "mediapipe", new_library({}))
    with pytest.raises(DetectorNotFoundError) as caught:
        MediaPipeDetector("mediapipe_face_full", folders=[tmp_path])
    assert str(caught.value) == (
        "detector 'mediapipe_face_full' needs the model file blaze_face_full_range.tflite or blaze_face_short_range.tflite, which is "
        f"not in {tmp_path}; download it from MediaPipe's model page and put it there"
    )


def test_a_refused_model_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A file that MediaPipe cannot read is a ModelFileError; one that is gone a DetectorNotFoundError."""
    monkeypatch.setitem(sys.modules, "mediapipe", new_library({}))
    path = tmp_path / "hand_landmarker.task"
    path.write_bytes(b"bad")
    detector = MediaPipeDetector("mediapipe_hands", folders=[tmp_path])
    with pytest.raises(
        ModelFileError, match=r"MediaPipe refused .*hand_landmarker\.task \(Unable to open zip archive\.\); download it anew"
    ):
        detector.detect(PICTURE, DetectOptions())
    path.unlink()
    with pytest.raises(DetectorNotFoundError, match=r"hand_landmarker\.task cannot be read: .*; put it there again"):
        detector.detect(PICTURE, DetectOptions())


def test_failures_are_detector_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the library raises becomes a DetectorError with its words."""
    broken = old_library({})
    broken.solutions.hands.Hands = lambda **_: (_ for _ in ()).throw(RuntimeError("no graph"))
    monkeypatch.setitem(sys.modules, "mediapipe", broken)
    with pytest.raises(DetectorError, match="detector 'mediapipe_hands' failed: no graph; another version of MediaPipe may work"):
        MediaPipeDetector("mediapipe_hands").detect(PICTURE, DetectOptions())


def test_unknown_names_are_refused() -> None:
    """Only the names of `KINDS` are known."""
    with pytest.raises(
        DetectorNotFoundError, match="detector 'mediapipe_feet' not found; MediaPipe has mediapipe_face_full, mediapipe_face_short,"
    ):
        MediaPipeDetector("mediapipe_feet")


def library_itself(*, old: bool) -> None:
    """Skip the test unless the library is there with this interface."""
    if importlib.util.find_spec("mediapipe") is None:
        pytest.skip("MediaPipe is not installed")
    if hasattr(importlib.import_module("mediapipe"), "solutions") != old:
        pytest.skip("this MediaPipe has the other interface")


@pytest.mark.filterwarnings("ignore")  # its dependencies warn about each other
@pytest.mark.parametrize("name", ["mediapipe_face_full", "mediapipe_face_short", "mediapipe_face_mesh", "mediapipe_face_mesh_eyes_only"])
def test_the_library_finds_the_astronaut(name: str) -> None:
    """The old interface, with its own models, finds the one face of a photograph."""
    library_itself(old=True)
    data = pytest.importorskip("skimage.data", reason="the photograph comes with scikit-image")
    (found,) = MediaPipeDetector(name).detect(data.astronaut(), DetectOptions())
    x, y = (found.box_xyxy[0] + found.box_xyxy[2]) / 2, (found.box_xyxy[1] + found.box_xyxy[3]) / 2
    assert 200 < x < 250
    assert 80 < y < 140
    assert (found.mask_hw is None) == ("mesh" not in name)


@pytest.mark.filterwarnings("ignore")  # its dependencies warn about each other
def test_the_library_takes_what_it_is_given(tmp_path: Path) -> None:
    """The new interface accepts our options and refuses a model that is none, in words of ours."""
    library_itself(old=False)
    for name, kind in KINDS.items():
        (tmp_path / kind.models[-1]).write_bytes(b"this is no model")
        with pytest.raises(ModelFileError, match="MediaPipe refused"):
            MediaPipeDetector(name, folders=[tmp_path]).detect(PICTURE, DetectOptions())
