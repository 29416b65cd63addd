"""In a running host: an interrupt keeps what is finished, a skip costs the wave that runs, and the host is afterwards as it was.

Needs the address of a host with Detailer in it: DETAILER_LIVE_URL=http://127.0.0.1:7860.
"""

from __future__ import annotations

import re
import threading
import time
from typing import Any

import numpy as np
import pytest
from PIL import Image

from .webui import URL, ask, img2img

pytestmark = pytest.mark.skipif(not URL, reason="needs a running host: set DETAILER_LIVE_URL")

SIDE = 704
TILES = {"detector": "tiles", "guide_size": 192, "guide_size_for": "crop", "max_size": 192, "crop_factor": 1.0, "denoise": 0.6, "steps": 20,
         "feather": 0, "dilation": 0}
"""Four tiles of 512 pixels that overlap, so that each is a wave."""


def job(units: list[dict[str, Any]]) -> tuple[np.ndarray, str]:
    """A picture of grey noise through img2img that hardly changes it; its pixels and its infotext."""
    noise = np.random.default_rng(0).integers(90, 160, (SIDE // 8, SIDE // 8, 3), dtype=np.uint8)
    made = img2img(np.asarray(Image.fromarray(noise).resize((SIDE, SIDE))), units, seed=1, steps=20)
    return made.picture, made.text


def stopped_at(segment: int, call: str) -> tuple[np.ndarray, str]:
    """The job, with this call sent as soon as the progress names the segment."""
    done: list[tuple[np.ndarray, str]] = []
    thread = threading.Thread(target=lambda: done.append(job([TILES])))
    thread.start()
    limit = time.monotonic() + 600
    while time.monotonic() < limit and thread.is_alive():
        if re.search(rf"segment {segment} of", str(ask("/sdapi/v1/progress?skip_current_image=true")["state"]["job"])):
            ask(f"/sdapi/v1/{call}", {})
            break
        time.sleep(0.02)
    thread.join(600)
    return done[0]


def changed(one: np.ndarray, other: np.ndarray) -> list[bool]:
    """For each tile, row by row: whether its inner part, which no other tile reaches, differs."""
    parts = slice(10, 180), slice(524, 694)
    return [bool(np.abs(one - other)[rows, columns].max() > 4) for rows in parts for columns in parts]


@pytest.fixture(scope="module")
def plain() -> np.ndarray:
    """The picture without Detailer."""
    return job([])[0]


def test_all_tiles_change(plain: np.ndarray) -> None:
    """Undisturbed, every tile is redrawn."""
    picture, text = job([TILES])
    assert all(changed(plain, picture)) and "Detailer note" not in text


def test_an_interrupt_keeps_finished_segments(plain: np.ndarray) -> None:
    """Interrupted in the third tile: the two before it stay, it and the one after it are as they were."""
    picture, text = stopped_at(3, "interrupt")
    assert changed(plain, picture) == [True, True, False, False]
    assert "segments 3, 4 interrupted" in text or "segment 3 interrupted" in text


def test_a_skip_costs_the_running_wave(plain: np.ndarray) -> None:
    """Skipped in the third tile: all others are redrawn."""
    picture, text = stopped_at(3, "skip")
    assert changed(plain, picture) == [True, True, False, True]
    assert "segment 3 interrupted" in text


def test_the_next_picture_is_whole(plain: np.ndarray) -> None:
    """After an interrupt and a skip the host works as before."""
    assert np.abs(job([])[0] - plain).max() <= 1
