"""The settings table as a flat list of form fields, for every unit the same: what the page shows, in order, and how values come back.

An optional option has two fields: a check box "own value", and the value. Nothing here knows gradio or the host.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from detailer_core.errors import SettingsError
from detailer_core.settings import Option, UnitSettings, make_settings, options

Role: TypeAlias = Literal["enable", "own", "value"]

SAME_AS_MAIN = "Same as main"
"""Choice of a list that stands for None."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Field:
    """One field of a unit. role: the unit's switch, the "own value" box of an option, or an option's value. unit: 0-based."""

    unit: int
    role: Role
    option: Option | None = None

    @property
    def key(self) -> str:
        """A name that is unique in its unit."""
        return "enable" if self.option is None else f"own_{self.option.name}" if self.role == "own" else self.option.name


def has_own_box(option: Option) -> bool:
    """Whether an option needs a box beside its value to be left open; lists have an entry for that."""
    return option.optional and not option.source


def unit_fields(unit: int) -> Iterator[Field]:
    """The fields of one unit, in the table's order."""
    yield Field(unit=unit, role="enable")
    for option in options().values():
        if has_own_box(option):
            yield Field(unit=unit, role="own", option=option)
        yield Field(unit=unit, role="value", option=option)


def default_of(field: Field) -> Any:
    """What a field starts with."""
    if field.option is None:
        return field.unit == 0
    if field.role == "own":
        return False
    option = field.option
    if option.optional:
        return SAME_AS_MAIN if option.source else option.shown
    return option.default


def settings_from_fields(values: Mapping[str, Any]) -> UnitSettings:
    """The settings of one unit from its fields' values by key. Raises: SettingsError."""
    given: dict[str, Any] = {}
    for name, option in options().items():
        value = values[name]
        if (has_own_box(option) and not values[f"own_{name}"]) or (option.optional and value in (SAME_AS_MAIN, "", None)):
            value = None
        given[name] = value
    return make_settings(given)


def fields_from_settings(settings: UnitSettings, *, enabled: bool = True) -> dict[str, Any]:
    """The values of one unit's fields by key; `settings_from_fields` gives the same settings back."""
    values: dict[str, Any] = {"enable": enabled}
    for name, option in options().items():
        value = getattr(settings, name)
        if has_own_box(option):
            values[f"own_{name}"] = value is not None
            value = option.shown if value is None else value
        elif option.optional and value is None:
            value = SAME_AS_MAIN
        values[name] = value
    return values


def units_from_args(args: Sequence[Any]) -> tuple[UnitSettings, ...]:
    """The units that are switched on, from a script's arguments; none if the first argument is false.

    args: the main switch, then either one mapping of settings a unit (as clients of the API write it), or all fields in order (as the
    page sends them). A mapping may hold "enable"; fields that stand beside mappings are the page's own defaults and mean nothing.
    Raises: SettingsError that names the unit and the option.
    """
    if not args:
        return ()
    given = list(args)
    mappings = [a for a in given if isinstance(a, Mapping)]
    switch = given[0] if isinstance(given[0], bool) else bool(mappings)
    if not switch:
        return ()
    if mappings:
        return _from_mappings(mappings)
    return _from_fields(given[1:])


def _from_mappings(mappings: Sequence[Mapping[str, Any]]) -> tuple[UnitSettings, ...]:
    units: list[UnitSettings] = []
    for number, mapping in enumerate(mappings, start=1):
        values = dict(mapping)
        enabled = values.pop("enable", True)
        if not isinstance(enabled, bool):
            raise SettingsError(f"unit {number}: enable: it must be true or false, got {enabled!r}", field="enable")
        if enabled:
            units.append(_in_unit(number, lambda values=values: make_settings(values)))
    return tuple(units)


def _from_fields(values: Sequence[Any]) -> tuple[UnitSettings, ...]:
    keys = [f.key for f in unit_fields(0)]
    count, rest = divmod(len(values), len(keys))
    if rest:
        raise SettingsError(f"expected a mapping of settings for each unit, or {len(keys)} values a unit, got {len(values)} values; "
                            "send a list such as [true, {\"detector\": \"face_haar\"}]", field="args")
    units: list[UnitSettings] = []
    for number in range(count):
        own = dict(zip(keys, values[number * len(keys) : (number + 1) * len(keys)], strict=True))
        if own["enable"]:
            units.append(_in_unit(number + 1, lambda own=own: settings_from_fields(own)))
    return tuple(units)


def _in_unit(number: int, make: Any) -> UnitSettings:
    try:
        return make()
    except SettingsError as error:
        raise SettingsError(f"unit {number}: {error}", field=error.field) from None
