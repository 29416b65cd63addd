"""The contact sheet of a run: all pictures that were written, before and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from ..contact_sheet import Pair, contact_sheet, small_picture
from ..errors import PictureError, SettingsError
from ..pictures import read_picture, to_pil
from .files import write_whole

PER_SHEET = 200
"""Most pictures on one sheet; further ones go to further files."""

_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}


def check_sheet(path: Path) -> None:
    """Nothing, if a contact sheet can have this name. Raises: SettingsError."""
    if path.suffix.lower() not in _FORMATS:
        raise SettingsError(f"the contact sheet is a picture, got the name {path}; write for example sheet.jpg", field="contact-sheet")


def write_sheets(path: Path, entries: Sequence[Mapping[str, Any]]) -> list[Path]:
    """The files that were written, from the report's entries; none if there is no picture. Raises: PictureError if one cannot be written."""
    shown = [entry for entry in entries if entry["output"] is not None]
    written: list[Path] = []
    for start in range(0, len(shown), PER_SHEET):
        number = start // PER_SHEET + 1
        place = path if number == 1 else path.with_name(f"{path.stem}-{number}{path.suffix}")
        sheet = contact_sheet([_pair(entry) for entry in shown[start : start + PER_SHEET]])
        write_whole(place, lambda file, sheet=sheet: sheet.save(file, format=_FORMATS[path.suffix.lower()]))
        written.append(place)
    return written


def _pair(entry: Mapping[str, Any]) -> Pair:
    states = [segment["state"] for segment in entry["segments"]]
    told = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states)) or "nothing found"
    return Pair(before=_small(entry["input"]), after=_small(entry["output"]), text=f"{Path(entry['output']).name}: {told}")


def _small(path: str) -> Image.Image:
    try:
        return small_picture(to_pil(read_picture(path).image_bchw))
    except PictureError:  # changed or removed meanwhile: the run itself is done, and a grey field says as much
        return Image.new("RGB", (1, 1), (127, 127, 127))
