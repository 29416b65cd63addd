"""The pictures of the last job before and after, for the page to show beside each other."""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass

from PIL import Image

from .data_uri import encode_jpeg

logger = logging.getLogger(__name__)

SIDE = 1280
"""Long side in pixels at which pictures are kept: about 300 KB a pair, in memory only."""
MOST = 8
"""So many pairs of a job are kept, the last ones."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """One picture before and after all units, as data URIs of JPEG files."""

    before: str
    after: str


class Comparison:
    """The pairs of the last job of a page that changed something."""

    def __init__(self) -> None:
        self._pairs: deque[Pair] = deque(maxlen=MOST)
        self._new_job = False

    def begin(self) -> None:
        """A new job: the last one's pairs go when its first comes."""
        self._new_job = True

    def add(self, before: Image.Image, after: Image.Image) -> None:
        """Keep a small copy of both; a pair that cannot be kept is left out."""
        if self._new_job:
            self._pairs.clear()
            self._new_job = False
        try:
            self._pairs.append(Pair(before=encode_jpeg(before, side=SIDE), after=encode_jpeg(after, side=SIDE)))
        except (OSError, ValueError):
            logger.warning("Detailer: before and after cannot be shown", exc_info=True)

    def pairs(self) -> tuple[Pair, ...]:
        """The pairs, in the order in which they were made."""
        return tuple(self._pairs)
