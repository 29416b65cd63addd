"""Errors as the API's clients get them: a status, and the field that is meant, in FastAPI's own form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import HTTPException

from detailer_core.errors import DetailerError, DetectorError, HookError, PromptError, SettingsError

_FIELDS: tuple[tuple[type[DetailerError], str], ...] = ((DetectorError, "detector"), (PromptError, "prompt"), (HookError, "hooks"))


def entry(loc: Sequence[str | int], message: str) -> dict[str, Any]:
    """One problem: where in the request, and what."""
    return {"loc": ["body", *loc], "msg": message, "type": "value_error"}


def error_entry(loc: Sequence[str | int], error: DetailerError) -> dict[str, Any]:
    """One problem of a unit that stands at `loc`: the setting that is meant is added where it is known."""
    field = error.field if isinstance(error, SettingsError) else next((name for kind, name in _FIELDS if isinstance(error, kind)), "")
    return entry([*loc, field] if field and field != "args" else loc, str(error))


def refusal(entries: Sequence[dict[str, Any]], status: int = 422) -> HTTPException:
    """What to raise."""
    return HTTPException(status_code=status, detail=list(entries))
