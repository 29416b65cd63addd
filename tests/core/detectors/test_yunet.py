"""YuNet: the way from the file to boxes, with a small network of the same outputs that this file writes; the real weights are not shipped.

The network takes bright cells of 8x8 pixels for faces: score = brightness, box = 24x24 pixels around the cell's middle.
"""

from __future__ import annotations

import math
import struct
import threading
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from detailer_core.detectors.base import DetectOptions
from detailer_core.detectors.yunet import YuNetDetector
from detailer_core.errors import DetectorError, DetectorNotFoundError, ModelFileError

SIDE = 24


def field(number: int, value: int | bytes | str) -> bytes:
    """One field of a protobuf message: a number, or bytes with their length."""

    def varint(n: int) -> bytes:
        out = bytearray()
        while n > 127:
            out.append(n & 127 | 128)
            n >>= 7
        return bytes([*out, n])

    if isinstance(value, int):
        return varint(number << 3) + varint(value & (2**64 - 1))
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def tensor(name: str, values: np.ndarray) -> bytes:
    """A constant of the graph."""
    kind = 1 if values.dtype == np.float32 else 7
    return field(5, b"".join(field(1, d) for d in values.shape) + field(2, kind) + field(8, name) + field(9, values.tobytes()))


def node(kind: str, inputs: Sequence[str], output: str, **ints: Sequence[int]) -> bytes:
    """An operation of the graph, with lists of whole numbers as attributes."""
    attributes = b"".join(field(5, field(1, k) + b"".join(field(8, v) for v in values) + field(20, 7)) for k, values in ints.items())
    return field(1, b"".join(field(1, i) for i in inputs) + field(2, output) + field(3, "n_" + output) + field(4, kind) + attributes)


def value(number: int, name: str, dims: Sequence[int]) -> bytes:
    """An input or output of the graph."""
    shape = b"".join(field(1, field(1, d)) for d in dims)
    return field(number, field(1, name) + field(2, field(1, field(1, 1) + field(2, shape))))


def bright_cells(outputs: Sequence[str] = ("cls", "obj", "bbox", "kps")) -> bytes:
    """An ONNX model with YuNet's inputs and outputs."""
    graph, ends = field(2, "cells"), b""
    for stride in (8, 16, 32):
        for kind, depth in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
            if kind not in outputs:
                continue
            weight = np.zeros((depth, 3, stride, stride), np.float32)
            bias = np.zeros(depth, np.float32)
            if depth == 1 and stride == 8:
                weight += 1 / (3 * 64 * 255)
            if kind == "bbox":
                bias[:] = (0.5, 0.5, math.log(SIDE / stride), math.log(SIDE / stride))
            name = f"{kind}_{stride}"
            graph += node("Conv", ("input", f"w_{name}", f"b_{name}"), f"c_{name}", kernel_shape=(stride, stride), strides=(stride, stride))
            graph += node("Transpose", (f"c_{name}",), f"t_{name}", perm=(0, 2, 3, 1)) + node("Reshape", (f"t_{name}", f"s_{name}"), name)
            graph += tensor(f"w_{name}", weight) + tensor(f"b_{name}", bias) + tensor(f"s_{name}", np.array([1, -1, depth], np.int64))
            ends += value(12, name, (1, (640 // stride) ** 2, depth))
    graph += value(11, "input", (1, 3, 640, 640)) + ends
    return field(1, 8) + field(7, graph) + field(8, field(1, "") + field(2, 11))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The model in a file whose name OpenCV could not open everywhere."""
    path = tmp_path / "лица 顔" / "face_detection_yunet_test.onnx"
    path.parent.mkdir()
    path.write_bytes(bright_cells())
    return path


def picture_with(cells: Sequence[tuple[int, int, int]], size_wh: tuple[int, int] = (640, 480)) -> np.ndarray:
    """A black picture with cells (column, row, brightness)."""
    picture = np.zeros((size_wh[1], size_wh[0], 3), np.uint8)
    for column, row, level in cells:
        picture[row * 8 : row * 8 + 8, column * 8 : column * 8 + 8] = level
    return picture


@pytest.mark.parametrize("size_wh", [(640, 480), (320, 320), (333, 517), (900, 40)])
def test_boxes_are_where_the_network_puts_them(model: Path, size_wh: tuple[int, int]) -> None:
    """Boxes and scores of pictures of any size, most confident first."""
    found = YuNetDetector(model).detect(picture_with([(5, 3, 204), (20, 2, 255)], size_wh), DetectOptions(confidence=0.5))
    assert [tuple(round(v, 3) for v in f.box_xyxy) for f in found] == [(152, 8, 176, 32), (32, 16, 56, 40)]
    assert [round(f.confidence, 3) for f in found] == [1.0, 0.8]
    assert {f.label for f in found} == {"face"}


def test_large_pictures_are_looked_at_scaled_down(model: Path) -> None:
    """Boxes come back in the picture's own pixels, along both sides."""
    small = picture_with([(20, 10, 255)], (1024, 512))
    large = cv2.resize(small, (4096, 2048), interpolation=cv2.INTER_NEAREST)
    found = YuNetDetector(model).detect(large, DetectOptions(confidence=0.9))
    assert [tuple(round(v, 3) for v in f.box_xyxy) for f in found] == [(608, 288, 704, 384)]
    assert len(YuNetDetector(model).detect(large, DetectOptions(confidence=0.9, image_size=256))) == 0


def test_options_are_kept(model: Path) -> None:
    """Thresholds, the number of detections and class names are limits; overlapping boxes are one."""
    detector, picture = YuNetDetector(model), picture_with([(5, 5, 255), (6, 5, 230), (30, 5, 128)])
    assert len(detector.detect(picture, DetectOptions(confidence=0.4, iou=0.9))) == 3
    assert len(detector.detect(picture, DetectOptions(confidence=0.4, iou=0.4))) == 2
    assert len(detector.detect(picture, DetectOptions(confidence=0.6, iou=0.4))) == 1
    assert len(detector.detect(picture, DetectOptions(confidence=0.4, iou=0.9, max_detections=2))) == 2
    assert len(detector.detect(picture, DetectOptions(class_names=("hand",)))) == 0
    assert (detector.name, detector.class_names) == ("face_detection_yunet_test.onnx", ("face",))
    assert YuNetDetector(model, name="faces").name == "faces"


def test_nothing_found_is_no_error(model: Path) -> None:
    """A black picture has no faces, a tiny one neither."""
    detector = YuNetDetector(model)
    assert len(detector.detect(picture_with([]), DetectOptions())) == 0
    assert len(detector.detect(np.zeros((1, 1, 3), np.uint8), DetectOptions())) == 0


def test_threads_may_share_it(model: Path) -> None:
    """Threads with pictures of different sizes get their own results."""
    detector = YuNetDetector(model)
    wrong: list[int] = []

    def work(column: int) -> None:
        for _ in range(5):
            found = detector.detect(picture_with([(column, 3, 255)], (200 + 40 * column, 100)), DetectOptions(confidence=0.9))
            if [f.box_xyxy[0] for f in found] != [column * 8 - 8]:
                wrong.append(column)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(2, 6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_missing_and_damaged_files_are_refused(tmp_path: Path) -> None:
    """No file, an empty one, and one that is no model: each says which and what to do."""
    (tmp_path / "empty.onnx").touch()
    (tmp_path / "text.onnx").write_bytes(b"this is no model" * 50)
    with pytest.raises(DetectorNotFoundError, match=r"detector file .*none\.onnx cannot be read: .*; put it there or choose another"):
        YuNetDetector(tmp_path / "none.onnx")
    with pytest.raises(ModelFileError, match=r"empty\.onnx is empty \(0 bytes\); download it anew"):
        YuNetDetector(tmp_path / "empty.onnx")
    with pytest.raises(ModelFileError, match=r"text\.onnx is damaged or no ONNX model \(.*\); download it anew"):
        YuNetDetector(tmp_path / "text.onnx")


def test_another_network_is_refused(tmp_path: Path) -> None:
    """A sound model without YuNet's outputs is refused when it is loaded, not at the first picture."""
    path = tmp_path / "other_yunet.onnx"
    path.write_bytes(bright_cells(outputs=("cls", "obj")))
    with pytest.raises(
        ModelFileError, match=r"other_yunet\.onnx is an ONNX model, but no YuNet of 2023 or later \(.*\); take face_detection_yunet_2023mar"
    ):
        YuNetDetector(path)


def test_an_opencv_without_it_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A build of OpenCV without the class says so."""
    monkeypatch.delattr(cv2, "FaceDetectorYN")
    with pytest.raises(
        DetectorError, match=r"detector 'a\.onnx' needs FaceDetectorYN, which OpenCV .* lacks; install opencv-python 4\.8 or later"
    ):
        YuNetDetector(tmp_path / "a.onnx")


def test_the_field_encoding_is_sound() -> None:
    """The writer of this file encodes as protobuf does: 300 is 0xAC 0x02."""
    assert field(1, 300) == b"\x08\xac\x02"
    assert field(2, "ab") == b"\x12\x02ab"
    assert struct.unpack("<f", tensor("a", np.array([1.5], np.float32))[-4:])[0] == 1.5
