"""What was found in the last few pictures, so that a preview and the run after it detect once."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from .base import Detection

MAX_ENTRIES = 16
"""Most results that are kept: a few pictures with a few units each."""
MAX_BYTES = 64 << 20
"""Most bytes of masks that are kept."""


def picture_key(picture_hwc: NDArray[np.uint8]) -> Hashable:
    """A key that differs for pictures of other pixels or of another size."""
    digest = hashlib.blake2b(np.ascontiguousarray(picture_hwc).data, digest_size=16)
    return picture_hwc.shape, digest.digest()


class DetectionCache:
    """Detections by key, the least recently used given up first; safe to share between threads. Belongs to a `DetectorShelf`."""

    def __init__(self, *, max_entries: int = MAX_ENTRIES, max_bytes: int = MAX_BYTES) -> None:
        self._max_entries, self._max_bytes = max_entries, max_bytes
        self._kept: OrderedDict[Hashable, tuple[Detection, ...]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> tuple[Detection, ...] | None:
        """What was found, None if it is not known."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def put(self, key: Hashable, found: Sequence[Detection]) -> tuple[Detection, ...]:
        """Remember what was found, and give it back; its masks can no longer be written to."""
        for detection in found:
            if detection.mask_hw is not None:
                detection.mask_hw.flags.writeable = False
        with self._lock:
            self._kept[key] = tuple(found)
            self._kept.move_to_end(key)
            while len(self._kept) > self._max_entries or (self._kept and self._bytes() > self._max_bytes):
                self._kept.popitem(last=False)
        return tuple(found)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._kept.clear()

    def _bytes(self) -> int:
        return sum(d.mask_hw.nbytes for found in self._kept.values() for d in found if d.mask_hw is not None)
