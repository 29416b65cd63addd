"""Plays what `modules.processing` does with pictures after sampling: put back into place, overlay, colour correction."""

from __future__ import annotations

import numpy as np
from modules import images
from PIL import Image


def create_binary_mask(image, round=True):
    """The mask as one channel: the alpha channel if it says anything; black and white only if `round`."""
    if image.mode == "RGBA" and image.getextrema()[-1] != (255, 255):
        alpha = image.split()[-1].convert("L")
        return alpha.point(lambda value: 255 if value > 128 else 0) if round else alpha
    return image.convert("L")


def uncrop(image, dest_size, paste_loc):
    """The picture at its place `x, y, width, height` on a transparent one of that size."""
    x, y, width, height = paste_loc
    base = Image.new("RGBA", dest_size)
    base.paste(images.resize_image(1, image, width, height), (x, y))
    return base


def apply_overlay(image, paste_loc, overlay):
    """The picture with the kept part laid over it, and the picture as it was before that."""
    if overlay is None:
        return image, image.copy()
    if paste_loc is not None:
        image = uncrop(image, (overlay.width, overlay.height), paste_loc)
    before = image.copy()
    image = image.convert("RGBA")
    image.alpha_composite(overlay)
    return image.convert("RGB"), before


def setup_color_correction(image):
    """What correcting another picture needs of a picture: mean and spread per channel (the hosts match histograms)."""
    pixels = np.asarray(image.convert("RGB"), dtype=np.float32).reshape(-1, 3)
    return pixels.mean(axis=0), pixels.std(axis=0)


def _apply_color_correction(correction, original_image):
    """The picture with that mean and spread."""
    mean, spread = correction
    pixels = np.asarray(original_image.convert("RGB"), dtype=np.float32)
    flat = pixels.reshape(-1, 3)
    result = (pixels - flat.mean(axis=0)) / np.maximum(flat.std(axis=0), 1) * spread + mean
    return Image.fromarray(np.clip(result, 0, 255).astype(np.uint8))
