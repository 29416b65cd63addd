"""Where OpenCV has no cascades, a face model takes the place of `face_haar`, or the error says which could."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest

from detailer_core.detectors.haar_stand_in import with_stand_in
from detailer_core.detectors.registry import DetectorFolders, DetectorShelf
from detailer_core.errors import DetectorError
from detailer_core.settings import UnitSettings

DEFAULT = UnitSettings()


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> None:
    """An OpenCV 5, whichever is installed."""
    monkeypatch.delattr(cv2, "CascadeClassifier", raising=False)


def folders(root: Path, *names: str) -> DetectorFolders:
    """Folders with these model files."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name, encoding="utf-8")
    return DetectorFolders(models_root=root)


@pytest.mark.parametrize(("names", "chosen"), [
    ((), "face_haar"),
    (("adetailer/face_yolov9c.pt", "adetailer/hand_yolov8n.pt", "yolo/surface_x.pt"), "face_yolov9c.pt"),
    (("detailer/face_detection_yunet_2023mar.onnx",), "face_detection_yunet_2023mar.onnx"),
    (("adetailer/face_yolov8s.pt", "adetailer/face_yolov8n.pt", "adetailer/face_yolov8m.pt"), "face_yolov8n.pt"),
    (("adetailer/face_yolov8s.pt", "adetailer/face_yolov8m.pt"), "face_haar"),
    (("adetailer/face_yolov8n.pt", "yolo/face_yolov8n.pt"), "face_haar"),
])
def test_the_one_that_is_meant(without: None, tmp_path: Path, names: tuple[str, ...], chosen: str) -> None:
    """The only face model, or the best known one; with several others nothing is guessed."""
    assert with_stand_in(DEFAULT, folders(tmp_path, *names)).detector == chosen


def test_nothing_else_is_replaced(without: None, tmp_path: Path) -> None:
    """Only `face_haar` yields, in both places."""
    there = folders(tmp_path, "detailer/face_a.pt")
    asked = UnitSettings(detector="hand.pt", second_detector="face_haar", denoise=0.3)
    assert with_stand_in(asked, there) == UnitSettings(detector="hand.pt", second_detector="face_a.pt", denoise=0.3)
    other = UnitSettings(detector="whole")
    assert with_stand_in(other, there) is other


def test_with_cascades_nothing_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenCV 4 has what `face_haar` needs."""
    monkeypatch.setattr(cv2, "CascadeClassifier", object, raising=False)
    assert with_stand_in(DEFAULT, folders(tmp_path, "detailer/face_a.pt")) is DEFAULT


@pytest.mark.parametrize(("names", "told"), [
    ((), r"choose another detector: put a face model into .*detailer, or fetch one: "
         r"python -m detailer_core download face_yolov8n\.pt --models \".*\"$"),
    (("adetailer/face_b.pt", "adetailer/face_a.pt"), r"choose face_a\.pt or face_b\.pt$"),
])
def test_the_error_says_what_to_do(without: None, tmp_path: Path, names: tuple[str, ...], told: str) -> None:
    """Whoever has face models is told their names, whoever has none how to get one, into the folder of this host."""
    with pytest.raises(DetectorError, match=f"detector 'face_haar' needs the cascades of OpenCV 4, this is OpenCV .*; {told}"):
        DetectorShelf(folders(tmp_path, *names)).get("face_haar")
