"""Pictures as text, as the page sends and shows them."""

from __future__ import annotations

import base64
import binascii
import io

from PIL import Image, ImageOps

from detailer_core.errors import PictureError

MAX_BYTES = 64 * 2**20
"""Of an encoded picture that the page sends."""
MAX_PIXELS = 64 * 2**20
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP")


def decode_picture(uri: str) -> Image.Image:
    """The picture in a data URI, RGB, upright. Raises: PictureError if there is none, or it is too large."""
    if not isinstance(uri, str) or not uri.startswith("data:image/"):
        raise PictureError("there is no picture to look at; drop one here, or generate one first")
    if len(uri) > MAX_BYTES * 4 // 3:
        raise PictureError(f"the picture's file is larger than {MAX_BYTES // 2**20} MiB; choose a smaller one")
    try:
        image = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2], validate=True)), formats=_FORMATS)
        if image.width * image.height > MAX_PIXELS:
            raise PictureError(f"the picture has {image.width}x{image.height} pixels, more than can be looked at; choose a smaller one")
        return ImageOps.exif_transpose(image).convert("RGB")
    except (binascii.Error, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise PictureError(f"the picture cannot be read ({type(error).__name__}); readable are {', '.join(_FORMATS)}") from error


def encode_png(image: Image.Image) -> str:
    """The picture as a data URI, without loss."""
    return _encode(image, "PNG")


def encode_jpeg(image: Image.Image, *, side: int) -> str:
    """The picture as a data URI, its long side at most so many pixels, with the losses of JPEG."""
    small = image.convert("RGB")
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    return _encode(small, "JPEG", quality=90)


def _encode(image: Image.Image, kind: str, **options: int) -> str:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
