"""The host's model as an engine, held to the contract in played hosts."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

import pytest
import standin
import torch
from conformance import EngineConformance, Rig
from scenes import Stage

from detailer_core.engines.base import Engine


class WebuiRig:
    """The engine in a played host, for a main job that was just made. sampler: without, or with a Brownian tree, or by timesteps."""

    spread = 0.0

    def __init__(self, stage: Stage, sampler: str) -> None:
        self.stage, self.sampler = stage, sampler
        processing = stage.world.module("processing")
        self.p = processing.StableDiffusionProcessingTxt2Img(prompt="main", steps=2, width=64, height=64, sampler_name="Euler", seed=1,
                                                             do_not_save_samples=True)
        processing.process_images(self.p)

    def make(self, *, fits: int | None = None, interrupt: bool = False) -> Engine:
        """An engine with a cache of prompts of its own."""
        world = self.stage.world
        world.faults.memory_limit = fits
        world.faults.stops = {(len(world.sampler_log), 1): "interrupted"} if interrupt else {}
        memory, engine = (import_module(f"detailer_webui.{name}") for name in ("engine_memory", "engine"))
        return engine.WebuiEngine(self.p, memory.EngineMemory())


class WebuiConformance(EngineConformance):
    """The suite with what the host needs around it."""

    sampler = "Euler"

    @pytest.fixture
    def rig(self, stage: Stage) -> Iterator[Rig]:
        """The engine; afterwards the host is not interrupted any more."""
        with torch.no_grad():
            yield WebuiRig(stage, self.sampler)
        stage.world.shared.state.interrupted = False


@pytest.mark.parametrize("played", list(standin.HOSTS), indirect=True, scope="module")
class TestWebui(WebuiConformance):
    """On all hosts."""


@pytest.mark.parametrize("played", ["a1111-1.10.1", "forge"], indirect=True, scope="module")
class TestTimesteps(WebuiConformance):
    """With a sampler that blends before denoising and says timesteps."""

    sampler = "DDIM"


@pytest.mark.parametrize("played", ["a1111-1.10.1", "forge"], indirect=True, scope="module")
class TestBrownian(WebuiConformance):
    """With a sampler whose steps draw by the job's list of seeds."""

    sampler = "DPM++ 2M SDE"
