"""Faces, eyes and hands by MediaPipe, where it is installed: its old interface with models inside, or the new one with model files.

The names and what they mark are ADetailer's: a face as a box, a face as the hull of its mesh, both eyes of a face, a hand.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import DetectorError, DetectorNotFoundError, ModelFileError
from ..geometry import enclosing_box
from .base import Detection, DetectOptions

Part: TypeAlias = Literal["box", "mesh", "eyes", "hand"]
Points: TypeAlias = NDArray[np.float64]

_MOST = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class _Kind:
    part: Part
    label: str
    models: tuple[str, ...]
    range: int = 0


# The new interface has one short-range face model in wide use; for the full range it takes what is there.
KINDS: dict[str, _Kind] = {
    "mediapipe_face_full": _Kind(part="box", label="face", range=1,
                                 models=("blaze_face_full_range.tflite", "blaze_face_short_range.tflite")),
    "mediapipe_face_short": _Kind(part="box", label="face", models=("blaze_face_short_range.tflite",)),
    "mediapipe_face_mesh": _Kind(part="mesh", label="face", models=("face_landmarker.task",)),
    "mediapipe_face_mesh_eyes_only": _Kind(part="eyes", label="eyes", models=("face_landmarker.task",)),
    "mediapipe_hands": _Kind(part="hand", label="hand", models=("hand_landmarker.task",)),
}
"""Every name this file answers to."""


class MediaPipeDetector:
    """One of `KINDS`. A face as a box has a score; for landmarks MediaPipe tells none but the hands' handedness, and confidence is 1."""

    def __init__(self, name: str, *, folders: Iterable[Path] = ()) -> None:
        """folders: where model files of the new interface are looked for.

        Raises: DetectorNotFoundError for another name, or if the model file is missing; DetectorError if MediaPipe is not installed.
        """
        if name not in KINDS:
            raise DetectorNotFoundError(f"detector '{name}' not found; MediaPipe has {', '.join(KINDS)}")
        self._name, self._kind = name, KINDS[name]
        try:
            self._mediapipe: Any = importlib.import_module("mediapipe")
        except ImportError as error:
            raise DetectorError(f"detector '{name}' needs MediaPipe, which is not installed ({error}); install it (pip install mediapipe) "
                                f"or choose another detector") from error
        self._old = hasattr(self._mediapipe, "solutions")
        self._model = None if self._old else _find_model(name, self._kind, tuple(folders))
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        """The name by which it was asked for."""
        return self._name

    @property
    def class_names(self) -> tuple[str, ...]:
        """The one class it finds."""
        return (self._kind.label,)

    def detect(self, picture_hwc: NDArray[np.uint8], options: DetectOptions) -> Sequence[Detection]:
        """Detections in `picture_hwc` (RGB, uint8, `[height, width, 3]`), most confident first.

        Raises: DetectorError if MediaPipe fails; ModelFileError if it refuses the model file.
        """
        picture = np.ascontiguousarray(picture_hwc)
        look: Callable[[NDArray[np.uint8], float], list[Detection]] = self._look_old if self._old else self._look_new
        with self._lock:
            try:
                found = look(picture, options.confidence)
            except (RuntimeError, ValueError, OSError, AttributeError) as error:
                raise DetectorError(f"detector '{self._name}' failed: {error}; another version of MediaPipe may work") from error
        return sorted(found, key=lambda d: -d.confidence)[: options.max_detections]

    def _look_old(self, picture: NDArray[np.uint8], confidence: float) -> list[Detection]:
        solutions, wh = self._mediapipe.solutions, (picture.shape[1], picture.shape[0])
        if self._kind.part == "box":
            with solutions.face_detection.FaceDetection(model_selection=self._kind.range, min_detection_confidence=confidence) as network:
                found: list[Any] = network.process(picture).detections or []
            boxes = [(f.location_data.relative_bounding_box, float(f.score[0])) for f in found]
            return [_box(b.xmin * wh[0], b.ymin * wh[1], b.width * wh[0], b.height * wh[1], score) for b, score in boxes]
        if self._kind.part == "hand":
            with solutions.hands.Hands(static_image_mode=True, max_num_hands=_MOST, min_detection_confidence=confidence) as network:
                result = network.process(picture)
            sides: list[Any] = result.multi_handedness or []
            hands: list[Any] = result.multi_hand_landmarks or []
            return self._hulls([_points(h.landmark, wh) for h in hands], [float(s.classification[0].score) for s in sides], wh, ())
        with solutions.face_mesh.FaceMesh(static_image_mode=True, max_num_faces=_MOST, min_detection_confidence=confidence) as network:
            meshes: list[Any] = network.process(picture).multi_face_landmarks or []
        faces = [_points(m.landmark, wh) for m in meshes]
        mesh = solutions.face_mesh
        return self._hulls(faces, [1.0] * len(faces), wh, (_corners(mesh.FACEMESH_LEFT_EYE), _corners(mesh.FACEMESH_RIGHT_EYE)))

    def _look_new(self, picture: NDArray[np.uint8], confidence: float) -> list[Detection]:
        vision, base = self._mediapipe.tasks.vision, self._mediapipe.tasks.BaseOptions
        wh = (picture.shape[1], picture.shape[0])
        image = self._mediapipe.Image(image_format=self._mediapipe.ImageFormat.SRGB, data=picture)
        model = base(model_asset_buffer=self._model_bytes())
        if self._kind.part == "box":
            options = vision.FaceDetectorOptions(base_options=model, min_detection_confidence=confidence)
            result = self._ask(vision.FaceDetector, options, image)
            boxes = [(f.bounding_box, float(f.categories[0].score)) for f in result.detections]
            return [_box(b.origin_x, b.origin_y, b.width, b.height, score) for b, score in boxes]
        if self._kind.part == "hand":
            options = vision.HandLandmarkerOptions(base_options=model, num_hands=_MOST, min_hand_detection_confidence=confidence)
            result = self._ask(vision.HandLandmarker, options, image)
            return self._hulls([_points(h, wh) for h in result.hand_landmarks], [float(h[0].score) for h in result.handedness], wh, ())
        options = vision.FaceLandmarkerOptions(base_options=model, num_faces=_MOST, min_face_detection_confidence=confidence)
        faces = [_points(f, wh) for f in self._ask(vision.FaceLandmarker, options, image).face_landmarks]
        lines = vision.FaceLandmarksConnections
        eyes = tuple(_corners((c.start, c.end) for c in eye) for eye in (lines.FACE_LANDMARKS_LEFT_EYE, lines.FACE_LANDMARKS_RIGHT_EYE))
        return self._hulls(faces, [1.0] * len(faces), wh, eyes)

    def _ask(self, task: Any, options: Any, image: Any) -> Any:
        try:
            network = task.create_from_options(options)
        except (RuntimeError, ValueError) as error:
            raise ModelFileError(f"MediaPipe refused {self._model} ({error}); download it anew") from error
        with network:
            return network.detect(image)

    def _model_bytes(self) -> bytes:
        try:
            return self._model.read_bytes() if self._model is not None else b""
        except OSError as error:
            raise DetectorNotFoundError(f"{self._model} cannot be read: {error.strerror or error}; put it there again") from error

    def _hulls(self, found: Sequence[Points], scores: Sequence[float], wh: tuple[int, int],
               eyes: Sequence[Sequence[int]]) -> list[Detection]:
        parts = [[points[list(eye)] for eye in eyes] if self._kind.part == "eyes" else [points] for points in found]
        hulls = (_hull(part, self._kind.label, score, wh) for part, score in zip(parts, scores, strict=True))
        return [hull for hull in hulls if hull is not None]


def _find_model(name: str, kind: _Kind, folders: Sequence[Path]) -> Path:
    for model in kind.models:
        for folder in folders:
            if (folder / model).is_file():
                return folder / model
    raise DetectorNotFoundError(f"detector '{name}' needs the model file {' or '.join(kind.models)}, which is not in "
                                f"{', '.join(str(f) for f in folders) or 'any folder'}; download it from MediaPipe's model page and put it "
                                f"there")


def _box(x: float, y: float, width: float, height: float, score: float) -> Detection:
    return Detection(box_xyxy=(x, y, x + width, y + height), label="face", confidence=min(max(score, 0.0), 1.0))


def _points(landmarks: Iterable[Any], wh: tuple[int, int]) -> Points:
    return np.array([(p.x * wh[0], p.y * wh[1]) for p in landmarks], np.float64)


def _corners(lines: Iterable[tuple[int, int]]) -> tuple[int, ...]:
    return tuple(sorted({corner for line in lines for corner in line}))


def _hull(parts: Sequence[Points], label: str, score: float, wh: tuple[int, int]) -> Detection | None:
    """One detection whose mask is the convex hull of each part; None if nothing of it lies in the picture."""
    points = np.concatenate(parts)
    raw = (float(points[:, 0].min()), float(points[:, 1].min()), float(points[:, 0].max()), float(points[:, 1].max()))
    x0, y0, x1, y1 = enclosing_box(raw, wh)
    if x1 <= x0 or y1 <= y0:
        return None
    mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
    for part in parts:
        corners = cv2.convexHull((part - (x0, y0)).astype(np.float32))
        cv2.fillConvexPoly(mask, np.rint(corners).astype(np.int32), 1)
    return Detection(box_xyxy=raw, label=label, confidence=min(max(score, 0.0), 1.0), mask_hw=mask.astype(np.float32))
