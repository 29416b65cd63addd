"""Pictures on disk and in Pillow: in as tensors, out again with their format, metadata and untouched pixels.

Convention: a picture in the core is float32 `[1, C, H, W]` in 0..1 on the CPU; C is 1 grey, 2 grey + alpha, 3 RGB,
4 RGB + alpha (straight).
"""

from __future__ import annotations

import logging
import math
import os
import secrets
import struct
import threading
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps, JpegImagePlugin, PngImagePlugin, UnidentifiedImageError
from torch import Tensor

from .errors import PictureError

logger = logging.getLogger(__name__)

PathLike: TypeAlias = str | os.PathLike[str]
Levels: TypeAlias = NDArray[np.uint8] | NDArray[np.uint16]

MAX_PIXELS = 2**28
"""The largest picture that is read, in pixels (16384 x 16384): one of this size takes 3 GiB as RGB in float32."""

EXTENSIONS = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".jp2", ".avif", ".tga",
              ".ppm", ".pgm", ".pbm")
"""File names that `iter_pictures` takes from a folder, whatever their case."""

# Only these decoders are let at a file; Pillow knows forty more, old and hardly ever used.
_FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "TIFF", "BMP", "GIF", "JPEG2000", "AVIF", "TGA", "PPM")
_SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N", "I")
_WORK_MODES = {"1": "L", "L": "L", "LA": "LA", "La": "LA", "RGB": "RGB", "RGBX": "RGB", "RGBA": "RGBA", "RGBa": "RGBA", "PA": "RGBA",
               "CMYK": "RGB", "YCbCr": "RGB", "HSV": "RGB"}
_KEPT_INFO = ("exif", "icc_profile", "dpi", "xmp", "comment", "transparency", "progressive", "compression")
_LOSSLESS_TIFF = ("raw", "packbits", "tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "lzma", "zstd")
_ORIENTATION = 0x0112
# Tags that say how the pixels lie in a TIFF file: true of the file that was read, wrong in the one that is written.
_TIFF_LAYOUT = frozenset({254, 255, 256, 257, 258, 259, 262, 266, 273, _ORIENTATION, 277, 278, 279, 280, 281, 284, 292, 293, 317, 320,
                          322, 323, 324, 325, 330, 338, 339, 340, 341, 347, 512, 513, 514, 529, 530, 531, 532, 34675})
# Pillow's limits are variables of its modules; whoever changes them for a moment holds this.
_PILLOW_LOCK = threading.Lock()


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Picture:
    """A picture that was read, and what it takes to write it back.

    image_bchw: float32 `[1, C, H, W]` in 0..1, upright. format, mode: Pillow's names, as stored. original: upright, in its stored mode.
    info: EXIF, ICC profile, dpi, ... under Pillow's names. text: PNG text chunks. jpeg_tables, jpeg_subsampling: how it was compressed.
    path: None if it came from memory.
    """

    image_bchw: Tensor
    format: str
    mode: str
    original: Image.Image
    path: Path | None = None
    info: Mapping[str, Any] = field(default_factory=dict[str, Any])
    text: Mapping[str, str] = field(default_factory=dict[str, str])
    jpeg_tables: Mapping[int, list[int]] | None = None
    jpeg_subsampling: int | None = None


# ---- in

def read_picture(path: PathLike) -> Picture:
    """The picture in a file, turned upright as its EXIF says.

    Palettes become RGB or RGBA, CMYK becomes RGB, 16 bit grey keeps its 16 bits (16 bit colour is read in 8 bit, and the log says so).
    Raises: PictureError if there is no such file, it is no picture, damaged, animated, too large or of a kind that cannot be worked on.
    """
    path = Path(path)
    _check_file(path)
    try:
        with path.open("rb") as file:
            return _read(file, path)
    except (PictureError, MemoryError):
        raise
    except UnidentifiedImageError as error:
        raise PictureError(f"{path} is not a picture, or damaged at its start; readable are {', '.join(_FORMATS)}") from error
    except PermissionError as error:
        raise PictureError(f"cannot read {path}: {error.strerror}; check its permissions") from error
    except Exception as error:  # decoders raise nearly anything on damaged data: OSError, SyntaxError, ValueError, struct.error, ...
        raise PictureError(f"{path} is damaged or cut off ({type(error).__name__}: {error}); save it anew with another program") from error


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise PictureError(f"{path} is a folder, not a picture; name the pictures inside of it")
    if not path.exists():
        raise PictureError(f"picture {path} not found; check the name")
    if path.stat().st_size == 0:
        raise PictureError(f"{path} is empty (0 bytes); save it anew")


def _read(file: IO[bytes], path: Path) -> Picture:
    Image.init()
    with _own_limits():
        image = Image.open(file, formats=[name for name in _FORMATS if name in Image.OPEN])  # reads the header only
        _check_kind(image, path)
        image.load()
    return _make_picture(image, path)


def _check_kind(image: Image.Image, path: Path) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise PictureError(f"{path} has {width}x{height} pixels, more than {MAX_PIXELS}; make it smaller, or cut it into parts")
    if getattr(image, "is_animated", False) and image.format != "MPO":
        raise PictureError(f"{path} has several frames or pages (format {image.format}); save the one you want as a picture of its own")
    if any(";16" in str(tile) for tile in getattr(image, "tile", ())) and image.mode not in _SIXTEEN_BIT:
        logger.warning("%s: 16 bit colour is read, and will be written, in 8 bit", path)


@contextmanager
def _own_limits() -> Generator[None, None, None]:
    """Pillow without its limit of pixels (we have one) and without leave to pass over missing data, for one thread at a time."""
    with _PILLOW_LOCK:
        kept = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES
        Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = None, False
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = kept


def _make_picture(image: Image.Image, path: Path | None) -> Picture:
    text: Mapping[str, str] = dict(getattr(image, "text", {}))
    tables = getattr(image, "quantization", None)
    sampling = JpegImagePlugin.get_sampling(image) if isinstance(image, JpegImagePlugin.JpegImageFile) else -1
    upright, exif = _upright(image)
    info = {name: upright.info[name] for name in _KEPT_INFO if upright.info.get(name) is not None}
    info.pop("exif", None)
    return Picture(
        image_bchw=_to_tensor(upright, path), format="JPEG" if image.format == "MPO" else image.format or "PNG", mode=upright.mode,
        original=upright, path=path, info=info | ({"exif": exif} if exif else {}),
        text={name: upright.info.get(name, value) for name, value in text.items()},
        jpeg_tables={n: list(t) for n, t in tables.items()} if tables else None, jpeg_subsampling=sampling if sampling >= 0 else None)


def _upright(image: Image.Image) -> tuple[Image.Image, bytes | None]:
    """The picture turned as its EXIF says, and the EXIF without that tag; EXIF that cannot be read is left alone."""
    try:
        exif = image.getexif()
        if image.format == "TIFF":  # Pillow has turned it while loading
            for tag in _TIFF_LAYOUT & set(exif):
                del exif[tag]
            return image, exif.tobytes() if len(exif) else None
        upright = ImageOps.exif_transpose(image) if exif.get(_ORIENTATION, 1) in range(2, 9) else image
        return upright, upright.info.get("exif")
    except (SyntaxError, struct.error, ValueError, KeyError, TypeError, OSError) as error:
        logger.warning("EXIF cannot be read (%s); it is kept as it is", error)
    return image, image.info.get("exif")


def _to_tensor(image: Image.Image, path: Path | None) -> Tensor:
    # A copy of a palette picture: converting one with transparency changes its palette, and a GIF written from it later has wrong colours.
    source = image.copy() if image.mode == "P" else image
    array = np.asarray(source if image.mode in _SIXTEEN_BIT else source.convert(_work_mode(image, path)))
    if image.mode == "I" and array.size and not 0 <= int(array.min()) <= int(array.max()) <= 65535:
        raise PictureError(f"{path or 'the picture'} has 32 bit values {int(array.min())}..{int(array.max())}; save it with 8 or 16 bit")
    planes = array[..., None] if array.ndim == 2 else array
    height, width, channels = planes.shape
    result = torch.empty(1, channels, height, width)
    for index in range(channels):  # plane by plane: a large picture exists only once in float
        np.copyto(result[0, index].numpy(), planes[..., index], casting="unsafe")
    return result.div_(65535 if image.mode in _SIXTEEN_BIT else 255)


def _work_mode(image: Image.Image, path: Path | None) -> str:
    if image.mode == "P":
        see_through = "transparency" in image.info or (image.palette is not None and image.palette.mode == "RGBA")
        return "RGBA" if see_through else "RGB"
    if image.mode not in _WORK_MODES:
        raise PictureError(f"{path or 'the picture'} is of mode {image.mode}, which cannot be worked on; save it as RGB or grey, 8 bit")
    return _WORK_MODES[image.mode]


# ---- out

def write_picture(path: PathLike, picture: Picture, result_bchw: Tensor) -> None:
    """Write a result in the format that the name's ending says (the picture's own if it says none), with the picture's metadata.

    result_bchw: float 0..1 `[1, C, H, W]`, any device; without the alpha channel the picture's own alpha is kept. Pixels whose 8 bit value
    did not change keep their stored value, in every mode; palettes become RGB(A) where a pixel changed, except in GIF, which takes the
    nearest colours. JPEG gets the original's quantisation tables, or quality 95; WebP is written without loss. The folder is made, and the
    file replaced at once.
    Raises: PictureError if the file is the one that was read, the size differs, or it cannot be written.
    """
    path = Path(path)
    if picture.path is not None and _same_file(path, picture.path):
        raise PictureError(f"the output {path} is the picture that was read; choose another name or folder, the original is never "
                           f"overwritten")
    format_name = _format_for(path, picture)
    image = _in_stored_mode(picture, result_bchw, format_name)
    _save(path, image, format_name, _save_options(picture, image, format_name))


def _same_file(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return one.absolute() == other.absolute()


def _format_for(path: Path, picture: Picture) -> str:
    Image.init()
    name = Image.EXTENSION.get(path.suffix.lower(), picture.format)
    return "JPEG" if name == "MPO" else name


def _in_stored_mode(picture: Picture, result_bchw: Tensor, format_name: str) -> Image.Image:
    """The result for Pillow: in the stored mode where the format is the same, with the stored value of each pixel that did not change."""
    old, new = _to_levels(picture.image_bchw), _to_levels(_with_alpha(picture, result_bchw))
    changed = (old != new).any(axis=2)
    del old
    same_format = format_name == picture.format
    if same_format and not changed.any():
        return picture.original.copy()
    if picture.mode in _SIXTEEN_BIT and (same_format or format_name in ("PNG", "TIFF")):
        return _put_back_16_bit(picture, result_bchw, changed)
    shown = _from_levels(new)
    if same_format and picture.mode in ("CMYK", "YCbCr", "HSV"):
        stored = picture.original.copy()
        stored.paste(shown.convert(picture.mode), (0, 0), Image.fromarray(changed.view(np.uint8) * np.uint8(255)))
        return stored
    if same_format and picture.mode == "P" and format_name == "GIF":
        return _nearest_in_palette(picture.original, new, changed)
    return shown


def _with_alpha(picture: Picture, result_bchw: Tensor) -> Tensor:
    wanted, got = picture.image_bchw.shape, result_bchw.shape
    if result_bchw.ndim != 4 or (got[0], *got[2:]) != (1, *wanted[2:]) or got[1] not in (wanted[1], wanted[1] - 1 + wanted[1] % 2):
        raise PictureError(f"the result has the shape {tuple(got)}, the picture {tuple(wanted)}; they must be equal (alpha may be left "
                           f"out)")
    if got[1] == wanted[1]:
        return result_bchw
    return torch.cat((result_bchw.to(picture.image_bchw), picture.image_bchw[:, -1:]), dim=1)


def _put_back_16_bit(picture: Picture, result_bchw: Tensor, changed: NDArray[np.bool_]) -> Image.Image:
    # In Pillow 9 a 16 bit PNG is of mode "I"; "I;16" can be written by all versions.
    wide = picture.mode == "I" and picture.format != "PNG"
    stored = np.array(picture.original, dtype=np.int32 if wide else np.uint16)
    stored[changed] = _to_levels(result_bchw[:, :1], np.uint16)[..., 0][changed]
    return Image.fromarray(stored)


def _nearest_in_palette(original: Image.Image, levels_hwc: NDArray[Any], changed: NDArray[np.bool_]) -> Image.Image:
    entries = original.getpalette("RGB") or []
    palette = np.array([entries[i : i + 3] for i in range(0, len(entries), 3)], dtype=np.int32)
    usable = np.arange(len(palette))
    if isinstance(original.info.get("transparency"), int):
        usable = np.delete(usable, original.info["transparency"]) if len(usable) > 1 else usable
    colours, which = np.unique(levels_hwc[changed][:, :3].astype(np.int32), axis=0, return_inverse=True)
    nearest = np.empty(len(colours), np.uint8)
    for start in range(0, len(colours), 4096):  # in parts: all pairs of colours at once would not fit
        part = colours[start : start + 4096, None] - palette[None, usable]
        nearest[start : start + 4096] = usable[(part * part).sum(axis=2).argmin(axis=1)]
    indices = np.array(original)
    indices[changed] = nearest[np.ravel(which)]
    stored = original.copy()
    stored.frombytes(indices.tobytes())
    return stored


def _save_options(picture: Picture, image: Image.Image, format_name: str) -> dict[str, Any]:
    options = {name: picture.info[name] for name in ("exif", "icc_profile", "xmp", "comment") if name in picture.info}
    if picture.mode == "CMYK" != image.mode:
        options.pop("icc_profile", None)  # it describes inks
    dpi = picture.info.get("dpi")
    if dpi is not None and all(math.isfinite(float(v)) and float(v) > 0 for v in dpi):
        options["dpi"] = tuple(float(v) for v in dpi)
    if "transparency" in picture.info and image.mode == picture.mode:
        options["transparency"] = picture.info["transparency"]
    if format_name == "JPEG":
        options |= _jpeg_options(picture)
    elif format_name == "PNG":
        options["pnginfo"] = _png_text(picture)
    elif format_name == "WEBP":
        options |= {"lossless": True, "exact": True}
    elif format_name == "TIFF":
        compression = picture.info.get("compression", "tiff_lzw")
        options["compression"] = compression if compression in _LOSSLESS_TIFF else "tiff_lzw"
    elif format_name == "AVIF":
        options |= {"quality": 95, "subsampling": "4:4:4"}
    return options


def _jpeg_options(picture: Picture) -> dict[str, Any]:
    options: dict[str, Any] = {"progressive": True} if picture.info.get("progressive") else {}
    if picture.format != "JPEG" or picture.jpeg_tables is None:
        return options | {"quality": 95, "subsampling": 0}
    options["qtables"] = {n: list(t) for n, t in picture.jpeg_tables.items()}
    return options if picture.jpeg_subsampling is None else options | {"subsampling": picture.jpeg_subsampling}


def _png_text(picture: Picture) -> PngImagePlugin.PngInfo:
    chunks = PngImagePlugin.PngInfo()
    for name, value in picture.text.items():
        if isinstance(value, PngImagePlugin.iTXt):
            chunks.add_itxt(name, value, value.lang or "", value.tkey or "")
        else:
            chunks.add_text(name, value)
    return chunks


def _save(path: Path, image: Image.Image, format_name: str, options: Mapping[str, Any]) -> None:
    """Write beside the place and move there, so that nobody ever sees half a file. Raises: PictureError."""
    temporary = path.parent / f".{secrets.token_hex(8)}.tmp"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            image.save(file, format=format_name, **options)
        os.replace(temporary, path)
    except (OSError, ValueError, KeyError, TypeError, struct.error) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise PictureError(f"cannot write {path} as {format_name}: {reason}; check the folder, or choose another file type such as "
                           f".png") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


# ---- files and arrays

def iter_pictures(paths: Iterable[PathLike], *, recursive: bool = False) -> Iterator[Path]:
    """The files named, and of each folder the pictures in it by their names' endings, sorted; each once.

    recursive: folders inside of folders as well. Raises: PictureError, before the first is handed out, if one does not exist.
    """
    named = [Path(path) for path in paths]
    missing = [path for path in named if not path.exists()]
    if missing:
        raise PictureError(f"picture or folder {missing[0]} not found; check the name")
    return _expand(named, recursive)


def _expand(named: Iterable[Path], recursive: bool) -> Iterator[Path]:
    seen: set[Path] = set()
    for path in named:
        inside = path.rglob("*") if recursive else path.glob("*")
        files = sorted(p for p in inside if p.suffix.lower() in EXTENSIONS and p.is_file()) if path.is_dir() else [path]
        for file in files:
            if file.absolute() not in seen:
                seen.add(file.absolute())
                yield file


def to_uint8_rgb(image_bchw: Tensor) -> NDArray[np.uint8]:
    """What detectors look at: uint8 RGB `[H, W, 3]`, rounded; grey is repeated, alpha dropped.

    image_bchw: float 0..1 `[1, C, H, W]`, C = 1..4, any device; k / 255 comes back as k exactly.
    Raises: PictureError for another shape, or values that are not finite.
    """
    levels = _to_levels(image_bchw, channels=1 if image_bchw.ndim == 4 and image_bchw.shape[1] < 3 else 3)
    return np.repeat(levels, 3, axis=2) if levels.shape[2] == 1 else levels


def from_pil(image: Image.Image) -> Tensor:
    """A Pillow picture of any mode that `read_picture` takes, as `[1, C, H, W]`; not turned. Raises: PictureError for other modes."""
    return _to_tensor(image, None)


def to_pil(image_bchw: Tensor) -> Image.Image:
    """A tensor `[1, C, H, W]` as a Pillow picture of mode L, LA, RGB or RGBA, rounded. Raises: PictureError as `to_uint8_rgb` does."""
    return _from_levels(_to_levels(image_bchw))


def _from_levels(levels_hwc: NDArray[Any]) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(levels_hwc[..., 0] if levels_hwc.shape[2] == 1 else levels_hwc))


def _to_levels(image_bchw: Tensor, dtype: Any = np.uint8, *, channels: int | None = None) -> NDArray[Any]:
    """Whole levels `[H, W, C]`, rounded half up: k / 255 comes back as k, whatever its float error."""
    if image_bchw.ndim != 4 or image_bchw.shape[0] != 1 or image_bchw.shape[1] not in (1, 2, 3, 4) or not image_bchw.is_floating_point():
        raise PictureError(f"expected one float picture [1, C, H, W] with 1 to 4 channels, got {image_bchw.dtype} "
                           f"{tuple(image_bchw.shape)}")
    count = image_bchw.shape[1] if channels is None else channels
    highest = np.iinfo(dtype).max
    levels = np.empty((*image_bchw.shape[2:], count), dtype)
    for index in range(count):
        plane = image_bchw[0, index].detach().to("cpu", torch.float32)
        if not bool(torch.isfinite(plane).all()):
            raise PictureError("the picture holds values that are not numbers (a model overflowed); nothing was written")
        np.copyto(levels[..., index], plane.mul(highest).add_(0.5).floor_().clamp_(0, highest).numpy(), casting="unsafe")
    return levels
