"""The panel, built from the settings table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import gradio as gr
from modules.ui_components import InputAccordion

from detailer_core.settings import Option

from . import infotext
from .fields import SAME_AS_MAIN, Field, default_of, fields_from_settings, unit_fields
from .page_choices import Choices

_FOLDED = ("Detection", "Mask", "Geometry", "Sampling", "Blending", "Hooks")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Panel:
    """components: what the host hands to the script, in order. paste: how each is set from generation parameters."""

    components: tuple[Any, ...]
    paste: tuple[tuple[Any, Callable[[Mapping[str, Any]], Any]], ...]


def build(*, units: int, choices: Choices, elem_id: Callable[[str], str]) -> Panel:
    """The panel with so many units. elem_id: makes a page-wide id of a short name."""
    with InputAccordion(False, label="Detailer", elem_id=elem_id("enabled")) as enabled:
        made: list[tuple[Field, Any]] = []
        with gr.Tabs(elem_id=elem_id("units")):
            for unit in range(units):
                with gr.Tab(f"Unit {unit + 1}", elem_id=elem_id(f"unit_{unit + 1}")):
                    made += _unit(unit, choices, elem_id)
    paste = [(enabled, lambda lines: bool(infotext.read_or_none(lines)) if lines else None)]
    paste += [(component, _paster(field)) for field, component in made]
    return Panel(components=(enabled, *(c for _, c in made)), paste=tuple(paste))


def _unit(unit: int, choices: Choices, elem_id: Callable[[str], str]) -> list[tuple[Field, Any]]:
    made: list[tuple[Field, Any]] = []
    fields = list(unit_fields(unit))
    for group in ("Main", *_FOLDED):
        fold = nullcontext() if group == "Main" else gr.Accordion(group, open=False, elem_id=elem_id(f"unit_{unit + 1}_group_{group.lower()}"))
        with fold:
            for field in fields:
                if (field.option.group if field.option else "Main") == group:
                    made.append((field, _component(field, choices, elem_id(f"unit_{unit + 1}_{field.key}"))))
    order = {f.key: i for i, f in enumerate(fields)}
    return sorted(made, key=lambda pair: order[pair[0].key])


def _component(field: Field, choices: Choices, elem_id: str) -> Any:
    option, value = field.option, default_of(field)
    if option is None:
        return gr.Checkbox(label=f"Use unit {field.unit + 1}", value=value, elem_id=elem_id)
    if field.role == "own":
        return gr.Checkbox(label=f"Own {_lower(option.label)}", value=value, elem_id=elem_id, info="off: as in the main generation")
    if option.choices or option.source:
        return _dropdown(option, choices, value, elem_id)
    if option.kind == "bool":
        return gr.Checkbox(label=option.label, value=value, info=option.help, elem_id=elem_id)
    if option.kind == "text":
        return gr.Textbox(label=option.label, value=value, lines=option.lines, info=option.help, elem_id=elem_id)
    if option.maximum is not None and option.maximum > 2**20:
        return gr.Number(label=option.label, value=value, precision=0, info=option.help, elem_id=elem_id)
    return gr.Slider(minimum=option.minimum, maximum=option.maximum, step=option.step, label=option.label, value=value, info=option.help,
                     elem_id=elem_id)


def _dropdown(option: Option, choices: Choices, value: Any, elem_id: str) -> Any:
    names: Sequence[str] = option.choices or choices.of(option.source)
    if option.optional:
        names = [SAME_AS_MAIN, *names]
    if value not in names and names:
        value = names[0]
    # Gradio 4 stops the whole generation when a pasted name is not in the list: a file may be gone since. We say so ourselves.
    return gr.Dropdown(label=option.label, choices=list(names), value=value, info=option.help, elem_id=elem_id,
                       allow_custom_value=bool(option.source))


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


def _lower(text: str) -> str:
    return text if text[:2].isupper() else text[:1].lower() + text[1:]


