"""Plays `modules.script_callbacks`: functions that extensions register for moments in the host's life."""

from __future__ import annotations

import dataclasses
import inspect
from collections import namedtuple
from typing import TYPE_CHECKING, Any

from modules import errors
from modules._standin import _world

if TYPE_CHECKING:
    from fastapi import FastAPI
    from gradio import Blocks


class ImageSaveParams:
    """A picture that is about to be written, or was."""

    def __init__(self, image, p, filename, pnginfo):
        """Keeps what it is given."""
        self.image = image
        self.p = p
        self.filename = filename
        self.pnginfo = pnginfo


class ExtraNoiseParams:
    """The extra noise of img2img, before it is added."""

    def __init__(self, noise, x, xi):
        """Keeps what it is given."""
        self.noise = noise
        self.x = x
        self.xi = xi


class CFGDenoiserParams:
    """What the model gets at one step; callbacks may change it."""

    def __init__(self, x, image_cond, sigma, sampling_step, total_sampling_steps, text_cond, text_uncond, denoiser=None):
        """Keeps what it is given."""
        self.x = x
        self.image_cond = image_cond
        self.sigma = sigma
        self.sampling_step = sampling_step
        self.total_sampling_steps = total_sampling_steps
        self.text_cond = text_cond
        self.text_uncond = text_uncond
        self.denoiser = denoiser


class CFGDenoisedParams:
    """What the model returned at one step."""

    def __init__(self, x, sampling_step, total_sampling_steps, inner_model):
        """Keeps what it is given."""
        self.x = x
        self.sampling_step = sampling_step
        self.total_sampling_steps = total_sampling_steps
        self.inner_model = inner_model


class AfterCFGCallbackParams:
    """The result of one step after guidance."""

    def __init__(self, x, sampling_step, total_sampling_steps):
        """Keeps what it is given."""
        self.x = x
        self.sampling_step = sampling_step
        self.total_sampling_steps = total_sampling_steps


class ImageGridLoopParams:
    """A grid that is about to be made."""

    def __init__(self, imgs, cols, rows):
        """Keeps what it is given."""
        self.imgs = imgs
        self.cols = cols
        self.rows = rows


if _world.host.classic:
    ScriptCallback = namedtuple("ScriptCallback", ["script", "callback"])
else:
    @dataclasses.dataclass
    class ScriptCallback:
        """A registered function, and the file that registered it."""

        script: str
        callback: any
        name: str = "unnamed"


_KINDS = (
    "app_started", "model_loaded", "ui_tabs", "ui_settings", "before_image_saved", "image_saved", "extra_noise", "cfg_denoiser",
    "cfg_denoised", "cfg_after_cfg", "before_component", "after_component", "image_grid", "infotext_pasted", "script_unloaded",
    "before_ui", "on_reload", "list_unets",
)
callback_map = {f"callbacks_{kind}": [] for kind in _KINDS}


def _caller():
    """The file outside of this one that is registering."""
    frames = [frame.filename for frame in inspect.stack() if frame.filename != __file__]
    return frames[0] if frames else "unknown file"


def _call_all(kind, *args, **kwargs):
    """What the callbacks of a kind returned; errors are reported and skipped."""
    results = []
    for entry in list(callback_map[f"callbacks_{kind}"]):
        try:
            results.append(entry.callback(*args, **kwargs))
        except Exception:
            errors.report(f"Error executing callback callbacks_{kind} for {entry.script}", exc_info=True)
    return results


def _register(kind, callback, name=None):
    source = _caller()
    entry = (source, callback) if _world.host.classic else (source, callback, name or callback.__name__)
    callback_map[f"callbacks_{kind}"].append(ScriptCallback(*entry))


def _registrar(kind):
    """The `on_...` function for a kind; Forge Classic's take no name."""
    if _world.host.classic:
        def register(callback):
            _register(kind, callback)
    else:
        def register(callback, *, name=None):
            _register(kind, callback, name)
    return register


on_app_started = _registrar("app_started")
on_before_reload = _registrar("on_reload")
on_model_loaded = _registrar("model_loaded")
on_ui_tabs = _registrar("ui_tabs")
on_ui_settings = _registrar("ui_settings")
on_before_image_saved = _registrar("before_image_saved")
on_image_saved = _registrar("image_saved")
on_extra_noise = _registrar("extra_noise")
on_cfg_denoiser = _registrar("cfg_denoiser")
on_cfg_denoised = _registrar("cfg_denoised")
on_cfg_after_cfg = _registrar("cfg_after_cfg")
on_before_component = _registrar("before_component")
on_after_component = _registrar("after_component")
on_image_grid = _registrar("image_grid")
on_infotext_pasted = _registrar("infotext_pasted")
on_script_unloaded = _registrar("script_unloaded")
on_before_ui = _registrar("before_ui")
on_list_unets = _registrar("list_unets")


def clear_callbacks():
    """Forgets every registered function."""
    for entries in callback_map.values():
        entries.clear()


def remove_callbacks_for_function(callback_func):
    """Forgets a function, wherever it was registered."""
    for entries in callback_map.values():
        entries[:] = [entry for entry in entries if entry.callback != callback_func]


def remove_current_script_callbacks():
    """Forgets the functions that the calling file registered."""
    source = _caller()
    for entries in callback_map.values():
        entries[:] = [entry for entry in entries if entry.script != source]


def app_started_callback(demo: Blocks | None, app: FastAPI):
    """Calls what was registered for the start of the web server."""
    _call_all("app_started", demo, app)


def app_reload_callback():
    """Calls what was registered for "Reload UI"."""
    _call_all("on_reload")


def model_loaded_callback(sd_model):
    """Calls what was registered for a loaded checkpoint."""
    _call_all("model_loaded", sd_model)


def ui_tabs_callback():
    """The tabs that extensions add, as (page, title, id)."""
    return [tab for tabs in _call_all("ui_tabs") for tab in tabs or []]


def ui_settings_callback():
    """Calls what was registered for the making of the settings."""
    _call_all("ui_settings")


def before_image_saved_callback(params: ImageSaveParams):
    """Calls what was registered for a picture that is about to be written."""
    _call_all("before_image_saved", params)


def image_saved_callback(params: ImageSaveParams):
    """Calls what was registered for a written picture."""
    _call_all("image_saved", params)


def extra_noise_callback(params: ExtraNoiseParams):
    """Calls what was registered for extra noise."""
    _call_all("extra_noise", params)


def cfg_denoiser_callback(params: CFGDenoiserParams):
    """Calls what was registered for a step, before the model runs."""
    _call_all("cfg_denoiser", params)


def cfg_denoised_callback(params: CFGDenoisedParams):
    """Calls what was registered for a step, after the model ran."""
    _call_all("cfg_denoised", params)


def cfg_after_cfg_callback(params: AfterCFGCallbackParams):
    """Calls what was registered for a step, after guidance."""
    _call_all("cfg_after_cfg", params)


def before_component_callback(component, **kwargs):
    """Calls what was registered for a component that is about to be made."""
    _call_all("before_component", component, **kwargs)


def after_component_callback(component, **kwargs):
    """Calls what was registered for a component that was made."""
    _call_all("after_component", component, **kwargs)


def image_grid_callback(params: ImageGridLoopParams):
    """Calls what was registered for a grid."""
    _call_all("image_grid", params)


def infotext_pasted_callback(infotext: str, params: dict[str, Any]):
    """Calls what was registered for a pasted infotext; callbacks may change `params`."""
    _call_all("infotext_pasted", infotext, params)


def script_unloaded_callback():
    """Calls what was registered for the end of the scripts, the last registered first."""
    for entry in reversed(callback_map["callbacks_script_unloaded"]):
        try:
            entry.callback()
        except Exception:
            errors.report(f"Error executing callback script_unloaded for {entry.script}", exc_info=True)


def before_ui_callback():
    """Calls what was registered for the making of the page, the last registered first."""
    for entry in reversed(callback_map["callbacks_before_ui"]):
        try:
            entry.callback()
        except Exception:
            errors.report(f"Error executing callback before_ui for {entry.script}", exc_info=True)
