"""Detection settings on the command line: where detectors come from, two of them, tiles, trust."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_pictures import Answer, mask, report, save

Call = Callable[..., Answer]
YOLO = Path(__file__).resolve().parents[4] / "shared" / "golden" / "yolo"
needs_model = pytest.mark.skipif(not YOLO.is_dir(), reason="no trained model beside this project")


def boxes(cli: Call, *words: object) -> list[list[int]]:
    """Boxes that `detect` finds."""
    answer = cli("detect", *words, "--report", "r.json")
    assert (answer.code, answer.err) == (0, "")
    return [segment["box_xyxy"] for segment in report(Path("r.json"))["segments"]]


def test_a_mask_may_be_the_second_detector(cli: Call, tmp_path: Path) -> None:
    """`--mask` stands for the detector 'mask' unless it is asked for as the second one."""
    photo, areas = save(tmp_path / "photo.png"), mask(tmp_path / "m.png", (30, 20, 60, 45))
    second = ("--mask", areas, "--set", "second_detector=mask", "--detector", "whole", "--set")
    assert boxes(cli, photo, *second, "combine=masks-and") == [[30, 20, 60, 45]]
    assert boxes(cli, photo, *second, "combine=minus") == [[0, 0, 96, 64]]
    assert boxes(cli, photo, *second, "combine=and") == []
    answer = cli("detect", photo, "--detector", "whole", "--set", "second_detector=mask")
    assert answer.code == 2
    assert "the detector 'mask' needs a picture that is white where to redraw; add --mask FILE" in answer.err


def test_sides_are_limits(cli: Call, tmp_path: Path) -> None:
    """Boxes out of the limits are left out; limits that leave nothing are refused."""
    photo, areas = save(tmp_path / "photo.png"), mask(tmp_path / "m.png", (0, 0, 20, 20), (30, 20, 60, 45))
    assert boxes(cli, photo, "--mask", areas, "--set", "min_side=21") == [[30, 20, 60, 45]]
    assert boxes(cli, photo, "--mask", areas, "--set", "max_side=29") == [[0, 0, 20, 20]]
    answer = cli("detect", photo, "--mask", areas, "--set", "min_side=30", "--set", "max_side=29")
    assert answer.code == 2
    assert "min_side 30 is above max_side 29; no segment could remain" in answer.err


def test_another_folder_of_models(cli: Call, tmp_path: Path) -> None:
    """A file in it is found by its name, and refused for what it is."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "x.pt").write_bytes(b"no model")
    photo = save(tmp_path / "photo.png")
    assert "detector 'x.pt' not found" in cli("detect", photo, "--detector", "x.pt").err
    for name in ("x.pt", "mine/x.pt", str(tmp_path / "mine" / "x.pt")):
        answer = cli("detect", photo, "--detectors", "mine", "--detector", name)
        assert answer.code == 1
        assert "model file 'x.pt'" in answer.err


def test_trust_is_a_hash(cli: Call, tmp_path: Path) -> None:
    """Anything else is refused, with what it must be."""
    answer = cli("detect", save(tmp_path / "photo.png"), "--detector", "whole", "--trust", "face.pt")
    assert answer.code == 2
    assert "--trust: it must be a SHA-256, 64 hexadecimal digits, got 'face.pt'" in answer.err
    assert cli("detect", "photo.png", "--detector", "whole", "--trust", "AB" * 32).code == 0


@needs_model
def test_a_real_model(cli: Call, tmp_path: Path) -> None:
    """A trained model by its path: its class is known, a size in between finds what it should, tiles and a second detector change it."""
    (tmp_path / "mine").mkdir()
    shutil.copyfile(YOLO / "face_yolov8n.pt", tmp_path / "mine" / "face_yolov8n.pt")  # what is made of a model is kept beside it
    words = (YOLO / "astronaut.png", "--detector", "mine/face_yolov8n.pt")
    (face, *_) = found = boxes(cli, *words)
    x0, y0, x1, y1 = face
    assert 150 < x0 < 220 and 40 < y0 < 120 and 250 < x1 < 330 and 150 < y1 < 240
    assert boxes(cli, *words, "--set", "exclude_labels=face") == []
    assert boxes(cli, *words, "--set", "second_detector=whole") == found
    assert boxes(cli, *words, "--set", "second_detector=whole", "--set", "combine=minus") == []
    assert boxes(cli, *words, "--set", "keep_detector=false") == found
    assert boxes(cli, *words, "--set", "image_size=64") != found
    answer = cli("detect", *words, "--set", "labels=foot")
    assert answer.code == 2
    assert "labels (Classes): the detector 'face_yolov8n.pt' has no class 'foot'; it knows face" in answer.err
