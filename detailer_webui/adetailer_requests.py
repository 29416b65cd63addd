"""ADetailer's arguments in a request to the host's API: made Detailer's own, and what they ask of the request as a whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import adetailer_host, host
from .adetailer import SKIP_IMG2IMG, is_adetailer, skips_img2img
from .fields import units_from_args

TITLE = "detailer"
ADETAILER = "adetailer"


def key_of(asked: Mapping[str, Any], title: str) -> str | None:
    """The name by which a client calls a script; the host does not look at upper and lower case."""
    return next((key for key in asked if str(key).lower() == title), None)


def taken_over(asked: Mapping[str, Any]) -> dict[str, Any]:
    """The same with ADetailer's arguments as Detailer's; as they are if ADetailer itself is there, or Detailer has its own."""
    own, name = key_of(asked, TITLE), key_of(asked, ADETAILER)
    if own is not None:
        args = _args(asked[own])
        return {**asked, own: {**asked[own], "args": _marked(args)}} if any(map(_is_tab, args)) else dict(asked)
    if name is None or not adetailer_host.is_ours():
        return dict(asked)
    tabs = [{"ad_model": "None", **one} if isinstance(one, Mapping) else one for one in _args(asked[name])]
    rest = {key: value for key, value in asked.items() if key != name}
    return {**rest, "Detailer": {"args": _marked(tabs) if any(map(_is_tab, tabs)) else [False]}}


def choose_script(request: Any, tab: str) -> None:
    """Choose the script "Detailer" in an img2img request whose arguments of ADetailer's ask to leave img2img out.

    Where the client has chosen another script, nothing is done, and the unit tells it. In txt2img the argument means nothing, as there.
    """
    asked = request.alwayson_scripts
    name = key_of(asked, TITLE)
    args = _args(asked[name]) if name is not None else ()
    if not any(_is_tab(one) and skips_img2img(one) for one in args) or not units_from_args(args, samplers=host.sampler_names()).units:
        return
    if tab == "img2img":
        if getattr(request, "script_name", None):
            return
        request.script_name, request.script_args = "Detailer", [{}]
    plain = [{key: value for key, value in one.items() if key != SKIP_IMG2IMG} if _is_tab(one) else one for one in args]
    request.alwayson_scripts = {**asked, name: {**asked[name], "args": plain}}


def _args(given: Any) -> Sequence[Any]:
    args = given.get("args") if isinstance(given, Mapping) else None
    return args if isinstance(args, Sequence) and not isinstance(args, str) else ()


def _is_tab(one: Any) -> bool:
    return isinstance(one, Mapping) and is_adetailer(one)


def _marked(args: Sequence[Any]) -> list[Any]:
    """ADetailer's list: whether it is on, whether to leave img2img out, then one mapping a tab. The first tab says the second, too; all keep their
    place."""
    first = next(place for place, one in enumerate(args) if _is_tab(one))
    skips = len(args) > 1 and args[1] is True
    return [{**one, SKIP_IMG2IMG: True} if skips and place == first else one for place, one in enumerate(args)]
