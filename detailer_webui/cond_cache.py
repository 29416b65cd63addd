"""Encoded prompts, kept across waves, units and pictures."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Any


class CondCache:
    """What the text encoder made of single prompts, the last ones used. A key must hold all that changes the result."""

    def __init__(self, size: int = 64) -> None:
        self._size = size
        self._kept: OrderedDict[Hashable, Any] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """The value of this key, made if it is not there."""
        if key not in self._kept:
            self._kept[key] = make()
        self._kept.move_to_end(key)
        while len(self._kept) > self._size:
            self._kept.popitem(last=False)
        return self._kept[key]

    def join(self, parts: Sequence[Any]) -> Any:
        """The encodings of single prompts as the host's of all: a list of schedules, or its object for composed prompts."""
        first = parts[0]
        if isinstance(first, list):
            return [schedule for part in parts for schedule in part]
        return type(first)((len(parts),), [conds for part in parts for conds in part.batch])

    def clear(self) -> None:
        """Forget everything."""
        self._kept.clear()
