"""What a unit would redraw in a picture, found without sampling, as the page's canvas wants it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from PIL import Image

from detailer_core.detectors.assembly import unit_detector
from detailer_core.detectors.registry import DetectorShelf
from detailer_core.image_ops import nonzero_box
from detailer_core.pictures import from_pil
from detailer_core.segments import Segment, parse_picks
from detailer_core.settings import UnitSettings
from detailer_core.unit import find_segments
from detailer_core.wildcards import parse

from . import host
from .data_uri import decode_picture, encode_png

MASK_SIDE = 384
"""Long side in pixels of the masks that are sent; they are only looked at."""


def preview(picture_uri: str, settings: UnitSettings, shelf: DetectorShelf) -> dict[str, Any]:
    """Size, segments (all, whatever is picked), numbers that are picked, and prompts of the parts.

    Raises: DetailerError if the picture, a setting or the detector cannot be used, or the host is at work.
    """
    image = decode_picture(picture_uri)
    picks = parse_picks(settings.pick) if settings.pick.strip() else ()
    with host.while_idle():
        detector = unit_detector(shelf, settings)
        device = host.working_device(image.width * image.height)
        with torch.inference_mode():
            segments = find_segments(from_pil(image).to(device), replace(settings, pick=""), detector, str(device))
    return {"size": [image.width, image.height], "segments": [_describe(n, s) for n, s in enumerate(segments, start=1)],
            "picked": list(dict.fromkeys(n for n in picks if n <= len(segments))) if picks else None, "prompts": _prompts(settings.prompt)}


def _describe(number: int, segment: Segment) -> dict[str, Any]:
    described: dict[str, Any] = {"number": number, "label": segment.label, "confidence": round(float(segment.confidence), 3),
                                 "box": list(segment.bbox_xyxy), "crop": list(segment.crop_xyxy)}
    inner = nonzero_box(segment.mask_hw)
    if inner is not None:
        x, y = segment.crop_xyxy[:2]
        x0, y0, x1, y1 = inner
        described |= {"mask": _mask_uri(segment.mask_hw[y0:y1, x0:x1]), "mask_box": [x + x0, y + y0, x + x1, y + y1]}
    return described


def _mask_uri(mask_hw: torch.Tensor) -> str:
    """The mask as the alpha of a white picture, small."""
    alpha = Image.fromarray(np.rint(mask_hw.cpu().numpy() * 255).astype(np.uint8))
    alpha.thumbnail((MASK_SIDE, MASK_SIDE), Image.Resampling.BILINEAR)
    white = Image.new("LA", alpha.size, 255)
    white.putalpha(alpha)
    return encode_png(white)


def _prompts(text: str) -> list[str] | None:
    """The prompts of the first, second, ... picked segment, the last one for all further; None for a text with an order of its own."""
    prompts = parse(text)
    plain = prompts.mode in ("plain", "adetailer") and not prompts.concat
    return [item.text for item in prompts.items] if plain else None
