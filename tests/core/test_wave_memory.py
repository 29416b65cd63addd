"""What fitted into memory is remembered, per model and size."""

from __future__ import annotations

import pytest

from detailer_core.wave_memory import WaveMemory


def test_nothing_is_known_at_first() -> None:
    """Any wave is worth trying."""
    assert WaveMemory().limit("model", (512, 512)) > 10**6


@pytest.mark.parametrize(("count", "limit"), [(8, 4), (7, 3), (3, 1), (2, 1), (1, 1)])
def test_half_of_what_did_not_fit_is_tried_next(count: int, limit: int) -> None:
    """Never less than one."""
    memory = WaveMemory()
    memory.did_not_fit("model", (512, 512), count)
    assert memory.limit("model", (512, 512)) == limit


def test_models_and_sizes_are_apart() -> None:
    """Another model or another number of pixels is not held back; the same number of pixels in another shape is."""
    memory = WaveMemory()
    memory.did_not_fit("model", (512, 256), 4)
    assert memory.limit("model", (512, 256)) == 2
    assert memory.limit("model", (256, 512)) == 2
    assert memory.limit("other", (512, 256)) > 10**6
    assert memory.limit("model", (512, 264)) > 10**6


def test_two_memories_know_nothing_of_each_other() -> None:
    """There is no state behind them."""
    WaveMemory().did_not_fit("model", (512, 512), 8)
    assert WaveMemory().limit("model", (512, 512)) > 10**6
