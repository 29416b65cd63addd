"""What a run over many pictures has done, kept beside the results until all is done: a killed run goes on where it was.

A line is written after its picture is in its place. So a picture that is in the journal is complete; one that is not is done again, which gives the
same file. The journal is locked while a run works: what temporary files then lie in the folder were left by killed runs.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, cast

from ..errors import PictureError
from .files import Place

JOURNAL = ".detailer-run.jsonl"
"""The journal's name in the output folder."""

_LEFTOVER = re.compile(r"\.[0-9a-f]{16}\.tmp")
_LOCKED_BYTE = 1 << 40  # far behind the end: on Windows a locked place cannot be read by others


class Journal:
    """The journal of one output folder. run: stands for everything that the results depend on besides the pictures."""

    def __init__(self, folder: Path, run: str) -> None:
        """Open and lock it, and clear away what killed runs left. Raises: PictureError if another run works there, or it cannot be written."""
        self._path, self._run = folder / JOURNAL, run
        try:
            self._file: IO[bytes] = self._path.open("a+b")
        except OSError as error:
            raise PictureError(f"cannot write {self._path}: {error.strerror or error}; check the folder, or choose another with --output") from error
        if not _lock(self._file):
            self._file.close()
            raise PictureError(f"another run is working in {folder}; wait for it, or choose another folder with --output; nothing was done")
        _clear(folder)
        self._done = self._read()

    def __enter__(self) -> Journal:
        """The journal itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Unlock it."""
        self._file.close()

    def entry(self, place: Place, outputs: Sequence[Path]) -> dict[str, Any] | None:
        """The report's entry of a picture that is done, None if it is to be done: it is not here, or it or a file of it has changed since."""
        line = self._done.get(_key(place))
        if line is None or line.get("input") != _stamp(place.input) or line.get("outputs") != [_stamp(path) for path in outputs]:
            return None
        entry = line.get("entry")
        return cast("dict[str, Any]", entry) if isinstance(entry, dict) else None

    def note(self, place: Place, outputs: Sequence[Path], entry: Mapping[str, Any]) -> None:
        """The picture is done. Raises: PictureError if that cannot be written."""
        line = {"run": self._run, "key": _key(place), "input": _stamp(place.input), "outputs": [_stamp(path) for path in outputs], "entry": entry}
        try:
            self._file.write(json.dumps(line).encode("ascii") + b"\n")
            self._file.flush()
        except OSError as error:
            raise PictureError(f"cannot write {self._path}: {error.strerror or error}; make room") from error

    def finish(self, *, keep: bool) -> None:
        """The run is over. keep: not all is done, so that a later run can go on."""
        self._file.close()
        if not keep:
            with suppress(OSError):
                self._path.unlink()

    def _read(self) -> dict[str, dict[str, Any]]:
        """The lines of runs with the same settings, the last one of each picture; half a line, as a killed run leaves it, is passed over."""
        self._file.seek(0)
        text = self._file.read()
        if text and not text.endswith(b"\n"):
            self._file.write(b"\n")
        done: dict[str, dict[str, Any]] = {}
        for raw in text.splitlines():
            with suppress(ValueError):
                line = json.loads(raw)
                if isinstance(line, dict):
                    known = cast("dict[str, Any]", line)
                    if known.get("run") == self._run:
                        done[str(known.get("key"))] = known
        return done


def _key(place: Place) -> str:
    return f"{os.path.abspath(place.input)} {place.picture.name}"


def _stamp(path: Path) -> list[int] | None:
    """Size and time of change; None if there is no such file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns]


def _clear(folder: Path) -> None:
    for path in folder.iterdir():
        if _LEFTOVER.fullmatch(path.name):
            with suppress(OSError):
                path.unlink()


def _lock(file: IO[bytes]) -> bool:
    """Whether the file is ours now. The system takes the lock back when the process ends, however it does."""
    if os.name == "nt":
        import msvcrt  # Windows only

        file.seek(_LOCKED_BYTE)
        try:
            cast("Any", msvcrt).locking(file.fileno(), cast("Any", msvcrt).LK_NBLCK, 1)
        except OSError:
            return False
        return True
    import fcntl  # everywhere else

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True  # a file system without locks
    return True
