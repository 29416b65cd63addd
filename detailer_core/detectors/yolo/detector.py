"""`YoloDetector`: a YOLO model file as a detector."""

from __future__ import annotations

import contextlib
import logging
import math
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from detailer_core.detectors.base import Detection, DetectOptions
from detailer_core.detectors.yolo.checkpoint import YoloCheckpoint, cached
from detailer_core.detectors.yolo.decode import Floats, Letterbox, Selected, input_masks, letterbox, picture_mask, select
from detailer_core.detectors.yolo.network import YoloNetwork, build_network
from detailer_core.detectors.yolo.onnx import read_onnx
from detailer_core.errors import DetectorError, ModelFileError
from detailer_core.geometry import SizeWH, enclosing_box

_log = logging.getLogger(__name__)


class Backend(Protocol):
    """What runs a network: torch, or a library for ONNX."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """In the model's order."""
        ...

    def frame(self, picture_wh: SizeWH, long_side: int | None) -> Letterbox:
        """How a picture is laid into the input; `long_side` in pixels, None = the model's own."""
        ...

    def look(self, input_hwc: NDArray[np.uint8], confidence: float, device: str) -> tuple[Floats, Floats | None]:
        """Columns as in `decode`, at least those above `confidence`, and prototypes `[m, h, w]` or None."""
        ...


class TorchBackend:
    """A checkpoint run by torch. The network is built for a device on first use there and kept until another is asked for."""

    def __init__(self, checkpoint: YoloCheckpoint) -> None:
        """Build the network on the CPU.

        Raises: ModelFileError if the layers and tensors of the checkpoint do not belong together.
        """
        self._checkpoint = checkpoint
        self._network = build_network(checkpoint)
        self._lock = threading.Lock()

    @property
    def class_names(self) -> tuple[str, ...]:
        """In the model's order."""
        return self._checkpoint.class_names

    def frame(self, picture_wh: SizeWH, long_side: int | None) -> Letterbox:
        """How a picture is laid into the input; `long_side` in pixels, None = as in training."""
        return letterbox(picture_wh, long_side or self._checkpoint.image_size, self._checkpoint.stride)

    def look(self, input_hwc: NDArray[np.uint8], confidence: float, device: str) -> tuple[Floats, Floats | None]:
        """Columns of the anchors above `confidence`, and prototypes or None; in float32 whatever the host's autocast says.

        Raises: DetectorError if torch fails, as when memory runs out.
        """
        chosen = usable_device(device)
        try:
            try:
                return self._run(input_hwc, confidence, chosen)
            except NotImplementedError as error:
                _log.warning("the device '%s' lacks an operation (%s); the CPU is used instead", device, str(error).splitlines()[0])
                return self._run(input_hwc, confidence, torch.device("cpu"))
        except (RuntimeError, IndexError) as error:
            raise DetectorError(f"the {self._checkpoint.family} network failed on an input of {input_hwc.shape}: {error}") from error

    def _run(self, input_hwc: NDArray[np.uint8], confidence: float, device: torch.device) -> tuple[Floats, Floats | None]:
        """As `look`, on that device."""
        logit = math.log(confidence / (1 - confidence)) if 0 < confidence < 1 else math.copysign(math.inf, confidence - 0.5)
        # torch warns about arrays that are read-only
        picture = np.ascontiguousarray(input_hwc) if input_hwc.flags.writeable else np.array(input_hwc)
        exact = torch.autocast(device.type, enabled=False) if device.type in ("cpu", "cuda") else contextlib.nullcontext()
        with self._lock, torch.inference_mode(), exact:
            network = self._network_on(device)
            pixels = torch.as_tensor(picture).to(device).permute(2, 0, 1)[None]
            output = network(pixels.to(torch.float32, memory_format=torch.channels_last).div_(255))
            columns = output.raw_above(logit).cpu().numpy()
            return columns, None if output.prototypes is None else output.prototypes[0].contiguous().cpu().numpy()

    def _network_on(self, device: torch.device) -> YoloNetwork:
        """The network on that device."""
        if self._network.device != device:
            self._network = build_network(self._checkpoint, device)
        return self._network


class YoloDetector:
    """A YOLOv8, YOLO11 or YOLOv5u model, for boxes or masks, as a `Detector`. Safe to call from several threads."""

    def __init__(self, path: Path, *, cache_folder: Path, root: Path | None = None, name: str | None = None) -> None:
        """Read the model and build its network.

        path: `.pt` of ultralytics, `.safetensors` that `checkpoint.write_safetensors` wrote, or `.onnx` of the YOLO export layout.
        cache_folder: where a `.pt` is kept in a form that loads fast; made if missing.
        root: if given, the file must lie inside of this folder once links are followed.
        name: how it is called; None = the file's name.

        Raises: DetectorNotFoundError if there is no file; ModelFileError, naming the culprit, if it is refused.
        """
        self._name = name if name is not None else path.name
        self._backend = _read_backend(path, cache_folder, root)

    @property
    def name(self) -> str:
        """The name by which it was asked for."""
        return self._name

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes it can tell apart, in the model's order."""
        return self._backend.class_names

    def detect(self, picture_hwc: NDArray[np.uint8], options: DetectOptions) -> Sequence[Detection]:
        """Detections, most confident first; boxes are cut at the picture's edges, those without a single mask pixel left out.

        picture_hwc: RGB, uint8, `[height, width, 3]`; is not changed.

        Raises: DetectorError if the picture has another shape or type, a class is not known, a threshold is out of range, or
            the network fails.
        """
        wanted = self._check(picture_hwc, options)
        frame = self._backend.frame((picture_hwc.shape[1], picture_hwc.shape[0]), options.image_size)
        columns, prototypes = self._backend.look(frame.apply(picture_hwc), options.confidence, options.device)
        selected = select(columns, len(self.class_names), confidence=options.confidence, iou=options.iou, limit=options.max_detections,
                          wanted=wanted, across_classes=options.across_classes)
        return self._detections(selected, prototypes, frame)

    def _check(self, picture_hwc: NDArray[np.uint8], options: DetectOptions) -> frozenset[int]:
        """The numbers of the wanted classes."""
        if picture_hwc.ndim != 3 or picture_hwc.shape[2] != 3 or picture_hwc.dtype != np.uint8 or 0 in picture_hwc.shape:
            raise DetectorError(f"detector '{self.name}' got a picture of {picture_hwc.dtype} {picture_hwc.shape}; give uint8 RGB "
                                "[height, width, 3]")
        if not 0 <= options.confidence <= 1 or not 0 <= options.iou <= 1 or options.max_detections < 0:
            raise DetectorError(f"detector '{self.name}' got confidence {options.confidence}, iou {options.iou}, at most "
                                f"{options.max_detections} detections; the first two are 0..1, the third is not negative")
        if options.image_size is not None and not 32 <= options.image_size <= 8192:
            raise DetectorError(f"detector '{self.name}' got an image size of {options.image_size} pixels; 32 to 8192 are possible")
        unknown = [name for name in options.class_names if name not in self.class_names]
        if unknown:
            raise DetectorError(f"detector '{self.name}' does not know the class {', '.join(map(repr, unknown))}; it knows "
                                f"{', '.join(self.class_names)}")
        return frozenset(index for index, name in enumerate(self.class_names) if name in options.class_names)

    def _detections(self, selected: Selected, prototypes: Floats | None, frame: Letterbox) -> list[Detection]:
        """Boxes and masks in picture pixels."""
        masks = None if prototypes is None else input_masks(selected, prototypes, frame.input_wh)
        found: list[Detection] = []
        for index, (x0, y0, x1, y1) in enumerate(frame.to_picture(selected.boxes_xyxy).tolist()):
            if x1 <= x0 or y1 <= y0 or (masks is not None and not masks[index].any()):
                continue
            mask = None if masks is None else picture_mask(masks[index], frame, enclosing_box((x0, y0, x1, y1), frame.picture_wh))
            found.append(Detection(box_xyxy=(x0, y0, x1, y1), label=self.class_names[int(selected.classes[index])],
                                   confidence=float(selected.scores[index]), mask_hw=mask))
        return found


def usable_device(name: str) -> torch.device:
    """The torch device of that name, or the CPU, with a warning in the log, if it is not there."""
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        _log.warning("the device '%s' cannot be used (%s); the CPU is used instead", name, str(error).splitlines()[0])
        return torch.device("cpu")
    return device


def _read_backend(path: Path, cache_folder: Path, root: Path | None) -> Backend:
    """What runs the file, by its ending."""
    suffix = path.suffix.lower()
    if suffix == ".onnx":
        return read_onnx(path, root)
    if suffix in (".pt", ".pth", ".safetensors"):
        return TorchBackend(cached(path, cache_folder, root))
    raise ModelFileError(f"model file '{path.name}' refused: the ending '{suffix}' is not known; .pt, .safetensors and .onnx are")
