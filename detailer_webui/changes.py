"""What the host's X/Y/Z plot changes for single pictures, carried on the picture's job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from detailer_core.errors import SettingsError
from detailer_core.settings import UnitSettings

_ATTRIBUTE = "detailer_changes"

REPLACED = "prompt S/R"
"""Name of the change that stands for a `Replacement` in a unit's own prompts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Replacement:
    """A text that takes another's place in the prompts."""

    old: str
    new: str

    def in_prompts(self, settings: UnitSettings) -> dict[str, str]:
        """Both prompts by name. Raises: SettingsError if neither has the text."""
        prompts = {"prompt": settings.prompt, "negative_prompt": settings.negative_prompt}
        if not any(self.old in text for text in prompts.values()):
            raise SettingsError(f"{REPLACED}: '{self.old}' is in none of the unit's own prompts; for the main prompt there is an axis of the WebUI's",
                                field="prompt")
        return {name: text.replace(self.old, self.new) for name, text in prompts.items()}


def changes_of(p: Any) -> Mapping[int, Mapping[str, Any]]:
    """Values by the setting's name ("enable" switches the unit, `REPLACED` has a replacement), by the unit's number on the page (from 1)."""
    return getattr(p, _ATTRIBUTE, None) or {}


def change(p: Any, unit: int, name: str, value: Any) -> None:
    """Put a value on a job."""
    changes = changes_of(p)
    setattr(p, _ATTRIBUTE, {**changes, unit: {**changes.get(unit, {}), name: value}})
    # The plot's copies of a job share this; without one of its own, what is said of one picture would be said of all that follow.
    p.extra_generation_params = dict(p.extra_generation_params)
