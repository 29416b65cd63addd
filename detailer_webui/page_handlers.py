"""What the page's buttons do on the server. No handler raises: what goes wrong is told on the page."""

from __future__ import annotations

import html
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import gradio as gr

from detailer_core.detectors.haar_stand_in import with_stand_in
from detailer_core.errors import DetailerError, SettingsError
from detailer_core.settings import UnitSettings

from .choices import offered
from .detection_preview import preview
from .fields import fields_from_settings, settings_from_fields
from .job import Workshop
from .presets import PresetShelf

logger = logging.getLogger(__name__)

@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """What the work gave, or None and why not."""

    value: Any = None
    problem: str = ""


def attempt(work: Callable[[], Any]) -> Told:
    """What the work gives; a problem, in words for the user, if it fails."""
    try:
        return Told(value=work())
    except DetailerError as error:
        return Told(problem=str(error))
    except Exception as error:
        logger.exception("Detailer: the page could not do what was asked for")
        return Told(problem=f"it failed: {type(error).__name__}: {error}")


def status(text: str, *, problem: bool = False) -> str:
    """A line of text for the page."""
    return f'<span class="detailer-{"problem" if problem else "done"}">{html.escape(text)}</span>'


@dataclass(frozen=True, kw_only=True, slots=True)
class PageHandlers:
    """The handlers of one page. units: how many it shows."""

    workshop: Workshop
    presets: PresetShelf
    units: int
    keys: Sequence[str]

    def rescan(self) -> list[Any]:
        """New choices for each unit's lists of detectors, the first and the second, then the status."""
        told = attempt(lambda: [offered(source) for source in ("detectors", "second_detectors")])
        if told.problem:
            return [*[gr.update()] * (2 * self.units), status(told.problem, problem=True)]
        return [*[gr.update(choices=names) for names in told.value] * self.units, status(f"{len(told.value[0])} detectors found")]

    def classes(self, detector: str) -> str:
        """Buttons for the classes that the detector can tell apart; nothing for fewer than two."""
        told = attempt(lambda: self.workshop.shelf.class_names(detector) if detector else ())
        if told.problem:
            return status(told.problem, problem=True)
        if len(told.value) < 2:
            return ""
        buttons = "".join(f'<button type="button" data-class="{html.escape(name)}" aria-pressed="false">{html.escape(name)}</button>'
                          for name in told.value)
        return f'<div class="detailer-classes" role="group" aria-label="Classes of this detector">{buttons}</div>'

    def preview(self, picture: str, *values: Any) -> str:
        """What a unit with these values of its fields would redraw, as JSON."""
        shelf = self.workshop.shelf
        told = attempt(lambda: preview(picture, with_stand_in(self._settings(values), shelf.folders), shelf))
        return json.dumps({"error": told.problem} if told.problem else told.value)

    def last_pictures(self) -> str:
        """The pairs of the last job, as JSON."""
        return json.dumps([asdict(pair) for pair in self.workshop.comparison.pairs()])

    def save_preset(self, name: str | None, chosen: str | None, *values: Any) -> list[Any]:
        """The list of presets, and the status. chosen: the preset that is saved over if no name is given. values: of all units' fields."""
        name = _name(name) or _name(chosen)
        return self._listed(lambda: self.presets.save(name, self._units_on(values)), name, f"'{name}' is saved")

    def rename_preset(self, old: str | None, new: str | None) -> list[Any]:
        """The list of presets, and the status."""
        return self._listed(lambda: self.presets.rename(_name(old), _name(new)), _name(new), f"'{_name(old)}' is now '{_name(new)}'")

    def delete_preset(self, name: str | None) -> list[Any]:
        """The list of presets, and the status."""
        return self._listed(lambda: self.presets.delete(_name(name)), None, f"'{_name(name)}' is deleted")

    def import_presets(self, text: str) -> list[Any]:
        """The list of presets, and the status."""
        if not text:
            return [gr.update(), status("nothing was chosen")]
        told = attempt(lambda: self.presets.import_text(text))
        if told.problem:
            return [gr.update(), status(told.problem, problem=True)]
        return self._listed(lambda: None, told.value[0] if told.value else None, f"read: {', '.join(told.value)}")

    def export_preset(self, name: str | None) -> list[Any]:
        """The preset as text ("" if there is none), and the status."""
        told = attempt(lambda: self.presets.export_text(_name(name)))
        return [told.value or "", status(told.problem, problem=True) if told.problem else ""]

    def load_preset(self, name: str | None) -> list[Any]:
        """Values for all units' fields, then the status; without such a preset all stay as they are."""
        told = attempt(lambda: self.presets.load(_name(name)))
        if told.problem:
            return [*[gr.update()] * (self.units * len(self.keys)), status(told.problem, problem=True)]
        left = len(told.value) - self.units
        text = f"'{name}' is loaded" + (f", without its last {left} units: this page shows {self.units}" if left > 0 else "")
        return [*self._page_values(told.value[: self.units]), status(text, problem=left > 0)]

    def preset_names(self) -> list[str]:
        """All names; none if the file cannot be read, which the next action tells."""
        return list(attempt(self.presets.names).value or ())

    def _listed(self, work: Callable[[], Any], chosen: str | None, done: str) -> list[Any]:
        told = attempt(work)
        if told.problem:
            return [gr.update(), status(told.problem, problem=True)]
        return [gr.update(choices=self.preset_names(), value=chosen), status(done)]

    def _settings(self, values: Sequence[Any]) -> UnitSettings:
        if len(values) != len(self.keys):
            raise SettingsError(f"the page sent {len(values)} values for {len(self.keys)} fields; reload it", field="page")
        return settings_from_fields(dict(zip(self.keys, values, strict=True)))

    def _units_on(self, values: Sequence[Any]) -> list[UnitSettings]:
        count = len(self.keys)
        units = [values[start : start + count] for start in range(0, len(values), count)]
        return [self._settings(unit) for unit in units if unit[0]]

    def _page_values(self, units: Sequence[UnitSettings]) -> list[Any]:
        """Units beyond those of the preset are only switched off."""
        values: list[Any] = []
        for number in range(self.units):
            fields = fields_from_settings(units[number]) if number < len(units) else {}
            values += [fields[key] if fields else False if key == "enable" else gr.update() for key in self.keys]
        return values


def _name(text: str | None) -> str:
    """What stands in a list or field of names; "" if nothing does."""
    return (text or "").strip()
