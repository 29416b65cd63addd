"""The settings table as a flat list of form fields, for every unit the same: what the page shows, in order, and how values come back.

An optional option has two fields: a check box "own value", and the value. Nothing here knows gradio or the host.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

from detailer_core.errors import SettingsError
from detailer_core.geometry import SizeWH
from detailer_core.settings import Option, UnitSettings, changed_values, make_settings, options

from .adetailer import is_adetailer, translate
from .changes import REPLACED

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
        if (has_own_box(option) and not _switch(values[f"own_{name}"], f"own_{name}")) or (option.optional and value in (SAME_AS_MAIN, "", None)):
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Requested:
    """units: those that are switched on, by their number on the page (from 1). problems: why others were left out. remarks: what of a
    unit that works could not be taken over from ADetailer."""

    units: Mapping[int, UnitSettings]
    problems: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Given:
    """What was asked for before it is read. place: where it stands among the arguments. enabled: whether it is switched on; settings: and
    what could not be taken over, None for a tab of ADetailer's that is off. Both raise SettingsError."""

    place: int
    enabled: Callable[[], bool]
    settings: Callable[[], tuple[UnitSettings | None, tuple[str, ...]]]

    def read(self, changes: Mapping[str, Any] = MappingProxyType({})) -> tuple[UnitSettings | None, tuple[str, ...]]:
        """The settings, None if the unit is switched off, and what could not be taken over. changes: values by name, which go before.

        Raises: SettingsError.
        """
        if not changes.get("enable", self.enabled()):
            return None, ()
        settings, lost = self.settings()
        rest = {name: value for name, value in changes.items() if name not in ("enable", REPLACED)}
        if settings is not None and rest:
            settings = make_settings({**changed_values(settings), **rest})
        if settings is not None and REPLACED in changes:
            settings = replace(settings, **changes[REPLACED].in_prompts(settings))
        return settings, lost


def units_from_args(args: Sequence[Any], *, main_wh: SizeWH | None = None, samplers: Sequence[str] = (),
                    changes: Mapping[int, Mapping[str, Any]] = MappingProxyType({})) -> Requested:
    """The units that are switched on, from a script's arguments; none if the first argument is false.

    args: the main switch, then either one mapping of settings a unit (as clients of the API write it), or all fields in order (as the
    page sends them). A mapping may hold "enable", or be one of ADetailer's; fields that stand beside mappings are the page's own defaults
    and mean nothing. main_wh, samplers: for ADetailer's, see `adetailer.translate`. changes: values by name, by the unit's number, which go
    before what was given.
    Raises: SettingsError if the arguments are neither; a wrong setting only costs its unit.
    """
    return _collect(given_units(args, main_wh=main_wh, samplers=samplers), changes)


def given_units(args: Sequence[Any], *, main_wh: SizeWH | None = None, samplers: Sequence[str] = ()) -> list[Given]:
    """The units of a script's arguments, in order, not yet read; none if the first argument is false. See `units_from_args`.

    Raises: SettingsError if the arguments are neither mappings nor the fields of a page.
    """
    if not args:
        return []
    if not isinstance(args[0], (bool, Mapping)):
        raise SettingsError(f"the first argument switches Detailer on and must be true or false, got {args[0]!r}", field="args")
    if args[0] is False:
        return []
    mappings = [(place, a) for place, a in enumerate(args) if isinstance(a, Mapping)]
    if not mappings:
        return _from_fields(args[1:])
    return [Given(place=place, enabled=lambda m=mapping: _switch(m.get("enable", True), "enable"),
                  settings=lambda m=mapping: _from_mapping(m, main_wh, samplers)) for place, mapping in mappings]


def _from_mapping(mapping: Mapping[str, Any], main_wh: SizeWH | None, samplers: Sequence[str]) -> tuple[UnitSettings | None, tuple[str, ...]]:
    values = {key: value for key, value in mapping.items() if key != "enable"}
    if not is_adetailer(values):
        return make_settings(values), ()
    done = translate(values, main_wh=main_wh, samplers=samplers)
    return done.settings, tuple(f"not taken over from ADetailer: {one}" for one in done.lost) if done.settings is not None else ()


def _from_fields(values: Sequence[Any]) -> list[Given]:
    keys = [f.key for f in unit_fields(0)]
    count, rest = divmod(len(values), len(keys))
    if rest:
        raise SettingsError(f"expected a mapping of settings for each unit, or {len(keys)} values a unit, got {len(values)} values; "
                            "send a list such as [true, {\"detector\": \"face_haar\"}]", field="args")
    starts = range(0, count * len(keys), len(keys))
    named = [(1 + start, dict(zip(keys, values[start : start + len(keys)], strict=True))) for start in starts]
    return [Given(place=place, enabled=lambda own=own: _switch(own["enable"], "enable"), settings=lambda own=own: (settings_from_fields(own), ()))
            for place, own in named]


def _collect(given: Sequence[Given], changes: Mapping[int, Mapping[str, Any]]) -> Requested:
    units: dict[int, UnitSettings] = {}
    problems: list[str] = []
    remarks: list[str] = []
    for number, one in enumerate(given, start=1):
        try:
            settings, lost = one.read(changes.get(number, {}))
        except SettingsError as error:
            problems.append(f"unit {number} is left out: {error}")
            continue
        if settings is not None:
            units[number] = settings
            remarks += [f"unit {number}: {text}" for text in lost]
    problems += [f"unit {number} of the X/Y/Z plot is not there" for number in changes if number > len(given)] if given else []
    return Requested(units=units, problems=tuple(problems), remarks=tuple(remarks))


def _switch(value: Any, key: str) -> bool:
    if not isinstance(value, bool):
        raise SettingsError(f"{key}: it must be true or false, got {value!r}", field=key)
    return value
