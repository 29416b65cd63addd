"""A running WebUI as a client of its API sees it: jobs in, pictures and generation parameters out."""

from __future__ import annotations

import base64
import io
import json
import os
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

URL = os.environ.get("DETAILER_LIVE_URL", "").rstrip("/")
"""Address of the host, for example http://127.0.0.1:7860; empty = there is none, and live tests are skipped."""


class Refused(Exception):
    """The host's answer to a request that it would not do."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status}: {text}")
        self.status, self.text = status, text


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """Pictures ([H, W, 3], values 0..255) and what each says of itself."""

    pictures: tuple[np.ndarray, ...]
    infotexts: tuple[str, ...]

    @property
    def picture(self) -> np.ndarray:
        """The first one."""
        return self.pictures[0]

    @property
    def text(self) -> str:
        """The first one's generation parameters."""
        return self.infotexts[0]


def ask(path: str, body: dict[str, Any] | None = None, *, timeout_s: float = 900) -> Any:
    """One request. Raises: Refused."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(URL + path, data=data, headers={"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:
            return json.loads(answer.read())
    except urllib.error.HTTPError as error:
        raise Refused(error.code, error.read().decode()) from None


def encoded(picture: np.ndarray) -> str:
    """A picture as a client sends it."""
    file = io.BytesIO()
    Image.fromarray(picture.astype(np.uint8)).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def decoded(text: str) -> np.ndarray:
    """A picture as the host sends it."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB")).astype(int)


def scripts(units: Sequence[dict[str, Any]], others: dict[str, Any] | None = None) -> dict[str, Any]:
    """Detailer with these units, if there are any, and other always-on scripts."""
    return {"alwayson_scripts": {**({"Detailer": {"args": [True, *units]}} if units else {}), **(others or {})}}


def txt2img(units: Sequence[dict[str, Any]] = (), others: dict[str, Any] | None = None, **rest: Any) -> Made:
    """A small picture from a prompt, in four steps."""
    return _made("txt2img", {"width": 256, "height": 256, **rest} | scripts(units, others))


def img2img(picture: np.ndarray, units: Sequence[dict[str, Any]] = (), others: dict[str, Any] | None = None, **rest: Any) -> Made:
    """A picture through img2img, hardly changed unless `denoising_strength` says so."""
    size = {"width": picture.shape[1], "height": picture.shape[0]}
    return _made("img2img", {"init_images": [encoded(picture)], "denoising_strength": 0.01, **size, **rest} | scripts(units, others))


def _made(way: str, body: dict[str, Any]) -> Made:
    usual = {"prompt": "a house", "seed": 11, "steps": 4, "cfg_scale": 1, "sampler_name": "Euler"}
    answer = ask(f"/sdapi/v1/{way}", usual | body)
    return Made(pictures=tuple(decoded(text) for text in answer["images"]), infotexts=tuple(json.loads(answer["info"])["infotexts"]))


def distance(one: np.ndarray, other: np.ndarray, where: np.ndarray | None = None) -> float:
    """The largest difference, of 255, of two pictures of one size; where: [H, W] bool, only there."""
    assert one.shape == other.shape, f"{one.shape} against {other.shape}"
    apart = np.abs(one.astype(int) - other.astype(int)).max(2)
    return float(apart.max() if where is None else apart[where].max())


def same_model(name: str, title: str) -> bool:
    """Whether the host's title of a checkpoint, with hash and ending, means this name."""
    return title.split(" [")[0].removesuffix(".safetensors").endswith(name)
