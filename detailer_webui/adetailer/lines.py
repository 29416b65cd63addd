"""The generation parameters of a picture that ADetailer has worked on, as units."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from detailer_core.errors import SettingsError
from detailer_core.geometry import SizeWH
from detailer_core.settings import UnitSettings

from .arguments import OLD_CONFIDENCE, SKIP_IMG2IMG, check_argument, translate
from .names import by_label
from .tab import Lost, Translation

_PREFIX = "ADetailer "
_NUMBERED = re.compile(r"^(.*?)(?: (\d+)(?:st|nd|rd|th))?$")
_OF_ALL_TABS = frozenset(("version",))
_ARGUMENTS_WITHOUT_LABEL = {"conf": OLD_CONFIDENCE, "skip img2img": SKIP_IMG2IMG}


@dataclass(frozen=True, kw_only=True, slots=True)
class Units:
    """units: of the tabs that were on, in order. lost, near: as in `Translation`, under the labels of the picture."""

    units: tuple[UnitSettings, ...]
    lost: tuple[Lost, ...] = ()
    near: tuple[Lost, ...] = ()


def has_adetailer(lines: Mapping[str, Any]) -> bool:
    """Whether a picture's labels tell of ADetailer."""
    return any(key.startswith(f"{_PREFIX}model") for key in lines)


def units_from_lines(lines: Mapping[str, Any], *, samplers: Sequence[str] = ()) -> Units:
    """The units that do what ADetailer did to this picture, from the host's parsed generation parameters.

    Nothing is an error: what cannot be read has ADetailer's default and is told in `lost`, as what has no counterpart. samplers: as in
    `translate`.
    """
    tabs: dict[int, dict[str, Any]] = {}
    for key, value in lines.items():
        if key.startswith(_PREFIX) and key.removeprefix(_PREFIX) not in _OF_ALL_TABS:
            label, number = _NUMBERED.match(key.removeprefix(_PREFIX)).groups()  # type: ignore[union-attr]  # it matches every text
            tabs.setdefault(int(number or 1), {})[label] = value
    done = [_unit(labelled, number, _main_size(lines), samplers) for number, labelled in sorted(tabs.items())]
    return Units(units=tuple(d.settings for d in done if d.settings is not None), lost=tuple(x for d in done for x in d.lost),
                 near=tuple(x for d in done for x in d.near))


def _unit(labelled: Mapping[str, Any], number: int, main_wh: SizeWH | None, samplers: Sequence[str]) -> Translation:
    known = by_label()
    args: dict[str, Any] = {}
    labels: dict[str, str] = {}
    lost: list[Lost] = []
    for label, value in labelled.items():
        full = f"{_PREFIX}{label}{_ordinal(number)}"
        name = known[label].name if label in known else _ARGUMENTS_WITHOUT_LABEL.get(label, full)
        args[name], labels[name] = value, full
        try:
            if label in known:
                check_argument(known[label], value, full)
        except SettingsError as error:
            del args[name]
            lost.append(Lost(key=full, why=str(error).removeprefix(f"{full}: ")))
    translation = _without_what_fails(args, lost, labels, main_wh, samplers)
    under = {"lost": (*lost, *_relabelled(translation.lost, labels)), "near": _relabelled(translation.near, labels)}
    return replace(translation, **under)


def _without_what_fails(args: dict[str, Any], lost: list[Lost], labels: Mapping[str, str], main_wh: SizeWH | None,
                        samplers: Sequence[str]) -> Translation:
    """The translation of what can be used; each argument that it refuses is added to `lost` and left at its default."""
    while True:
        try:
            return translate(args, main_wh=main_wh, samplers=samplers)
        except SettingsError as error:
            if error.field not in args:
                raise
            del args[error.field]
            lost.append(Lost(key=labels.get(error.field, error.field), why=str(error).removeprefix(f"{error.field}: ")))


def _relabelled(losses: Sequence[Lost], labels: Mapping[str, str]) -> tuple[Lost, ...]:
    return tuple(replace(one, key=labels.get(one.key, one.key)) for one in losses)


def _ordinal(number: int) -> str:
    """What ADetailer adds to the labels of this tab."""
    if number == 1:
        return ""
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th") if number % 100 not in (11, 12, 13) else "th"
    return f" {number}{ending}"


def _main_size(lines: Mapping[str, Any]) -> SizeWH | None:
    """The size at which the main picture was sampled (before a hires fix), in pixels."""
    try:
        width, height = int(lines["Size-1"]), int(lines["Size-2"])
    except (KeyError, TypeError, ValueError):
        return None
    return (width, height) if width > 0 and height > 0 else None
