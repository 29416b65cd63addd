"""Pictures to call the command line with, and what it answers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from detailer_core.cli.journal import JOURNAL

FAST = ("--set", "guide_size=64", "--set", "max_size=128", "--set", "crop_factor=1.5")
"""Settings with which a segment takes no time."""


@dataclass(frozen=True)
class Answer:
    """What a command line gave back."""

    code: int
    out: str
    err: str


def noise(mode: str = "RGB", size_wh: tuple[int, int] = (96, 64)) -> Image.Image:
    """A picture full of fine detail, which the filter engine changes everywhere."""
    width, height = size_wh
    if mode == "I;16":
        return Image.fromarray(np.random.default_rng(3).integers(0, 65536, (height, width), dtype=np.uint16))
    image = Image.fromarray(np.random.default_rng(3).integers(0, 256, (height, width, 4), dtype=np.uint8))
    return image.convert("RGB").convert(mode) if mode in ("1", "L", "P", "CMYK", "RGB") else image.convert(mode)


def save(path: Path, image: Image.Image | None = None, **options: Any) -> Path:
    """The picture in a file, its folder made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    (image or noise()).save(path, **options)
    return path


def mask(path: Path, *boxes: tuple[int, int, int, int], size_wh: tuple[int, int] = (96, 64)) -> Path:
    """A mask picture, white in the boxes (default: one in the middle)."""
    levels = np.zeros(size_wh[::-1], np.uint8)
    for x0, y0, x1, y1 in boxes or ((30, 20, 60, 45),):
        levels[y0:y1, x0:x1] = 255
    return save(path, Image.fromarray(levels))


def report(path: Path) -> dict[str, Any]:
    """The data in a report."""
    return json.loads(path.read_text(encoding="utf-8"))


def files(folder: Path) -> list[str]:
    """Names of all that lies in a folder, hidden files as well, but for the journal of a run in which not all was done."""
    return sorted(p.name for p in folder.iterdir() if p.name != JOURNAL) if folder.is_dir() else []


def opened(path: Path | str) -> Image.Image:
    """The picture in a file, which is closed again."""
    with Image.open(path) as image:
        return image.copy()
