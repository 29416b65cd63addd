"""Every option of every unit as an axis of the host's X/Y/Z plot."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import PurePath
from types import MappingProxyType
from typing import Any

from modules import scripts

from detailer_core.settings import Option, make_settings, options

from . import host
from .changes import REPLACED, Replacement, change
from .choices import offered

logger = logging.getLogger(__name__)

_FILE = "xyz_grid.py"
_MARK = "[Detailer"
_TYPES: Mapping[str, type] = MappingProxyType({"int": int, "float": float})
_COSTS: Mapping[str, float] = MappingProxyType({"checkpoint": 1.0, "refiner": 0.9, "detector": 0.3})
"""How slow it is to change: the plot changes slow ones less often."""


def add_axes() -> None:
    """Add the axes to the host's plot, if it has one; called before the host builds its page."""
    try:
        module = next((data.module for data in scripts.scripts_data if PurePath(data.path).name == _FILE), None)
        if module is not None and not any(axis.label.startswith(_MARK) for axis in module.axis_options):
            module.axis_options.extend(axes(module.AxisOption, host.unit_count()))
    except Exception:  # another plot than the one that is known must not cost the page
        logger.exception("Detailer: its options cannot be added to the X/Y/Z plot")


def axes(axis_option: Callable[..., Any], units: int) -> list[Any]:
    """The axes of so many units: whether each works, its options in the table's order, and words of its prompts."""
    made = []
    for unit in range(1, units + 1):
        made.append(axis_option(_label(unit, "Use unit"), str, partial(_change, unit=unit, name="enable"), confirm=partial(_confirm, None),
                                choices=lambda: ["True", "False"]))
        made += [axis_option(_label(unit, option.label), _TYPES.get(option.kind, str), partial(_change, unit=unit, name=option.name),
                             confirm=partial(_confirm, option), cost=_COSTS.get(option.name, 0.0), choices=_choices(option))
                 for option in options().values()]
        made.append(axis_option(_label(unit, "Prompt S/R"), str, partial(_replace, unit=unit)))
    return made


def _label(unit: int, text: str) -> str:
    return f"[Detailer] {text}" if unit == 1 else f"[Detailer {unit}] {text}"


def _choices(option: Option) -> Callable[[], list[str]] | None:
    if option.kind == "bool":
        return lambda: ["True", "False"]
    if option.choices:
        return lambda: list(option.choices)
    return partial(offered, option.source) if option.source else None


def _confirm(option: Option | None, p: Any, values: Sequence[Any]) -> None:
    """Raises: SettingsError before the first picture for a value that the option does not take."""
    for value in values:
        if option is None:
            switch(value)
        else:
            host.check_names(make_settings({option.name: value}))


def switch(value: Any) -> bool:
    """Whether "Use unit" is on. Raises: SettingsError for what is neither true nor false."""
    return bool(make_settings({"noise_mask": value}).noise_mask)


def _change(p: Any, value: Any, values: Sequence[Any], *, unit: int, name: str) -> None:
    change(p, unit, name, switch(value) if name == "enable" else value)


def _replace(p: Any, value: Any, values: Sequence[Any], *, unit: int) -> None:
    """The first value is looked for, and each takes its place, as in the host's own axis of this name."""
    change(p, unit, REPLACED, Replacement(old=str(values[0]), new=str(value)))
