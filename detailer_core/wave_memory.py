"""What fitted into the device's memory, remembered for each model and sampling size."""

from __future__ import annotations

from .geometry import SizeWH

_NO_LIMIT = 1 << 30


class WaveMemory:
    """Largest waves that are worth trying. Owned by whoever keeps an engine; lives across runs."""

    def __init__(self) -> None:
        self._limits: dict[tuple[str, int], int] = {}

    def limit(self, model: str, size_wh: SizeWH) -> int:
        """Most segments to sample together; at least 1."""
        return self._limits.get((model, size_wh[0] * size_wh[1]), _NO_LIMIT)

    def did_not_fit(self, model: str, size_wh: SizeWH, count: int) -> None:
        """A wave of `count` segments ran out of memory: half of it is the most that is tried from now on."""
        self._limits[(model, size_wh[0] * size_wh[1])] = max(1, count // 2)
