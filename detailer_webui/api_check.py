"""Detailer's arguments in the host's own API, checked before a picture is begun: a wrong one is an answer 422 and not a detailer that is off.

The routes themselves are left as they are. What they call, after the host has checked the password and read the request, is called
through a check; other routes, and other extensions, see nothing of it.
"""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from modules import scripts

from detailer_core.errors import DetailerError, SettingsError

from . import host
from .adetailer_requests import ADETAILER, TITLE, choose_script, key_of, taken_over
from .api_errors import entry, error_entry, refusal
from .fields import given_units
from .job import Workshop, check_unit

logger = logging.getLogger(__name__)

TABS = {"/sdapi/v1/txt2img": "txt2img", "/sdapi/v1/img2img": "img2img"}
_MARK = "_detailer_checks"
_SCRIPTS = "alwayson_scripts"


def check_host_routes(app: Any) -> None:
    """Put the check before the host's two routes that make pictures; without `--api` there are none, and nothing happens."""
    for path, tab in TABS.items():
        route = host_route(app.routes, path)
        if route is not None and not hasattr(route.dependant.call, _MARK):
            route.dependant.call = _checked(route.dependant.call, tab)


def host_route(routes: Iterable[Any], path: str) -> Any:
    """The first route of an application that answers POST at this path; None if there is none."""
    return next((r for r in routes if getattr(r, "path", None) == path and "POST" in (getattr(r, "methods", None) or ())
                 and hasattr(r, "dependant")), None)


def _checked(call: Callable[..., Any], tab: str) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(call):
        @functools.wraps(call)
        async def wrapper(*args: Any, **kwargs: Any) -> Any:
            _check_all((*args, *kwargs.values()), tab)
            return await call(*args, **kwargs)
    else:
        @functools.wraps(call)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            _check_all((*args, *kwargs.values()), tab)
            return call(*args, **kwargs)
    setattr(wrapper, _MARK, True)
    return wrapper


def _check_all(values: Sequence[Any], tab: str) -> None:
    for request in values:
        asked = getattr(request, _SCRIPTS, None)
        if isinstance(asked, Mapping):
            request.alwayson_scripts = check_scripts(asked, tab)
            choose_script(request, tab)


def check_scripts(asked: Mapping[str, Any], tab: str) -> dict[str, Any]:
    """The request's scripts, with those of ADetailer as Detailer's where that is wanted.

    Raises: HTTPException (422), with all that is wrong with Detailer's arguments.
    """
    done = taken_over(asked)
    name = key_of(done, TITLE)
    if name is None:
        return done
    script = _script(tab)
    sent = key_of(asked, TITLE) or key_of(asked, ADETAILER) or name
    if script is not None:
        problems = _problems(done[name], (_SCRIPTS, sent), script.workshop, script.args_to - script.args_from)
        if problems:
            logger.info("an API request was refused: %s", "; ".join(p["msg"] for p in problems))
            raise refusal(problems)
    return done


def _script(tab: str) -> Any:
    runner = getattr(scripts, f"scripts_{tab}")
    return next((s for s in runner.alwayson_scripts if s.title().lower() == TITLE), None)


def _problems(given: Any, loc: tuple[str, ...], workshop: Workshop, most: int) -> list[dict[str, Any]]:
    if not isinstance(given, Mapping):
        return [entry(loc, f"it must be a mapping with \"args\", got {type(given).__name__}")]
    if "args" not in given:
        return []
    args, loc = given["args"], (*loc, "args")
    if not isinstance(args, Sequence) or isinstance(args, str):
        return [entry(loc, f"it must be a list such as [true, {{\"detector\": \"face_haar\"}}], got {type(args).__name__}")]
    if len(args) > most:
        return [entry(loc, f"there are at most {most} values, got {len(args)}; the host would drop the rest")]
    try:
        units = given_units(args, samplers=host.sampler_names())
    except SettingsError as error:
        return [error_entry(loc if isinstance(args[0], (bool, Mapping)) else (*loc, 0), error)]
    rules = workshop.prompt_rules() if units else None
    problems: list[dict[str, Any]] = []
    for unit in units:
        try:
            settings, _ = unit.read()
            if settings is not None and rules is not None:
                check_unit(settings, workshop, rules)
        except DetailerError as error:
            problems.append(error_entry((*loc, unit.place), error))
    return problems
