"""Detailer's arguments in the host's own API: a wrong one is an answer 422 that names the field, before anything is drawn."""

from __future__ import annotations

import base64
import io
import shutil
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import scenes
import standin
from fastapi import FastAPI
from fastapi.testclient import TestClient
from scenes import REPOSITORY, UNIT, Stage, picture
from test_adetailer_host import NEIGHBOUR

every_host = pytest.mark.parametrize("played", list(standin.HOSTS), indirect=True, scope="module")
SMALL = {"prompt": "a face", "width": 128, "height": 128, "steps": 2}


def client(stage: Stage, **rest: Any) -> TestClient:
    """A client of the played host's web server."""
    assert stage.world.extension is not None
    return TestClient(stage.world.extension.app, raise_server_exceptions=False, **rest)


def ask(stage: Stage, args: Any, title: str = "Detailer", **fields: Any) -> Any:
    """The answer to a request for a picture with these arguments of Detailer's."""
    return client(stage).post("/sdapi/v1/txt2img", json={**SMALL, **fields, "alwayson_scripts": {title: {"args": args}}})


def encoded(image: Any) -> str:
    """A picture as base64."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def first(answer: Any) -> dict[str, Any]:
    """The first problem that an answer 422 tells."""
    assert answer.status_code == 422, answer.text
    return dict(answer.json()["detail"][0])


@every_host
def test_right_arguments_make_a_picture(stage: Stage) -> None:
    """What is right goes through to the host as it was sent."""
    answer = ask(stage, [True, UNIT])
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["images"]) == 1
    assert len(stage.detail_calls) == 1 and "Detailer detector: spots" in answer.json()["info"]


@every_host
@pytest.mark.parametrize(("args", "loc", "words"), [
    ([True, {"detector": "spots", "denois": 0.5}], [1, "denois"], "did you mean 'denoise'"),
    ([True, {"detector": "spots", "denoise": 2}], [1, "denoise"], "0..1"),
    ([True, UNIT, {"detector": "gone"}], [2, "detector"], "not found"),
    ([True, {**UNIT, "sampler": "Euler b"}], [1, "sampler"], "did you mean"),
    ([True, {**UNIT, "checkpoint": "gone"}], [1, "checkpoint"], "not found"),
    ([True, {**UNIT, "prompt": "__gone__"}], [1, "prompt"], "gone"),
    ([True, {**UNIT, "hooks": "twist 3"}], [1, "hooks"], "twist"),
    ([True, {**UNIT, "enable": 1}], [1, "enable"], "true or false"),
    (["yes", UNIT], [0], "true or false"),
    ([True, 0.4, 3], [], "expected a mapping"),
    ({"detector": "spots"}, [], "a list such as"),
    ("on", [], "a list such as"),
    ([True, {"ad_model": "spots", "ad_denoise_strength": 0.3}], [1, "ad_denoise_strength"], "did you mean 'ad_denoising_strength'"),
])
def test_wrong_arguments_are_told_with_their_field(stage: Stage, args: Any, loc: list[Any], words: str) -> None:
    """The answer names the field where FastAPI would, says what was meant, and nothing was drawn."""
    problem = first(ask(stage, args))
    assert problem["loc"] == ["body", "alwayson_scripts", "Detailer", "args", *loc]
    assert words in problem["msg"] and problem["type"] == "value_error"
    assert stage.world.sampler_log == []


def test_all_that_is_wrong_is_told_at_once(stage: Stage) -> None:
    """Who sends two wrong units learns of both."""
    detail = ask(stage, [True, {"denois": 1}, UNIT, {"detector": "gone"}]).json()["detail"]
    assert [one["loc"][-2:] for one in detail] == [[1, "denois"], [3, "detector"]]


def test_what_is_switched_off_is_not_checked(stage: Stage) -> None:
    """A unit that is off, and Detailer switched off, may hold anything."""
    assert ask(stage, [False, {"denois": 1}]).status_code == 200
    assert ask(stage, [True, {"enable": False, "denois": 1}]).status_code == 200
    assert stage.detail_calls == []


def test_more_values_than_the_host_takes_are_refused(stage: Stage) -> None:
    """The host would silently drop what is too much."""
    problem = first(ask(stage, [True, *[UNIT] * 1000]))
    assert "at most" in problem["msg"] and problem["loc"][-1] == "args"


def test_upper_and_lower_case_of_the_name_do_not_matter(stage: Stage) -> None:
    """As the host finds the script by any case, the check does; the answer names what the client wrote."""
    assert first(ask(stage, [True, {"denois": 1}], title="DETAILER"))["loc"][2] == "DETAILER"


def test_img2img_is_checked_too(stage: Stage) -> None:
    """The second route has the same check, with its own script."""
    body = {"prompt": "x", "init_images": [encoded(picture())], "steps": 2, "denoising_strength": 0.3}
    bad = client(stage).post("/sdapi/v1/img2img", json={**body, "alwayson_scripts": {"Detailer": {"args": [True, {"denois": 1}]}}})
    good = client(stage).post("/sdapi/v1/img2img", json={**body, "alwayson_scripts": {"Detailer": {"args": [True, UNIT]}}})
    assert first(bad)["loc"][-1] == "denois"
    assert good.status_code == 200 and len(stage.detail_calls) == 1


def test_requests_without_detailer_are_left_alone(stage: Stage) -> None:
    """No script, another script, and what the host itself refuses, answer as without Detailer."""
    assert client(stage).post("/sdapi/v1/txt2img", json=SMALL).status_code == 200
    assert client(stage).post("/sdapi/v1/txt2img", json={**SMALL, "sampler_name": "gone"}).status_code == 400
    assert client(stage).post("/sdapi/v1/txt2img", content=b"{").status_code == 422
    missing = client(stage).post("/sdapi/v1/txt2img", json={**SMALL, "alwayson_scripts": {"Other": {"args": []}}})
    assert missing.status_code == 422 and missing.json()["detail"] == "Script 'Other' not found"
    assert client(stage).get("/sdapi/v1/txt2img").status_code == 405


def test_a_large_request_goes_through(stage: Stage) -> None:
    """Nothing of the check depends on how large a picture is sent."""
    body = {"prompt": "x" * 2_000_000, "steps": 1, "width": 64, "height": 64, "alwayson_scripts": {"Detailer": {"args": [True, {"denois": 1}]}}}
    assert first(client(stage).post("/sdapi/v1/txt2img", json=body))["loc"][-1] == "denois"


@pytest.fixture(params=["a1111-1.10.1", "forge"])
def locked(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    """A host whose API wants a password."""
    with standin.install(host=request.param, tmp_path=tmp_path) as world:
        world.shared.cmd_opts.api_auth = "me:secret"
        yield scenes.load(world)


def test_a_stranger_learns_nothing(locked: Stage) -> None:
    """Without the password the answer is 401, whatever is asked; with it, the field is told."""
    assert ask(locked, [True, {"denois": 1}]).status_code == 401
    known = client(locked)
    known.auth = ("me", "secret")
    answer = known.post("/sdapi/v1/txt2img", json={**SMALL, "alwayson_scripts": {"Detailer": {"args": [True, {"denois": 1}]}}})
    assert first(answer)["loc"][-1] == "denois"


def test_adetailers_clients_get_detailer(stage: Stage) -> None:
    """Where ADetailer is not installed, what was sent to it is done here; what cannot be is noted in the picture."""
    answer = ask(stage, [True, False, {"ad_model": "spots", "ad_denoising_strength": 0.3, "ad_dynamic_denoise_power": 2}], title="ADetailer")
    assert answer.status_code == 200, answer.text
    assert "Detailer detector: spots" in answer.json()["info"] and "ad_dynamic_denoise_power" in answer.json()["info"]


@pytest.mark.parametrize("args", [[False, False, {"ad_model": "spots"}], [True, False, {}], [True], [], [{"ad_model": "None"}]])
def test_adetailers_clients_that_switch_it_off_get_a_picture(stage: Stage, args: list[Any]) -> None:
    """What was off there is off here."""
    answer = ask(stage, args, title="ADetailer")
    assert answer.status_code == 200, answer.text
    assert "Detailer detector" not in answer.json()["info"]


def test_adetailers_clients_are_told_of_their_own_place(stage: Stage) -> None:
    """The answer names script, place and argument as the client wrote them."""
    problem = first(ask(stage, [True, False, {"ad_model": "spots", "ad_mask_blurr": 4}], title="adetailer"))
    assert problem["loc"] == ["body", "alwayson_scripts", "adetailer", "args", 2, "ad_mask_blurr"]


def test_adetailers_clients_can_be_left_alone(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is not wanted, the host answers as without Detailer."""
    monkeypatch.setitem(stage.world.shared.opts.data, "detailer_adetailer", "never")
    assert ask(stage, [True, False, {"ad_model": "spots"}], title="ADetailer").json()["detail"] == "Script 'ADetailer' not found"


def test_with_both_installed_each_gets_its_own(tmp_path: Path) -> None:
    """ADetailer's arguments go to ADetailer where it is installed, whatever is in them."""
    folder = tmp_path / "extension"
    (folder / "scripts").mkdir(parents=True)
    shutil.copy(REPOSITORY / "scripts" / "detailer.py", folder / "scripts")
    (folder / "scripts" / "!adetailer.py").write_text(NEIGHBOUR, encoding="utf-8")
    with standin.install(host="a1111-1.10.1", tmp_path=tmp_path / "host") as world:
        stage = scenes.load(world, folder=folder)
        both = {"ADetailer": {"args": [True, False, {"ad_modle": "x"}]}, "Detailer": {"args": [True, UNIT]}}
        answer = client(stage).post("/sdapi/v1/txt2img", json={**SMALL, "alwayson_scripts": both})
        assert answer.status_code == 200, answer.text
        assert len(stage.detail_calls) == 1


def test_other_routes_are_untouched(stage: Stage) -> None:
    """Only the two routes that make pictures call something else than before, once, also after "Reload UI"."""
    check = standin_module("detailer_webui.api_check")
    app = stage.world.extension.app  # type: ignore[union-attr]
    wrapped = {r.path for r in app.routes if hasattr(getattr(getattr(r, "dependant", None), "call", None), "_detailer_checks")}
    assert wrapped == set(check.TABS)
    before = [r.dependant.call for r in app.routes if getattr(r, "path", "") in check.TABS]
    check.check_host_routes(app)
    assert [r.dependant.call for r in app.routes if getattr(r, "path", "") in check.TABS] == before


def test_a_host_whose_route_is_a_coroutine_is_checked_as_well(stage: Stage) -> None:
    """An extension may have put a coroutine in the route's place."""
    app, seen = FastAPI(), []

    async def make(request: Any) -> dict[str, bool]:
        seen.append(request)
        return {"made": True}

    make.__annotations__["request"] = stage.world.module("api.models").StableDiffusionTxt2ImgProcessingAPI
    app.add_api_route("/sdapi/v1/txt2img", make, methods=["POST"])
    standin_module("detailer_webui.api_check").check_host_routes(app)
    asked = [TestClient(app).post("/sdapi/v1/txt2img", json={"alwayson_scripts": {"Detailer": {"args": [True, unit]}}})
             for unit in ({"denois": 1}, UNIT)]
    assert first(asked[0])["loc"][-1] == "denois"
    assert asked[1].json() == {"made": True} and len(seen) == 1


def standin_module(name: str) -> Any:
    """A module of the extension as the played host has it."""
    return import_module(name)
