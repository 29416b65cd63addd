"""Detailer's own routes: what they tell, what they find, what they redraw, what they refuse, and whom."""

from __future__ import annotations

import base64
import io
import threading
import zlib
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scenes
import standin
from fastapi import FastAPI
from PIL import Image
from scenes import UNIT, Stage, cells, difference, inside, picture
from test_detailer_api_check import client, encoded, locked

from detailer_core.settings import json_schema
from detailer_core.version import VERSION

__all__ = ["locked"]

every_host = pytest.mark.parametrize("played", list(standin.HOSTS), indirect=True, scope="module")


def decoded(text: str) -> Image.Image:
    """The picture in a text."""
    return Image.open(io.BytesIO(base64.b64decode(text)))


def detail(stage: Stage, **body: Any) -> Any:
    """The answer to a request to redraw the spots of a picture."""
    return client(stage).post("/detailer/v1/detail", json={"image": encoded(picture()), "units": [UNIT], "steps": 3, "seed": 7, **body})


def locations(answer: Any) -> list[list[Any]]:
    """The fields that an answer 422 names."""
    assert answer.status_code == 422, answer.text
    return [one["loc"][1:] for one in answer.json()["detail"]]


@every_host
def test_version_and_schema(stage: Stage) -> None:
    """The version, and the settings table as a JSON schema with what the two routes take."""
    assert client(stage).get("/detailer/v1/version").json() == {"version": VERSION}
    schemas = client(stage).get("/detailer/v1/schema").json()
    assert schemas["unit"] == json_schema()
    assert {"image", "unit", "preview"} == set(schemas["detect"]["properties"])
    assert {"image", "mask", "units", "prompt", "seed", "steps"} <= set(schemas["detail"]["properties"])


def test_the_routes_are_in_the_hosts_documentation(stage: Stage) -> None:
    """/docs shows what to send."""
    paths = client(stage).get("/openapi.json").json()["paths"]
    assert "units" in str(paths["/detailer/v1/detail"]["post"]["requestBody"]) and "/detailer/v1/detectors" in paths


def test_detectors(stage: Stage, tmp_path: Path) -> None:
    """Names and kinds, classes where they are known, and a problem for a file that cannot be used."""
    folder = stage.script().workshop.shelf.folders.models_root / "detailer"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "broken.pt").write_bytes(b"no model")
    try:
        found = {one["name"]: one for one in client(stage).get("/detailer/v1/detectors").json()["detectors"]}
        short = client(stage).get("/detailer/v1/detectors", params={"classes": False}).json()["detectors"]
    finally:
        (folder / "broken.pt").unlink()
    assert found["face_haar"]["kind"] == "builtin"
    assert found["face_haar"]["classes"] == ["face"] or "OpenCV" in found["face_haar"]["problem"]  # OpenCV 5 is without it
    assert found["broken.pt"]["kind"] == "yolo" and found["broken.pt"]["classes"] == [] and found["broken.pt"]["problem"]
    assert [one["name"] for one in short] == list(found) and "classes" not in short[0]


@every_host
def test_detect(stage: Stage) -> None:
    """Boxes, labels and confidence of what a unit would work on, and nothing is drawn by the model."""
    answer = client(stage).post("/detailer/v1/detect", json={"image": encoded(picture()), "unit": UNIT})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert (found["width"], found["height"], found["detector"]) == (128, 128, "spots")
    assert [tuple(one["box"]) for one in found["segments"]] == cells(2)
    assert found["segments"][0] | {"crop": 0} == {"number": 1, "label": "spot", "confidence": 1.0, "box": list(cells(1)[0]), "crop": 0}
    assert "preview" not in found and stage.world.sampler_log == []


def test_detect_with_a_preview(stage: Stage) -> None:
    """The preview is the picture with something drawn into it."""
    answer = client(stage).post("/detailer/v1/detect", json={"image": "data:image/png;base64," + encoded(picture()), "unit": UNIT, "preview": True})
    preview = decoded(answer.json()["preview"])
    assert preview.size == (128, 128) and difference(preview, picture()).max() > 0


def test_detect_of_the_whole_picture(stage: Stage) -> None:
    """Settings that are left out have the table's defaults."""
    found = client(stage).post("/detailer/v1/detect", json={"image": encoded(picture()), "unit": {"detector": "whole"}}).json()
    assert [one["box"] for one in found["segments"]] == [[0, 0, 128, 128]]


def test_adetailers_arguments_are_understood(stage: Stage) -> None:
    """A unit may be one of ADetailer's tabs; sizes are those of the picture that was sent."""
    body = {"image": encoded(picture()), "unit": {"ad_model": "spots", "ad_mask_k_largest": 1}}
    assert len(client(stage).post("/detailer/v1/detect", json=body).json()["segments"]) == 1
    off = client(stage).post("/detailer/v1/detect", json={**body, "unit": {"ad_model": "None"}})
    assert locations(off) == [["unit"]]


@every_host
def test_detail(stage: Stage) -> None:
    """The picture comes back with its spots redrawn, nothing else changed, and a report of each part; no main picture is made."""
    answer = detail(stage, prompt="a face", negative_prompt="bad")
    assert answer.status_code == 200, answer.text
    done = answer.json()
    changed = difference(decoded(done["image"]), picture())
    assert changed[inside(cells(2))].any() and not changed[~inside(cells(2), grow=2)].any()
    (unit,) = done["units"]
    assert (unit["unit"], unit["detector"], [one["state"] for one in unit["segments"]]) == (1, "spots", ["done", "done"])
    assert [(one["number"], one["seed"], one["prompt"], one["size"]) for one in unit["segments"]] == [(1, 7, "a face", [64, 64]),
                                                                                                         (2, 8, "a face", [64, 64])]
    assert done["changed"] is True and done["seed"] == 7 and done["parameters"]["Detailer detector"] == "spots"
    assert len(stage.world.sampler_log) == 1 and stage.world.sampler_log[0].negative_prompts == ("bad", "bad")
    assert stage.world.reports == []


@every_host
def test_detail_twice_is_the_same(stage: Stage) -> None:
    """The same request gives the same picture, whatever was made between."""
    first = detail(stage).json()["image"]
    stage.txt2img({}, prompt="other")
    assert np.array_equal(np.asarray(decoded(detail(stage).json()["image"])), np.asarray(decoded(first)))


def test_detail_leaves_no_trace(stage: Stage) -> None:
    """The host's state, options and params.txt are afterwards what they were, and the queue is free."""
    world = stage.world
    stage.txt2img(prompt="before")
    kept = (world.folder / "params.txt").read_bytes(), dict(world.shared.opts.data)
    assert detail(stage).status_code == 200
    assert ((world.folder / "params.txt").read_bytes(), dict(world.shared.opts.data)) == kept
    assert world.shared.state.job == "" and world.module("call_queue").queue_lock.acquire(blocking=False)
    world.module("call_queue").queue_lock.release()


def test_detail_waits_in_the_hosts_queue(stage: Stage) -> None:
    """Nothing is drawn while the host makes a picture."""
    lock, answers = stage.world.module("call_queue").queue_lock, []
    lock.acquire()
    thread = threading.Thread(target=lambda: answers.append(detail(stage)))
    try:
        thread.start()
        thread.join(0.3)
        assert answers == [] and stage.world.sampler_log == []
    finally:
        lock.release()
    thread.join(60)
    assert answers[0].status_code == 200


def test_detail_with_a_mask(stage: Stage) -> None:
    """Only what is white in the mask is changed."""
    mask = Image.new("L", (128, 128))
    mask.paste(255, (0, 0, 32, 32))
    done = detail(stage, mask=encoded(mask)).json()
    changed = difference(decoded(done["image"]), picture())
    assert changed[inside(cells(1))].any() and not changed[:, 34:].any()


def test_detail_tells_what_failed(stage: Stage) -> None:
    """A part that cannot be redrawn is reported; the picture comes back."""
    stage.spots.error = RuntimeError("boom")
    done = detail(stage).json()
    assert done["changed"] is False and done["units"] == [] and "boom" in done["messages"][0]
    assert np.array_equal(np.asarray(decoded(done["image"])), np.asarray(picture()))


def test_detail_of_several_units(stage: Stage) -> None:
    """Units work one after another; one that is off is left out and keeps its number."""
    done = detail(stage, units=[UNIT, {**UNIT, "enable": False}, {**UNIT, "prompt": "blue"}]).json()
    assert [one["unit"] for one in done["units"]] == [1, 3]
    assert done["units"][1]["segments"][0]["prompt"] == "blue"


@pytest.mark.parametrize(("body", "where"), [
    ({"image": ""}, [["image"]]), ({"image": None}, [["image"]]), ({"image": 3}, [["image"]]), ({"image": "?"}, [["image"]]),
    ({"image": base64.b64encode(b"no picture").decode()}, [["image"]]), ({"image": "http://127.0.0.1/a.png"}, [["image"]]),
    ({"units": []}, [["units"]]), ({"units": {"detector": "spots"}}, [["units"]]), ({"units": ["spots"]}, [["units", 0]]),
    ({"units": [{**UNIT, "denois": 1}, {**UNIT, "denoise": 9}]}, [["units", 0, "denois"], ["units", 1, "denoise"]]),
    ({"units": [{"detector": "gone"}]}, [["units", 0, "detector"]]), ({"steps": 0}, [["steps"]]),
    ({"steps": "many", "seed": -2}, [["steps"], ["seed"]]),
    ({"sampler_name": "gone"}, [["sampler_name"]]), ({"scheduler": "gone"}, [["scheduler"]]), ({"promt": "x"}, [["promt"]]),
    ({"mask": "?"}, [["mask"]]), ({"units": [{"ad_model": "spots", "ad_mask": 1}]}, [["units", 0, "ad_mask"]]),
])
def test_what_is_wrong_is_told_with_its_field(stage: Stage, body: dict[str, Any], where: list[list[Any]]) -> None:
    """Each field that is wrong is named, and nothing is drawn."""
    assert locations(detail(stage, **body)) == where
    assert stage.world.sampler_log == []


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"3", b"[" * 100_000, b"\xff"])
def test_what_is_no_mapping_is_refused(stage: Stage, content: bytes) -> None:
    """Anything but a JSON mapping is an answer 422."""
    assert locations(client(stage).post("/detailer/v1/detail", content=content)) == [[]]


def test_a_picture_that_is_too_large_is_refused(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its header, before its pixels take memory; the settings say how large one may be."""
    monkeypatch.setitem(stage.world.shared.opts.data, "detailer_api_megapixels", 1)
    small, large = Image.new("L", (1000, 1000)), Image.new("L", (1001, 1000))
    assert detail(stage, image=encoded(small), units=[{"detector": "whole", "enable": False}]).status_code == 200
    refused = detail(stage, image=encoded(large))
    assert refused.status_code == 413 and "megapixel" in refused.json()["detail"][0]["msg"]


def test_a_bomb_is_refused(stage: Stage) -> None:
    """A small file that says it has very many pixels is refused."""
    header = io.BytesIO()
    Image.new("1", (8, 8)).save(header, "PNG")
    data = bytearray(header.getvalue())
    data[16:24] = (60_000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, "big")
    answer = detail(stage, image=base64.b64encode(bytes(data)).decode())
    assert answer.status_code == 413


def test_a_body_that_is_too_large_is_refused(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is sent is counted while it comes."""
    monkeypatch.setattr(import_module("detailer_webui.api_requests"), "MOST_BYTES", 2**20)
    assert client(stage).post("/detailer/v1/detect", content=b" " * (2**20 + 1)).status_code == 413


@pytest.mark.parametrize("path", ["version", "schema", "detectors", "detect", "detail"])
def test_strangers_are_turned_away(locked: Stage, path: str) -> None:
    """Each route wants the host's own password, and asks for it before it reads anything."""
    stranger, known = client(locked), client(locked)
    known.auth = ("me", "secret")
    method = "POST" if path in ("detect", "detail") else "GET"
    assert stranger.request(method, f"/detailer/v1/{path}", content=b"{").status_code == 401
    assert known.request(method, f"/detailer/v1/{path}", content=b"{").status_code == (422 if method == "POST" else 200)


def test_without_the_hosts_api_there_are_no_routes(tmp_path: Path) -> None:
    """Who has not asked for an API has none of ours either."""
    with standin.install(host="a1111-1.10.1", tmp_path=tmp_path) as world:
        world.shared.cmd_opts.api = False
        stage = scenes.load(world)
        assert client(stage).get("/detailer/v1/version").status_code == 404
        assert world.reports == []


def test_without_a_known_password_there_are_no_routes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that asks for the password in another way gets no open door."""
    with standin.install(host="a1111-1.10.1", tmp_path=tmp_path) as world:
        stage = scenes.load(world)
        world.shared.cmd_opts.api_auth = "me:secret"
        app = FastAPI()
        app.add_api_route("/sdapi/v1/txt2img", lambda: None, methods=["POST"])
        import_module("detailer_webui.api").add_routes(app)
        assert stage is not None and not any(str(getattr(r, "path", "")).startswith("/detailer") for r in app.routes)
