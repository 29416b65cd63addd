"""Generation parameters: what a picture says of the units that made it, and the way back.

The first unit's labels are "Detailer guide size", the second's "Detailer 2 guide size", and so on. Only what differs from the default is
written, and the detector always. "Detailer" itself holds the version.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from detailer_core.errors import SettingsError
from detailer_core.settings import Option, UnitSettings, changed_values, make_settings, options
from detailer_core.version import VERSION

VERSION_KEY = "Detailer"


def label(unit: int, option: Option) -> str:
    """The label of an option of the unit with this 0-based number."""
    name = option.infotext[0].lower() + option.infotext[1:] if option.infotext[1:2].islower() else option.infotext
    return f"Detailer {unit + 1} {name}" if unit else f"Detailer {name}"


def write(units: Sequence[UnitSettings]) -> dict[str, Any]:
    """Labels and values of all units, for the host's `extra_generation_params`."""
    lines: dict[str, Any] = {VERSION_KEY: VERSION}
    for unit, settings in enumerate(units):
        values = {"detector": settings.detector} | changed_values(settings)
        lines |= {label(unit, options()[name]): value for name, value in values.items()}
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
        given = {name: lines[label(unit, option)] for name, option in options().items() if label(unit, option) in lines}
        if not given:
            return tuple(units)
        units.append(make_settings(given))


def read_or_none(lines: Mapping[str, Any]) -> tuple[UnitSettings, ...]:
    """As `read`; a picture whose values cannot be read counts as made without Detailer."""
    try:
        return read(lines)
    except SettingsError:
        return ()
