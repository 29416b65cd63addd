"""Model files that are there more than once, under one name in several folders."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from .yolo.file_cache import hash_file


def first_copies(paths: Iterable[Path]) -> dict[Path, Path]:
    """For each file the first one that has its name and its contents, mostly itself.

    Only files that share name and size are read, and again only when they have changed.
    """
    first: dict[Path, Path] = {}
    seen: dict[tuple[str, int], list[Path]] = {}
    for path in paths:
        try:
            alike = seen.setdefault((path.name, path.stat().st_size), [])
            first[path] = next((other for other in alike if _digest(other) == _digest(path)), path)
        except OSError:  # it is gone, or nobody may read it: that is told when it is asked for
            first[path] = path
            continue
        if first[path] is path:
            alike.append(path)
    return first


def _digest(path: Path) -> str:
    status = path.stat()
    return _digest_at(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=256)
def _digest_at(path: Path, changed_ns: int, size: int) -> str:
    """The file's SHA-256; time of change and size only make it be read again."""
    return hash_file(path)
