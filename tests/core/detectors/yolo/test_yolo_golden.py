"""What ultralytics answers for six models on two pictures, against ours."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from detailer_core.detectors.base import DetectOptions
from detailer_core.detectors.yolo.detector import YoloDetector
from detailer_core.geometry import enclosing_box

REPOSITORY = Path(__file__).resolve().parents[4]
GOLDEN = REPOSITORY.parent / "shared" / "golden" / "yolo"
pytestmark = pytest.mark.skipif(not GOLDEN.is_dir(), reason=f"no golden data of the reference at {GOLDEN}")


def golden_part() -> ModuleType:
    """The file `tests/golden_parts/yolo.py`."""
    spec = importlib.util.spec_from_file_location("golden_part_yolo", REPOSITORY / "tests" / "golden_parts" / "yolo.py")
    if spec is None or spec.loader is None:
        raise ImportError("golden_parts/yolo.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_everything_golden_comes_out() -> None:
    """Raw answers, boxes, scores, classes, selections and masks of every model and picture are within the README's tolerances."""
    results = golden_part().check(GOLDEN)
    assert len(results) >= 6 + 12 * 4
    assert {name: row for name, row in results.items() if row[0] != row[1]} == {}


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
