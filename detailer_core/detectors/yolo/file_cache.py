"""Which file has which hash, remembered on disk, and files that appear complete or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any


def note_path(folder: Path, path: Path) -> Path:
    """Where the note about a file lies: one per resolved path."""
    return folder / f"{hashlib.sha256(str(path).encode('utf-8', 'surrogatepass')).hexdigest()[:32]}.json"


def noted_hash(folder: Path, path: Path) -> str | None:
    """The SHA-256 that was noted for a file, None if there is no note or the file's size or time of change differ."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        value: Any = json.loads(note_path(folder, path).read_text(encoding="utf-8"))
        digest = str(value["sha256"])
        if value["state"] == _state(path) and len(digest) == 64 and digest.isalnum():
            return digest
    return None


def note_hash(folder: Path, path: Path, digest: str) -> None:
    """Note the SHA-256 of a file.

    Raises: OSError if the folder cannot be written to.
    """
    text = json.dumps({"path": str(path), "state": _state(path), "sha256": digest})
    write_atomically(note_path(folder, path), text.encode())


def hash_file(path: Path) -> str:
    """SHA-256 of the file in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that others see it complete or not at all.

    Raises: OSError if that fails; nothing is left behind then.
    """
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _state(path: Path) -> list[int]:
    """Size in bytes and time of change in ns."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]
