"""Pictures and clients of ADetailer in this host: whether they are ours to understand, and what is told of them."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from typing import Any

import gradio as gr
from modules import scripts, shared

from detailer_core.settings import UnitSettings

from . import host
from .adetailer import Units, has_adetailer, units_from_lines

logger = logging.getLogger(__name__)

OPTION = "detailer_adetailer"
WHEN = ("when ADetailer is not installed", "always", "never")
"""Choices of the setting; the first is the default: with both installed, a pasted picture must not be detailed twice."""

_TITLE = "adetailer"


def is_installed() -> bool:
    """Whether ADetailer itself, or a descendant that answers to its name, is loaded."""
    runners = (scripts.scripts_txt2img, scripts.scripts_img2img)
    return any(script.title().lower() == _TITLE for runner in runners if runner is not None for script in runner.alwayson_scripts)


def is_ours() -> bool:
    """Whether ADetailer's pictures and clients are to be understood here."""
    when = getattr(shared.opts, OPTION, WHEN[0])
    return when == WHEN[1] or (when != WHEN[2] and not is_installed())


def units_of(lines: Mapping[str, Any]) -> tuple[UnitSettings, ...]:
    """The units of a picture of ADetailer's; none if there are none, or if they are not ours."""
    return _read(lines).units if has_adetailer(lines) and is_ours() else ()


def tell_pasted(infotext: str, params: Mapping[str, Any]) -> None:
    """Say what of a pasted picture of ADetailer's has no counterpart; called by the host, once for each paste."""
    if not has_adetailer(params) or not is_ours():
        return
    lost = _read(params).lost
    if lost:
        logger.warning("Detailer: not taken over from ADetailer: %s", "; ".join(map(str, lost)))
        # Only labels: values come out of a picture that anyone may have made, and pages show HTML.
        _show(f"Detailer: not taken over from ADetailer: {', '.join(one.key for one in lost)}")


def _read(lines: Mapping[str, Any]) -> Units:
    return units_from_lines(lines, samplers=host.sampler_names())


def _show(text: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # gradio's own remark where nobody looks at a page
        gr.Warning(text)
