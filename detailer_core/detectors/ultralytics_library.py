"""Model files of architectures that we do not build, run by the library ultralytics where it is installed and the user trusts the file.

That library executes what a `.pt` holds. It is imported only when such a file is loaded, told not to go online and not to install packages
(which holds for the process if we are the first to import it), and leaves threads, environment and functions as they were.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
import os
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DetectorError, ModelFileError
from ..geometry import enclosing_box
from .base import Detection, DetectOptions
from .process_state import kept_process

_QUIET = {"YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false", "YOLO_VERBOSE": "false"}


def is_installed() -> bool:
    """Whether the library can be imported; it is not."""
    try:
        return importlib.util.find_spec("ultralytics") is not None
    except (ImportError, ValueError):  # a module of that name that was made by hand, or set to None
        return False


class UltralyticsDetector:
    """A model that the library ultralytics runs. Safe to call from several threads: one at a time."""

    def __init__(self, path: Path, *, name: str | None = None, lock: threading.Lock | None = None) -> None:
        """Load the file, which executes what it holds.

        name: how it is called; None = the file's name. lock: shared by all that call the library, because what belongs to the process can
        be put back only if nobody else is changing it.

        Raises: DetectorError if the library is not installed; ModelFileError if it cannot load the file.
        """
        self._name = name if name is not None else path.name
        if not is_installed():
            raise DetectorError(f"detector '{self._name}' needs the library ultralytics, which is not installed; install it "
                                f"(pip install ultralytics) or choose another detector")
        self._lock = lock or threading.Lock()
        with _library(self._lock), _told(ModelFileError, f"model file '{path.name}': the library ultralytics cannot load it"):
            self._model: Any = importlib.import_module("ultralytics").YOLO(str(path))
            self._names: dict[int, str] = {int(key): str(value)[:200] for key, value in dict(self._model.names).items()}

    @property
    def name(self) -> str:
        """The name by which it was asked for."""
        return self._name

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes it can tell apart, in the model's order."""
        return tuple(self._names.values())

    def detect(self, picture_hwc: NDArray[np.uint8], options: DetectOptions) -> Sequence[Detection]:
        """Detections in `picture_hwc` (RGB, uint8, `[height, width, 3]`), most confident first. Raises: DetectorError if the library fails."""
        from .yolo.detector import usable_device

        wanted = [number for number, name in self._names.items() if name in options.class_names]
        asked: dict[str, Any] = {"conf": options.confidence, "iou": options.iou, "device": str(usable_device(options.device)),
                                 "max_det": options.max_detections, "agnostic_nms": options.across_classes, "classes": wanted or None,
                                 "retina_masks": True, "save": False, "verbose": False}
        if options.image_size is not None:
            asked["imgsz"] = options.image_size
        with _library(self._lock), _told(DetectorError, f"detector '{self._name}': the library ultralytics failed"):
            answer: Any = self._model.predict(np.ascontiguousarray(picture_hwc[..., ::-1]), **asked)[0]
            if getattr(answer, "boxes", None) is None:
                raise DetectorError(f"detector '{self._name}' finds no boxes; choose a model for detection or segmentation")
            boxes, scores, classes = (getattr(answer.boxes, part).cpu().numpy() for part in ("xyxy", "conf", "cls"))
            masks = None if getattr(answer, "masks", None) is None else answer.masks.data.cpu().numpy()
        return self._detections(boxes, scores, classes, masks, (picture_hwc.shape[1], picture_hwc.shape[0]))

    def _detections(self, boxes: Any, scores: Any, classes: Any, masks: Any, picture_wh: tuple[int, int]) -> list[Detection]:
        found: list[Detection] = []
        for index, box in enumerate(np.reshape(boxes, (-1, 4)).tolist()):
            if not all(math.isfinite(value) for value in box):
                continue
            x0, y0, x1, y1 = enclosing_box((box[0], box[1], box[2], box[3]), picture_wh)
            mask = None if masks is None else np.asarray(masks[index, y0:y1, x0:x1], np.float32)
            if x1 > x0 and y1 > y0 and (mask is None or mask.any()):
                number = int(classes[index])
                found.append(Detection(box_xyxy=(box[0], box[1], box[2], box[3]), label=self._names.get(number, f"class {number}"),
                                       confidence=min(max(float(scores[index]), 0.0), 1.0), mask_hw=mask))
        return sorted(found, key=lambda d: -d.confidence)


@contextmanager
def _library(lock: threading.Lock) -> Generator[None, None, None]:
    """The library may be called inside."""
    with lock, kept_process():
        os.environ.update(_QUIET)
        yield


@contextmanager
def _told(kind: type[DetectorError], what: str) -> Generator[None, None, None]:
    try:
        yield
    except DetectorError:
        raise
    except Exception as error:  # the library and what a file holds may raise anything
        raise kind(f"{what}: {type(error).__name__}: {str(error)[:300]}") from error
