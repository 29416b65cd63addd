"""One unit of the panel: what most people need on top, the rest of the table in folded groups."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from detailer_core.settings import options

from .choices import Choices
from .fields import has_own_box, unit_fields
from .page_events import page_only, small_button
from .page_fields import make_component

TOP = "Main"
"""The group that is not folded."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Unit:
    """The components of one unit. fields: by key, in the table's order; all others are the page's own and no arguments of the script.

    carrier: takes pictures and answers between browser and server.
    """

    fields: dict[str, Any]
    tools: dict[str, Any]
    rescan: Any
    classes: Any
    ask_classes: Any
    preview: Any
    carrier: Any

    @property
    def values(self) -> list[Any]:
        """The fields' components, in order."""
        return list(self.fields.values())


def groups() -> list[str]:
    """The table's groups, in order."""
    return list(dict.fromkeys(option.group for option in options().values()))


def build_unit(unit: int, units: int, choices: Choices, elem_id: Callable[[str], str]) -> Unit:
    """The unit with this 0-based number, of so many. elem_id: makes a page-wide id of a name that is unique in the unit."""
    return _Builder(unit, units, choices, elem_id).build()


class _Builder:
    def __init__(self, unit: int, units: int, choices: Choices, elem_id: Callable[[str], str]) -> None:
        self._choices, self._elem_id = choices, elem_id
        self._at_the_edge = [name for name, edge in (("left", 0), ("right", units - 1)) if unit == edge]
        self._fields = {field.key: field for field in unit_fields(unit)}
        self._made: dict[str, Any] = {}
        self._rescan: Any = None
        self._classes: Any = None
        self._ask_classes: Any = None

    def build(self) -> Unit:
        with gr.Row(elem_classes=["detailer-head"]):
            self._add("enable")
            tools = {name: small_button(text, self._elem_id(name), usable=name not in self._at_the_edge) for name, text in (
                ("copy", "Copy"), ("paste", "Paste"), ("left", "Move left"), ("right", "Move right"), ("reset", "Reset"))}
        for group in groups():
            if group == TOP:
                self._group(group)
                continue
            with gr.Accordion(group, open=False, elem_id=self._elem_id(f"group_{group.lower()}"), elem_classes=["detailer-group"]):
                self._group(group)
        preview, carrier = self._preview()
        return Unit(fields={key: self._made[key] for key in self._fields}, tools=tools, rescan=self._rescan, classes=self._classes,
                    ask_classes=self._ask_classes, preview=preview, carrier=carrier)

    def _preview(self) -> tuple[Any, Any]:
        with gr.Accordion("Preview of detections", open=False, elem_id=self._elem_id("preview"), elem_classes=["detailer-group"]):
            with gr.Row(elem_classes=["detailer-buttons"]):
                button = small_button("Preview detections", self._elem_id("preview_show"))
            carrier = page_only(gr.Textbox(value="", visible=False, elem_id=self._elem_id("preview_text")))
            gr.HTML('<div class="detailer-preview"></div>', elem_id=self._elem_id("preview_view"))
        return button, carrier

    def _group(self, group: str) -> None:
        with gr.Row(elem_classes=["detailer-fields", *(["detailer-top"] if group == TOP else [])]):
            for name, option in options().items():
                if option.group != group:
                    continue
                if has_own_box(option):
                    with gr.Row(elem_classes=["detailer-own"]):
                        self._add(f"own_{name}")
                        self._add(name)
                elif option.source == "detectors":
                    self._detector(name)
                elif name == "labels":
                    self._labels(name)
                else:
                    self._add(name)

    def _detector(self, name: str) -> None:
        with gr.Row(elem_classes=["detailer-detector", "detailer-wide"]):
            self._add(name)
            self._rescan = small_button("Rescan", self._elem_id("rescan"))

    def _labels(self, name: str) -> None:
        self._add(name)
        self._classes = gr.HTML("", elem_id=self._elem_id("classes"), elem_classes=["detailer-wide"])
        self._ask_classes = small_button("Classes", self._elem_id("ask_classes"), hidden=True)

    def _add(self, key: str) -> None:
        self._made[key] = make_component(self._fields[key], self._choices, self._elem_id(key))
