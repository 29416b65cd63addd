"""Detailer's page in the host's settings."""

from __future__ import annotations

import gradio as gr
from modules import shared

from . import adetailer_host, api_requests


def add_options() -> None:
    """Add the options; called by the host when it builds its settings page."""
    section = ("detailer", "Detailer")
    shared.opts.add_option("detailer_unit_count", shared.OptionInfo(
        4, "Number of units on the page", gr.Slider, {"minimum": 1, "maximum": 10, "step": 1}, section=section).needs_reload_ui())
    shared.opts.add_option(adetailer_host.OPTION, shared.OptionInfo(
        adetailer_host.WHEN[0], "Understand pictures and API calls of ADetailer", gr.Radio, {"choices": list(adetailer_host.WHEN)},
        section=section).info("its generation parameters fill Detailer's page when they are pasted; its arguments in API calls work here"))
    shared.opts.add_option(api_requests.MEGAPIXELS, shared.OptionInfo(
        api_requests.USUAL_MEGAPIXELS, "Largest picture, in megapixels, that clients of /detailer/v1 may send", gr.Slider,
        {"minimum": 1, "maximum": 256, "step": 1}, section=section))
