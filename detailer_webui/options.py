"""Detailer's page in the host's settings."""

from __future__ import annotations

import gradio as gr
from modules import shared


def add_options() -> None:
    """Add the options; called by the host when it builds its settings page."""
    section = ("detailer", "Detailer")
    shared.opts.add_option("detailer_detector_folders", shared.OptionInfo(
        "", "More folders of detector models, one a line; a restart is not needed", gr.Textbox, {"lines": 3}, section=section,
        restrict_api=True))
    # Not to be set by whoever may only use the API: it lets a program run.
    shared.opts.add_option("detailer_trusted_models", shared.OptionInfo(
        "", "SHA-256 of model files, one a line, that the library ultralytics may load if it is installed and Detailer does not know their "
        "architecture; that executes what the file holds", gr.Textbox, {"lines": 3}, section=section, restrict_api=True))
    shared.opts.add_option("detailer_unit_count", shared.OptionInfo(
        4, "Number of units on the page", gr.Slider, {"minimum": 1, "maximum": 10, "step": 1}, section=section).needs_reload_ui())
    shared.opts.add_option("detailer_scripts", shared.OptionInfo(
        "", "Scripts that run inside the detail pass", gr.Textbox, {"placeholder": "for example: dynamic_thresholding, negpip"},
        section=section).info("file names without .py, separated by commas; with any, segments are sampled one by one"))
