"""YuNet: faces by a small network that OpenCV runs on any CPU. The model is OpenCV Zoo's `face_detection_yunet_2023mar.onnx`."""

from __future__ import annotations

import math
import os
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import DetectorError, DetectorNotFoundError, ModelFileError
from .base import Detection, DetectOptions

LONG_SIDE = 1024
"""Larger pictures are looked at scaled down to this, in pixels: YuNet knows faces of about 10 to 300 pixels."""

_FIRST_SIZE = (320, 320)


class YuNetDetector:
    """Faces as boxes, by a YuNet model file. Safe to call from several threads. Confidence is the network's own score."""

    def __init__(self, path: Path, *, name: str | None = None) -> None:
        """Read the model. name: how it is called; None = the file's name.

        Raises: DetectorNotFoundError if there is no file; ModelFileError if OpenCV cannot read it or it is no YuNet; DetectorError if
        this OpenCV has no FaceDetectorYN.
        """
        if not hasattr(cv2, "FaceDetectorYN"):
            raise DetectorError(f"detector '{path.name}' needs FaceDetectorYN, which OpenCV {cv2.__version__} lacks; install opencv-python "
                                f"4.8 or later")
        self._name = name if name is not None else path.name
        self._network = _load(path)
        self._lock = threading.Lock()  # the network keeps size and thresholds inside
        try:
            self._look(np.zeros((_FIRST_SIZE[1], _FIRST_SIZE[0], 3), np.uint8), DetectOptions())
        except cv2.error as error:
            raise ModelFileError(f"{path} is an ONNX model, but no YuNet of 2023 or later ({_reason(error)}); take "
                                 f"face_detection_yunet_2023mar.onnx of the OpenCV Zoo") from error

    @property
    def name(self) -> str:
        """The name by which it was asked for."""
        return self._name

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes it can tell apart."""
        return ("face",)

    def detect(self, picture_hwc: NDArray[np.uint8], options: DetectOptions) -> Sequence[Detection]:
        """Faces in `picture_hwc` (RGB, uint8, `[height, width, 3]`), most confident first. Raises: DetectorError if OpenCV fails on it."""
        if options.class_names and "face" not in options.class_names:
            return ()
        height, width = picture_hwc.shape[:2]
        scale = min(1.0, (options.image_size or LONG_SIDE) / max(height, width))
        size = max(1, round(width * scale)), max(1, round(height * scale))
        small: Any = cv2.resize(picture_hwc, size, interpolation=cv2.INTER_AREA) if scale < 1 else picture_hwc
        try:
            rows = self._look(np.ascontiguousarray(small[..., ::-1]), options)
        except cv2.error as error:
            raise DetectorError(f"detector '{self._name}' failed on a picture of {width}x{height} pixels: {_reason(error)}") from error
        across, down = width / size[0], height / size[1]
        faces = [Detection(box_xyxy=(x * across, y * down, (x + w) * across, (y + h) * down), label="face",
                           confidence=min(max(score, 0.0), 1.0)) for x, y, w, h, score in rows]
        return sorted(faces, key=lambda face: -face.confidence)[: options.max_detections]

    def _look(self, picture_bgr: NDArray[np.uint8], options: DetectOptions) -> list[tuple[float, float, float, float, float]]:
        """x, y, width, height, score."""
        with self._lock:
            self._network.setInputSize((picture_bgr.shape[1], picture_bgr.shape[0]))
            self._network.setScoreThreshold(float(options.confidence))
            self._network.setNMSThreshold(float(options.iou))
            _, found = self._network.detect(picture_bgr)
        rows: list[list[float]] = [] if found is None else [[float(v) for v in row] for row in found]
        return [(row[0], row[1], row[2], row[3], row[14]) for row in rows if all(math.isfinite(v) for v in row)]


def _load(path: Path) -> Any:
    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError as error:
        reason = error.strerror or error
        raise DetectorNotFoundError(f"detector file {path} cannot be read: {reason}; put it there or choose another") from error
    if data.size == 0:
        raise ModelFileError(f"{path} is empty (0 bytes); download it anew")
    try:
        return cv2.FaceDetectorYN.create("onnx", data, np.empty(0, np.uint8), _FIRST_SIZE)
    except (cv2.error, TypeError):
        return _load_by_name(path, data)  # OpenCV 4.8 takes names of files only


def _load_by_name(path: Path, data: NDArray[np.uint8]) -> Any:
    try:
        if str(path).isascii() or os.name != "nt":
            return cv2.FaceDetectorYN.create(str(path), "", _FIRST_SIZE)
        with tempfile.TemporaryDirectory(prefix="detailer") as folder:  # OpenCV cannot open such a path on Windows
            copy = Path(folder) / "yunet.onnx"
            copy.write_bytes(data.tobytes())
            return cv2.FaceDetectorYN.create(str(copy), "", _FIRST_SIZE)
    except cv2.error as error:
        raise ModelFileError(f"{path} is damaged or no ONNX model ({_reason(error)}); download it anew") from error


def _reason(error: cv2.error) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else "OpenCV gave no reason"
