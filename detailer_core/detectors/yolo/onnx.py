"""Networks in `.onnx` files of the YOLO export layout, run by onnxruntime where it is installed, else by OpenCV.

Such a file holds a graph of numeric operations and no program. One that asks for other files is refused.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import mmap
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from detailer_core.detectors.yolo.archive import check_model_file
from detailer_core.detectors.yolo.decode import Floats, Letterbox, letterbox, letterbox_fixed
from detailer_core.detectors.yolo.inert import entries, items
from detailer_core.errors import DetectorError, ModelFileError
from detailer_core.geometry import SizeWH

MAX_FILE_BYTES = 1 << 30
"""Largest `.onnx` file; the largest YOLOv5u has 620 MB."""
_OTHER_FILE = b"\x0a\x08location"
"""How the entry of a tensor that lies in another file begins."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OnnxDescription:
    """What the file says about itself.

    class_names: empty if it does not say. stride, image_size: pixels. input_wh: the only input size in pixels, None = any.
    """

    class_names: tuple[str, ...]
    stride: int
    image_size: int
    input_wh: SizeWH | None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class OnnxNetwork:
    """A network read from an `.onnx` file. Make it with `read_onnx`.

    run: float32 `[1, 3, h, w]` 0..1 to all outputs. any_size: whether `run` takes inputs of any size.
    """

    class_names: tuple[str, ...]
    description: OnnxDescription
    run: Callable[[Floats], Sequence[Floats]]
    any_size: bool

    def frame(self, picture_wh: SizeWH, long_side: int | None) -> Letterbox:
        """How a picture is laid into the input; a file for one size keeps to it whatever `long_side` (pixels) says."""
        if self.description.input_wh is not None:
            return letterbox_fixed(picture_wh, self.description.input_wh)
        frame = letterbox(picture_wh, long_side or self.description.image_size, self.description.stride)
        return frame if self.any_size else letterbox_fixed(picture_wh, (max(frame.input_wh), max(frame.input_wh)))

    def look(self, input_hwc: NDArray[np.uint8], confidence: float, device: str) -> tuple[Floats, Floats | None]:
        """Columns as in `decode`, and prototypes `[m, h, w]` or None. `confidence` and `device` are not used.

        Raises: DetectorError if the network fails or answers in another layout.
        """
        pictures = (np.transpose(input_hwc, (2, 0, 1))[None] / np.float32(255)).astype(np.float32)
        try:
            outputs = self.run(pictures)
        except Exception as error:  # onnxruntime has no common base class for its errors
            raise DetectorError(f"the ONNX network failed on an input of {pictures.shape}: {error}") from error
        columns, prototypes = split_outputs(outputs)
        if columns.shape[0] != 4 + len(self.class_names) + (0 if prototypes is None else len(prototypes)):
            raise DetectorError(f"the ONNX network answers with {columns.shape[0]} rows for {len(self.class_names)} classes; "
                                "export it again as YOLOv8, YOLO11 or YOLOv5u for detection or segmentation, without NMS")
        return columns, prototypes


def split_outputs(outputs: Sequence[Floats]) -> tuple[Floats, Floats | None]:
    """Columns `[rows, anchors]` and prototypes `[m, h, w]` or None among the outputs, whatever their order.

    Raises: DetectorError if there are none of those shapes.
    """
    columns = [output[0] for output in outputs if output.ndim == 3 and output.shape[0] == 1]
    prototypes = [output[0] for output in outputs if output.ndim == 4 and output.shape[0] == 1]
    if len(columns) != 1 or len(prototypes) > 1:
        raise DetectorError(f"the ONNX network answers in the shapes {[output.shape for output in outputs]}; one of [1, rows, anchors] and "
                            "at most one of [1, m, h, w] are known")
    return columns[0], prototypes[0] if prototypes else None


def read_onnx(path: Path, root: Path | None = None) -> OnnxNetwork:
    """The network in an `.onnx` file.

    root: if given, the file must lie inside of this folder once links are followed.

    Raises: DetectorNotFoundError if there is no file; ModelFileError if it is refused or the library cannot read it.
    """
    resolved = check_model_file(path, root)
    description = read_description(resolved)
    data = resolved.read_bytes()
    try:
        if importlib.util.find_spec("onnxruntime") is not None:
            run, any_size = _onnxruntime(data), True
        else:
            run, any_size = _opencv(data), False
        names = description.class_names or _count_classes(run, description)
    except DetectorError:
        raise
    except Exception as error:  # neither library has a common base class for its errors
        hint = "" if description.input_wh else " (export it for one size, or install onnxruntime)"
        raise ModelFileError(f"model file '{path.name}' is damaged or beyond the library that reads ONNX{hint}: "
                             f"{str(error)[:300]}") from error
    return OnnxNetwork(class_names=names, description=description, run=run, any_size=any_size)


def read_class_names(path: Path, root: Path | None = None) -> tuple[str, ...]:
    """The names of the classes that an `.onnx` file says, in the model's order; empty if it does not say. The graph is not read.

    Raises: as `read_onnx`, for what can be seen without the graph.
    """
    return read_description(check_model_file(path, root)).class_names


def read_description(path: Path) -> OnnxDescription:
    """What an `.onnx` file says about itself; the graph is not read.

    Raises: ModelFileError if it is no ONNX file, is too large, or keeps numbers in other files.
    """
    size = path.stat().st_size
    if not 0 < size <= MAX_FILE_BYTES:
        raise ModelFileError(f"model file '{path.name}' refused: {size} bytes, 1 to {MAX_FILE_BYTES} are read")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            top = list(_fields(data, 0, len(data)))
            graph = next(((start, end) for number, start, end in top if number == 7), None)
            if graph is None:
                raise ValueError("it has no graph")
            told = dict(_entry(data, start, end) for number, start, end in top if number == 14)
            input_wh = _input_size(data, *graph)
        except (ValueError, IndexError) as error:
            raise ModelFileError(f"model file '{path.name}' is damaged or no ONNX file: {error}; download it again") from error
        if data.find(_OTHER_FILE) >= 0:
            raise ModelFileError(f"model file '{path.name}' refused: it keeps numbers in other files ('external data'); "
                                 "export it as one file")
    stride = _literal(told.get("stride"))
    side = _literal(told.get("imgsz"))
    sides = [length for length in items(side) or (side,) if type(length) is int and 32 <= length <= 8192]
    return OnnxDescription(class_names=_class_names(_literal(told.get("names"))), input_wh=input_wh,
                           stride=stride if type(stride) is int and 1 <= stride <= 256 else 32,
                           image_size=max(sides, default=640))


def _onnxruntime(data: bytes) -> Callable[[Floats], Sequence[Floats]]:
    """A session on the CPU."""
    runtime: Any = importlib.import_module("onnxruntime")
    session = runtime.InferenceSession(data, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda pictures: session.run(None, {name: pictures})


def _opencv(data: bytes) -> Callable[[Floats], Sequence[Floats]]:
    """OpenCV's network; it takes one input size at a time."""
    network: Any = cv2.dnn.readNetFromONNX(np.frombuffer(data, np.uint8))
    names = network.getUnconnectedOutLayersNames()
    lock = threading.Lock()

    def run(pictures: Floats) -> Sequence[Floats]:
        with lock:
            network.setInput(pictures)
            return network.forward(names)

    return run


def _count_classes(run: Callable[[Floats], Sequence[Floats]], description: OnnxDescription) -> tuple[str, ...]:
    """Names by number for a file without names: counted in the answer to an empty picture."""
    width, height = description.input_wh or (description.image_size, description.image_size)
    columns, prototypes = split_outputs(run(np.zeros((1, 3, height, width), np.float32)))
    return tuple(f"class {index}" for index in range(len(columns) - 4 - (0 if prototypes is None else len(prototypes))))


def _class_names(value: object) -> tuple[str, ...]:
    """Names out of `{0: 'face'}`."""
    names = entries(value)
    if set(names) != set(range(len(names))):
        return ()
    return tuple(str(names[index])[:200] for index in range(len(names)))


def _literal(text: str | None) -> object:
    """The value that a short text writes down, None if it writes none."""
    try:
        return ast.literal_eval(text) if text is not None and len(text) < 200_000 else None
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


def _varint(data: mmap.mmap, at: int, end: int) -> tuple[int, int]:
    """A number and where it ends. Source: protobuf encoding."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= end:
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number is cut off")


def _fields(data: mmap.mmap, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Number, start and end of each field; a plain number spans its own bytes."""
    for _ in range(100_000):
        if at >= end:
            return
        tag, at = _varint(data, at, end)
        start, wire = at, tag & 7
        if wire == 0:
            at = _varint(data, at, end)[1]
        elif wire == 2:
            length, start = _varint(data, at, end)
            at = start + length
        elif wire in (1, 5):
            at += 8 if wire == 1 else 4
        if tag >> 3 == 0 or wire not in (0, 1, 2, 5) or at > end:
            raise ValueError("a field is not known or cut off")
        yield tag >> 3, start, at
    raise ValueError("it has too many fields")


def _entry(data: mmap.mmap, at: int, end: int) -> tuple[str, str]:
    """Key and value of a line of metadata."""
    parts = {number: data[start:stop].decode("utf-8", "replace") for number, start, stop in _fields(data, at, min(end, at + 1_000_000))}
    return parts.get(1, ""), parts.get(2, "")


def _find(data: mmap.mmap, span: tuple[int, int] | None, number: int) -> tuple[int, int] | None:
    """The first field of that number."""
    found = (field for field in _fields(data, *span) if field[0] == number) if span else iter(())
    return next(((start, end) for _, start, end in found), None)


def _input_size(data: mmap.mmap, at: int, end: int) -> SizeWH | None:
    """Width and height of the graph's first input if they are fixed. Source: fields of onnx.proto3."""
    value = _find(data, (at, end), 11)
    for number in (2, 1, 2):
        value = _find(data, value, number)
    sides: list[int | None] = []
    for number, start, stop in _fields(data, *value) if value else ():
        if number == 1:
            side = _find(data, (start, stop), 1)
            sides.append(_varint(data, *side)[0] if side else None)
    if len(sides) != 4 or sides[2] is None or sides[3] is None:
        return None
    if not (0 < sides[2] <= 8192 and 0 < sides[3] <= 8192):
        raise ValueError(f"its input is {sides[3]} x {sides[2]} pixels")
    return sides[3], sides[2]
