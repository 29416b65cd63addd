"""A given picture's generation parameters with Detailer's own added: steps, size and all else stay the original picture's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modules import infotext_utils

from .infotext import VERSION_KEY

_FEW = 3
"""The host takes a last line with fewer entries for a part of the prompt."""


def is_ours(key: str) -> bool:
    """Whether a label of the generation parameters is Detailer's."""
    return key == VERSION_KEY or key.startswith(f"{VERSION_KEY} ")


def with_lines(text: str, lines: Mapping[str, Any]) -> str:
    """The text with these labels and values at its end, in place of those of Detailer that it had; nothing else changes."""
    *head, last = text.rstrip().split("\n")
    entries = list(infotext_utils.re_param.finditer(last))
    if len(entries) < _FEW:
        head, last, entries = [*head, last], "", []
    for entry in reversed(entries):
        if is_ours(entry.group(1)):
            last = last[: entry.start()] + last[entry.end():]
    added = [f"{key}: {infotext_utils.quote(value)}" for key, value in lines.items() if is_ours(key)]
    return "\n".join([*head, ", ".join([part for part in (last.strip(" ,"), *added) if part])])
