"""Files that the command line writes: whole or not at all, in a place of their own, and never over an input."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from PIL import Image

from ..errors import PictureError, SettingsError


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where the result of one input goes, and its preview."""

    input: Path
    picture: Path
    preview: Path


class Inputs:
    """Files that must stay as they are, known by what they are on disk and not by name: links and other spellings are seen through."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._known: dict[tuple[int, int], Path] = {}
        for path in paths:
            with suppress(OSError):  # one that cannot be looked at is told of when it is read
                status = path.stat()
                self._known[status.st_dev, status.st_ino] = path

    def refuse(self, target: Path, option: str) -> None:
        """Nothing, if the target may be written. Raises: SettingsError if it is an input."""
        try:
            status = target.stat()
        except OSError:
            return
        known = self._known.get((status.st_dev, status.st_ino))
        if known is not None:
            raise SettingsError(f"{target} would overwrite the input {known}; inputs are never overwritten, choose another place with {option}; "
                                f"nothing was done", field=option.lstrip("-"))


def plan_places(inputs: Sequence[Path], folder: Path, *, preview: bool, keep: Inputs) -> list[Place]:
    """A place of its own for each input, also for two of the same name from different folders.

    Raises: SettingsError if one of them is an input.
    """
    taken: set[str] = set()
    pictures = [folder / _free(path.name, taken) for path in inputs]
    places = [Place(input=path, picture=picture, preview=folder / _free(f"{picture.stem}-preview.png", taken))
              for path, picture in zip(inputs, pictures, strict=True)]
    for place in places:
        keep.refuse(place.picture, "--output")
        if preview:
            keep.refuse(place.preview, "--output")
    return places


def _free(name: str, taken: set[str]) -> str:
    """The name, with a number if it is taken; upper and lower case are one, as on Windows."""
    path, number = Path(name), 1
    while name.casefold() in taken:
        number += 1
        name = f"{path.stem}-{number}{path.suffix}"
    taken.add(name.casefold())
    return name


def check_folder(folder: Path, option: str) -> None:
    """Make a folder and try to write into it, so that an hour's work is not lost. Raises: PictureError."""
    probe = folder / f".{secrets.token_hex(8)}.tmp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with probe.open("xb"):
            pass
    except OSError as error:
        raise PictureError(f"cannot write into the folder {folder}: {_why(error, folder)}; choose another with {option}; nothing was done") from error
    finally:
        with suppress(OSError):
            probe.unlink()


def check_file(path: Path, option: str) -> None:
    """Nothing, if the file can be written. Raises: PictureError if it is a folder or its folder cannot be written to."""
    if path.is_dir():
        raise PictureError(f"{path} is a folder; name a file in it with {option}; nothing was done")
    check_folder(path.parent, option)


def _why(error: OSError, folder: Path) -> str:
    """The system's word, or a better one: "File exists" does not tell people that a file is no folder."""
    if isinstance(error, (FileExistsError, NotADirectoryError)):
        file = next((p for p in (folder, *folder.parents) if p.exists() and not p.is_dir()), folder)
        return f"{file} is a file, not a folder"
    return error.strerror or str(error)


def write_whole(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write beside the place and move there, so that nobody ever sees half a file. Raises: PictureError; nothing is left behind then."""
    temporary = path.parent / f".{secrets.token_hex(8)}.tmp"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            write(file)
        os.replace(temporary, path)
    except OSError as error:
        raise PictureError(f"cannot write {path}: {error.strerror or error}; make room, or choose another place") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def save_png(path: Path, image: Image.Image) -> None:
    """Write a picture as PNG. Raises: PictureError if it cannot be written."""
    write_whole(path, lambda file: image.save(file, format="PNG"))


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write data as JSON. Raises: PictureError if it cannot be written."""
    text = json.dumps(value, indent=1, ensure_ascii=False) + "\n"
    # A file name that is no UTF-8 holds lone surrogates, for which JSON's own notation is the same as Python's.
    write_whole(path, lambda file: file.write(text.encode("utf-8", "backslashreplace")))


def copy_file(source: Path, target: Path) -> None:
    """The file itself, byte for byte. Raises: PictureError if it cannot be written."""

    def copy(file: IO[bytes]) -> None:
        with source.open("rb") as original:
            shutil.copyfileobj(original, file)

    write_whole(target, copy)
