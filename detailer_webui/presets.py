"""Named presets of units, in one file."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from detailer_core.errors import SettingsError
from detailer_core.settings import UnitSettings, changed_values, make_settings


class PresetShelf:
    """The presets in a file, which is read at each call: several pages, and several hosts, may share it."""

    def __init__(self, path: Path) -> None:
        """path: of the file; it need not be there yet."""
        self._path = path

    def names(self) -> tuple[str, ...]:
        """All names, sorted. Raises: SettingsError if the file cannot be read."""
        return tuple(sorted(self._read(), key=str.casefold))

    def load(self, name: str) -> tuple[UnitSettings, ...]:
        """The units of a preset. Raises: SettingsError if there is none of that name, or it cannot be read."""
        return tuple(make_settings(values) for values in self._known(name)[name])

    def save(self, name: str, units: Sequence[UnitSettings]) -> None:
        """Keep the units under that name, in the place of what was there. Raises: SettingsError for no name, no units, or a full disk."""
        if not name.strip():
            raise SettingsError("give the preset a name", field="preset")
        if not units:
            raise SettingsError("no unit is on, so there is nothing to save", field="preset")
        self._write(self._read() | {name.strip(): [changed_values(unit) for unit in units]})

    def rename(self, old: str, new: str) -> None:
        """Raises: SettingsError if there is no preset `old`, or already one `new`."""
        presets = self._known(old)
        if not new.strip() or (new.strip() in presets and new.strip() != old):
            raise SettingsError(f"there is a preset '{new}' already" if new.strip() else "give the preset a name", field="preset")
        presets[new.strip()] = presets.pop(old)
        self._write(presets)

    def delete(self, name: str) -> None:
        """Raises: SettingsError if there is no preset of that name."""
        presets = self._known(name)
        del presets[name]
        self._write(presets)

    def export_text(self, name: str) -> str:
        """The preset as text, for `import_text`. Raises: SettingsError if there is none of that name."""
        return json.dumps({name: self._known(name)[name]}, indent=1, ensure_ascii=False)

    def import_text(self, text: str) -> tuple[str, ...]:
        """The names of the presets that were read from the text and kept. Raises: SettingsError for a text that is no preset."""
        presets = _parse(text, "the text")
        for values in (unit for units in presets.values() for unit in units):
            make_settings(values)
        self._write(self._read() | presets)
        return tuple(presets)

    def _known(self, name: str) -> dict[str, list[dict[str, Any]]]:
        presets = self._read()
        if name not in presets:
            raise SettingsError(f"there is no preset '{name}'" if name else "choose a preset", field="preset")
        return presets

    def _read(self) -> dict[str, list[dict[str, Any]]]:
        try:
            return _parse(self._path.read_text(encoding="utf-8"), str(self._path))
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise SettingsError(f"{self._path} cannot be read: {error.strerror}", field="preset") from error

    def _write(self, presets: dict[str, Any]) -> None:
        part = self._path.with_name(self._path.name + ".part")
        try:
            part.write_text(json.dumps(presets, indent=1, ensure_ascii=False), encoding="utf-8")
            os.replace(part, self._path)
        except OSError as error:
            raise SettingsError(f"{self._path} cannot be written: {error.strerror}", field="preset") from error


def _parse(text: str, where: str) -> dict[str, list[dict[str, Any]]]:
    try:
        presets = json.loads(text)
    except ValueError:
        presets = None
    if not isinstance(presets, dict) or not all(isinstance(u, list) and all(isinstance(v, dict) for v in u) for u in presets.values()):
        raise SettingsError(f"{where} holds no presets", field="preset")
    return presets
