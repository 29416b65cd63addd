"""The README's examples of the API are right: what they send is taken, what they show is answered."""

from __future__ import annotations

import json
import re
from importlib import import_module
from typing import Any

import pytest
from scenes import REPOSITORY, UNIT, Stage, picture
from test_detailer_api_check import client, encoded

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
BLOCKS = [json.loads(text) for text in re.findall(r"```json\n(.*?)```", README, re.DOTALL)]


@pytest.mark.parametrize("block", [block for block in BLOCKS if "alwayson_scripts" in block])
def test_requests_can_be_read(stage: Stage, block: dict[str, Any]) -> None:
    """Every unit that an example sends has settings that exist and are in range."""
    requested = import_module("detailer_webui.fields").units_from_args(block["alwayson_scripts"]["Detailer"]["args"])
    assert len(requested.units) == 2 and requested.problems == ()


def test_the_shown_answer_is_the_answer(stage: Stage) -> None:
    """The example of an error is what a client gets."""
    (shown,) = [block for block in BLOCKS if "detail" in block]
    body = {"prompt": "x", "alwayson_scripts": {"Detailer": {"args": [True, {**UNIT, "denois": 0.3}]}}}
    assert client(stage).post("/sdapi/v1/txt2img", json=body).json()["detail"] == shown["detail"]


def test_the_python_example_sends_what_is_taken(stage: Stage) -> None:
    """The fields of the example are those of the route, and what it reads is in the answer."""
    (code,) = re.findall(r"```python\n(.*?)```", README[README.index("## API"):README.index("## Moving over")], re.DOTALL)
    (body,) = re.findall(r"^body = (.*)$", code, re.MULTILINE)
    sent = eval(body, {"picture": lambda path: encoded(picture())})  # our own README
    answer = client(stage).post("/detailer/v1/detail", json={**sent, "units": [UNIT], "steps": 2})
    assert answer.status_code == 200, answer.text
    assert set(re.findall(r'answer\["(\w+)"\]', code)) <= set(answer.json())


def test_the_routes_in_the_table_exist(stage: Stage) -> None:
    """Each route that the README names is there, with that method."""
    routes = {(method, route.path) for route in stage.world.extension.app.routes for method in getattr(route, "methods", None) or ()}  # type: ignore[union-attr]
    named = re.findall(r"`(GET|POST) (/detailer/v1/\w+)`", README)
    assert len(named) == 5 and set(named) <= routes
