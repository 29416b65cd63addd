"""The default detector in a host whose OpenCV has no cascades."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest
import standin
from scenes import Stage, notes
from test_detailer_api_check import ask, first
from test_detailer_page_handlers import look

from detailer_core.detectors import haar_stand_in

every_host = pytest.mark.parametrize("played", list(standin.HOSTS), indirect=True, scope="module")


@pytest.fixture(autouse=True)
def without(monkeypatch: pytest.MonkeyPatch) -> None:
    """An OpenCV 5, whichever is installed."""
    monkeypatch.delattr(cv2, "CascadeClassifier", raising=False)


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host with one face model, which finds the spots."""
    monkeypatch.setattr(haar_stand_in, "face_models", lambda infos: ("spots",))


@every_host
def test_a_face_model_stands_in(stage: Stage, model: None) -> None:
    """A unit with the default detector works; the picture names what was used, and the page says why."""
    result = stage.txt2img({"detector": "face_haar"})
    assert len(stage.detail_calls) == 1 and "Detailer detector: spots" in result.infotexts[0] and notes(result) == ""
    assert "Detailer: unit 1: face_haar needs OpenCV 4, spots is used" in result.comments


def test_clients_get_it_as_well(stage: Stage, model: None) -> None:
    """A unit without a detector is no error, and the answer names what was used."""
    answer = ask(stage, [True, {"drop_size": 1}])
    assert answer.status_code == 200, answer.text
    assert "Detailer detector: spots" in json.loads(answer.json()["info"])["infotexts"][0]


def test_so_does_the_preview(stage: Stage, model: None) -> None:
    """What is shown is what will be used."""
    assert len(look(stage, detector="face_haar")["segments"]) == 2


@every_host
def test_without_a_face_model_it_is_told_what_to_do(stage: Stage) -> None:
    """The picture is made, and page, picture and client are told; the picture does not tell where on this machine."""
    result = stage.txt2img({"detector": "face_haar"})
    wanted = "or fetch one: python -m detailer_core download face_yolov8n.pt --models"
    assert wanted in result.comments and wanted in notes(result) and "Detailer detector" not in result.infotexts[0]
    assert str(Path(stage.world.folder)) not in notes(result)
    assert wanted in first(ask(stage, [True, {}]))["msg"]
