"""ONNX files of the YOLO export layout; those here are written byte by byte, so that no ONNX library is needed."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from detailer_core.detectors.base import DetectOptions
from detailer_core.detectors.registry import DetectorFolders, DetectorShelf
from detailer_core.detectors.yolo.detector import YoloDetector
from detailer_core.detectors.yolo.onnx import read_description, read_onnx, split_outputs
from detailer_core.errors import DetectorError, DetectorNotFoundError, ModelFileError


def number(value: int) -> bytes:
    """A number as protobuf writes it."""
    result = b""
    while value > 127:
        result, value = result + bytes([value & 127 | 128]), value >> 7
    return result + bytes([value])


def field(key: int, value: int | str | bytes) -> bytes:
    """A field of a protobuf message."""
    if isinstance(value, int):
        return number(key << 3) + number(value)
    data = value.encode() if isinstance(value, str) else value
    return number(key << 3 | 2) + number(len(data)) + data


def tensor(name: str, values: np.ndarray) -> bytes:
    """A TensorProto of float32 or int64."""
    kind = 1 if values.dtype == np.float32 else 7
    return b"".join(field(1, side) for side in values.shape) + field(2, kind) + field(8, name) + field(9, values.tobytes())


def integers(name: str, *values: int) -> bytes:
    """An AttributeProto of integers."""
    return field(5, field(1, name) + b"".join(field(8, value) for value in values) + field(20, 7))


def value_info(name: str, *sides: int | str) -> bytes:
    """A ValueInfoProto of float32; a text is a side of any length."""
    shape = b"".join(field(1, field(1, side) if isinstance(side, int) else field(2, side)) for side in sides)
    return field(1, name) + field(2, field(1, field(1, 1) + field(2, shape)))


def node(kind: str, inputs: tuple[str, ...], output: str, attributes: bytes = b"") -> bytes:
    """A NodeProto."""
    return field(1, b"".join(field(1, name) for name in inputs) + field(2, output) + field(3, output) + field(4, kind) + attributes)


def onnx_bytes(rows: list[float], metadata: dict[str, str] | None = None, side: int | str = 64) -> bytes:
    """A network that answers every anchor of 8 pixels with the same rows."""
    weight, bias = np.zeros((len(rows), 3, 8, 8), np.float32), np.array(rows, np.float32)
    shape = integers("kernel_shape", 8, 8) + integers("strides", 8, 8) + integers("pads", 0, 0, 0, 0)
    graph = node("Conv", ("images", "w", "b"), "c", shape) + node("Reshape", ("c", "shape"), "output0") + field(2, "yolo")
    graph += field(5, tensor("w", weight)) + field(5, tensor("b", bias)) + field(5, tensor("shape", np.array([1, len(rows), -1], np.int64)))
    graph += field(11, value_info("images", 1, 3, side, side)) + field(12, value_info("output0", 1, len(rows), 64))
    entries = b"".join(field(14, field(1, key) + field(2, value)) for key, value in (metadata or {}).items())
    return field(1, 8) + field(7, graph) + field(8, field(1, "") + field(2, 13)) + entries


NAMES = {"names": "{0: 'face', 1: 'hand'}", "stride": "32", "imgsz": "[64, 64]", "task": "detect"}
BOX = [32.0, 32.0, 16.0, 8.0, 0.25, 0.75]


def test_onnx_is_run(tmp_path: Path) -> None:
    """Boxes, classes and names come out of the file; the letterbox is undone."""
    path = tmp_path / "名前 model.onnx"
    path.write_bytes(onnx_bytes(BOX, NAMES))
    detector = YoloDetector(path, cache_folder=tmp_path)
    found = detector.detect(np.zeros((64, 128, 3), np.uint8), DetectOptions())
    assert detector.class_names == ("face", "hand")
    assert [(one.label, round(one.confidence, 4), one.box_xyxy) for one in found] == [("hand", 0.75, (48.0, 24.0, 80.0, 40.0))]


def test_names_are_counted_if_missing(tmp_path: Path) -> None:
    """A file without names has classes by number."""
    (tmp_path / "m.onnx").write_bytes(onnx_bytes(BOX))
    assert read_onnx(tmp_path / "m.onnx").class_names == ("class 0", "class 1")


def test_names_are_read_without_the_graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shelf knows them without a network; of a file that says none they are counted, with one."""
    folder = tmp_path / "yolo"
    folder.mkdir()
    (folder / "told.onnx").write_bytes(onnx_bytes(BOX, NAMES))
    (folder / "untold.onnx").write_bytes(onnx_bytes(BOX))
    shelf = DetectorShelf(DetectorFolders(models_root=tmp_path))
    assert shelf.class_names("untold.onnx") == ("class 0", "class 1")
    monkeypatch.setattr("cv2.dnn.readNetFromONNX", lambda *_: pytest.fail("the graph was read"))
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert shelf.class_names("told.onnx") == ("face", "hand")


def test_description(tmp_path: Path) -> None:
    """Names, stride, picture size and fixed input are read without any library; nonsense in them is left out."""
    path = tmp_path / "m.onnx"
    path.write_bytes(onnx_bytes(BOX, NAMES))
    known = read_description(path)
    assert (known.class_names, known.stride, known.image_size, known.input_wh) == (("face", "hand"), 32, 64, (64, 64))
    path.write_bytes(onnx_bytes(BOX, {"names": "__import__('os')", "stride": "-3", "imgsz": "(" * 5000}, "any"))
    odd = read_description(path)
    assert (odd.class_names, odd.stride, odd.image_size, odd.input_wh) == ((), 32, 640, None)


def test_wrong_number_of_rows(tmp_path: Path) -> None:
    """An answer that does not fit the names is an error that says what to export."""
    (tmp_path / "m.onnx").write_bytes(onnx_bytes([*BOX, 1.0], NAMES))
    with pytest.raises(DetectorError, match="7 rows for 2 classes; export it again"):
        YoloDetector(tmp_path / "m.onnx", cache_folder=tmp_path).detect(np.zeros((64, 64, 3), np.uint8), DetectOptions())


def test_graph_of_nonsense(tmp_path: Path) -> None:
    """A graph that the library cannot read is our error."""
    (tmp_path / "m.onnx").write_bytes(onnx_bytes(BOX, NAMES).replace(b"Reshape", b"Exploit"))
    with pytest.raises(DetectorError, match=r"m\.onnx|ONNX"):
        YoloDetector(tmp_path / "m.onnx", cache_folder=tmp_path).detect(np.zeros((64, 64, 3), np.uint8), DetectOptions())


def test_huge_input(tmp_path: Path) -> None:
    """A file that asks for a giant input is refused before anything is run."""
    (tmp_path / "m.onnx").write_bytes(onnx_bytes(BOX, NAMES, 1_000_000))
    with pytest.raises(ModelFileError, match="1000000 x 1000000 pixels"):
        read_onnx(tmp_path / "m.onnx")


def test_missing(tmp_path: Path) -> None:
    """The error says that the file is not there."""
    with pytest.raises(DetectorNotFoundError, match="not found"):
        read_onnx(tmp_path / "m.onnx")


def test_outputs_in_any_order() -> None:
    """Boxes and prototypes are told apart by their shape; other layouts are an error."""
    boxes, prototypes = np.zeros((1, 40, 9), np.float32), np.zeros((1, 32, 4, 4), np.float32)
    for outputs in ([boxes, prototypes], [prototypes, boxes]):
        columns, found = split_outputs(outputs)
        assert columns.shape == (40, 9) and found is not None and found.shape == (32, 4, 4)
    assert split_outputs([boxes])[1] is None
    with pytest.raises(DetectorError, match=r"shapes \[\(1, 32, 4, 4\)\]"):
        split_outputs([prototypes])
