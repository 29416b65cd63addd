"""The table of settings: every option's range, types, texts, and what is built from the table."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detailer_core.errors import SettingsError
from detailer_core.settings import (
    Option,
    UnitSettings,
    changed_values,
    check_value,
    json_schema,
    make_settings,
    markdown_table,
    options,
    parse_assignments,
)

OPTIONS = list(options().values())
NUMBERS = [o for o in OPTIONS if o.kind in ("int", "float")]
CHOICES = [o for o in OPTIONS if o.kind == "choice"]
BOOLS = [o for o in OPTIONS if o.kind == "bool"]
TEXTS = [o for o in OPTIONS if o.kind == "text"]


def name(option: Option) -> str:
    """For the ids of tests."""
    return option.name


def refused(values: dict[str, Any], text: str) -> None:
    """The values are refused with this text, and the error names the option."""
    with pytest.raises(SettingsError, match=text) as caught:
        make_settings(values)
    assert caught.value.field == next(iter(values))


def test_nothing_given_is_every_default() -> None:
    """The table's defaults are the dataclass's, and lie in their own ranges."""
    assert make_settings() == make_settings({}) == UnitSettings()
    for option in OPTIONS:
        assert check_value(option, option.default) == option.default


@pytest.mark.parametrize("option", OPTIONS, ids=name)
def test_every_option_is_described(option: Option) -> None:
    """Label, help, a group, and a range for every number; an optional number says where its slider starts."""
    assert option.label
    assert option.help.endswith(".")
    assert option.infotext
    assert "|" not in option.help, "the README's table is divided by it"
    if option.kind in ("int", "float"):
        assert option.minimum is not None
        assert option.maximum is not None
        assert option.step is not None
        assert option.minimum < option.maximum
        start = option.default if option.default is not None else option.shown
        assert isinstance(start, (int, float))
        assert option.minimum <= start <= option.maximum


def test_names_and_labels_are_each_used_once() -> None:
    """Infotext, pages and axes find an option by its label."""
    for field in ("name", "label", "infotext"):
        values = [getattr(o, field) for o in OPTIONS]
        assert len(set(values)) == len(values)


@pytest.mark.parametrize("option", NUMBERS, ids=name)
def test_ranges_include_their_ends_and_nothing_beyond(option: Option) -> None:
    """Both ends are taken, as number and as text; one step beyond is refused with the range in the message."""
    low, high = option.minimum, option.maximum
    assert low is not None
    assert high is not None
    for value in (low, high):
        given_value = int(value) if option.kind == "int" else float(value)
        partner = {"max_ratio": 1.0} if option.name == "min_ratio" else {}
        for written in (given_value, str(given_value)):
            got = getattr(make_settings({option.name: written, **partner}), option.name)
            assert got == given_value
            assert type(got) is (int if option.kind == "int" else float)
    beyond = 1 if option.kind == "int" else 1e-6
    for value in (low - beyond, high + beyond):
        refused({option.name: int(value) if option.kind == "int" else value}, rf"^{option.name} \(.*\): it must lie in .*\.\..*, got ")


@pytest.mark.parametrize("option", NUMBERS, ids=name)
@pytest.mark.parametrize("value", ["abc", "1,5", [], {}, True, float("nan"), float("inf"), "nan", "1e400", object()], ids=str)
def test_what_is_no_number_is_refused(option: Option, value: object) -> None:
    """The message says what is wanted and what was got; true is no number."""
    refused({option.name: value}, rf"^{option.name} \(.*\): it must be a (whole )?number, got ")


@pytest.mark.parametrize("option", [o for o in NUMBERS if o.kind == "int"], ids=name)
@pytest.mark.parametrize("value", [1.5, "1.5", "1e1", 10**400, "9" * 5000], ids=["1.5", "'1.5'", "'1e1'", "10**400", "5000 digits"])
def test_whole_numbers_are_whole_and_finite(option: Option, value: object) -> None:
    """A fraction is not rounded, and a number beyond all measure is refused like any other."""
    refused({option.name: value}, rf"^{option.name} \(.*\): it must be a whole number, got ")


def test_whole_floats_are_whole_numbers() -> None:
    """Sliders give 8.0 for 8."""
    assert make_settings({"feather": 8.0}).feather == 8
    assert type(make_settings({"feather": 8.0}).feather) is int
    assert make_settings({"seed": 2**32 - 1}).seed == 4294967295


@pytest.mark.parametrize("option", CHOICES, ids=name)
def test_choices_are_exact(option: Option) -> None:
    """Each choice is taken; any other text, case included, is refused and the choices listed."""
    for choice in option.choices:
        assert getattr(make_settings({option.name: choice}), option.name) == choice
    for other in ("", option.choices[0].upper(), option.choices[0] + " ", "nonsense"):
        refused({option.name: other}, rf"^{option.name} \(.*\): choose one of {', '.join(option.choices)}, got ")
    refused({option.name: 3}, rf"^{option.name} \(.*\): it must be text, got 3")


@pytest.mark.parametrize("option", BOOLS, ids=name)
def test_switches_read_words(option: Option) -> None:
    """True and false in the usual words; numbers and other words are refused."""
    for text, value in (("true", True), ("Yes", True), (" on ", True), ("1", True), ("False", False), ("no", False), ("OFF", False), ("0", False)):
        assert getattr(make_settings({option.name: text}), option.name) is value
    for other in (1, 0, "2", "", "maybe", None):
        refused({option.name: other}, rf"^{option.name} \(.*\): it must (be true or false|have a value), got ")


@pytest.mark.parametrize("option", OPTIONS, ids=name)
def test_only_optional_options_may_be_none(option: Option) -> None:
    """None, and the words for it, mean: as in the main generation."""
    if option.optional:
        for value in (None, "", "none", " None "):
            assert getattr(make_settings({option.name: value}), option.name) is None
    else:
        refused({option.name: None}, rf"^{option.name} \(.*\): it must have a value, got None")


@pytest.mark.parametrize("option", TEXTS, ids=name)
def test_texts_are_texts(option: Option) -> None:
    """Any text is taken as it is; a number is not."""
    assert getattr(make_settings({option.name: " a, {b}\n"}), option.name) == " a, {b}\n"
    refused({option.name: 5}, rf"^{option.name} \(.*\): it must be text, got 5")


@pytest.mark.parametrize(("unknown", "hint"), [("denoize", "did you mean 'denoise'"), ("guide_sise", "did you mean 'guide_size'"),
                                               ("Feather", "did you mean 'feather'"), ("qqqqqq", "`settings` lists all")])
def test_unknown_settings_are_refused_with_a_hint(unknown: str, hint: str) -> None:
    """The nearest known name is offered, where there is one."""
    refused({unknown: 1}, rf"^unknown setting '{unknown}'; {hint}")


def test_names_that_are_no_text_are_unknown_settings() -> None:
    """A number as a name is a clear error, too."""
    with pytest.raises(SettingsError, match="unknown setting '5'"):
        make_settings({5: 1})  # type: ignore[dict-item]


def test_a_range_without_inside_is_refused() -> None:
    """The smallest share may not lie above the largest, nor a ControlNet's start above its end; equal is allowed."""
    refused({"control_start": 0.5, "control_end": 0.4}, "control_start 0.5 is above control_end 0.4; the ControlNet would never guide")
    refused({"min_ratio": 0.5, "max_ratio": 0.4}, "min_ratio 0.5 is above max_ratio 0.4; no segment could remain")
    assert make_settings({"min_ratio": 0.4, "max_ratio": 0.4}).min_ratio == 0.4
    refused({"min_side": 65, "max_side": 64}, "min_side 65 is above max_side 64; no segment could remain")
    assert make_settings({"min_side": 64, "max_side": 64}).min_side == make_settings({"min_side": 64}).min_side == 64


def values_of(option: Option) -> st.SearchStrategy[Any]:
    """Values that the option takes."""
    plain: st.SearchStrategy[Any]
    if option.kind == "bool":
        plain = st.booleans()
    elif option.kind == "choice":
        plain = st.sampled_from(option.choices)
    elif option.kind == "int":
        plain = st.integers(int(option.minimum or 0), int(option.maximum or 0))
    elif option.kind == "float":
        plain = st.floats(option.minimum, option.maximum)
    else:
        plain = st.text(max_size=8).filter(lambda text: not option.optional or text.strip().lower() not in ("", "none"))
    return plain | st.none() if option.optional else plain


def fitting(values: dict[str, Any]) -> dict[str, Any]:
    """The values with those changed that make no sense together."""
    changes: dict[str, Any] = {"min_ratio": 0.0, "max_ratio": 1.0} if values.get("min_ratio", 0) > values.get("max_ratio", 1) else {}
    if values.get("min_side", 0) > values.get("max_side", 0) > 0:
        changes["max_side"] = 0
    if values.get("control_start", 0) > values.get("control_end", 1):
        changes |= {"control_start": 0.0, "control_end": 1.0}
    return values | changes


@settings(deadline=None, max_examples=60)
@given(st.fixed_dictionaries({}, optional={o.name: values_of(o) for o in OPTIONS}))
def test_what_changed_makes_the_same_settings(values: dict[str, Any]) -> None:
    """changed_values -> make_settings is a round trip, also through JSON and, for all but None, through text; defaults are not named."""
    values = fitting(values)
    given_settings = make_settings(values)
    changed = changed_values(given_settings)
    assert all(value != options()[key].default for key, value in changed.items())
    assert set(changed) <= set(values)
    assert make_settings(changed) == given_settings
    assert make_settings(json.loads(json.dumps(changed))) == given_settings
    assert make_settings({key: str(value) for key, value in changed.items()}) == given_settings


def test_defaults_have_nothing_changed() -> None:
    """The infotext of defaults is empty."""
    assert changed_values(UnitSettings()) == {}
    assert changed_values(make_settings({"steps": 30, "feather": 5})) == {"steps": 30}


def test_parse_assignments_by_hand() -> None:
    """Names are stripped, values are not; the first equals sign divides."""
    assert parse_assignments(["guide_size=768", " prompt = a=b "]) == {"guide_size": "768", "prompt": " a=b "}
    assert parse_assignments([]) == {}
    with pytest.raises(SettingsError, match="'guide_size' is not of the form key=value") as caught:
        parse_assignments(["guide_size"])
    assert caught.value.field == "guide_size"


def test_the_schema_is_the_table() -> None:
    """Every option with its type, default and limits; nothing else is allowed; it can be written as JSON."""
    schema = json.loads(json.dumps(json_schema()))
    assert schema["additionalProperties"] is False
    assert list(schema["properties"]) == list(options())
    assert schema["properties"]["denoise"] == {
        "type": "number", "title": "Denoising strength", "description": options()["denoise"].help, "default": 0.4, "minimum": 0.0, "maximum": 1.0}
    assert schema["properties"]["steps"]["type"] == ["integer", "null"]
    assert schema["properties"]["steps"]["default"] is None
    assert schema["properties"]["sizes"]["enum"] == ["bucket", "multiple", "exact"]
    assert schema["properties"]["force_inpaint"]["type"] == "boolean"


def test_the_markdown_table_has_a_row_for_every_option() -> None:
    """Names, defaults and ranges; every row has four cells; every group stands once."""
    text = markdown_table()
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == list(options())
    assert all(row.count("|") == 5 for row in rows)
    assert any(row.startswith("| `seed` | as main | 0 to 4294967295 |") for row in rows)
    assert any(row.startswith("| `sizes` | `bucket` | `bucket`, `multiple`, `exact` |") for row in rows)
    for group in dict.fromkeys(o.group for o in OPTIONS):
        assert text.count(f"**{group}**") == 1
