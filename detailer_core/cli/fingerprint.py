"""What the results of a run depend on besides its pictures, as a short text: if it differs, nothing of an earlier run counts as done."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..engines.base import Engine
from ..settings import UnitSettings
from ..version import VERSION

_WORDS = ("detector", "engine", "model", "model_config", "dtype", "device", "offload", "vae_tiling", "prompt", "negative_prompt", "seed", "preview",
          "share_waves", "trusted")
_PLACES = ("models", "folders", "mask", "model", "model_config", "lora_folder", "control_folder", "model_folder", "hooks", "wildcards")


def fingerprint(args: argparse.Namespace, settings: UnitSettings, engine: Engine) -> str:
    """Settings, words of the command line, and name, size and time of change of every file that it names. The same command gives the same."""
    words = {name: str(getattr(args, name, None)) for name in _WORDS}
    files = {name: [_files(Path(str(place))) for place in _places(getattr(args, name, None))] for name in _PLACES}
    hooks = [str(word) for word in args.hooks]
    value: dict[str, Any] = {"version": VERSION, "engine": engine.name, "settings": asdict(settings), "words": words, "files": files, "hooks": hooks,
                             "detectors": [_files(Path(name)) for name in (settings.detector, settings.second_detector) if name]}
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode("utf-8", "backslashreplace")).hexdigest()


def _places(value: Any) -> Sequence[Any]:
    return [] if value is None or value == "" else value if isinstance(value, list) else [value]


def _files(place: Path) -> list[list[Any]]:
    try:
        return sorted(_walk(place)) if place.is_dir() else [_look(place, place.name)] if place.is_file() else []
    except (OSError, ValueError):  # a text of --hook-arguments is no path
        return []


def _walk(folder: Path) -> Iterator[list[Any]]:
    for current, names, files in os.walk(folder):
        names[:] = [name for name in names if not name.startswith((".", "__pycache__"))]
        for file in files:
            path = Path(current, file)
            yield _look(path, path.relative_to(folder).as_posix())


def _look(path: Path, name: str) -> list[Any]:
    status = path.stat()
    return [name, status.st_size, status.st_mtime_ns]
