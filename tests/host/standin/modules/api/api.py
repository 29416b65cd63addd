"""Plays `modules.api.api`: pictures as text, and the names of samplers."""

import base64
import io

from modules import sd_samplers
from PIL import Image


def script_name_to_index(name, scripts):
    """The position of the script with that title.

    Raises: ValueError if there is none.
    """
    return [script.title().lower() for script in scripts].index(name.lower())


def validate_sampler_name(name):
    """The name, if a sampler has it.

    Raises: HTTPException (404) if none has.
    """
    if sd_samplers.all_samplers_map.get(name) is None:
        from fastapi import HTTPException

        raise HTTPException(status_code=404, detail="Sampler not found")
    return name


def decode_base64_to_image(encoding):
    """The picture in a base64 text, with or without a `data:` prefix."""
    return Image.open(io.BytesIO(base64.b64decode(encoding.split(",", 1)[-1])))


def encode_pil_to_base64(image):
    """The picture as PNG in base64."""
    with io.BytesIO() as output:
        image.save(output, format="PNG")
        return base64.b64encode(output.getvalue())
