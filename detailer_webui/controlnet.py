"""The host's ControlNet: A1111's extension `sd-webui-controlnet`, or the one that Forge and its kin bring along.

Both are scripts that the host has loaded under one title. Their modules are taken from what is imported already: an extension's folder is on the
search path only while its script loads.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from modules import scripts

from detailer_core.errors import EngineUnsupportedError, SettingsError
from detailer_core.sampling import NO_CONTROL, SegmentControl
from detailer_core.settings import UnitSettings

_UNIT_MODULES = ("lib_controlnet.external_code", "internal_controlnet.external_code", "scripts.external_code")
"""Where the class of a unit is: Forge's, A1111's, and A1111's before it had a module for others."""
_MODES = {"balanced": "Balanced", "prompt": "My prompt is more important", "control": "ControlNet is more important"}


def script() -> Any | None:
    """The host's ControlNet on the img2img page; None if there is none."""
    runner = scripts.scripts_img2img
    return next((s for s in getattr(runner, "alwayson_scripts", None) or () if str(s.title()).strip().lower() == "controlnet"), None)


def installed() -> bool:
    """Whether this host has a ControlNet that can be used."""
    return script() is not None and _external_code() is not None


def _external_code() -> Any | None:
    found = (sys.modules.get(name) for name in _UNIT_MODULES)
    return next((module for module in found if hasattr(module, "ControlNetUnit")), None)


def _forge_state() -> ModuleType | None:
    return sys.modules.get("lib_controlnet.global_state")


def model_names() -> tuple[str, ...]:
    """ControlNets that the host has found, "None" first."""
    state, code = _forge_state(), _external_code()
    names: Sequence[str] = ()
    if state is not None:
        names = state.get_all_controlnet_names()
    elif code is not None and hasattr(code, "get_models"):
        names = code.get_models()
    return ("None", *(name for name in names if name not in NO_CONTROL))


def module_names() -> tuple[str, ...]:
    """Preprocessors that the host has, as its own page calls them, "none" first."""
    state, code = _forge_state(), _external_code()
    names: Sequence[str] = ()
    if state is not None:
        names = state.get_all_preprocessor_names()
    elif code is not None and hasattr(code, "get_modules"):
        names = code.get_modules(True)
    return ("none", *(name for name in names if name not in NO_CONTROL))


def _all_module_names() -> tuple[str, ...]:
    """As `module_names`, then what A1111's calls some of them within, and takes as well: "inpaint" for "inpaint_global_harmonious"."""
    shown, code = module_names(), _external_code()
    inner = code.get_modules() if _forge_state() is None and hasattr(code, "get_modules") else ()
    return (*shown, *(name for name in inner if name not in shown))


def check_names(settings: UnitSettings) -> None:
    """Raises: SettingsError if a ControlNet is asked for that this host does not have."""
    for option, names in (("control_model", model_names), ("control_module", _all_module_names)):
        value = getattr(settings, option)
        if value in NO_CONTROL:
            continue
        if not installed():
            raise SettingsError(f"{option} '{value}': this host has no ControlNet; install the extension sd-webui-controlnet, or set it to None",
                                field=option)
        _known(option, value, names())


def check_complete(settings: UnitSettings) -> None:
    """Raises: SettingsError for a preprocessor without a ControlNet, which would do nothing."""
    if settings.control_model in NO_CONTROL and settings.control_module not in NO_CONTROL:
        raise SettingsError(f"control_module '{settings.control_module}' has no ControlNet to work for; choose a control_model",
                            field="control_model")


def _known(option: str, value: str, names: Sequence[str]) -> str:
    """The host's own name: with its hash, and spelt as it spells it. Raises: SettingsError if there is no such."""
    wanted = value.strip().lower()
    for name in names:
        if wanted in (name.lower(), name.rpartition(" [")[0].lower()):
            return name
    near = difflib.get_close_matches(value, names, n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(names[:20])}"
    raise SettingsError(f"{option} '{value}' not found; {hint}", field=option)


def make_unit(control: SegmentControl) -> Any:
    """One unit of the host's ControlNet, which takes the job's own picture. Raises: EngineUnsupportedError if this host has none; SettingsError
    for a name that it does not have."""
    code = _external_code()
    if script() is None or code is None:
        raise EngineUnsupportedError("control_model: this host has no ControlNet; set it to None")
    empty = "None" if _forge_state() is not None else "none"
    values = {
        "enabled": True, "module": empty if control.module in NO_CONTROL else _known("control_module", control.module, _all_module_names()),
        "model": _known("control_model", control.model, model_names()), "weight": control.weight, "guidance_start": control.start,
        "guidance_end": control.end, "control_mode": _MODES[control.mode], "pixel_perfect": control.pixel_perfect, "save_detected_map": False,
    }
    known = getattr(code.ControlNetUnit, "__dataclass_fields__", None) or getattr(code.ControlNetUnit, "__fields__", None) or values
    return code.ControlNetUnit(**{name: value for name, value in values.items() if name in known})
