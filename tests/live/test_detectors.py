"""In a running host: detectors are found without a restart, tell their classes, and a file that is refused costs no picture.

DETAILER_LIVE_URL is the host's address, DETAILER_LIVE_MODELS a folder of its detectors, such as .../models/detailer, into
which files are put, and taken away again.
"""

from __future__ import annotations

import os
import pickle
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from skimage import data

from .webui import URL, Refused, ask, distance, img2img, txt2img

MODELS = Path(os.environ.get("DETAILER_LIVE_MODELS", "nowhere"))
pytestmark = pytest.mark.skipif(not (URL and MODELS.is_dir()), reason="needs a running host: set DETAILER_LIVE_URL and DETAILER_LIVE_MODELS")
GOLDEN = Path(__file__).resolve().parents[3] / "shared/golden/yolo"
NAME = "live-new.pt"
SMALL: dict[str, Any] = {"denoise": 0.5, "guide_size": 128, "max_size": 128, "confidence": 0.1, "max_count": 2}


@pytest.fixture
def file() -> Iterator[Path]:
    """Where a new model file is to be put."""
    place = MODELS / NAME
    yield place
    place.unlink(missing_ok=True)


def listed() -> dict[str, dict[str, Any]]:
    """What the host says of each detector."""
    return {entry["name"]: entry for entry in ask("/detailer/v1/detectors")["detectors"]}


def test_each_detector() -> None:
    """Every detector of the list that works without a mask: it redraws what it finds, and the picture names it."""
    plain = img2img(data.astronaut()).picture
    seen = {}
    for name, about in listed().items():
        if name == "mask" or "problem" in about:
            continue
        made = img2img(data.astronaut(), [SMALL | {"detector": name}])
        assert f"Detailer detector: {name}" in made.text
        seen[name] = distance(plain, made.picture)
        assert seen[name] > 3 or "found nothing" in made.text or "no segment" in made.text, made.text
    print(seen)
    assert {"face_haar", "whole", "tiles"} <= set(seen) and min(seen[name] for name in ("face_haar", "whole", "tiles")) > 3


def test_a_new_file(file: Path) -> None:
    """It is there without a restart, with the classes that it holds, and works; taken away it is unknown."""
    source = GOLDEN / "small-v8.pt"
    if not source.is_file():
        pytest.skip("needs a model file to put there")
    assert NAME not in listed()
    shutil.copyfile(source, file)
    classes = listed()[NAME]["classes"]
    assert classes
    made = txt2img([SMALL | {"detector": NAME, "labels": classes[0], "confidence": 0.01}])
    assert f"Detailer detector: {NAME}" in made.text and f"Detailer classes: {classes[0]}" in made.text
    file.unlink()
    with pytest.raises(Refused, match=f"{NAME}.*not found"):
        txt2img([SMALL | {"detector": NAME}])


class _Opens:
    """As a pickle: writes a file when it is loaded."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.place), "w")


def test_a_file_that_runs_programs(file: Path, tmp_path: Path) -> None:
    """It is listed with what it wanted, the client is told, the generated picture is kept, and nothing ran."""
    ran = tmp_path / "ran"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"model": _Opens(ran)}))
        archive.writestr("archive/version", "3\n")
    problem = listed()[NAME]["problem"]
    assert "open" in problem
    plain = txt2img()
    try:
        made = txt2img([SMALL | {"detector": NAME}])
    except Refused as refused:  # told before anything was generated
        assert refused.status == 422 and "open" in refused.text
    else:
        assert "Detailer note" in made.text and NAME in made.text and distance(plain.picture, made.picture) == 0
        print(made.text)
    assert not ran.exists()


@pytest.mark.parametrize("content", [b"", b"not a model", b"PK\x03\x04" + bytes(100)])
def test_a_broken_file(file: Path, content: bytes) -> None:
    """It is listed with its problem, and the picture is kept without it."""
    file.write_bytes(content)
    assert NAME in listed()[NAME]["problem"]
    plain = txt2img()
    try:
        made = txt2img([SMALL | {"detector": NAME}])
    except Refused as refused:
        assert refused.status == 422 and NAME in refused.text
    else:
        assert "Detailer note" in made.text and distance(plain.picture, made.picture) == 0
        print(made.text)
