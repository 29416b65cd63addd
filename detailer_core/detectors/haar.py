"""Detector `face_haar`: faces by the Haar cascades that OpenCV 4 ships. No model to download, any CPU; less sure than a network."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import DetectorError
from .base import BoxFloat, Detection, DetectOptions

LONG_SIDE = 1600
"""Larger pictures are looked at scaled down to this, in pixels: the time grows with the area."""

_CASCADES = {"frontal": "haarcascade_frontalface_default.xml", "frontal too": "haarcascade_frontalface_alt2.xml",
             "profile": "haarcascade_profileface.xml"}
_SMALLEST_FACE = 24
_SMALLEST_SHARE = 32
_SCALE_STEP = 1.1
_SIMILAR = 0.2
_SURE = 27.0
_SAME_FACE = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class _Cascade:
    kind: str
    classifier: Any
    stages: int
    threshold: float


@dataclass(frozen=True, kw_only=True, slots=True)
class _Found:
    kind: str
    box_xyxy: BoxFloat
    evidence: float


def has_cascades() -> bool:
    """Whether this OpenCV has cascades; version 5 has not."""
    return hasattr(cv2, "CascadeClassifier")


class HaarFaceDetector:
    """Frontal faces, and profiles of both sides, as boxes.

    A window that passes all stages of a cascade counts as evidence `1 - exp(-margin)`, 0..1, where margin is its level weight less the last
    stage's threshold. A real face is hit by dozens of windows that nearly coincide, by both frontal cascades; a false one by a few, or by
    one cascade. The evidence of such a bundle is added up per cascade, overlapping bundles are one face, and its confidence is
    `1 - exp(-(2 * min(frontal, other frontal) + profile) / 27)`: 0.7..0.95 for clear frontal faces, 0.3..0.5 for profiles, mostly below 0.2
    for what is none. Faces are found from 24 pixels up, in larger pictures from 1/32 of the long side. `iou` of the options has no use
    here; `image_size` replaces `LONG_SIDE`.
    """

    def __init__(self) -> None:
        """Raises: DetectorError if this OpenCV has no cascades, or they are damaged."""
        if not has_cascades():
            raise DetectorError(f"detector 'face_haar' needs the cascades of OpenCV 4, this is OpenCV {cv2.__version__}; choose another detector, "
                                "for example face_yolov8n.pt, which 'python -m detailer_core download face_yolov8n.pt' fetches")
        self._cascades = [_load(kind, name) for kind, name in _CASCADES.items()]
        self._lock = threading.Lock()  # a classifier keeps the picture it works on inside

    @property
    def name(self) -> str:
        """The name by which it was asked for."""
        return "face_haar"

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes it can tell apart."""
        return ("face",)

    def detect(self, picture_hwc: NDArray[np.uint8], options: DetectOptions) -> Sequence[Detection]:
        """Faces in `picture_hwc` (RGB, uint8, `[height, width, 3]`), most confident first."""
        if options.class_names and "face" not in options.class_names:
            return ()
        grey, scale = _grey(picture_hwc, options.image_size or LONG_SIDE)
        with self._lock:
            bundles = [found for cascade in self._cascades for found in _look(cascade, grey)]
        faces = [Detection(box_xyxy=_scaled(box, 1 / scale), label="face", confidence=1 - math.exp(-evidence / _SURE))
                 for box, evidence in _merge(bundles)]
        sure = [face for face in faces if face.confidence >= options.confidence]
        return sorted(sure, key=lambda face: -face.confidence)[: options.max_detections]


def _load(kind: str, name: str) -> _Cascade:
    data = getattr(cv2, "data", None)
    path = Path(data.haarcascades) / name if data is not None else Path(name)
    try:
        text = path.read_text(encoding="utf-8")  # read here, since OpenCV cannot open every path on Windows
    except OSError as error:
        raise DetectorError(f"detector 'face_haar': {path} not found in this OpenCV {cv2.__version__}; install opencv-python 4.x anew or "
                            f"choose another detector, for example a YOLO file in models/detailer") from error
    classifier: Any = vars(cv2)["CascadeClassifier"]()  # not an attribute as far as the stubs of OpenCV 5 know
    storage = cv2.FileStorage(text, cv2.FILE_STORAGE_READ | cv2.FILE_STORAGE_MEMORY)
    try:
        root = storage.getFirstTopLevelNode()
        if not classifier.read(root):
            raise DetectorError(f"detector 'face_haar': {path} is damaged; install opencv-python 4.x anew")
        stages = root.getNode("stages")
        threshold = stages.at(stages.size() - 1).getNode("stageThreshold").real()
        return _Cascade(kind=kind, classifier=classifier, stages=stages.size(), threshold=threshold)
    finally:
        storage.release()


def _grey(picture_hwc: NDArray[np.uint8], long_side: int) -> tuple[NDArray[np.uint8], float]:
    """The picture in grey with its levels spread, at most `long_side` pixels long, and its size over the picture's."""
    grey = cv2.cvtColor(np.ascontiguousarray(picture_hwc), cv2.COLOR_RGB2GRAY)
    scale = min(1.0, long_side / max(grey.shape))
    if scale < 1:
        size = tuple(max(1, round(side * scale)) for side in grey.shape[::-1])
        grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.equalizeHist(grey), np.uint8), scale


def _look(cascade: _Cascade, grey: NDArray[np.uint8]) -> Iterator[_Found]:
    """Bundles of windows that passed all stages; a cascade for left profiles looks at the mirrored picture as well."""
    smallest = max(_SMALLEST_FACE, max(grey.shape) // _SMALLEST_SHARE)
    for mirror in (False, True) if cascade.kind == "profile" else (False,):
        view = np.ascontiguousarray(grey[:, ::-1]) if mirror else grey
        # No neighbours asked for, so that nothing is grouped: with levels put out, OpenCV would also group windows that failed.
        found = cascade.classifier.detectMultiScale3(view, _SCALE_STEP, 0, 0, (smallest, smallest), (0, 0), True)
        boxes, levels, weights = (_rows(part, columns) for part, columns in zip(found, (4, 1, 1), strict=True))
        if boxes.size == 0:
            continue
        passed = levels[:, 0] >= cascade.stages
        boxes, margins = boxes[passed], weights[passed, 0] - cascade.threshold
        boxes[:, 2:] += boxes[:, :2]
        if mirror:
            boxes[:, [0, 2]] = grey.shape[1] - boxes[:, [2, 0]]
        evidence = -np.expm1(-np.maximum(margins, 0))
        for members in _bundles(boxes):
            x0, y0, x1, y1 = (float(v) for v in boxes[members].mean(axis=0))
            yield _Found(kind=cascade.kind, box_xyxy=(x0, y0, x1, y1), evidence=float(evidence[members].sum()))


def _rows(values: Any, columns: int) -> NDArray[np.float64]:
    """What OpenCV gives for a list, in its many shapes, as `[n, columns]`."""
    return np.array(values, np.float64).reshape((-1, columns))


def _bundles(boxes_n4: NDArray[np.float64]) -> Iterator[NDArray[np.intp]]:
    """Indices of boxes that nearly coincide, directly or through others: sides within 20 %, as OpenCV has it (objdetect, SimilarRects)."""
    order = np.lexsort(tuple(boxes_n4[:, i] for i in range(4)))
    boxes = boxes_n4[order]
    sizes = boxes[:, 2:] - boxes[:, :2]
    free = np.ones(len(boxes), bool)
    for first in range(len(boxes)):
        if not free[first]:
            continue
        members: list[int] = []
        queue = [first]
        free[first] = False
        while queue:
            one = queue.pop()
            members.append(one)
            reach = _SIMILAR * np.minimum(sizes[one], sizes).sum(axis=1) / 2
            near = free & (np.abs(boxes - boxes[one]) <= reach[:, None]).all(axis=1)
            free &= ~near
            queue += [int(i) for i in np.flatnonzero(near)]
        yield order[members]


def _merge(bundles: Sequence[_Found]) -> list[tuple[BoxFloat, float]]:
    """One box per face, that of the strongest bundle, with the evidence of all bundles that share half of the smaller's area with it."""
    faces: list[tuple[BoxFloat, dict[str, float]]] = []
    for found in sorted(bundles, key=lambda b: (-b.evidence, b.box_xyxy)):
        sums = next((sums for box, sums in faces if _share_of_smaller(box, found.box_xyxy) > _SAME_FACE), None)
        if sums is None:
            sums = dict.fromkeys(_CASCADES, 0.0)
            faces.append((found.box_xyxy, sums))
        sums[found.kind] += found.evidence
    return [(box, 2 * min(sums["frontal"], sums["frontal too"]) + sums["profile"]) for box, sums in faces]


def _share_of_smaller(one: BoxFloat, other: BoxFloat) -> float:
    width, height = min(one[2], other[2]) - max(one[0], other[0]), min(one[3], other[3]) - max(one[1], other[1])
    smaller = min((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return width * height / smaller if width > 0 and height > 0 and smaller > 0 else 0.0


def _scaled(box: BoxFloat, factor: float) -> BoxFloat:
    return box[0] * factor, box[1] * factor, box[2] * factor, box[3] * factor
