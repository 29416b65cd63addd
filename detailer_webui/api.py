"""Detailer's own routes: /detailer/v1/version, /schema, /detectors, /detect and /detail.

They are there when the host's API is, behind the same password, and whoever asks for pictures waits in the same queue.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from modules import scripts, shared

from detailer_core.version import VERSION

from .api_check import TABS, TITLE, host_route
from .api_detectors import DetectorNames
from .api_requests import read_body
from .api_work import DETAIL_SCHEMA, DETECT_SCHEMA, detail, detect, schemas
from .job import Workshop

logger = logging.getLogger(__name__)

PREFIX = "/detailer/v1"


def add_routes(app: Any) -> None:
    """Add the routes to the host's application, if it has its own API there (`--api`)."""
    route = next((r for r in (host_route(app.routes, path) for path in TABS) if r is not None), None)
    if route is None:
        return
    if getattr(shared.cmd_opts, "api_auth", None) and not route.dependencies:
        logger.warning("Detailer: its routes are left out, because how this host asks for the password of --api-auth is not known")
        return
    names = DetectorNames()

    def add(path: str, endpoint: Callable[..., Any], **rest: Any) -> None:
        app.add_api_route(f"{PREFIX}{path}", endpoint, dependencies=list(route.dependencies), tags=["Detailer"], **rest)

    def version() -> dict[str, str]:
        return {"version": VERSION}

    def schema() -> dict[str, Any]:
        return schemas()

    def detectors(classes: bool = True) -> dict[str, Any]:
        return {"detectors": names.describe(_workshop(), classes=classes)}

    add("/version", version, methods=["GET"])
    add("/schema", schema, methods=["GET"])
    add("/detectors", detectors, methods=["GET"])
    add("/detect", _reading(detect), methods=["POST"], openapi_extra=_documented(DETECT_SCHEMA))
    add("/detail", _reading(detail), methods=["POST"], openapi_extra=_documented(DETAIL_SCHEMA))


def _reading(work: Callable[[Mapping[str, Any], Workshop], dict[str, Any]]) -> Callable[..., Any]:
    """A route that reads its body and then works on another thread, so that the server goes on answering."""
    async def endpoint(request: Request) -> Any:
        return await run_in_threadpool(work, await read_body(request), _workshop())

    # By hand, because annotations are texts here, and FastAPI looks for what they name only at the top of a file.
    endpoint.__annotations__ = {"request": Request}
    endpoint.__name__ = work.__name__
    return endpoint


def _documented(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": dict(schema)}}}}


def _workshop() -> Workshop:
    """What the img2img page works with: what it has loaded is not loaded twice."""
    runner = scripts.scripts_img2img
    found = next((s for s in runner.alwayson_scripts if s.title().lower() == TITLE), None) if runner is not None else None
    return found.workshop if found is not None else Workshop()
