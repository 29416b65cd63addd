"""The detectors that this host has, described for clients."""

from __future__ import annotations

import threading
from typing import Any

from detailer_core.detectors.mediapipe import KINDS
from detailer_core.detectors.registry import DetectorInfo, DetectorShelf, list_detectors
from detailer_core.errors import DetailerError

from .job import Workshop


class DetectorNames:
    """Reads class names out of model files, once a file and until it changes. Safe to share between threads."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int, int], dict[str, Any]] = {}
        self._lock = threading.Lock()

    def describe(self, workshop: Workshop, *, classes: bool) -> list[dict[str, Any]]:
        """Each detector's name, kind, title and, if asked for, classes; of a file that cannot be used, the problem instead of them."""
        # A shelf of its own: what is only asked for its classes must not fill the memory of those that work.
        shelf = DetectorShelf(workshop.shelf.folders)
        found = []
        for info in list_detectors(workshop.shelf.folders):
            about = {"name": info.name, "kind": info.kind, "title": info.title}
            found.append(about | (self._classes(info, shelf) if classes else {}))
            shelf.unload()
        return found

    def _classes(self, info: DetectorInfo, shelf: DetectorShelf) -> dict[str, Any]:
        if info.name in KINDS:
            return {"classes": [KINDS[info.name].label]}
        if info.path is None:  # "mask" cannot be had without a mask, and has no classes
            return {"classes": []} if info.name == "mask" else _read(info, shelf)
        try:
            status = info.path.stat()
            key = (str(info.path), status.st_mtime_ns, status.st_size)
            with self._lock:
                if key not in self._known:
                    self._known[key] = _read(info, shelf)
                return self._known[key]
        except OSError as error:
            return {"classes": [], "problem": f"it cannot be read: {error.strerror or error}"}


def _read(info: DetectorInfo, shelf: DetectorShelf) -> dict[str, Any]:
    try:
        return {"classes": list(shelf.class_names(info))}
    except DetailerError as error:
        return {"classes": [], "problem": str(error)}
    except Exception as error:  # whatever a model file makes a library do, the others are to be listed
        return {"classes": [], "problem": f"{type(error).__name__}: {error}"}
