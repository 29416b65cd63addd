"""What the host's X/Y/Z plot changes for single pictures, carried on the picture's job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_ATTRIBUTE = "detailer_changes"


def changes_of(p: Any) -> Mapping[int, Mapping[str, Any]]:
    """Values by the setting's name ("enable" switches the unit), by the unit's number on the page (from 1)."""
    return getattr(p, _ATTRIBUTE, None) or {}


def change(p: Any, unit: int, name: str, value: Any) -> None:
    """Put a value on a job."""
    changes = changes_of(p)
    setattr(p, _ATTRIBUTE, {**changes, unit: {**changes.get(unit, {}), name: value}})
    # The plot's copies of a job share this; without one of its own, what is said of one picture would be said of all that follow.
    p.extra_generation_params = dict(p.extra_generation_params)
