"""What is asked of the script "Detailer": its own arguments, and the units, which are the panel's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from modules import shared

from detailer_core.errors import SettingsError

from . import host
from .fields import units_from_args


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """folder: of the pictures; "" = the page's. output: folder for their results; "" = the host's. mask: the inpaint mask gives the segments."""

    folder: str = ""
    output: str = ""
    mask: bool = False


def read_request(args: Sequence[Any]) -> Request:
    """The arguments of the script: one mapping, or values in the order of `Request`; what is missing has its default.

    Raises: SettingsError, with the argument's name in `field`, for an unknown name, a wrong type, a folder that is not there, or folders on a
    host that was started without them.
    """
    known = [f.name for f in fields(Request)]
    if args and isinstance(args[0], Mapping):
        values = dict(args[0])  # what comes after it may be another script's: the host puts few arguments in the place of many
    else:
        values = {name: value for name, value in zip(known, args, strict=False) if value is not None}
    for name in values:
        if name not in known:
            raise SettingsError(f"unknown argument '{name}' of the script Detailer; there are {', '.join(known)}", field=str(name))
    for name in ("folder", "output"):
        if not isinstance(values.get(name, ""), str):
            raise SettingsError(f"{name}: it must be text, got {values[name]!r}", field=name)
        values[name] = values.get(name, "").strip().strip('"')  # Windows copies paths in quotes
    if not isinstance(values.get("mask", False), bool):
        raise SettingsError(f"mask: it must be true or false, got {values['mask']!r}", field="mask")
    request = Request(**values)
    _check_folders(request)
    return request


def _check_folders(request: Request) -> None:
    if (request.folder or request.output) and getattr(shared.cmd_opts, "hide_ui_dir_config", False):
        raise SettingsError("folder: this host was started with --hide-ui-dir-config, which forbids to choose folders", field="folder")
    if request.folder and not Path(request.folder).is_dir():
        raise SettingsError(f"folder '{request.folder}' not found; give the full path of a folder on the WebUI's machine", field="folder")
    if request.output and not request.folder:
        raise SettingsError("output: it is for the pictures of a folder; give one, or leave it empty", field="output")


def panel_arguments(args: Sequence[Any]) -> tuple[list[Any], bool]:
    """The panel's arguments with Detailer switched on, and its first unit if none is; whether the latter was needed.

    Raises: SettingsError if they are not the panel's.
    """
    values = [True, *args[1:]] if args and isinstance(args[0], (bool, type(None))) else [True, *args]
    requested = units_from_args(values, samplers=host.sampler_names())
    if requested.units or requested.problems:
        return values, False
    place = next((i for i, value in enumerate(values) if isinstance(value, Mapping)), None)
    if place is not None:
        values[place] = {**values[place], "enable": True}
    elif len(values) > 1:
        values[1] = True
    else:
        values.append({})
    return values, True
