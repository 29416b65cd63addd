"""The detector: the protocol it keeps, its options, its errors, and what it leaves alone."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from detailer_core.detectors.base import DetectOptions, Detector
from detailer_core.detectors.yolo.checkpoint import read_pt, write_safetensors
from detailer_core.detectors.yolo.detector import YoloDetector, usable_device
from detailer_core.errors import DetectorError, ModelFileError
from detailer_core.geometry import enclosing_box

Saver = Callable[..., Path]
EVERYTHING = DetectOptions(confidence=0.0, iou=0.5, max_detections=20)


@pytest.fixture()
def picture() -> np.ndarray:
    """Noise of 50 x 70 pixels."""
    return np.random.default_rng(1).integers(0, 256, (50, 70, 3), np.uint8)


@pytest.mark.parametrize("family", ["yolov8", "yolo11", "yolov5u"])
@pytest.mark.parametrize("task", ["detect", "segment"])
def test_smoke(save_model: Saver, tmp_path: Path, picture: np.ndarray, family: str, task: str) -> None:
    """Every family finds something in noise at threshold 0: inside of the picture, sorted, with fitting masks."""
    detector: Detector = YoloDetector(save_model(family=family, task=task), cache_folder=tmp_path / "cache")
    found = detector.detect(picture, EVERYTHING)
    assert 0 < len(found) <= 20
    assert [one.confidence for one in found] == sorted((one.confidence for one in found), reverse=True)
    for one in found:
        x0, y0, x1, y1 = one.box_xyxy
        assert 0 <= x0 < x1 <= 70 and 0 <= y0 < y1 <= 50
        assert one.label in detector.class_names
        left, top, right, bottom = enclosing_box(one.box_xyxy, (70, 50))
        assert one.mask_hw is None if task == "detect" else one.mask_hw.shape == (bottom - top, right - left)


def test_same_from_cache_and_safetensors(save_model: Saver, tmp_path: Path, picture: np.ndarray) -> None:
    """The `.pt`, its cached form and a `.safetensors` made of it find the same."""
    path = save_model()
    write_safetensors(read_pt(path), tmp_path / "made.safetensors")
    results = [YoloDetector(file, cache_folder=tmp_path / "cache").detect(picture, EVERYTHING)
               for file in (path, path, tmp_path / "made.safetensors")]
    assert [[(one.box_xyxy, one.label, one.confidence) for one in found] for found in results[1:]] == \
        [[(one.box_xyxy, one.label, one.confidence) for one in results[0]]] * 2


def test_name(save_model: Saver, tmp_path: Path) -> None:
    """It is called by the file's name or as asked."""
    path = save_model("a face.pt")
    assert YoloDetector(path, cache_folder=tmp_path / "c").name == "a face.pt"
    assert YoloDetector(path, cache_folder=tmp_path / "c", name="face").name == "face"


def test_class_filter(save_model: Saver, tmp_path: Path, picture: np.ndarray) -> None:
    """Only the wanted classes come back; one that is not known is an error that names those that are."""
    detector = YoloDetector(save_model(), cache_folder=tmp_path / "c")
    labels = {one.label for one in detector.detect(picture, DetectOptions(confidence=0.0, class_names=("hand",)))}
    assert labels <= {"hand"}
    with pytest.raises(DetectorError, match="does not know the class 'foot'; it knows face, hand"):
        detector.detect(picture, DetectOptions(class_names=("foot",)))


def test_thresholds(save_model: Saver, tmp_path: Path, picture: np.ndarray) -> None:
    """Confidence 1 finds nothing, at most 0 finds nothing, more is found with a lower confidence."""
    detector = YoloDetector(save_model(), cache_folder=tmp_path / "c")
    assert detector.detect(picture, DetectOptions(confidence=1.0)) == []
    assert detector.detect(picture, DetectOptions(confidence=0.0, max_detections=0)) == []
    counts = [len(detector.detect(picture, DetectOptions(confidence=value, iou=1.0))) for value in (0.0, 0.5, 0.9)]
    assert counts == sorted(counts, reverse=True)


@pytest.mark.parametrize(("wrong", "message"), [
    (np.zeros((5, 5), np.uint8), r"\(5, 5\)"), (np.zeros((5, 5, 4), np.uint8), r"\(5, 5, 4\)"),
    (np.zeros((5, 5, 3), np.float32), "float32"),
    (np.zeros((0, 5, 3), np.uint8), r"\(0, 5, 3\)")])
def test_wrong_pictures(save_model: Saver, tmp_path: Path, wrong: np.ndarray, message: str) -> None:
    """A picture of another shape or type is refused with what it was."""
    with pytest.raises(DetectorError, match=message):
        YoloDetector(save_model(), cache_folder=tmp_path / "c").detect(wrong, DetectOptions())


@pytest.mark.parametrize("options", [DetectOptions(confidence=2), DetectOptions(iou=-1), DetectOptions(max_detections=-1),
                                     DetectOptions(image_size=7), DetectOptions(image_size=10 ** 6)])
def test_wrong_options(save_model: Saver, tmp_path: Path, picture: np.ndarray, options: DetectOptions) -> None:
    """Thresholds out of range are refused, not clipped."""
    with pytest.raises(DetectorError, match="got"):
        YoloDetector(save_model(), cache_folder=tmp_path / "c").detect(picture, options)


def test_picture_of_one_pixel(save_model: Saver, tmp_path: Path) -> None:
    """The smallest picture does no harm."""
    for shape in ((1, 1, 3), (1, 500, 3), (500, 1, 3)):
        YoloDetector(save_model(task="segment"), cache_folder=tmp_path / "c").detect(np.zeros(shape, np.uint8), EVERYTHING)


def test_views_and_locked_pictures(save_model: Saver, tmp_path: Path, picture: np.ndarray) -> None:
    """A mirrored view and a picture that cannot be written to give what a copy gives, and nothing is changed."""
    detector = YoloDetector(save_model(), cache_folder=tmp_path / "c")
    for size in ((50, 70), (64, 64)):
        whole = np.resize(picture, (*size, 3))
        locked = whole.copy()
        locked.flags.writeable = False
        expected = [one.box_xyxy for one in detector.detect(whole, EVERYTHING)]
        assert [one.box_xyxy for one in detector.detect(locked, EVERYTHING)] == expected
        mirrored = detector.detect(whole[:, ::-1], EVERYTHING)
        assert [one.box_xyxy for one in mirrored] == [one.box_xyxy for one in detector.detect(whole[:, ::-1].copy(), EVERYTHING)]


def test_process_is_left_alone(save_model: Saver, tmp_path: Path, picture: np.ndarray) -> None:
    """Threads, environment, default type, gradient mode, random state and working folder are as before."""
    def state() -> tuple[object, ...]:
        return (torch.get_num_threads(), torch.get_num_interop_threads(), dict(os.environ), torch.get_default_dtype(), Path.cwd(),
                torch.is_grad_enabled(), torch.backends.cudnn.benchmark, torch.random.get_rng_state().tolist(),
                np.random.get_state()[1].tolist())

    path, before = save_model(), state()
    detector = YoloDetector(path, cache_folder=tmp_path / "c")
    detector.detect(picture, EVERYTHING)
    assert state() == before


def test_autocast_of_the_host_does_not_matter(save_model: Saver, tmp_path: Path, picture: np.ndarray) -> None:
    """Inside of a host's autocast and default type the numbers are the same."""
    detector = YoloDetector(save_model(), cache_folder=tmp_path / "c")
    expected = [one.box_xyxy for one in detector.detect(picture, EVERYTHING)]
    with torch.autocast("cpu", torch.bfloat16):
        assert [one.box_xyxy for one in detector.detect(picture, EVERYTHING)] == expected


def test_threads_share_a_detector(save_model: Saver, tmp_path: Path, picture: np.ndarray) -> None:
    """Calls from several threads at one time give what one call gives."""
    detector = YoloDetector(save_model(), cache_folder=tmp_path / "c")
    expected = [one.box_xyxy for one in detector.detect(picture, EVERYTHING)]
    results: list[list[object]] = []

    def work() -> None:
        results.append([one.box_xyxy for one in detector.detect(picture, EVERYTHING)])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [expected] * 4


def test_missing_device(save_model: Saver, tmp_path: Path, picture: np.ndarray, caplog: pytest.LogCaptureFixture) -> None:
    """A device that is not there gives way to the CPU, and the log says so."""
    detector = YoloDetector(save_model(), cache_folder=tmp_path / "c")
    assert detector.detect(picture, DetectOptions(confidence=0.0, device="nonsense"))
    assert "'nonsense' cannot be used" in caplog.text
    assert usable_device("cpu") == torch.device("cpu")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_cuda_gives_the_same(save_model: Saver, tmp_path: Path, picture: np.ndarray) -> None:
    """On a graphics card boxes differ by rounding only."""
    detector = YoloDetector(save_model(), cache_folder=tmp_path / "c")
    one, other = (detector.detect(picture, DetectOptions(confidence=0.0, iou=1.0, device=device)) for device in ("cpu", "cuda"))
    assert abs(len(one) - len(other)) <= 1
    assert abs(one[0].confidence - other[0].confidence) < 1e-2


def test_ending_that_is_not_known(tmp_path: Path) -> None:
    """The error names the endings that are."""
    with pytest.raises(ModelFileError, match=r"'\.ckpt' is not known; \.pt, \.safetensors and \.onnx are"):
        YoloDetector(tmp_path / "x.ckpt", cache_folder=tmp_path)


def test_layers_that_do_not_fit(save_model: Saver, tmp_path: Path, picture: np.ndarray) -> None:
    """A network whose widths do not meet fails with our error when it runs."""
    checkpoint = read_pt(save_model())
    checkpoint.tensors["model.1.weight"] = torch.zeros(16, 5, 3, 3)  # type: ignore[index]
    write_safetensors(checkpoint, tmp_path / "x.safetensors")
    with pytest.raises(DetectorError, match="network failed on an input"):
        YoloDetector(tmp_path / "x.safetensors", cache_folder=tmp_path).detect(picture, DetectOptions())
