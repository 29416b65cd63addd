"""The library ultralytics, played: used only for a file that the user trusts, and nothing of what it does to the process stays."""

from __future__ import annotations

import os
import random
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from detailer_core.detectors.base import DetectOptions
from detailer_core.detectors.process_state import kept_process
from detailer_core.detectors.registry import is_hash, trusted_hashes
from detailer_core.detectors.ultralytics_library import UltralyticsDetector, is_installed
from detailer_core.errors import DetectorError, ModelFileError

PICTURE = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)


def state() -> dict[str, Any]:
    """All that must be as before."""
    return {"environment": dict(os.environ), "threads": torch.get_num_threads(), "cv_threads": cv2.getNumThreads(), "save": torch.save,
            "load": torch.load, "imread": cv2.imread, "print": str(np.get_printoptions()), "print_torch": str(torch.tensor(1 / 3)),
            "warnings": list(warnings.filters), "random": random.getstate(), "numpy": str(np.random.get_state()),
            "torch": torch.random.get_rng_state().tolist(), "strict": torch.are_deterministic_algorithms_enabled(),
            "benchmark": torch.backends.cudnn.benchmark, "autocast": torch.is_autocast_enabled(), "grad": torch.is_grad_enabled()}


def model_file(folder: Path, name: str = "world.pt") -> Path:
    """Something that the library is to load."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(b"whatever")
    return folder / name


def test_nothing_of_the_process_changes(library: Callable[[], ModuleType], tmp_path: Path) -> None:
    """Not by the import, not by loading, not by a look, not by errors."""
    before = state()
    detector = UltralyticsDetector(model_file(tmp_path))
    assert state() == before
    detector.detect(PICTURE, DetectOptions())
    assert state() == before
    for name in ("fails.pt", "broken.pt"):
        with pytest.raises(DetectorError, match="ordered"):
            UltralyticsDetector(model_file(tmp_path, name)).detect(PICTURE, DetectOptions())
        assert state() == before
    assert library().SEEN == {"YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false", "YOLO_VERBOSE": "false"}


def test_what_was_there_before_is_put_back() -> None:
    """Names that were replaced or deleted, not those that an import adds."""
    before = state()
    with pytest.raises(ZeroDivisionError), kept_process():
        del torch.save  # type: ignore[attr-defined]
        torch.added_by_a_test = 1  # type: ignore[attr-defined]
        raise ZeroDivisionError
    assert state() == before
    assert torch.added_by_a_test == 1  # type: ignore[attr-defined]
    del torch.added_by_a_test  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["world.pt", "world-seg.pt"])
def test_detections(library: Callable[[], ModuleType], tmp_path: Path, name: str) -> None:
    """Boxes, names and scores, the surest first; masks fit their boxes; a box that is no number is left out, the picture is given as BGR."""
    detector = UltralyticsDetector(model_file(tmp_path, name), name="mine")
    found = detector.detect(PICTURE, DetectOptions())
    assert [(d.box_xyxy, d.label, d.confidence) for d in found] == [((1.0, 2.0, 21.0, 12.0), "cat", 0.75), ((30.5, 5.0, 60.25, 40.0), "dog", 0.5)]
    assert (detector.name, detector.class_names) == ("mine", ("cat", "dog"))
    if "seg" in name:
        assert [d.mask_hw.shape for d in found if d.mask_hw is not None] == [(10, 20), (35, 31)]
        assert found[0].mask_hw.all() and found[1].mask_hw[5:15, 10:20].all() and found[1].mask_hw.sum() == 100  # type: ignore[union-attr]
    else:
        assert [d.mask_hw for d in found] == [None, None]
    picture, _ = vars(detector)["_model"].asked[0]
    np.testing.assert_array_equal(picture, PICTURE[..., ::-1])
    assert picture.flags.c_contiguous


def test_options_reach_the_library(library: Callable[[], ModuleType], tmp_path: Path) -> None:
    """Each by the library's name; its own picture size where none is asked for."""
    detector = UltralyticsDetector(model_file(tmp_path))
    detector.detect(PICTURE, DetectOptions())
    detector.detect(PICTURE, DetectOptions(confidence=0.1, iou=0.2, image_size=320, max_detections=7, class_names=("dog",), across_classes=True))
    plain, asked = (call[1] for call in vars(detector)["_model"].asked)
    assert "imgsz" not in plain and plain["classes"] is None and plain["device"] == "cpu" and plain["save"] is False
    changed = {key: value for key, value in asked.items() if plain.get(key) != value}
    assert changed == {"conf": 0.1, "iou": 0.2, "imgsz": 320, "max_det": 7, "classes": [1], "agnostic_nms": True}


def test_a_model_without_boxes_is_told(library: Callable[[], ModuleType], tmp_path: Path) -> None:
    """A network that names whole pictures is no detector; what the library cannot load or run says so."""
    with pytest.raises(DetectorError, match=r"detector 'classes\.pt' finds no boxes"):
        UltralyticsDetector(model_file(tmp_path, "classes.pt")).detect(PICTURE, DetectOptions())
    with pytest.raises(ModelFileError, match=r"model file 'broken\.pt': the library ultralytics cannot load it: KeyError: 'ordered'"):
        UltralyticsDetector(model_file(tmp_path, "broken.pt"))
    with pytest.raises(DetectorError, match=r"detector 'fails\.pt': the library ultralytics failed: RuntimeError: ordered"):
        UltralyticsDetector(model_file(tmp_path, "fails.pt")).detect(PICTURE, DetectOptions())


def test_where_it_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install."""
    monkeypatch.setitem(sys.modules, "ultralytics", None)
    assert not is_installed()
    with pytest.raises(DetectorError, match=r"needs the library ultralytics, which is not installed; install it \(pip install ultralytics\)"):
        UltralyticsDetector(model_file(tmp_path))


def test_hashes_in_a_text() -> None:
    """One a line, notes behind it, in any case; what is none is passed over."""
    one, other = "0a" * 32, "F" * 64
    assert trusted_hashes(f"\n {one}  my yolo-world\n# note\n{other}\n{one[:-1]}\n{one}x\n") == {one, other.lower()}
    assert trusted_hashes("") == frozenset()
    assert is_hash(one) and is_hash(other) and not is_hash("g" * 64) and not is_hash("")
