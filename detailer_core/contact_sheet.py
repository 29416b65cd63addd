"""Many pictures on one: each before and after, small, with a line of text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from .preview import text_maker

SIDE = 160
"""The longest side of a small picture, in pixels."""

_COLUMNS, _GAP, _TEXT, _LETTERS = 4, 8, 22, 44
_PAPER, _INK = (24, 24, 24), (225, 225, 225)


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """One picture. before, after: of any size; text: what stands below."""

    before: Image.Image
    after: Image.Image
    text: str


def contact_sheet(pairs: Sequence[Pair]) -> Image.Image:
    """A picture of all pairs, row by row, in the order given."""
    columns = max(1, min(_COLUMNS, len(pairs)))
    rows = -(-len(pairs) // columns)
    wide, high = 2 * SIDE + _GAP, SIDE + _TEXT
    sheet = Image.new("RGB", (columns * (wide + 2 * _GAP) + _GAP, rows * (high + _GAP) + _GAP), _PAPER)
    text = text_maker(11)
    for number, pair in enumerate(pairs):
        left = _GAP + number % columns * (wide + 2 * _GAP)
        top = _GAP + number // columns * (high + _GAP)
        for image, start in ((pair.before, left), (pair.after, left + SIDE + _GAP)):
            small = small_picture(image)
            sheet.paste(small, (start + (SIDE - small.width) // 2, top + (SIDE - small.height) // 2))
        words = text(pair.text if len(pair.text) <= _LETTERS else f"{pair.text[: _LETTERS - 3]}...")
        sheet.paste(_INK, (left, top + SIDE), words)
    return sheet


def small_picture(image: Image.Image) -> Image.Image:
    """The picture, at most `SIDE` pixels wide and high, in RGB."""
    small = image.convert("RGB")
    small.thumbnail((SIDE, SIDE))
    return small
