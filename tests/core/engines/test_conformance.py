"""The engines that need no host, held to the contract."""

from __future__ import annotations

from typing import Any

import pytest
from conformance import EngineConformance, Rig
from stub_engine import StubEngine

from detailer_core.engines.base import Control, Engine, Redrawn, WaveRequest
from detailer_core.engines.filter import FilterEngine


class StubRig:
    """The stub with its small diffusion-like loop."""

    sampler = "Euler"
    spread = 0.0

    def make(self, *, fits: int | None = None, interrupt: bool = False) -> Engine:
        """A fresh stub."""
        return StubEngine(fits=fits or 64, stop_after=0 if interrupt else 1 << 30)


class InterruptedFilter(FilterEngine):
    """The filter, with a user who interrupts after the first picture."""

    def redraw(self, request: WaveRequest, control: Control) -> Redrawn:
        """As the filter does it."""
        asked: list[Any] = []
        return super().redraw(request, Control(stopped=lambda: asked.append(1) is None and len(asked) > 1))


class FilterRig:
    """The filter; it has no memory that could be full."""

    sampler = "Euler"
    spread = 0.0

    def make(self, *, fits: int | None = None, interrupt: bool = False) -> Engine:
        """A fresh filter."""
        return InterruptedFilter() if interrupt else FilterEngine()


class TestStub(EngineConformance):
    """The stub of the tests, so that what is tested with it means something."""

    @pytest.fixture
    def rig(self) -> Rig:
        """The stub."""
        return StubRig()


class TestFilter(EngineConformance):
    """The filter, which declares that it is no diffusion."""

    @pytest.fixture
    def rig(self) -> Rig:
        """The filter."""
        return FilterRig()
