"""Detailer's page in the host's settings."""

from __future__ import annotations

from typing import Any

import gradio as gr
from modules import shared

from . import adetailer_host, api_requests, guest_scripts, limits, saving

_SECTION = ("detailer", "Detailer")

REMEMBER = "detailer_remember"
"""Whether the page starts with the values that were used last."""


def add_options() -> None:
    """Add the options; called by the host when it builds its settings page."""
    _add("detailer_detector_folders", "", "More folders of detector models, one a line; a restart is not needed", gr.Textbox, hidden=True, lines=3)
    # Not to be set by whoever may only use the API: it lets a program run.
    _add("detailer_trusted_models", "", "SHA-256 of model files, one a line, that the library ultralytics may load if it is installed and Detailer "
         "does not know their architecture; that executes what the file holds", gr.Textbox, locked=True, lines=3)
    _add("detailer_unit_count", 4, "Number of units on the page", gr.Slider, minimum=1, maximum=10, step=1).needs_reload_ui()
    _add(REMEMBER, False, "Start with the values that were used last").needs_reload_ui()
    _add(adetailer_host.OPTION, adetailer_host.WHEN[0], "Understand pictures and API calls of ADetailer", gr.Radio,
         choices=list(adetailer_host.WHEN)).info("its generation parameters fill Detailer's page when they are pasted; its arguments in API calls "
                                                 "work here")
    _add(guest_scripts.OPTION, "", "Scripts that run inside the detail pass", gr.Textbox, placeholder="dynamic_thresholding, negpip").info(
        "file names without .py, separated by commas; with any, segments are sampled one by one")
    _add(limits.WAVE_MEGAPIXELS, 0, "Megapixels that are sampled together at most", gr.Slider, minimum=0, maximum=64, step=0.5).info(
        "whatever the units allow; lower it if memory runs out; 0 = as the units have it")
    _add(saving.WHAT, [], "Save beside the finished pictures", gr.CheckboxGroup, choices=list(saving.KINDS)).info(
        "before: as they were generated; preview: what was found; crops: each part before and after; masks: where was redrawn")
    _add(saving.FOLDER, "", "Folder for these pictures", gr.Textbox, hidden=True).info("empty = where the finished pictures are saved")
    _add(saving.SUFFIX, saving.USUAL_SUFFIX, "End of their file names", gr.Textbox).info("[unit], [kind], [segment] and [label] are filled in")
    _add(api_requests.MEGAPIXELS, api_requests.USUAL_MEGAPIXELS, "Largest picture, in megapixels, that clients of /detailer/v1 may send",
         gr.Slider, minimum=1, maximum=256, step=1)


def _add(key: str, default: Any, label: str, component: Any = None, *, hidden: bool = False, locked: bool = False, **component_args: Any) -> Any:
    """The option, added. hidden: not shown where the host hides folders, and locked, as its own folders are. locked: not to be set by its API."""
    args = {**component_args, **(shared.hide_dirs if hidden else {})}
    info = shared.OptionInfo(default, label, component, args or None, section=_SECTION, restrict_api=hidden or locked)
    shared.opts.add_option(key, info)
    return info
