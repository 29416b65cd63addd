"""`YoloCheckpoint`: all that a YOLO model file says, free of anything that could be executed; read, written and cached."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import safetensors
import safetensors.torch
import torch

from detailer_core.detectors.yolo.archive import Archive, check_model_file, open_archive
from detailer_core.detectors.yolo.file_cache import hash_file, note_hash, noted_hash, write_atomically
from detailer_core.detectors.yolo.inert import Stub, TensorRef, entries, items
from detailer_core.detectors.yolo.layer_spec import LayerSpec, from_json, to_json
from detailer_core.detectors.yolo.module_tree import ModuleTree, read_module_tree
from detailer_core.detectors.yolo.pickle_reader import MAX_PICKLE_BYTES, read_pickle
from detailer_core.detectors.yolo.tensor_reader import TensorReader
from detailer_core.errors import ModelFileError

FORMAT = "1"
"""Version of what `write_safetensors` writes; a cached file of another version is made anew."""
MAX_CLASSES = 10_000
"""Most classes; Open Images has 601."""
MAX_DESCRIPTION = 8 << 20
"""Longest description in a safetensors file, in characters."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class YoloCheckpoint:
    """One model.

    family: "yolov8", "yolo11", "yolov5u", or "yolo" for a mixture.
    task: what its head answers.
    class_names: in the model's order.
    stride: both sides of a picture must be multiples of it, in pixels.
    image_size: long side of the pictures that it was trained on, in pixels.
    layers: the top level, in the order of work.
    tensors: float32 on the CPU; `PATH.weight` and `PATH.bias` of each convolution, batch norms folded in.
    """

    family: str
    task: Literal["detect", "segment"]
    class_names: tuple[str, ...]
    stride: int
    image_size: int
    layers: tuple[LayerSpec, ...]
    tensors: Mapping[str, torch.Tensor]


def read_pt(path: Path, root: Path | None = None) -> YoloCheckpoint:
    """The model in a `.pt` file of ultralytics; nothing in the file is executed.

    root: if given, the file must lie inside of this folder once links are followed.

    Raises: DetectorNotFoundError if there is no file; ModelFileError, naming the culprit, if it is refused.
    """
    resolved = check_model_file(path, root)
    with open_archive(resolved) as archive:
        prefix = _prefix(archive)
        model, image_size = _find_model(read_pickle(archive.read(f"{prefix}data.pkl", MAX_PICKLE_BYTES), archive.name), archive.name)
        tree = read_module_tree(model, archive.name)
        return _assemble(archive, prefix, model, tree, image_size)


def write_safetensors(checkpoint: YoloCheckpoint, path: Path) -> None:
    """Write the model; the file appears complete or not at all.

    Weights of convolutions are written as `[out, height, width, in]`: that is how the network wants them in memory, so that reading
    them copies nothing.

    Raises: OSError if the folder cannot be written to.
    """
    description = {"family": checkpoint.family, "task": checkpoint.task, "stride": checkpoint.stride, "image_size": checkpoint.image_size,
                   "class_names": list(checkpoint.class_names), "layers": [to_json(layer) for layer in checkpoint.layers]}
    tensors = {name: tensor.permute(0, 2, 3, 1).contiguous() if tensor.ndim == 4 else tensor for name, tensor in checkpoint.tensors.items()}
    metadata = {"detailer_yolo": FORMAT, "description": json.dumps(description, separators=(",", ":"))}
    write_atomically(path, safetensors.torch.save(tensors, metadata))


def read_safetensors(path: Path, root: Path | None = None) -> YoloCheckpoint:
    """The model that `write_safetensors` wrote.

    root: as in `read_pt`.

    Raises: DetectorNotFoundError if there is no file; ModelFileError if it is damaged or was not written by `write_safetensors`.
    """
    return _described(*_open_safetensors(path, root, with_tensors=True), path.name)


def read_class_names(path: Path, cache_folder: Path, root: Path | None = None) -> tuple[str, ...]:
    """The names of the classes in a `.pt` or `.safetensors` file, in the model's order; no tensor is read.

    cache_folder, root: as in `cached`; where the file has been converted, what was noted then is read.

    Raises: as `read_pt`.
    """
    resolved = check_model_file(path, root)
    if resolved.suffix.lower() == ".safetensors":
        return _described(*_open_safetensors(resolved, None, with_tensors=False), path.name).class_names
    digest = noted_hash(cache_folder, resolved)
    converted = cache_folder / f"{digest}.safetensors"
    if digest is not None and converted.is_file():
        with contextlib.suppress(ModelFileError):
            return _described(*_open_safetensors(converted, None, with_tensors=False), path.name).class_names
    with open_archive(resolved) as archive:
        data = archive.read(f"{_prefix(archive)}data.pkl", MAX_PICKLE_BYTES)
        model, _ = _find_model(read_pickle(data, archive.name), archive.name)
        tree = read_module_tree(model, archive.name)
        return _names(model.state.get("names"), _class_count(tree, archive.name))


def cached(path: Path, cache_folder: Path, root: Path | None = None) -> YoloCheckpoint:
    """The model in a `.pt` or `.safetensors` file; a `.pt` is converted once and later read from `cache_folder`.

    cache_folder: made if missing; holds `SHA256.safetensors`, and a note per path so that an unchanged file is not hashed again.
        If it cannot be written to, a warning is logged and the model is read from its own file.
    root: as in `read_pt`.

    Raises: as `read_pt`.
    """
    resolved = check_model_file(path, root)
    if resolved.suffix.lower() == ".safetensors":
        return read_safetensors(resolved)
    digest = noted_hash(cache_folder, resolved)
    found = _read_cached(cache_folder / f"{digest}.safetensors") if digest is not None else None
    if found is not None:
        return found
    checkpoint = read_pt(resolved)  # before hashing, so that a file that is refused costs little
    try:
        digest = hash_file(resolved)
        cache_folder.mkdir(parents=True, exist_ok=True)
        write_safetensors(checkpoint, cache_folder / f"{digest}.safetensors")
        note_hash(cache_folder, resolved, digest)
    except OSError as error:
        _log.warning("the model '%s' could not be kept in '%s': %s", path.name, cache_folder, error)
    return checkpoint


def _prefix(archive: Archive) -> str:
    """The folder inside of the archive, with a slash at its end."""
    pickles = [name for name in archive.members if name.rpartition("/")[2] == "data.pkl"]
    if any(name.rpartition("/")[2] == "constants.pkl" for name in archive.members):
        raise ModelFileError(f"model file '{archive.name}' refused: it is a TorchScript program; use the plain .pt file")
    if len(pickles) != 1:
        raise ModelFileError(f"model file '{archive.name}' refused: it has {len(pickles)} parts named 'data.pkl', a model has one")
    prefix = pickles[0].removesuffix("data.pkl")
    order = f"{prefix}byteorder"
    if order in archive.members and bytes(archive.read(order, 64)) != b"little":
        raise ModelFileError(f"model file '{archive.name}' refused: its numbers are not little-endian; save it on an ordinary computer")
    return prefix


def _find_model(value: object, file_name: str) -> tuple[Stub, int]:
    """The pickled model (the averaged one if there are two) and the picture size of its training in pixels."""
    parts = entries(value) or {"model": value}
    model = next((parts[key] for key in ("ema", "model") if isinstance(parts.get(key), Stub)), None)
    if not isinstance(model, Stub):
        raise ModelFileError(f"model file '{file_name}' refused: it holds {', '.join(map(str, parts))[:200]}, but no "
                             "pickled model; a file with weights alone does not say what network they belong to")
    size = entries(parts.get("train_args")).get("imgsz")
    sides = [side for side in items(size) or (size,) if type(side) is int and 32 <= side <= 8192]
    return model, max(sides, default=640)


def _assemble(archive: Archive, prefix: str, model: Stub, tree: ModuleTree, image_size: int) -> YoloCheckpoint:
    """The checkpoint with all its tensors read."""
    reader = TensorReader(archive=archive, prefix=prefix)
    tensors = reader.read_folded(tree.convolutions)
    classes = _class_count(tree, archive.name)
    strides = model.state.get("stride")
    largest = 32.0
    if isinstance(strides, TensorRef) and 0 < strides.count <= strides.storage.count <= 16:
        largest = float(reader.read(strides).max())
    task = cast("Literal['detect', 'segment']", tree.layers[-1].kind)
    return YoloCheckpoint(family=tree.family, task=task, class_names=_names(model.state.get("names"), classes),
                          stride=int(largest) if 32 <= largest <= 256 else 32, image_size=image_size, layers=tree.layers, tensors=tensors)


def _class_count(tree: ModuleTree, file_name: str) -> int:
    """How many classes the head tells apart: the channels of its last convolution for scores."""
    start = f"model.{len(tree.layers) - 1}.cv3.0."
    widths = [parts.weight.shape[0] for name, parts in tree.convolutions.items() if name.startswith(start)]
    if not widths or not 0 < widths[-1] <= MAX_CLASSES:
        raise ModelFileError(f"model file '{file_name}' refused: its head has no scores for classes")
    return widths[-1]


def _names(value: object, count: int) -> tuple[str, ...]:
    """The names of `count` classes; missing ones are called by their number."""
    listed = items(value)
    known: Mapping[object, object] = entries(value) if listed is None else dict(enumerate(listed[:count]))
    names = (known.get(index, known.get(str(index))) for index in range(count))
    return tuple(name[:200] if isinstance(name, str) else f"class {index}" for index, name in enumerate(names))


def _open_safetensors(path: Path, root: Path | None, *, with_tensors: bool) -> tuple[str, dict[str, torch.Tensor]]:
    """The description in a file that `write_safetensors` wrote, and its tensors, if they are wanted."""
    resolved = check_model_file(path, root)
    try:
        opened: Any = safetensors.safe_open(str(resolved), framework="pt", device="cpu")
        with opened as file:
            metadata: dict[str, str] = file.metadata() or {}
            if metadata.get("detailer_yolo") != FORMAT or not 0 < len(metadata.get("description", "")) <= MAX_DESCRIPTION:
                raise ModelFileError(f"model file '{path.name}' refused: a safetensors file without our description of the network; "
                                     "use the .pt or .onnx file that it comes from")
            names: list[str] = list(file.keys()) if with_tensors else []
            return metadata["description"], {name: file.get_tensor(name) for name in names}
    except (safetensors.SafetensorError, ValueError, OSError) as error:
        raise ModelFileError(f"model file '{path.name}' is damaged or not a YOLO: {error}; remove it or download it again") from error


def _described(description: str, tensors: dict[str, torch.Tensor], file_name: str) -> YoloCheckpoint:
    """The checkpoint of a description."""
    try:
        return _from_description(json.loads(description), tensors)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelFileError(f"model file '{file_name}' is damaged or not a YOLO: {error}; remove it or download it again") from error


def _from_description(value: Any, tensors: dict[str, torch.Tensor]) -> YoloCheckpoint:
    """The checkpoint of a description; ValueError, KeyError or TypeError if it is not sound."""
    names: list[object] = list(items(value["class_names"]) or ())
    layers: list[object] = list(items(value["layers"]) or ())
    task = value["task"]
    if task not in ("detect", "segment") or not names or not 0 < len(layers) <= 500:
        raise ValueError("its description is not sound")
    stride, image_size = int(value["stride"]), int(value["image_size"])
    if not 1 <= stride <= 256 or not 32 <= image_size <= 8192 or len(names) > MAX_CLASSES:
        raise ValueError("its description has numbers beyond measure")
    if any(tensor.dtype != torch.float32 for tensor in tensors.values()):
        raise ValueError("its tensors are not float32")
    return YoloCheckpoint(family=str(value["family"]), task=task, class_names=tuple(map(str, names)), stride=stride, image_size=image_size,
                          layers=tuple(from_json(layer) for layer in layers),
                          tensors={name: tensor.permute(0, 3, 1, 2) if tensor.ndim == 4 else tensor for name, tensor in tensors.items()})


def _read_cached(path: Path) -> YoloCheckpoint | None:
    """The cached model, None if it is missing or unusable and must be made anew."""
    if not path.is_file():
        return None
    try:
        return read_safetensors(path)
    except ModelFileError as error:
        _log.info("a cached model is made anew: %s", error)
        return None
