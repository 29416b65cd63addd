"""The engine `diffusers`, with a small model of each family, held to the contract of all engines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conformance import EngineConformance, Rig

from detailer_core.engines.base import Control, Engine, Redrawn, WaveRequest
from detailer_core.engines.diffusers.engine import DiffusersEngine
from detailer_core.engines.diffusers.options import ModelOptions


class InterruptedEngine(DiffusersEngine):
    """With a user who interrupts after the second step."""

    def redraw(self, request: WaveRequest, control: Control) -> Redrawn:
        """As the engine does it."""
        asked: list[Any] = []
        return super().redraw(request, Control(stopped=lambda: asked.append(1) is None and len(asked) > 3))


class DiffusersRig:
    """The engine with a model that was saved in a folder. spread: what a decoder carries from what is redrawn into what is kept."""

    sampler = "Euler"
    spread = 1e-3

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def make(self, *, fits: int | None = None, interrupt: bool = False) -> Engine:
        """A fresh engine; its model can be made to say that memory is full."""
        engine = (InterruptedEngine if interrupt else DiffusersEngine)(ModelOptions(model=str(self.folder)))
        if fits is not None:
            def check(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
                rows = len(args[0] if args else kwargs["hidden_states"])
                if rows > 2 * fits:  # negative and positive
                    raise RuntimeError("CUDA out of memory. Tried to allocate more than there is.")

            engine._main.model.denoiser.register_forward_pre_hook(check, with_kwargs=True)
        return engine


class DiffusersConformance(EngineConformance):
    """The suite with a model of a family."""

    family = "sd"

    @pytest.fixture
    def rig(self, model_folder: Callable[..., Path]) -> Rig:
        """The engine."""
        return DiffusersRig(model_folder(self.family))


class TestSd(DiffusersConformance):
    """Stable Diffusion 1."""


class TestXl(DiffusersConformance):
    """Stable Diffusion XL."""

    family = "xl"


class TestSd3(DiffusersConformance):
    """Stable Diffusion 3."""

    family = "sd3"


class TestFlux(DiffusersConformance):
    """Flux."""

    family = "flux"
