"""Command `download`: the list, and fetching by name; no test opens a connection."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from cli_pictures import Answer

from detailer_core.cli import download_command as command
from detailer_core.detectors.downloads import KNOWN, KnownModel, Progress
from detailer_core.errors import DownloadError

Call = Callable[..., Answer]


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Path]]:
    """What was fetched, and where to; the files are only pretended."""
    done: list[tuple[str, Path]] = []

    def pretend(model: KnownModel, folder: Path, progress: Progress) -> Path:
        for part in (0, model.size // 2, model.size):
            progress(part, model.size)
        done.append((model.name, folder))
        return folder / model.name

    monkeypatch.setattr(command, "download", pretend)
    return done


def test_the_list(cli: Call, fetched: list[tuple[str, Path]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Every known model with its size, what it is for, whose it is, and whether it is there; nothing is fetched."""
    monkeypatch.setattr(command, "is_present", lambda model, folder: model is KNOWN[0])
    answer = cli("download")
    assert (answer.code, answer.err, fetched) == (0, "", [])
    for model in KNOWN:
        assert all(word in answer.out for word in (model.name, model.what, model.origin))
    assert answer.out.count("(there)") == 1
    assert str(Path("models", "detailer")) in answer.out


def test_models_are_fetched_by_name(cli: Call, fetched: list[tuple[str, Path]]) -> None:
    """Into the models folder that is named; the address and the place are told."""
    answer = cli("download", "hand_yolov8n.pt", "face_landmarker.task", "--models", "m")
    assert answer.code == 0
    assert fetched == [("hand_yolov8n.pt", Path("m", "detailer")), ("face_landmarker.task", Path("m", "detailer"))]
    assert "https://huggingface.co/Bingsu/adetailer/resolve/" in answer.out
    assert f"{Path('m', 'detailer', 'hand_yolov8n.pt')}: fetched and checked" in answer.out


def test_what_is_there_is_not_fetched(cli: Call, fetched: list[tuple[str, Path]], monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said, and that is no error."""
    monkeypatch.setattr(command, "is_present", lambda model, folder: True)
    answer = cli("download", "hand_yolov8n.pt")
    assert (answer.code, fetched) == (0, [])
    assert "hand_yolov8n.pt: there already" in answer.out


def test_a_misspelt_name_fetches_nothing(cli: Call, fetched: list[tuple[str, Path]]) -> None:
    """Also if others are right."""
    answer = cli("download", "hand_yolov8n.pt", "face_yolov8.pt")
    assert (answer.code, fetched) == (2, [])
    assert "no model 'face_yolov8.pt' is known for download; did you mean 'face_yolov8" in answer.err


def test_a_failure_is_told(cli: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the reason, and code 1."""
    def fail(*_: object) -> Path:
        raise DownloadError("'x' could not be fetched: no network")

    monkeypatch.setattr(command, "download", fail)
    answer = cli("download", "hand_yolov8n.pt")
    assert answer.code == 1
    assert "error: 'x' could not be fetched: no network" in answer.err
