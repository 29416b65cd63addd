"""Named presets of units, in one file: JSON, a list of settings (what differs from the defaults) for each name.

The file is read at each call, as several pages, and several hosts, may share it, and is written anew as a whole, so that it is never half
written. One that cannot be understood is kept aside, and the user is told.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from detailer_core.errors import SettingsError
from detailer_core.settings import UnitSettings, changed_values, make_settings

logger = logging.getLogger(__name__)

Stored: TypeAlias = dict[str, list[dict[str, Any]]]

_LONGEST_NAME = 100
_MOST_BYTES = 4 * 2**20
_LOCK = threading.Lock()
"""One for all: pages of both tabs write the same file."""


class PresetShelf:
    """The presets in a file."""

    def __init__(self, path: Path) -> None:
        """path: of the file; it need not be there yet."""
        self._path = path

    def names(self) -> tuple[str, ...]:
        """All names, sorted. Raises: SettingsError if the file cannot be read."""
        return tuple(sorted(self._read(), key=lambda name: (name.casefold(), name)))

    def load(self, name: str) -> tuple[UnitSettings, ...]:
        """The units of a preset. Raises: SettingsError if there is none of that name, or it holds what cannot be used."""
        units, problems = _units(name, self._known(name)[name])
        if problems:
            raise SettingsError("; ".join(problems), field="preset")
        return units

    def save(self, name: str, units: Sequence[UnitSettings]) -> None:
        """Keep the units under that name, in the place of what was there. Raises: SettingsError for no name, no units, or a full disk."""
        name = _checked_name(name)
        if not units:
            raise SettingsError("no unit is on, so there is nothing to save", field="preset")
        with _LOCK:
            self._write({**self._read(), name: [changed_values(unit) for unit in units]})

    def rename(self, old: str, new: str) -> None:
        """Raises: SettingsError if there is no preset `old`, or already one `new`."""
        new = _checked_name(new)
        with _LOCK:
            presets = self._known(old)
            if new in presets and new != old:
                raise SettingsError(f"there is a preset '{new}' already; delete it first or choose another name", field="preset")
            self._write({new if name == old else name: units for name, units in presets.items()})

    def delete(self, name: str) -> None:
        """Raises: SettingsError if there is no preset of that name."""
        with _LOCK:
            presets = self._known(name)
            del presets[name]
            self._write(presets)

    def export_text(self, *names: str) -> str:
        """These presets, or all, as text for `import_text`. Raises: SettingsError if there is none of a name."""
        presets = {name: self._known(name)[name] for name in names} if names else self._read()
        return json.dumps(presets, indent=1, ensure_ascii=False)

    def import_text(self, text: str) -> tuple[str, ...]:
        """The names of the presets in the text, which are now kept, in the place of those of the same names.

        Raises: SettingsError, with all that is wrong, for a text that is no preset or holds what is none; then nothing is kept.
        """
        if len(text) > _MOST_BYTES:
            raise SettingsError(f"the text is longer than {_MOST_BYTES // 2**20} million letters; that is no preset", field="preset")
        given = _parse(text)
        if not given:
            raise SettingsError("the text holds no presets, such as {\"my faces\": [{\"detector\": \"face_haar\"}]}", field="preset")
        presets: Stored = {}
        problems: list[str] = []
        for name, stored in given.items():
            units, wrong = _units(name, stored)
            problems += wrong
            presets[_checked_name(name)] = [changed_values(unit) for unit in units]
        if problems:
            raise SettingsError(f"nothing was imported: {'; '.join(problems)}", field="preset")
        with _LOCK:
            self._write({**self._read(), **presets})
        return tuple(presets)

    def _known(self, name: str) -> Stored:
        presets = self._read()
        if name not in presets:
            raise SettingsError(f"there is no preset '{name}'" if name else "choose a preset", field="preset")
        return presets

    def _read(self) -> Stored:
        try:
            text = self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise SettingsError(f"{self._path} cannot be read: {error.strerror or error}", field="preset") from error
        except UnicodeDecodeError:
            text = ""
        presets = _parse(text)
        if presets is None:
            raise SettingsError(self._put_aside(), field="preset")
        return presets

    def _put_aside(self) -> str:
        """What to tell: the file is kept under another name, so that what is in it can still be looked at, and the next call finds none."""
        aside = self._path.with_name(f"{self._path.name}.broken")
        try:
            os.replace(self._path, aside)
        except OSError as error:
            return f"{self._path} holds no presets that can be read, and cannot be moved: {error.strerror or error}"
        logger.warning("%s holds no presets that can be read; it is kept as %s", self._path, aside)
        return f"{self._path.name} was damaged and is kept as {aside.name}; there are no presets now"

    def _write(self, presets: Stored) -> None:
        part = self._path.with_name(f"{self._path.name}.{os.getpid()}.part")
        try:
            part.write_text(json.dumps(presets, indent=1, ensure_ascii=False), encoding="utf-8", errors="strict")
            os.replace(part, self._path)
        except (OSError, UnicodeEncodeError) as error:
            part.unlink(missing_ok=True)
            raise SettingsError(f"{self._path} cannot be written: {error}", field="preset") from error


def _parse(text: str) -> Stored | None:
    """The presets in a text; None if it holds anything else."""
    try:
        presets = json.loads(text)
    except (ValueError, RecursionError):
        return None
    fits = isinstance(presets, dict) and all(isinstance(units, list) and all(isinstance(one, dict) for one in units) for units in presets.values())
    return presets if fits else None


def _units(name: str, stored: Sequence[Mapping[str, Any]]) -> tuple[tuple[UnitSettings, ...], list[str]]:
    """The units of a preset that can be used, and what is wrong with the others."""
    units: list[UnitSettings] = []
    problems: list[str] = [] if stored else [f"preset '{name}' holds no unit"]
    for number, values in enumerate(stored, start=1):
        try:
            units.append(make_settings(values))
        except SettingsError as error:
            problems.append(f"preset '{name}', unit {number}: {error}")
    return tuple(units), problems


def _checked_name(name: str) -> str:
    name = name.strip()
    if not name:
        raise SettingsError("give the preset a name", field="preset")
    if len(name) > _LONGEST_NAME or not name.isprintable():
        raise SettingsError(f"the name '{name[:20]}...' is too long or holds signs that cannot be shown; give another of at most {_LONGEST_NAME} "
                            "letters", field="preset")
    return name
