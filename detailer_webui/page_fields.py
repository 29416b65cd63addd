"""One component of the panel for each field of a unit, built from the settings table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from detailer_core.settings import Option

from .choices import Choices
from .fields import SAME_AS_MAIN, Field, default_of

_TYPED = 2**20
"""Numbers that go beyond this are typed: a slider cannot be moved so finely."""


def make_component(field: Field, choices: Choices, elem_id: str) -> Any:
    """The component of a field with its default. What it means is shown when it is pointed at, see `page_texts`."""
    option, value = field.option, default_of(field)
    if option is None:
        return gr.Checkbox(label=label_of(field), value=value, elem_id=elem_id)
    if field.role == "own":
        return gr.Checkbox(label=label_of(field), value=value, elem_id=elem_id, container=False, min_width=0, scale=0)
    if option.choices or option.source:
        return _dropdown(option, choices, value, elem_id)
    if option.kind == "bool":
        return gr.Checkbox(label=option.label, value=value, elem_id=elem_id)
    if option.kind == "text":
        return gr.Textbox(label=option.label, value=value, lines=option.lines, placeholder=_hint(option), elem_id=elem_id,
                          elem_classes=["detailer-wide"] if option.lines > 1 else [])
    if option.maximum is not None and option.maximum > _TYPED:
        return gr.Number(label=option.label, value=value, precision=0, elem_id=elem_id)
    return gr.Slider(minimum=option.minimum, maximum=option.maximum, step=option.step, label=option.label, value=value, elem_id=elem_id)


def label_of(field: Field) -> str:
    """What a field is called on the page."""
    if field.option is None:
        return f"Use unit {field.unit + 1}"
    return f"Own {_lower(field.option.label)}" if field.role == "own" else field.option.label


def help_of(field: Field) -> str:
    """What is said about a field when it is pointed at."""
    if field.option is None:
        return "Units that are on work one after another on the same picture."
    if field.role == "own":
        return f"On: this unit's own value. Off: {field.option.unset}."
    return field.option.help


def _dropdown(option: Option, choices: Choices, value: Any, elem_id: str) -> Any:
    names: Sequence[str] = option.choices or choices.of(option.source)
    if option.optional:
        names = [SAME_AS_MAIN, *names]
    if value not in names and names:
        value = names[0]
    # Gradio 4 stops the whole generation when a pasted name is not in the list: a file may be gone since. We say so ourselves.
    return gr.Dropdown(label=option.label, choices=list(names), value=value, elem_id=elem_id, allow_custom_value=bool(option.source))


def _hint(option: Option) -> str:
    """The first sentence of the help; where the field is too narrow for it, only what it means if nothing stands there."""
    sentence = option.help.split(". ")[0].rstrip(".")
    wide = option.lines > 1 or option.group == "Main"
    return sentence if wide else "".join(sentence.rpartition("empty = ")[1:])


def _lower(text: str) -> str:
    return text if text[:2].isupper() else text[:1].lower() + text[1:]
