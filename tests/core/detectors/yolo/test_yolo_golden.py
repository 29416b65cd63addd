"""What ultralytics answers for six models on two pictures, against ours."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import golden_check
import numpy as np
import pytest
from PIL import Image

from detailer_core.detectors.base import DetectOptions
from detailer_core.detectors.yolo.detector import YoloDetector
from detailer_core.geometry import enclosing_box

REPOSITORY = Path(__file__).resolve().parents[4]
GOLDEN = REPOSITORY.parent / "shared" / "golden" / "yolo"
pytestmark = pytest.mark.skipif(not GOLDEN.is_dir(), reason=f"no golden data of the reference at {GOLDEN}")


def test_everything_golden_comes_out(capsys: pytest.CaptureFixture[str]) -> None:
    """The command finds raw answers, boxes, scores, classes, selections and masks of every model and picture within the README's tolerances."""
    assert golden_check.main(GOLDEN) == 0
    assert len(capsys.readouterr().out.splitlines()) >= 6 + 12 * 4 + 1


def test_a_wrong_answer_is_seen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A golden number that ours is not is counted as a failure; a folder without data is no success."""
    entries = json.loads((GOLDEN / "yolo.json").read_text(encoding="utf-8"))
    entries["models"] = [entry for entry in entries["models"] if entry["name"] == "small-v8"]
    (tmp_path / "yolo.json").write_text(json.dumps(entries), encoding="utf-8")
    for name in ("small-v8.pt", "astronaut.png", "coffee.png"):
        shutil.copy(GOLDEN / name, tmp_path)
    numbers = dict(np.load(GOLDEN / "yolo.npz"))
    numbers["small-v8|raw_output"] = numbers["small-v8|raw_output"] * np.float32(1.01)
    np.savez(tmp_path / "yolo.npz", **numbers)
    assert golden_check.main(tmp_path) == 1
    assert "small-v8 raw" in capsys.readouterr().out
    assert golden_check.main(tmp_path / "none") == 2


@pytest.mark.parametrize("picture", ["astronaut.png", "coffee.png"])
def test_trained_model_gives_the_same_set(picture: str, tmp_path: Path) -> None:
    """Without ties the detections themselves are equal, in order."""
    detector = YoloDetector(GOLDEN / "face_yolov8n.pt", cache_folder=tmp_path)
    found = detector.detect(np.array(Image.open(GOLDEN / picture).convert("RGB")), DetectOptions(image_size=640, max_detections=50))
    numbers = np.load(GOLDEN / "yolo.npz")
    boxes, scores = numbers[f"face_yolov8n|{picture}|xyxy"], numbers[f"face_yolov8n|{picture}|conf"]
    assert len(found) == len(boxes)
    np.testing.assert_allclose(np.array([one.box_xyxy for one in found]).reshape(-1, 4), boxes, atol=0.5)
    np.testing.assert_allclose([one.confidence for one in found], scores, atol=2e-3)
    assert [one.label for one in found] == ["face"] * len(boxes)


def test_masks_fit_their_boxes(tmp_path: Path) -> None:
    """A mask is as large as the box that encloses the detection and covers some of it."""
    picture = np.array(Image.open(GOLDEN / "coffee.png").convert("RGB"))
    found = YoloDetector(GOLDEN / "small-11-seg.pt", cache_folder=tmp_path).detect(picture, DetectOptions(max_detections=20))
    assert found
    for one in found:
        x0, y0, x1, y1 = enclosing_box(one.box_xyxy, (picture.shape[1], picture.shape[0]))
        assert one.mask_hw is not None
        assert one.mask_hw.shape == (y1 - y0, x1 - x0)
        assert one.mask_hw.dtype == np.float32
        assert 0 <= one.mask_hw.min() <= one.mask_hw.max() <= 1
        assert one.mask_hw.max() > 0.5
