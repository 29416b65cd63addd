"""A picture of what will be, or was, redrawn: numbered boxes, tinted masks, crop regions."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from .errors import PictureError
from .geometry import Box
from .pictures import to_uint8_rgb
from .segments import Segment, Segments

Colour: TypeAlias = tuple[int, int, int]

# Far apart in hue and all light enough for black text; the tenth segment begins anew.
_COLOURS: tuple[Colour, ...] = ((255, 92, 92), (84, 200, 255), (255, 205, 60), (110, 225, 110), (255, 140, 230), (255, 160, 70),
                                (150, 160, 255), (90, 235, 205), (205, 225, 85))
_TINT = 0.4
_SMALLEST_TEXT = 11
_TEXT_SHARE = 0.022
_TINY = 200


def draw_preview(image: Tensor | NDArray[np.uint8], segments: Segments, *, states: Sequence[str] | None = None) -> Image.Image:
    """The picture with each segment's mask tinted, its box, number from 1, label and confidence, and its crop region as a dashed line.

    image: float 0..1 `[1, C, H, W]`, or uint8 RGB `[H, W, 3]`; is not changed. states: a word per segment, added to its text.
    Raises: PictureError if the picture or the states do not fit the segments.
    """
    levels: NDArray[np.uint8] = np.array(to_uint8_rgb(image) if isinstance(image, Tensor) else _checked(image))
    height, width = int(levels.shape[0]), int(levels.shape[1])
    if (width, height) != segments.size_wh:
        raise PictureError(f"the picture has {width}x{height} pixels, the segments are of one of {segments.size_wh[0]}x"
                           f"{segments.size_wh[1]}; scale them with `segments.scale_to`")
    if states is not None and len(states) != len(segments):
        raise PictureError(f"{len(states)} states for {len(segments)} segments; give one word for each")
    for number, segment in enumerate(segments):
        _tint(levels, segment, _colour(number))
    preview = Image.fromarray(levels)
    line = max(1, round(max(width, height) / 400))
    text = text_maker(max(_SMALLEST_TEXT, round(max(width, height) * _TEXT_SHARE)))
    draw = ImageDraw.Draw(preview)
    for number, segment in enumerate(segments):
        _dashes(draw, segment.crop_xyxy, _colour(number), max(1, line // 2))
        _frame(draw, segment.bbox_xyxy, _colour(number), line)
    for number, segment in enumerate(segments):  # after all lines, so that none crosses a text
        words = [str(number + 1), segment.label, f"{segment.confidence:.2f}", states[number] if states is not None else ""]
        _tag(preview, segment.bbox_xyxy, [w for w in words if w], _colour(number), text)
    return preview


def side_by_side(before: Image.Image, after: Image.Image) -> Image.Image:
    """Two pictures beside each other, tops level, with a thin white line between."""
    divider = max(2, round(max(before.width, after.width) / 200))
    both = Image.new("RGB", (before.width + divider + after.width, max(before.height, after.height)), (255, 255, 255))
    both.paste(before.convert("RGB"), (0, 0))
    both.paste(after.convert("RGB"), (before.width + divider, 0))
    return both


def _checked(image: NDArray[Any]) -> NDArray[np.uint8]:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise PictureError(f"expected a picture [H, W, 3] in uint8, got {image.dtype} {image.shape}")
    return image


def _colour(number: int) -> Colour:
    return _COLOURS[number % len(_COLOURS)]


def _tint(levels: NDArray[np.uint8], segment: Segment, colour: Colour) -> None:
    x0, y0, x1, y1 = segment.crop_xyxy
    view = levels[y0:y1, x0:x1]
    share = (segment.mask_hw.cpu().numpy() * _TINT)[..., None].astype(np.float32)
    view[:] = np.rint(view * (1 - share) + np.array(colour, np.float32) * share).astype(np.uint8)


def _frame(draw: ImageDraw.ImageDraw, box_xyxy: Box, colour: Colour, width: int) -> None:
    """A solid frame inside the box, with a black edge, so that it shows on any ground."""
    x0, y0, x1, y1 = box_xyxy
    if x1 <= x0 or y1 <= y0:
        return
    outer = max(1, width // 2)
    draw.rectangle((x0 - outer, y0 - outer, x1 - 1 + outer, y1 - 1 + outer), outline=(0, 0, 0), width=outer)
    draw.rectangle((x0, y0, x1 - 1, y1 - 1), outline=colour, width=width)


def _dashes(draw: ImageDraw.ImageDraw, box_xyxy: Box, colour: Colour, width: int) -> None:
    x0, y0, x1, y1 = box_xyxy
    if x1 <= x0 or y1 <= y0:
        return
    length = max(4, 6 * width)
    for start in range(x0, x1, 2 * length):
        end = min(start + length, x1) - 1
        for y in (y0, y1 - width):
            draw.rectangle((start, max(y, y0), end, max(y, y0) + width - 1), fill=colour)
    for start in range(y0, y1, 2 * length):
        end = min(start + length, y1) - 1
        for x in (x0, x1 - width):
            draw.rectangle((max(x, x0), start, max(x, x0) + width - 1, end), fill=colour)


def _tag(preview: Image.Image, box_xyxy: Box, words: Sequence[str], colour: Colour, text: Callable[[str], Image.Image]) -> None:
    """Black words on the colour, above the box or, where there is no room, inside; words that do not fit the picture, or would cover a
    tiny one, are left out."""
    shown = text("  ".join(words))
    room = preview.width if preview.width > _TINY else preview.width // 3
    while len(words) > 1 and shown.width > room:
        words = words[:-1]
        shown = text("  ".join(words))
    x = max(0, min(box_xyxy[0], preview.width - shown.width))
    y = box_xyxy[1] - shown.height if box_xyxy[1] >= shown.height else max(0, min(box_xyxy[1], preview.height - shown.height))
    preview.paste(colour, (x, y, x + shown.width, y + shown.height))
    preview.paste((0, 0, 0), (x, y), shown)


def text_maker(height: int) -> Callable[[str], Image.Image]:
    """A function from a line of text to its coverage, mode L, with a margin; letters are about `height` pixels high."""
    try:
        font: Any = ImageFont.load_default(size=height)  # Pillow 10.1 and later
        enlarge = 1
    except (TypeError, ImportError, OSError):
        font = ImageFont.load_default()  # a font of pixels, 11 high
        enlarge = max(1, round(height / 11))

    def make(line: str) -> Image.Image:
        known = _plain(line)
        top, bottom = (int(font.getbbox("Ag|")[i]) for i in (1, 3))
        left, right = (int(font.getbbox(known)[i]) for i in (0, 2))
        margin = max(1, round((bottom - top) / 6))
        canvas = Image.new("L", (right - left + 2 * margin, bottom - top + 2 * margin))
        ImageDraw.Draw(canvas).text((margin - left, margin - top), known, fill=255, font=font)
        return canvas if enlarge == 1 else canvas.resize((canvas.width * enlarge, canvas.height * enlarge), Image.Resampling.NEAREST)

    return make


def _plain(line: str) -> str:
    """Letters that Pillow's own fonts have: accents are dropped, other scripts become question marks."""
    parts = (c for c in unicodedata.normalize("NFKD", line) if not unicodedata.combining(c))
    return "".join(c if " " <= c <= "~" else "?" for c in parts)
