"""The panel, built from the settings table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
from modules.ui_components import InputAccordion

from . import infotext
from .choices import Choices
from .fields import Field, fields_from_settings, unit_fields
from .page_events import in_browser, on_server, page_only, small_button
from .page_handlers import PageHandlers
from .page_presets import build_presets
from .page_texts import panel_data
from .page_unit import Unit, build_unit

ElemId = Callable[[str], str]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Panel:
    """components: what the host hands to the script, in order. paste: how each is set from generation parameters."""

    components: tuple[Any, ...]
    paste: tuple[tuple[Any, Callable[[Mapping[str, Any]], Any]], ...]


def build(*, choices: Choices, handlers: PageHandlers, tab: str, elem_id: ElemId, remember: bool = False) -> Panel:
    """The panel of a page. tab: "txt2img" or "img2img". elem_id: makes a page-wide id of a short name.

    remember: the page begins with the values that were used last in the same browser.
    """
    with InputAccordion(False, label="Detailer", elem_id=elem_id("enabled")) as enabled:
        gr.HTML(panel_data(units=handlers.units, tab=tab, elem_id=elem_id), elem_id=elem_id("data"), elem_classes=["detailer-hidden"])
        units: list[Unit] = []
        with gr.Tabs(elem_id=elem_id("units")):
            for number in range(1, handlers.units + 1):
                with gr.Tab(f"Unit {number}", elem_id=elem_id(f"unit_{number}")):
                    units.append(build_unit(number - 1, handlers.units, choices, lambda name, n=number: elem_id(f"unit_{n}_{name}")))
        status = gr.HTML("", elem_id=elem_id("status"), elem_classes=["detailer-status"])
        _comparison(handlers, elem_id)
        build_presets(units, status, handlers, elem_id)
        if remember:
            _remember([enabled, *(component for unit in units for component in unit.values)], elem_id)
    for number in range(len(units)):
        _wire(number, units, status, handlers, elem_id(""))
    fields = [(field, unit.fields[field.key]) for number, unit in enumerate(units) for field in unit_fields(number)]
    paste = [(enabled, lambda lines: bool(infotext.read_or_none(lines)) if lines else None)]
    paste += [(component, _paster(field)) for field, component in fields]
    return Panel(components=(enabled, *(component for _, component in fields)), paste=tuple(paste))


def _wire(number: int, units: Sequence[Unit], status: Any, handlers: PageHandlers, prefix: str) -> None:
    """The buttons of a unit. Copying, moving and resetting happen in the browser: nothing has to be asked of the server."""
    unit, call = units[number], f"'{prefix}', {number + 1}"
    in_browser(unit.fields["enable"].change, f"(on) => detailer.showBadge({call}, on)", inputs=[unit.fields["enable"]])
    in_browser(unit.tools["copy"].click, f"(...values) => detailer.copyUnit({call}, values)", inputs=unit.values, outputs=[status])
    in_browser(unit.tools["paste"].click, f"(...values) => detailer.pasteUnit({call}, values)", inputs=unit.values, outputs=[*unit.values, status])
    in_browser(unit.tools["reset"].click, f"(...values) => detailer.resetUnit({call}, values)", inputs=unit.values, outputs=[*unit.values, status])
    for tool, step in (("left", -1), ("right", 1)):
        if 0 <= number + step < len(units):
            both = [*unit.values, *units[number + step].values]
            in_browser(unit.tools[tool].click, f"(...values) => detailer.moveUnit({call}, {step}, values)", inputs=both,
                       outputs=[*both, status])
    detectors = [one.fields[name] for one in units for name in ("detector", "second_detector")]
    on_server(unit.rescan.click, handlers.rescan, outputs=[*detectors, status])
    # Gradio 3 drops an event that comes while the one before is worked on, as each letter that is typed would: the browser waits, and asks again.
    in_browser(unit.fields["detector"].change, f"(name) => detailer.detectorChanged({call}, name)", inputs=[unit.fields["detector"]])
    on_server(unit.ask_classes.click, handlers.classes, inputs=[unit.fields["detector"]], outputs=[unit.classes],
              after=f"() => detailer.showClasses({call})")
    on_server(unit.preview.click, handlers.preview, inputs=[unit.carrier, *unit.values], outputs=[unit.carrier],
              before=f"(...values) => detailer.askPreview({call}, values)", after=f"(answer) => detailer.showPreview({call}, answer)")


def _remember(values: Sequence[Any], elem_id: ElemId) -> None:
    """Hidden buttons: a script of the browser presses the one when a picture is begun, the other when the page has been loaded."""
    keep, recall = (small_button(name, elem_id(name), hidden=True) for name in ("keep", "recall"))
    in_browser(keep.click, f"(...values) => detailer.keepValues('{elem_id('')}', values)", inputs=values)
    in_browser(recall.click, f"(...values) => detailer.recallValues('{elem_id('')}', values)", inputs=values, outputs=values)


def _comparison(handlers: PageHandlers, elem_id: ElemId) -> None:
    with gr.Accordion("Before and after", open=False, elem_id=elem_id("comparison"), elem_classes=["detailer-group"]):
        carrier = page_only(gr.Textbox(value="", visible=False, elem_id=elem_id("comparison_text")))
        with gr.Row(elem_classes=["detailer-buttons"]):
            show = small_button("Show the last run", elem_id("comparison_show"))
        gr.HTML('<div class="detailer-comparison"></div>', elem_id=elem_id("comparison_view"))
    on_server(show.click, handlers.last_pictures, outputs=[carrier], after=f"(answer) => detailer.showComparison('{elem_id('')}', answer)")


def _paster(field: Field) -> Callable[[Mapping[str, Any]], Any]:
    """What a field is set to when generation parameters are pasted; None leaves it as it is."""

    def paste(lines: Mapping[str, Any]) -> Any:
        units = infotext.read_or_none(lines)
        if not units:
            return None
        if field.unit >= len(units):
            return False if field.role == "enable" else None
        value = fields_from_settings(units[field.unit])[field.key]
        return gr.update(value=value)

    return paste
