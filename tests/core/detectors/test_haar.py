"""Haar cascades: the faces of a photograph, and nothing else. They need OpenCV 4."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from detailer_core.detectors import haar
from detailer_core.detectors.base import DetectOptions
from detailer_core.detectors.haar import HaarFaceDetector
from detailer_core.errors import DetectorError

ASTRONAUT_FACE = (177, 66, 269, 158)
needs_cascades = pytest.mark.skipif(not hasattr(cv2, "CascadeClassifier"), reason="OpenCV 5 has no cascades")


def photograph(name: str) -> NDArray[np.uint8]:
    """A photograph of scikit-image as RGB."""
    data = pytest.importorskip("skimage.data", reason="the photographs come with scikit-image")
    picture = getattr(data, name)()
    return np.stack([picture] * 3, axis=-1) if picture.ndim == 2 else picture


def near(box: tuple[float, ...], wanted: tuple[float, ...], tolerance: float = 12) -> bool:
    """Whether all sides lie within so many pixels."""
    return all(abs(a - b) <= tolerance for a, b in zip(box, wanted, strict=True))


@needs_cascades
def test_the_astronaut_has_one_face() -> None:
    """One face, where it is, surely, and the picture is not changed."""
    picture = photograph("astronaut")
    before = picture.copy()
    found = HaarFaceDetector().detect(picture, DetectOptions())
    assert len(found) == 1
    assert near(found[0].box_xyxy, ASTRONAUT_FACE)
    assert found[0].label == "face"
    assert 0.8 < found[0].confidence < 1
    assert (picture == before).all()


@needs_cascades
def test_four_astronauts_have_four_faces() -> None:
    """Each of four tiles has its face."""
    found = HaarFaceDetector().detect(np.tile(photograph("astronaut"), (2, 2, 1)), DetectOptions())
    wanted = [tuple(v + 512 * o for v, o in zip(ASTRONAUT_FACE, (x, y, x, y), strict=True)) for y in (0, 1) for x in (0, 1)]
    assert len(found) == 4
    assert all(any(near(f.box_xyxy, w) for f in found) for w in wanted)
    assert [f.confidence for f in found] == sorted((f.confidence for f in found), reverse=True)


@needs_cascades
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_profile_is_found_from_both_sides(mirrored: bool) -> None:
    """The cameraman, seen from the side, is found whichever way he looks."""
    picture = photograph("camera")
    found = HaarFaceDetector().detect(np.ascontiguousarray(picture[:, ::-1]) if mirrored else picture, DetectOptions())
    x0 = 185 if not mirrored else 512 - 185 - 81
    assert [near(f.box_xyxy, (x0, 111, x0 + 81, 192), 20) for f in found] == [True]


@needs_cascades
@pytest.mark.parametrize(
    "name", ["coffee", "chelsea", "rocket", "brick", "grass", "coins", "text", "page", "gravel", "immunohistochemistry"]
)
@pytest.mark.parametrize("long_side", [0, 1200])
def test_pictures_without_faces_have_none(name: str, long_side: int) -> None:
    """No false face in photographs of things, animals and patterns at the usual confidence, also enlarged."""
    picture = photograph(name)
    if long_side:
        factor = long_side / max(picture.shape)
        picture = cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    assert len(HaarFaceDetector().detect(picture, DetectOptions())) == 0


@needs_cascades
def test_small_faces_of_many_people_are_found() -> None:
    """Nine in ten portraits of 100 pixels are found, and nothing where there is none."""
    data = pytest.importorskip("skimage.data", reason="the photographs come with scikit-image")
    detector = HaarFaceDetector()

    def faces(index: int) -> int:
        small = (np.clip(data.lfw_subset()[index], 0, 1) * 255).astype(np.uint8)
        large = cv2.copyMakeBorder(cv2.resize(small, (100, 100), interpolation=cv2.INTER_CUBIC), 30, 30, 30, 30, cv2.BORDER_REPLICATE)
        return len(detector.detect(cv2.cvtColor(large, cv2.COLOR_GRAY2RGB), DetectOptions()))

    assert sum(faces(i) == 1 for i in range(40)) >= 36
    assert sum(faces(i) for i in range(100, 140)) == 0


@needs_cascades
@pytest.mark.parametrize(("side", "tolerance"), [(200, 8), (1024, 20), (5000, 100)])
def test_size_does_not_matter(side: int, tolerance: int) -> None:
    """Small and large copies have the same face; large ones are looked at scaled down."""
    picture = cv2.resize(photograph("astronaut"), (side, side), interpolation=cv2.INTER_AREA if side < 512 else cv2.INTER_LINEAR)
    found = HaarFaceDetector().detect(picture, DetectOptions())
    assert [near(f.box_xyxy, tuple(v * side / 512 for v in ASTRONAUT_FACE), tolerance) for f in found] == [True]


@needs_cascades
@pytest.mark.parametrize("shape", [(1, 1), (5, 400), (400, 5), (23, 23)])
def test_tiny_pictures_have_no_face(shape: tuple[int, int]) -> None:
    """Pictures smaller than a face are no error."""
    assert len(HaarFaceDetector().detect(np.zeros((*shape, 3), np.uint8), DetectOptions())) == 0


@needs_cascades
def test_options_are_kept() -> None:
    """Confidence, the number of detections and the class names are limits."""
    detector, picture = HaarFaceDetector(), np.tile(photograph("astronaut"), (1, 2, 1))
    assert len(detector.detect(picture, DetectOptions(confidence=0.99))) == 0
    assert len(detector.detect(picture, DetectOptions(max_detections=1))) == 1
    assert len(detector.detect(picture, DetectOptions(class_names=("hand",)))) == 0
    assert len(detector.detect(picture, DetectOptions(class_names=("face",)))) == 2
    assert (detector.name, detector.class_names) == ("face_haar", ("face",))


@needs_cascades
def test_threads_may_share_it() -> None:
    """Several threads get what one gets."""
    detector, picture = HaarFaceDetector(), photograph("astronaut")
    alone = detector.detect(picture, DetectOptions())[0].box_xyxy
    together: list[tuple[float, ...]] = []
    threads = [threading.Thread(target=lambda: together.append(detector.detect(picture, DetectOptions())[0].box_xyxy)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == [alone] * 4


def test_opencv_5_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without cascades in OpenCV the error names the version and what to do."""
    monkeypatch.delattr(cv2, "CascadeClassifier", raising=False)
    with pytest.raises(DetectorError) as caught:
        HaarFaceDetector()
    assert str(caught.value) == (
        f"detector 'face_haar' needs the cascades of OpenCV 4, this is OpenCV {cv2.__version__}; choose another detector, for example "
        "face_yolov8n.pt, which 'python -m detailer_core download face_yolov8n.pt' fetches"
    )


def test_missing_cascade_files_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """An OpenCV without the files of the cascades says which is missing."""
    monkeypatch.setattr(haar.cv2, "CascadeClassifier", lambda: None, raising=False)
    monkeypatch.setattr(haar.cv2, "data", SimpleNamespace(haarcascades="/nowhere/"), raising=False)
    with pytest.raises(
        DetectorError, match=r"haarcascade_frontalface_default\.xml not found in this OpenCV .*; install opencv-python 4\.x anew or choose"
    ):
        HaarFaceDetector()
