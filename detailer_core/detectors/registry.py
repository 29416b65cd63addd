"""Which detectors there are, and a shelf that loads them by name and keeps them."""

from __future__ import annotations

import contextlib
import difflib
import importlib.util
import os
import threading
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..errors import DetectorError, DetectorNotFoundError, UnknownArchitectureError
from .base import Detection, DetectOptions, Detector
from .detection_cache import DetectionCache, picture_key
from .fixed import MaskDetector, TilesDetector, WholeDetector
from .haar import HaarFaceDetector, has_cascades
from .mediapipe import KINDS, MediaPipeDetector
from .same_files import first_copies
from .tiling import Tiling, detect_tiled
from .ultralytics_library import UltralyticsDetector
from .yolo.file_cache import hash_file
from .yunet import YuNetDetector

Kind: TypeAlias = Literal["builtin", "yolo", "yunet", "mediapipe"]
MaskSource: TypeAlias = str | os.PathLike[str] | NDArray[np.generic] | Tensor

SUBFOLDERS = ("detailer", "adetailer", "ultralytics/bbox", "ultralytics/segm", "yolo")
"""Folders of the models folder that are searched: ours, ADetailer's, and those of ComfyUI's Impact Pack."""
SUFFIXES = (".pt", ".safetensors", ".onnx")
"""Endings of model files."""

FACE_HAAR = "face_haar"
"""The detector that a unit has if none was chosen."""

_BUILTIN = {FACE_HAAR: "Faces (Haar cascades, no model file)", "mask": "Areas of a mask", "whole": "The whole picture",
            "tiles": "Tiles of the picture"}
_INSTANT = ("mask", "whole", "tiles")
_TOLD = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class DetectorFolders:
    """Where model files are looked for: `SUBFOLDERS` of the models folder, then the extra folders; what does not exist is passed over."""

    models_root: Path
    extra: tuple[Path, ...] = ()

    def search_path(self) -> tuple[tuple[str, Path], ...]:
        """Each folder with the name that sets its files apart from others of the same name."""
        own = tuple((name, self.models_root / name) for name in SUBFOLDERS)
        return own + tuple((folder.name or str(folder), folder) for folder in self.extra)


@dataclass(frozen=True, kw_only=True, slots=True)
class DetectorInfo:
    """One detector that can be had. title: for people. path, root: the model file and the folder it was found in; None if built in.

    also: where else the same file is, named as in `title`.
    """

    name: str
    kind: Kind
    title: str
    path: Path | None = None
    root: Path | None = None
    also: tuple[str, ...] = ()


def list_detectors(folders: DetectorFolders) -> tuple[DetectorInfo, ...]:
    """Built-in detectors, MediaPipe's if it is installed, then model files, sorted.

    A file is named as it is called; with its folder before it ("adetailer/face.pt") where several have that name. The same file in several
    folders is one, that of the first folder. Links that lead out of their folder, and what lies in hidden folders, are left out.
    """
    builtin = [DetectorInfo(name=name, kind="builtin", title=title) for name, title in _BUILTIN.items()]
    if importlib.util.find_spec("mediapipe") is not None:
        titles = {name: f"MediaPipe: {name.removeprefix('mediapipe_').replace('_', ' ')}" for name in KINDS}
        builtin += [DetectorInfo(name=name, kind="mediapipe", title=title) for name, title in titles.items()]
    return (*builtin, *_model_files(folders))


def _model_files(folders: DetectorFolders) -> list[DetectorInfo]:
    found = [(f"{prefix}/{path.relative_to(folder).as_posix()}", path, folder)
             for prefix, folder in folders.search_path() for path in _walk(folder)]
    unique: dict[Path, tuple[str, Path]] = {}
    for full, path, folder in found:
        unique.setdefault(path, (full, folder))  # a folder that is searched twice: the first name counts
    copies: dict[Path, list[str]] = {}
    for path, first in first_copies(unique).items():
        copies.setdefault(first, []).append(unique[path][0])
    short = Counter(path.name for path in copies)
    full_names = Counter(full for names in copies.values() for full in names)
    infos: list[DetectorInfo] = []
    for path, (full, *also) in copies.items():
        name = path.name if short[path.name] == 1 else full if full_names[full] == 1 else path.as_posix()
        kind: Kind = "yunet" if path.suffix.lower() == ".onnx" and "yunet" in path.name.lower() else "yolo"
        infos.append(DetectorInfo(name=name, kind=kind, title=full, path=path, root=unique[path][1], also=tuple(also)))
    return sorted(infos, key=lambda info: (info.name.casefold(), info.name))


def face_models(infos: Iterable[DetectorInfo]) -> tuple[str, ...]:
    """The names of those model files that are for faces, as far as their names tell."""
    return tuple(info.name for info in infos if info.path is not None and info.path.name.lower().startswith("face_"))


def _walk(folder: Path) -> Iterator[Path]:
    """Model files in a folder and the folders in it; no link is followed out of it."""
    inside = folder.resolve()
    for current, names, files in os.walk(folder):
        names[:] = sorted(name for name in names if not name.startswith("."))
        for file in sorted(files):
            path = Path(current, file)
            if path.suffix.lower() in SUFFIXES and not file.startswith(".") and path.is_file() and path.resolve().is_relative_to(inside):
                yield path


class DetectorShelf:
    """Loads detectors by name and keeps them until their file changes or they are let go; safe to share between threads.

    seen: what was found in the last pictures, by detectors of this shelf.
    """

    def __init__(self, folders: DetectorFolders | Callable[[], DetectorFolders], *, cache_folder: Path | None = None,
                 trusted: Callable[[], Collection[str]] = frozenset[str]) -> None:
        """folders: where to look, or what tells it anew each time: folders are listed whenever a name is asked for.

        cache_folder: where YOLO files are kept in a form that loads fast; None = `detailer/.cache` in the models folder.
        trusted: tells the SHA-256, in small hexadecimal letters, of files that the library ultralytics may load if their architecture is
            not known here. Loading them executes what they hold.
        """
        self._trusted = trusted
        self._folders: Callable[[], DetectorFolders] = (lambda: folders) if isinstance(folders, DetectorFolders) else folders
        self._own_cache_folder = cache_folder
        self._kept: dict[str, tuple[Hashable, Detector]] = {}
        self._lock, self._library_lock = threading.Lock(), threading.Lock()
        self.seen = DetectionCache()

    @property
    def folders(self) -> DetectorFolders:
        """Where model files are looked for now."""
        return self._folders()

    @property
    def cache_folder(self) -> Path:
        """Where YOLO files are kept in a form that loads fast."""
        return self._own_cache_folder if self._own_cache_folder is not None else self.folders.models_root / "detailer" / ".cache"

    def get(self, wanted: str | DetectorInfo, *, mask: MaskSource | None = None) -> Detector:
        """The detector of that name, or of that entry of the list. mask: picture file or array, for the detector "mask" only.

        Raises: DetectorNotFoundError, with what there is, for an unknown name or a file that is gone; ModelFileError for a file that is
        refused; DetectorError for a mask that is missing or cannot be read, or a library that is not installed.
        """
        if wanted == "mask":
            if mask is None:
                raise DetectorError("detector 'mask' needs a mask picture, white where to redraw; give one or choose another detector")
            return MaskDetector(mask)
        info = self._found(wanted)
        with self._lock:
            stamp = self._stamp(info)
            kept = self._kept.get(info.name)
            if kept is None or kept[0] != stamp:
                self._kept.pop(info.name, None)  # the old one goes first: both may not fit into memory
                self._kept[info.name] = kept = (stamp, self._load(info))
            return kept[1]

    def handle(self, name: str, *, tiling: Tiling | None = None, keep: bool = True) -> Detector:
        """A detector that is loaded when it is first needed, and that remembers what it has found; `keep` as in `ShelvedDetector`.

        Raises: DetectorNotFoundError for an unknown name; DetectorError for "mask", which needs one: see `get`.
        """
        if name == "mask":
            return self.get(name)
        return ShelvedDetector(self, self.find(name), tiling=tiling, keep=keep)

    def class_names(self, wanted: str | DetectorInfo) -> tuple[str, ...]:
        """The classes that a detector can tell apart, in its order; of a model file that is not loaded, only what says so is read.

        Raises: as `get`.
        """
        info = self._found(wanted)
        with self._lock:
            kept = self._kept.get(info.name)
        if kept is not None and kept[0] == self._stamp(info):
            return kept[1].class_names
        names = self._noted_names(info)
        return self.get(info).class_names if names is None else names

    def _noted_names(self, info: DetectorInfo) -> tuple[str, ...] | None:
        """The names of the classes if they can be had without loading the detector."""
        if info.kind == "mediapipe":
            return (KINDS[info.name].label,)
        if info.path is None:
            return ("face",) if info.name == FACE_HAAR else ()
        if info.kind == "yunet":
            return ("face",)
        from .yolo.checkpoint import read_class_names  # only where such a file is asked for
        from .yolo.onnx import read_class_names as read_onnx_names

        with contextlib.suppress(UnknownArchitectureError):  # the library that may know it knows the names, too
            if info.path.suffix.lower() == ".onnx":
                return read_onnx_names(info.path, info.root) or None
            return read_class_names(info.path, self.cache_folder, info.root)
        return None

    def identity(self, wanted: str | DetectorInfo) -> Hashable | None:
        """What changes when the detector does: its file, for one. None if its answers are not worth remembering.

        Raises: DetectorNotFoundError for an unknown name or a file that is gone.
        """
        info = self._found(wanted)
        return None if info.name in _INSTANT else (info.name, self._stamp(info))

    def release(self, wanted: str | DetectorInfo) -> None:
        """Forget one detector, not what it has found; what is not known is not on the shelf."""
        with contextlib.suppress(DetectorNotFoundError):
            name = self._found(wanted).name
            with self._lock:
                self._kept.pop(name, None)

    def unload(self) -> None:
        """Forget every detector and all that was found; those still in use elsewhere live until they are let go there."""
        with self._lock:
            self._kept.clear()
        self.seen.clear()

    def _found(self, wanted: str | DetectorInfo) -> DetectorInfo:
        return self.find(wanted) if isinstance(wanted, str) else wanted

    def find(self, name: str) -> DetectorInfo:
        """What is known of the detector without loading it. Raises: DetectorNotFoundError, with what there is, for an unknown name."""
        if name in KINDS:  # also where MediaPipe is not installed: that has an error of its own
            return DetectorInfo(name=name, kind="mediapipe", title=name)
        folders = self.folders
        infos = list_detectors(folders)
        wanted = name.replace("\\", "/")
        for info in infos:
            if wanted == info.name or (info.path is not None and wanted in (info.title, *info.also)):
                return info
        raise DetectorNotFoundError(_not_found(name, infos, folders))

    def _load(self, info: DetectorInfo) -> Detector:
        if info.kind == "mediapipe":
            return MediaPipeDetector(info.name, folders=[folder for _, folder in self.folders.search_path()])
        if info.path is None:
            if info.name == FACE_HAAR and not has_cascades():
                raise DetectorError(_no_cascades(self.folders))
            makers = {FACE_HAAR: HaarFaceDetector, "whole": WholeDetector, "tiles": TilesDetector}
            return makers[info.name]()
        if info.kind == "yunet":
            return YuNetDetector(info.path, name=info.name)
        from .yolo.detector import YoloDetector  # only where such a file is asked for

        try:
            return YoloDetector(info.path, cache_folder=self.cache_folder, root=info.root, name=info.name)
        except UnknownArchitectureError as error:
            return self._by_library(info.path, info.name, error)

    def _by_library(self, path: Path, name: str, error: UnknownArchitectureError) -> Detector:
        """The library's detector for a file whose architecture we do not know, if the user trusts that very file."""
        digest = hash_file(path)
        if digest not in self._trusted():
            raise UnknownArchitectureError(
                f"{error}. The library ultralytics may know it, but executes what the file holds: if you trust its origin, install ultralytics and "
                f"allow the SHA-256 {digest} (in a WebUI: Settings, Detailer; on the command line: --trust {digest})") from error
        return UltralyticsDetector(path, name=name, lock=self._library_lock)

    def _stamp(self, info: DetectorInfo) -> Hashable:
        """What tells a changed file: path, time of change, size, and which files are trusted."""
        if info.kind == "mediapipe":
            files = [folder / model for _, folder in self.folders.search_path() for model in KINDS[info.name].models]
            return tuple((file, file.stat().st_mtime_ns, file.stat().st_size) for file in files if file.is_file())
        if info.path is None:
            return ()
        try:
            status = info.path.stat()
        except OSError as error:
            raise DetectorNotFoundError(f"detector file {info.path} cannot be read: {error.strerror or error}; put it there again") from error
        # Trust that is given or taken back must not wait for the file to change.
        return info.path, status.st_mtime_ns, status.st_size, frozenset(self._trusted())


class ShelvedDetector:
    """A detector of a shelf, loaded when a picture comes that it has not seen with the same options."""

    def __init__(self, shelf: DetectorShelf, info: DetectorInfo, *, tiling: Tiling | None = None, keep: bool = True) -> None:
        """tiling: how it looks at tiles, None = at the whole picture only. keep: leave it on the shelf afterwards."""
        # The entry and not the name: folders are listed when a detector is asked for, and not for every picture.
        self._shelf, self._info, self._tiling, self._keep = shelf, info, tiling, keep

    @property
    def name(self) -> str:
        """The name that the list has for it."""
        return self._info.name

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes it can tell apart. Raises: as `DetectorShelf.get`."""
        return self._shelf.class_names(self._info)

    def detect(self, picture_hwc: NDArray[np.uint8], options: DetectOptions) -> Sequence[Detection]:
        """Detections in `picture_hwc` (RGB, uint8, `[height, width, 3]`), most confident first.

        Raises: DetectorError as the detector does, or if it cannot be loaded.
        """
        identity = self._shelf.identity(self._info)
        if identity is None:
            return self._shelf.get(self._info).detect(picture_hwc, options)  # a whole picture is no whole in a tile
        key = identity, picture_key(picture_hwc), options, self._tiling
        found = self._shelf.seen.get(key)
        if found is None:
            found = self._shelf.seen.put(key, detect_tiled(self._shelf.get(self._info), picture_hwc, options, self._tiling))
        if not self._keep:
            self._shelf.release(self._info)
        return found


def trusted_hashes(text: str) -> frozenset[str]:
    """The SHA-256 at the beginning of each line; what stands behind it is a note, and a line without one is passed over."""
    words = (line.split()[0].lower() for line in text.splitlines() if line.split())
    return frozenset(word for word in words if is_hash(word))


def is_hash(text: str) -> bool:
    """Whether the text is a SHA-256 in hexadecimal."""
    return len(text) == 64 and all(letter in "0123456789abcdef" for letter in text.lower())


def _no_cascades(folders: DetectorFolders) -> str:
    faces = face_models(list_detectors(folders))
    root = folders.models_root
    way = f"choose {' or '.join(faces[:_TOLD])}" if faces else (
        f"choose another detector: put a face model into {root / 'detailer'}, or fetch one: "
        f"python -m detailer_core download face_yolov8n.pt --models \"{root}\"")
    return f"detector '{FACE_HAAR}' needs the cascades of OpenCV 4, this is OpenCV {cv2.__version__}; {way}"


def _not_found(name: str, infos: Sequence[DetectorInfo], folders: DetectorFolders) -> str:
    same = [info.name for info in infos if info.path is not None and info.path.name == name]
    if same:
        return f"detector '{name}' is in several folders; choose one of {', '.join(same)}"
    names = [info.name for info in infos]
    near = difflib.get_close_matches(name.casefold(), [n.casefold() for n in names], n=1)
    hint = "; did you mean '" + next(n for n in names if n.casefold() == near[0]) + "'?" if near else ""
    more = f" and {len(names) - _TOLD} more" if len(names) > _TOLD else ""
    return (f"detector '{name}' not found{hint or '.'} There are {', '.join(names[:_TOLD])}{more}; model files ({', '.join(SUFFIXES)}) "
            f"belong in {folders.models_root / 'detailer'}")
