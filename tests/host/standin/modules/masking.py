"""Plays `modules.masking`: where a mask is, and what to put under it."""

import numpy as np
from modules._standin import _world
from PIL import Image, ImageOps


def _region(mask, pad):
    box = mask.getbbox()
    if box is None:
        return None
    x0, y0, x1, y1 = box
    return max(0, x0 - pad), max(0, y0 - pad), min(mask.width, x1 + pad), min(mask.height, y1 + pad)


def get_crop_region(mask, pad=0):
    """The box around the masked part with `pad` pixels more on each side; an inverted box for an empty mask."""
    mask = mask if isinstance(mask, Image.Image) else Image.fromarray(mask)
    return _region(mask, pad) or (mask.width - pad, mask.height - pad, pad, pad)


if not _world.host.classic:
    def get_crop_region_v2(mask, pad=0):
        """The box around the masked part with `pad` pixels more on each side; None for an empty mask."""
        return _region(mask if isinstance(mask, Image.Image) else Image.fromarray(mask), pad)


def expand_crop_region(crop_region, processing_width, processing_height, image_width, image_height):
    """The region with the sides' ratio of the processing size, moved into the picture and cut where it does not fit."""
    x0, y0, x1, y1 = crop_region
    ratio = processing_width / processing_height
    if (x1 - x0) / (y1 - y0) > ratio:
        y0, y1 = _widen(y0, y1, (x1 - x0) / ratio, image_height)
    else:
        x0, x1 = _widen(x0, x1, (y1 - y0) * ratio, image_width)
    return x0, y0, x1, y1


def _widen(start, end, length, limit):
    missing = int(length - (end - start))
    start, end = start - missing // 2, end + missing - missing // 2
    shift = max(0, -start) - max(0, end - limit)
    return max(0, start + shift), min(limit, end + shift)


def fill(image, mask):
    """The picture with the mean colour of the kept part under the mask (the hosts blur the kept part into it)."""
    keep = np.asarray(ImageOps.invert(mask.convert("L"))) > 0
    pixels = np.asarray(image.convert("RGB"))
    colour = pixels[keep].mean(axis=0) if keep.any() else pixels.reshape(-1, 3).mean(axis=0)
    plain = Image.new("RGB", image.size, tuple(int(value) for value in colour))
    return Image.composite(plain, image.convert("RGB"), mask.convert("L"))
