"""What a client of Detailer's own routes sends: read within limits, and checked field by field.

The body is read here and not by FastAPI: so the password is asked first, a body that is too large is never held in memory, and no version of
pydantic matters.
"""

from __future__ import annotations

import base64
import binascii
import difflib
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import Request
from modules import shared
from PIL import Image

from detailer_core.errors import SettingsError
from detailer_core.settings import Option, Value, check_value

from .api_errors import entry, refusal

MOST_BYTES = 128 * 2**20
"""The largest body that is read."""

MEGAPIXELS = "detailer_api_megapixels"
"""The setting for the largest picture."""
USUAL_MEGAPIXELS = 32

_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")


def field(name: str, kind: Any, default: Value, help_text: str, **limits: Any) -> Option:
    """One field of a request, checked as the settings are."""
    return Option(name=name, kind=kind, default=default, label=name, help=help_text, group="Main", infotext="", **limits)


def schema(fields: Sequence[Option], more: Mapping[str, Any], required: Sequence[str]) -> dict[str, Any]:
    """A JSON schema of a request with these fields. more: properties of another kind."""
    types = {"bool": "boolean", "int": "integer", "float": "number", "text": "string"}
    properties: dict[str, Any] = {}
    for one in fields:
        limits = {"minimum": one.minimum, "maximum": one.maximum}
        properties[one.name] = {"type": [types[one.kind], "null"] if one.optional else types[one.kind], "description": one.help,
                                "default": one.default, **{key: value for key, value in limits.items() if value is not None}}
    return {"type": "object", "additionalProperties": False, "required": list(required), "properties": {**more, **properties}}


async def read_body(request: Request) -> dict[str, Any]:
    """The mapping that was sent as JSON. Raises: HTTPException (413) if it is too large, (422) if it is none."""
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > MOST_BYTES:
            raise refusal([entry((), f"the request is larger than {MOST_BYTES // 2**20} MiB; send a smaller picture")], 413)
        parts.append(part)
    try:
        body = json.loads(b"".join(parts))
    except (ValueError, RecursionError):
        raise refusal([entry((), "the request is no JSON")]) from None
    if not isinstance(body, dict):
        raise refusal([entry((), f"the request must be a mapping, got {type(body).__name__}")])
    return body


def check_fields(body: Mapping[str, Any], fields: Sequence[Option], others: Sequence[str]) -> dict[str, Any]:
    """The values of the fields by name, with defaults for those that were not sent. others: names that are read elsewhere.

    Raises: HTTPException (422) with all that is wrong.
    """
    known = {one.name: one for one in fields}
    problems: list[dict[str, Any]] = []
    values: dict[str, Any] = {name: one.default for name, one in known.items()}
    for name, value in body.items():
        if name in known:
            try:
                values[name] = check_value(known[name], value)
            except SettingsError as error:
                problems.append(entry((name,), str(error).replace(f"{name} ({name}): ", "")))
        elif name not in others:
            near = difflib.get_close_matches(name, [*known, *others], n=1)
            problems.append(entry((name,), f"unknown field '{name}'" + (f"; did you mean '{near[0]}'?" if near else "")))
    if problems:
        raise refusal(problems)
    return values


def read_image(body: Mapping[str, Any], name: str) -> Image.Image:
    """The picture in a field of base64, with or without "data:image/...;base64," before it.

    Raises: HTTPException: 422 if it is missing or no picture, 413 if it has more pixels than the settings allow.
    """
    text = body.get(name)
    if not isinstance(text, str) or not text:
        raise refusal([entry((name,), "a picture as base64 is needed here")])
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise refusal([entry((name,), "it is no base64")]) from None
    return _opened(data, name)


def _opened(data: bytes, name: str) -> Image.Image:
    most = int(getattr(shared.opts, MEGAPIXELS, USUAL_MEGAPIXELS)) * 1_000_000
    Image.init()
    try:
        image = Image.open(io.BytesIO(data), formats=[kind for kind in _FORMATS if kind in Image.OPEN])  # reads the header only
        fits = image.width * image.height <= most
        if fits:
            image.load()
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        fits = False
    except Exception as error:  # decoders raise nearly anything on damaged data
        raise refusal([entry((name,), f"it is no picture that can be read; readable are {', '.join(_FORMATS)}")]) from error
    if not fits:
        raise refusal([entry((name,), f"the picture has more than {most // 1_000_000} megapixels; send a smaller one, or allow more in the "
                                      "settings")], 413)
    return image


def encode(image: Image.Image) -> str:
    """The picture as PNG in base64."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")
