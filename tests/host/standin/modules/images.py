"""Plays `modules.images`: size, background, grids and files of pictures."""

import math
import os

from modules import script_callbacks, shared
from modules._standin import _world
from PIL import Image, PngImagePlugin

LANCZOS = Image.LANCZOS


def _resize(image, width, height, upscaler_name):
    if upscaler_name not in (None, "None") and image.mode != "L" and (width > image.width or height > image.height):
        upscaler = next((known for known in shared.sd_upscalers if known.name == upscaler_name), shared.sd_upscalers[0])
        image = upscaler.scaler.upscale(image, max(width / image.width, height / image.height), upscaler.data_path)
    return image if image.size == (width, height) else image.resize((width, height), LANCZOS)


def _resized(resize_mode, image, width, height, upscaler_name):
    """0: squash; 1: cover and cut; 2: fit, the edges' pixels fill the rest."""
    upscaler_name = upscaler_name or shared.opts.upscaler_for_img2img
    if resize_mode == 0:
        return _resize(image, width, height, upscaler_name)
    pick = max if resize_mode == 1 else min
    scale = pick(width / image.width, height / image.height)
    inner = _resize(image, max(1, round(image.width * scale)), max(1, round(image.height * scale)), upscaler_name)
    left, top = (width - inner.width) // 2, (height - inner.height) // 2
    if resize_mode == 1:
        return inner.crop((-left, -top, -left + width, -top + height))
    result = image.resize((width, height), LANCZOS)
    result.paste(inner, (left, top))
    return result


if _world.host.forge and not _world.host.classic:
    def resize_image(resize_mode, im, width, height, upscaler_name=None, force_RGBA=False):
        """The picture at that size; `resize_mode` 0 squashes, 1 cuts, 2 fills."""
        return _resized(resize_mode, im.convert("RGBA") if force_RGBA else im, width, height, upscaler_name)
else:
    def resize_image(resize_mode, im, width, height, upscaler_name=None):
        """The picture at that size; `resize_mode` 0 squashes, 1 cuts, 2 fills."""
        return _resized(resize_mode, im, width, height, upscaler_name)


def flatten(img, bgcolor):
    """The picture without transparency, on a background."""
    if img.mode != "RGBA":
        return img.convert("RGB")
    background = Image.new("RGBA", img.size, bgcolor)
    background.paste(img, mask=img)
    return background.convert("RGB")


def image_grid(imgs, batch_size=1, rows=None):
    """All pictures side by side."""
    rows = rows or max(1, math.floor(math.sqrt(len(imgs))))
    columns = math.ceil(len(imgs) / rows)
    params = script_callbacks.ImageGridLoopParams(imgs, columns, rows)
    script_callbacks.image_grid_callback(params)
    width, height = max(image.width for image in params.imgs), max(image.height for image in params.imgs)
    grid = Image.new("RGB", (params.cols * width, params.rows * height), "black")
    for index, image in enumerate(params.imgs):
        grid.paste(image, (index % params.cols * width, index // params.cols * height))
    return grid


def read_info_from_image(image: Image.Image):
    """The infotext in a picture, and its other entries."""
    items = dict(image.info or {})
    return items.pop("parameters", None), items


def save_image(image, path, basename, seed=None, prompt=None, extension="png", info=None, short_filename=False, no_prompt=False, grid=False,
               pnginfo_section_name="parameters", p=None, existing_info=None, forced_filename=None, suffix="", save_to_dirs=None):
    """The name of the written file, and None (no text file is written). File names are numbers."""
    os.makedirs(path, exist_ok=True)
    name = forced_filename or f"{_world.counters.saved:05}{f'-{basename}' if basename else ''}"
    pnginfo = {**(existing_info or {}), **({pnginfo_section_name: info} if info is not None else {})}
    params = script_callbacks.ImageSaveParams(image, p, os.path.join(path, f"{name}{suffix}.{extension}"), pnginfo)
    script_callbacks.before_image_saved_callback(params)
    chunks = PngImagePlugin.PngInfo()
    for key, value in params.pnginfo.items():
        chunks.add_text(key, str(value))
    params.image.save(params.filename, **({"pnginfo": chunks} if extension == "png" else {}))
    params.image.already_saved_as = params.filename
    _world.counters.saved += 1
    script_callbacks.image_saved_callback(params)
    return params.filename, None
