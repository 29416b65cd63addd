"""One of ADetailer's tabs while it is translated: its arguments, the settings they become, and what is to be told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from detailer_core.errors import SettingsError
from detailer_core.geometry import SizeWH
from detailer_core.settings import UnitSettings, options

from .names import by_name

NOTHING = (None, "", "None")
"""Values that name nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Lost:
    """An argument that was not taken over as it stands. key: as the user gave it."""

    key: str
    why: str

    def __str__(self) -> str:
        return f"{self.key}: {self.why}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Translation:
    """settings: None where the tab is off. lost: what has no counterpart here. near: what does nearly, and not exactly, the same."""

    settings: UnitSettings | None
    lost: tuple[Lost, ...] = ()
    near: tuple[Lost, ...] = ()


@dataclass(slots=True)
class Tab:
    """One tab's arguments, complete, and what is found out about them."""

    values: dict[str, Any]
    main_wh: SizeWH | None
    samplers: Sequence[str]
    result: dict[str, Any] = field(default_factory=dict)
    lost: list[Lost] = field(default_factory=list)
    near: list[Lost] = field(default_factory=list)

    def lose(self, name: str, why: str) -> None:
        """Note that an argument has no counterpart."""
        self.lost.append(Lost(key=name, why=why))

    def approximate(self, name: str, why: str) -> None:
        """Note that an argument does nearly the same."""
        self.near.append(Lost(key=name, why=why))

    def says(self, name: str) -> bool:
        """Whether an argument has another value than ADetailer's default."""
        return self.values[name] not in (by_name()[name].default, *NOTHING)

    def share(self, name: str) -> float:
        """The argument's value. Raises: SettingsError if it does not lie in 0..1."""
        value = self.values[name]
        if not 0 <= value <= 1:
            raise SettingsError(f"{name}: it must lie in 0..1, got {value:g}", field=name)
        return float(value)

    def take_clamped(self, name: str, ours: str, *, sign: int = 1) -> None:
        """Take the value as our setting's; one that is out of its range is cut to it, which is told."""
        option, value = options()[ours], sign * self.values[name]
        allowed = min(max(value, option.minimum if option.minimum is not None else value), option.maximum if option.maximum is not None else value)
        if allowed != value:
            self.lose(name, f"{self.values[name]:g} is cut to {sign * allowed:g}")
        self.result[ours] = type(value)(allowed)
