"""The part of the panel where presets are kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

from .page_events import on_server, page_only, small_button
from .page_handlers import PageHandlers
from .page_unit import Unit


def build_presets(units: Sequence[Unit], status: Any, handlers: PageHandlers, elem_id: Callable[[str], str]) -> None:
    """List, name and buttons, wired."""
    fields = [component for unit in units for component in unit.values]
    with gr.Accordion("Presets", open=False, elem_id=elem_id("presets"), elem_classes=["detailer-group"]):
        with gr.Row(elem_classes=["detailer-fields"]):
            chosen = page_only(gr.Dropdown(label="Preset", choices=handlers.preset_names(), value=None, allow_custom_value=True,
                                           elem_id=elem_id("preset")))
            name = page_only(gr.Textbox(label="Name", value="", placeholder="of a new preset, or a new name", elem_id=elem_id("preset_name")))
        carrier = page_only(gr.Textbox(value="", visible=False, elem_id=elem_id("preset_text")))
        with gr.Row(elem_classes=["detailer-buttons"]):
            button = {key: small_button(text, elem_id(f"preset_{key}")) for key, text in (
                ("load", "Load"), ("save", "Save"), ("rename", "Rename"), ("delete", "Delete"), ("export", "Export"), ("import", "Import"))}
    on_server(button["load"].click, handlers.load_preset, inputs=[chosen], outputs=[*fields, status])
    # The name that is typed counts; without one, the preset that is chosen is saved over.
    on_server(button["save"].click, handlers.save_preset, inputs=[name, chosen, *fields], outputs=[chosen, status])
    on_server(button["rename"].click, handlers.rename_preset, inputs=[chosen, name], outputs=[chosen, status])
    on_server(button["delete"].click, handlers.delete_preset, inputs=[chosen], outputs=[chosen, status],
              before="(name) => detailer.confirmDelete(name)")
    on_server(button["export"].click, handlers.export_preset, inputs=[chosen], outputs=[carrier, status],
              after="(text) => detailer.download(text)")
    on_server(button["import"].click, handlers.import_presets, inputs=[carrier], outputs=[chosen, status],
              before="() => detailer.pickFile()")
