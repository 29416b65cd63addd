"""The loop of all latent engines: what is called when, with which seeds, and what an interrupt leaves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from detailer_core.engines.base import Control, WaveRequest
from detailer_core.engines.latent import redraw_latent, run_cycles
from detailer_core.errors import EngineUnsupportedError
from detailer_core.hooks import CycleInput, DetailerHook
from detailer_core.sampling import Sampling


class Backend:
    """A latent is a picture's mean; noise is the seed; sampling is z + noise * denoise; decoding repeats. Every call is noted."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.stop_at, self.calls = stop_at, list[tuple[Any, ...]]()

    def encode(self, request: WaveRequest) -> Tensor:
        """[N, 4, h/8, w/8] of means."""
        self.calls.append(("encode",))
        means = request.images_bchw.mean((1, 2, 3))
        return means[:, None, None, None].expand(-1, 4, request.images_bchw.shape[-2] // 8, request.images_bchw.shape[-1] // 8)

    def noise(self, request: WaveRequest, latents_bchw: Tensor, seeds: tuple[int, ...], cycle: int) -> Tensor:
        """The seeds themselves."""
        self.calls.append(("noise", seeds, cycle))
        return torch.tensor(seeds, dtype=torch.float32)[:, None, None, None].expand_as(latents_bchw)

    def sample(self, request: WaveRequest, given: CycleInput) -> Tensor | None:
        """z + noise * denoise."""
        self.calls.append(("sample", given.cycle, given.seeds, request.sampling.denoise))
        return None if given.cycle == self.stop_at else given.latents_bchw + given.noise_bchw * given.sampling.denoise

    def decode(self, request: WaveRequest, latents_bchw: Tensor) -> Tensor:
        """Repeated 8x8."""
        self.calls.append(("decode",))
        return latents_bchw[:, :3].repeat_interleave(8, -1).repeat_interleave(8, -2)


def request(cycles: int = 1, hook: DetailerHook | None = None, seeds: tuple[int, ...] = (10, 20), denoise: float = 0.5) -> WaveRequest:
    """A wave of even pictures of 0.25 and 0.75 (and so on), 16x8 pixels."""
    levels = torch.tensor([0.25, 0.75, 0.5][: len(seeds)])
    count = len(seeds)
    return WaveRequest(images_bchw=levels[:, None, None, None].expand(-1, 3, 8, 16), noise_masks=(None,) * count, prompts=("",) * count,
                       negative_prompts=("",) * count, seeds=seeds, subseeds=(0,) * count, sampling=Sampling(cycles=cycles, denoise=denoise),
                       hook=hook or DetailerHook())


@pytest.mark.parametrize("count", [1, 2, 3])
def test_one_pass_in_numbers(count: int) -> None:
    """mean + seed * denoise, for each picture its own."""
    redrawn = redraw_latent(Backend(), request(seeds=(10, 20, 30)[:count]), Control())
    assert redrawn.finished
    assert redrawn.images_bchw.shape == (count, 3, 8, 16)
    assert redrawn.images_bchw[:, 0, 0, 0].tolist() == [5.25, 10.75, 15.5][:count]


def test_cycles_go_on_from_the_last_latents() -> None:
    """0.25 + 10/2 + 11/2 + 12/2: encoded once, decoded once, seed + k in cycle k (REFERENCE items 1, 41)."""
    backend = Backend()
    redrawn = redraw_latent(backend, request(3), Control())
    assert redrawn.images_bchw[:, 0, 0, 0].tolist() == [16.75, 32.25]
    assert backend.calls == [
        ("encode",), ("noise", (10, 20), 0), ("sample", 0, (10, 20), 0.5), ("noise", (11, 21), 1), ("sample", 1, (11, 21), 0.5),
        ("noise", (12, 22), 2), ("sample", 2, (12, 22), 0.5), ("decode",)]


def test_seeds_of_cycles_wrap() -> None:
    """After 2^32 - 1 comes 0 (REFERENCE item 42)."""
    backend = Backend()
    redraw_latent(backend, request(2, seeds=(2**32 - 1, 5)), Control())
    assert [call[1] for call in backend.calls if call[0] == "noise"] == [(2**32 - 1, 5), (0, 6)]


@pytest.mark.parametrize("stop_at", [0, 1, 2])
def test_an_interrupted_pass_gives_the_crops_back(stop_at: int) -> None:
    """Nothing is decoded, and the wave says that it is not finished."""
    backend, given = Backend(stop_at), request(3)
    redrawn = redraw_latent(backend, given, Control())
    assert not redrawn.finished
    assert redrawn.images_bchw is given.images_bchw
    assert ("decode",) not in backend.calls
    assert sum(call[0] == "sample" for call in backend.calls) == stop_at + 1


@pytest.mark.parametrize("after", [0, 1, 2])
def test_the_control_is_asked_before_each_cycle(after: int) -> None:
    """Once it says stop, no further pass begins."""
    asked: list[int] = []
    backend = Backend()

    def stopped() -> bool:
        asked.append(1)
        return len(asked) > after

    assert run_cycles(backend, request(3), torch.zeros(2, 4, 1, 2), Control(stopped=stopped)) is None
    assert sum(call[0] == "sample" for call in backend.calls) == after


class Looking(DetailerHook):
    """Notes what a cycle starts from, and takes its inversion as noise."""

    def __init__(self) -> None:
        self.seen: list[CycleInput] = []

    def before_sampling(self, given: CycleInput) -> CycleInput:
        """The inversion of half the latents, at denoise 1."""
        self.seen.append(given)
        bent = replace(given, latents_bchw=given.latents_bchw / 2, sampling=replace(given.sampling, denoise=1.0))
        return replace(bent, noise_bchw=given.invert(bent))


class Inverting(Backend):
    """The inversion of z is 100 * z + denoise."""

    def invert(self, request: WaveRequest, given: CycleInput) -> Tensor:
        """As said."""
        return given.latents_bchw * 100 + request.sampling.denoise


def test_a_hook_sees_masks_and_may_invert() -> None:
    """Masks come at the latents' size, 1 where there is none; the backend inverts what the hook gives it: 0.125 + (12.5 + 1) * 1."""
    hook = Looking()
    mask = torch.tensor([0.0, 1.0]).expand(1, 1, 4, 2)
    redrawn = redraw_latent(Inverting(), replace(request(hook=hook), noise_masks=(mask, None)), Control())
    assert redrawn.images_bchw[:, 0, 0, 0].tolist() == [13.625, 38.875]
    masks = hook.seen[0].masks_b1hw
    assert masks is not None
    assert masks.tolist() == [[[[0, 1]]], [[[1, 1]]]]


def test_a_backend_that_cannot_invert_refuses() -> None:
    """The hook's call is a clear error and not a missing method."""
    with pytest.raises(EngineUnsupportedError, match="cannot run its sampler backwards"):
        redraw_latent(Backend(), request(hook=Looking()), Control())


class Arithmetic(DetailerHook):
    """A different sum at every point, so that a point left out or doubled shows in the number."""

    def after_encode(self, latents_bchw: Tensor, seeds: Sequence[int]) -> Tensor:
        """+ 100."""
        return latents_bchw + 100

    def before_cycle(self, latents_bchw: Tensor, cycle: int, cycles: int) -> Tensor:
        """* 2."""
        return latents_bchw * 2

    def noise(self, noise_bchw: Tensor, seeds: Sequence[int], cycle: int) -> Tensor:
        """+ 4 * cycle."""
        return noise_bchw + 4 * cycle

    def before_sampling(self, given: CycleInput) -> CycleInput:
        """Denoise 1 in the second cycle."""
        return replace(given, sampling=replace(given.sampling, denoise=1.0)) if given.cycle else given

    def before_decode(self, latents_bchw: Tensor) -> Tensor:
        """+ 1000."""
        return latents_bchw + 1000

    def after_decode(self, images_bchw: Tensor) -> Tensor:
        """* 10."""
        return images_bchw * 10


def test_hooks_act_at_their_places() -> None:
    """First cycle (0.25 + 100) * 2 + 10 / 2 = 205.5; second 205.5 * 2 + (11 + 4) * 1 = 426; then (426 + 1000) * 10."""
    backend = Backend()
    redrawn = redraw_latent(backend, request(2, Arithmetic()), Control())
    assert float(redrawn.images_bchw[0, 0, 0, 0]) == 14260.0
    assert [call[3] for call in backend.calls if call[0] == "sample"] == [0.5, 1.0], "the engine's request has the bent sampling"
