"""Generation parameters: what a picture says of the units that made it, and the way back.

The first unit's labels are "Detailer guide size", the second's "Detailer 2 guide size", and so on. Only what differs from the default is
written, and the detector always. "Detailer" itself holds the version.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from detailer_core.errors import SettingsError
from detailer_core.settings import Option, UnitSettings, changed_values, make_settings, options
from detailer_core.version import VERSION

from . import adetailer_host

VERSION_KEY = "Detailer"

_JSON = "json:"
"""Begins a text that the host would not give back as it was. Its colon makes the host quote all of it, so that nothing in it is looked at."""
_SIZE = re.compile(r"\d+x\d+")


def label(unit: int, option: Option) -> str:
    """The label of an option of the unit with this 0-based number."""
    name = option.infotext[0].lower() + option.infotext[1:] if option.infotext[1:2].islower() else option.infotext
    return f"Detailer {unit + 1} {name}" if unit else f"Detailer {name}"


def write(units: Sequence[UnitSettings]) -> dict[str, Any]:
    """Labels and values of all units, for the host's `extra_generation_params`."""
    lines: dict[str, Any] = {VERSION_KEY: VERSION}
    for unit, settings in enumerate(units):
        values = {"detector": settings.detector} | changed_values(settings)
        lines |= {label(unit, options()[name]): _encode(value, label(unit, options()[name])) for name, value in values.items()}
    return lines


def read(lines: Mapping[str, Any]) -> tuple[UnitSettings, ...]:
    """The units from labels and values; empty if the picture was not made with Detailer.

    Raises: SettingsError if a value cannot be read.
    """
    if VERSION_KEY not in lines:
        return ()
    units: list[UnitSettings] = []
    while True:
        unit = len(units)
        given = {name: _decode(lines[label(unit, option)]) for name, option in options().items() if label(unit, option) in lines}
        if not given:
            return tuple(units)
        units.append(make_settings(given))


def read_or_none(lines: Mapping[str, Any]) -> tuple[UnitSettings, ...]:
    """As `read`; a picture whose values cannot be read counts as made without Detailer. One that ADetailer made gives the units that do
    the same here, where that is wanted."""
    try:
        return read(lines) if VERSION_KEY in lines else adetailer_host.units_of(lines)
    except SettingsError:
        return ()


def _encode(value: Any, name: str) -> Any:
    """A text that the host would cut, split or leave out (quotes, outer spaces, "64x64", the label itself) as JSON; all else as it is."""
    if not isinstance(value, str):
        return value
    plain = value == value.strip() and value not in ("", name) and not value.startswith(('"', _JSON)) and not _SIZE.match(value)
    plain = plain and all(c.isprintable() or c == "\n" for c in value)
    return value if plain else _JSON + json.dumps(value)


def _decode(value: Any) -> Any:
    if not (isinstance(value, str) and value.startswith(_JSON)):
        return value
    try:
        return json.loads(value.removeprefix(_JSON))
    except ValueError:
        raise SettingsError(f"'{value[:80]}' is not what Detailer writes", field="infotext") from None
