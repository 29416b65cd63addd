"""ADetailer's "skip img2img": the img2img picture is detailed as it is, and nothing is generated."""

from __future__ import annotations

import base64
import io
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest
import standin
from PIL import Image
from scenes import Stage, cells, difference, inside, notes, picture
from test_detailer_api_check import client, encoded

every_host = pytest.mark.parametrize("played", list(standin.HOSTS), indirect=True, scope="module")
TAB: dict[str, Any] = {"ad_model": "spots", "ad_denoising_strength": 0.8}


def ask(stage: Stage, args: list[Any], *, path: str = "img2img", title: str = "ADetailer", **fields: Any) -> Any:
    """The host's answer to such a request."""
    body = {"prompt": "a face", "width": 64, "height": 64, "steps": 2, "denoising_strength": 0.9, **fields,
            "alwayson_scripts": {title: {"args": args}}}
    if path == "img2img":
        body["init_images"] = [encoded(picture())]
    answer = client(stage).post(f"/sdapi/v1/{path}", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def strengths(stage: Stage) -> set[float]:
    """Denoising strengths of all that was sampled; 0.9 is the main generation's."""
    return {call.denoising_strength for call in stage.world.sampler_log}


@every_host
@pytest.mark.parametrize(("title", "args"), [("ADetailer", [True, True, TAB]), ("Detailer", [True, True, TAB]),
                                             ("Detailer", [True, {**TAB, "ad_skip_img2img": True}]), ("adetailer", [True, True, {}, TAB])])
def test_the_picture_is_detailed_as_it_is(stage: Stage, title: str, args: list[Any]) -> None:
    """Its size and all that is no part stay; the guide size is the request's, as there."""
    answer = ask(stage, args, title=title)
    result = Image.open(io.BytesIO(base64.b64decode(answer["images"][0])))
    changed = difference(picture(), result) > 0
    assert changed[inside(cells(2))].any() and not changed[~inside(cells(2), grow=16)].any()
    assert strengths(stage) == {0.8} and "Detailer guide size: 64, Detailer guide size for: crop, Detailer max size: 64" in answer["info"]
    assert "Detailer detector: spots" in answer["info"] and "not taken over" not in answer["info"] and stage.world.reports == []


@every_host
@pytest.mark.parametrize("args", [[True, False, TAB], [True, TAB], [{**TAB, "ad_skip_img2img": False}], [True, True, {"ad_model": "None"}],
                                  [False, True, TAB]])
def test_else_it_is_generated_first(stage: Stage, args: list[Any]) -> None:
    """Without the argument, and where no tab is on, img2img is what it always is."""
    ask(stage, args)
    assert 0.9 in strengths(stage)


def test_in_txt2img_it_means_nothing(stage: Stage) -> None:
    """There is no picture that could be left as it is, and nothing is told of it."""
    answer = ask(stage, [True, True, TAB], path="txt2img")
    assert strengths(stage) == {0.8, 0.9} and "Detailer note" not in answer["info"]


def test_another_script_goes_before(stage: Stage) -> None:
    """A client that has chosen a script gets that one, and the picture says what was not done, and how to do it."""
    asked = {"Detailer": {"args": [True, {**TAB, "ad_skip_img2img": True}]}}
    request = SimpleNamespace(script_name="X/Y/Z plot", script_args=[1], alwayson_scripts=asked)
    import_module("detailer_webui.adetailer_requests").choose_script(request, "img2img")
    assert (request.script_name, request.script_args, request.alwayson_scripts) == ("X/Y/Z plot", [1], asked)
    assert "ad_skip_img2img: the picture is generated before it is detailed; choose Detailer" in notes(stage.img2img(args=asked["Detailer"]["args"]))
