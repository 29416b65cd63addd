"""Settings go into a picture's generation parameters and come back from them, through the host's own writing and reading."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest
import standin
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from scenes import Stage

from detailer_core.errors import SettingsError
from detailer_core.settings import Option, UnitSettings, make_settings, options

every_host = pytest.mark.parametrize("played", list(standin.HOSTS), indirect=True, scope="module")

PIECES = ['"', '""', ",", ":", ": ", "\n", "\\", "\\n", " ", "\t", "\r", "é", "日本", "🙂", "\u2028", "\x00", "\ud800", "json:", "64x64",
          "Steps: 5", "Negative prompt:", "Detailer", "Detailer prompt", "<lora:a:1>", "[SEP]", "None",
          "True", "a", "b c", "'", "{", "}", "=", "Size: 1x1, Seed: 3"]
TEXT = st.one_of(st.text(max_size=12), st.lists(st.sampled_from(PIECES), max_size=6).map("".join))


def values_of(option: Option) -> st.SearchStrategy[Any]:
    """Every value that the option allows."""
    if option.kind == "bool":
        found: st.SearchStrategy[Any] = st.booleans()
    elif option.choices:
        found = st.sampled_from(option.choices)
    elif option.kind == "text":
        found = TEXT
    elif option.kind == "int":
        found = st.integers(int(option.minimum or 0), int(option.maximum or 0))
    else:
        found = st.floats(option.minimum, option.maximum)
    return st.none() | found if option.optional else found


@st.composite
def units(draw: st.DrawFn) -> UnitSettings:
    """Random settings of one unit; about half of the options have another value than the default."""
    given_values = {name: draw(values_of(option)) for name, option in options().items() if draw(st.booleans())}
    if given_values.get("min_ratio", 0.0) > given_values.get("max_ratio", 1.0):
        given_values.pop("min_ratio")
    if given_values.get("min_side", 0) > given_values.get("max_side", 0):
        given_values.pop("min_side")
    if given_values.get("control_start", 0.0) > given_values.get("control_end", 1.0):
        given_values.pop("control_start")
    return make_settings(given_values)


def round_trip(stage: Stage, wanted: list[UnitSettings]) -> tuple[tuple[UnitSettings, ...], dict[str, Any]]:
    """The settings as they come back from an infotext of the host, and what else stands there."""
    infotext, utils = import_module("detailer_webui.infotext"), stage.world.module("infotext_utils")
    entries = {"Steps": 4, "Sampler": "Euler", "Seed": 1, "Size": "64x64", **infotext.write(wanted), "Version": "1"}
    text = ", ".join(key if key == value else f"{key}: {utils.quote(value)}" for key, value in entries.items())
    params = utils.parse_generation_parameters(f"a face\nNegative prompt: bad\n{text}")
    return infotext.read(params), params


slow = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@slow
@given(wanted=st.lists(units(), min_size=1, max_size=3))
@example(wanted=[make_settings({"prompt": '"quoted"'}), make_settings({"prompt": "64x64"})])
@example(wanted=[make_settings({"prompt": "Detailer prompt", "refiner_prompt": " spaces "})])
@example(wanted=[make_settings({"prompt": "json:a", "labels": "\ud800"})])
def test_settings_survive_the_infotext(stage: Stage, wanted: list[UnitSettings]) -> None:
    """Any settings of several units, with text of any kind, come back equal, and nothing else of the infotext is disturbed."""
    back, params = round_trip(stage, wanted)
    assert list(back) == wanted
    assert (params["Prompt"], params["Negative prompt"], params["Steps"], params["Size-1"], params["Version"]) == ("a face", "bad", "4", "64", "1")


@slow
@given(unit=units())
def test_settings_survive_the_page(stage: Stage, unit: UnitSettings) -> None:
    """Settings become values of the page's fields, and the same settings again."""
    fields = import_module("detailer_webui.fields")
    values = fields.fields_from_settings(unit)
    assert [field.key for field in fields.unit_fields(0)] == ["enable", *list(values)[1:]]
    assert fields.settings_from_fields(values) == unit
    ordered = [values[field.key] for field in fields.unit_fields(0)]
    assert fields.units_from_args([True, *ordered]).units == {1: unit}


UNIT = {"detector": "spots", "prompt": 'a "face", old: 64', "steps": 9,
        "sampler": "Euler a", "drop_size": 1, "seed": 2**32 - 1, "guide_size": 64, "max_size": 64}


@every_host
def test_paste_sets_the_page(stage: Stage) -> None:
    """A picture made with two units, pasted: the page's values are arguments that make the same picture again."""
    made = stage.txt2img(UNIT, {"denoise": 0.55, "cfg": 4.5})
    loaded = stage.world.extension
    assert loaded is not None
    script = stage.script()
    args = [value["value"] if isinstance(value, dict) else value for _, value in loaded.paste(made.infotexts[0])]
    again = stage.txt2img(args=args)
    assert again.infotexts == made.infotexts and len(args) == script.args_to - script.args_from


def test_paste_of_fewer_units_switches_the_others_off(stage: Stage) -> None:
    """The second unit is switched off by the paste of a picture with one, and all of Detailer by one without."""
    made = [stage.txt2img(UNIT), stage.txt2img()]
    states = []
    for result in made:
        values = {component.elem_id: value for component, value in stage.world.extension.paste(result.infotexts[0])}  # type: ignore[union-attr]
        switches = [values.get(f"script_txt2img_detailer_{name}") for name in ("enabled-checkbox", "unit_1_enable", "unit_2_enable")]
        states.append([value["value"] if isinstance(value, dict) else value for value in switches])
    assert states == [[True, True, False], [False, None, None]]


@pytest.mark.parametrize("spoilt", [
    {"Detailer steps": "many"}, {"Detailer mask shape": "star"}, {"Detailer prompt": "json:{"}, {"Detailer steps": "0"}])
def test_spoilt_infotext_sets_nothing(stage: Stage, spoilt: dict[str, str]) -> None:
    """Values that cannot be read, as in an edited picture, set nothing; reading them says which."""
    infotext = import_module("detailer_webui.infotext")
    lines = {key: str(value) for key, value in infotext.write([UnitSettings()]).items()} | spoilt
    assert infotext.read_or_none(lines) == ()
    with pytest.raises(SettingsError):
        infotext.read(lines)


def test_labels_are_unique(stage: Stage) -> None:
    """No two options of two units have the same label, and each label is one that the host can read back."""
    infotext = import_module("detailer_webui.infotext")
    labels = [infotext.label(unit, option) for unit in range(3) for option in options().values()]
    assert len({*labels, "Detailer", "Detailer note"}) == len(labels) + 2
    parse = stage.world.module("infotext_utils").re_param.findall
    assert all(parse(f"{label}: 1") == [(label, "1")] for label in labels)
