"""The one loop of all engines that work in latent space: encode, cycles, decode, with the hooks at their places."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from ..hooks import CycleInput
from ..sampling import wrap_seed
from .base import Control, Redrawn, WaveRequest
from .latent_masks import to_latent_size


class LatentBackend(Protocol):
    """What an engine brings to the loop. Latents are float `[N, C, h/8, w/8]`."""

    def encode(self, request: WaveRequest) -> Tensor:
        """The latents of the wave's crops; the posterior's noise, if any, drawn from each segment's own seed."""
        ...

    def noise(self, request: WaveRequest, latents_bchw: Tensor, seeds: tuple[int, ...], cycle: int) -> Tensor:
        """Noise of the latents' shape, each row drawn from its own seed."""
        ...

    def sample(self, request: WaveRequest, given: CycleInput) -> Tensor | None:
        """The latents after one pass; None if it was interrupted."""
        ...

    def decode(self, request: WaveRequest, latents_bchw: Tensor) -> Tensor:
        """The pictures of the latents, float 0..1 `[N, 3, h, w]`."""
        ...


@runtime_checkable
class InvertingBackend(Protocol):
    """What an engine with `Capabilities.inversion` brings as well."""

    def invert(self, request: WaveRequest, given: CycleInput) -> Tensor:
        """Noise of the latents' shape from which a pass with the deterministic sampler comes back to `given.latents_bchw`, each row by itself.

        With `given`'s steps, denoise and masks, and the wave's prompts; the sampler's own equation, followed from the latents towards noise and
        scaled so that the pass starts from it as from `given.noise_bchw`. An interrupt may return what it has: the pass is interrupted, too.
        """
        ...


def redraw_latent(backend: LatentBackend, request: WaveRequest, control: Control) -> Redrawn:
    """One wave through encode, cycles and decode; the crops as they were, and not finished, if it was interrupted."""
    latents = request.hook.after_encode(backend.encode(request), request.seeds)
    done = run_cycles(backend, request, latents, control)
    if done is None:
        return Redrawn(images_bchw=request.images_bchw, finished=False)
    images = backend.decode(request, request.hook.before_decode(done))
    return Redrawn(images_bchw=request.hook.after_decode(images))


def run_cycles(backend: LatentBackend, request: WaveRequest, latents_bchw: Tensor, control: Control) -> Tensor | None:
    """The latents after all cycles, None if interrupted. Cycle k has seed + k (REFERENCE items 1, 41)."""
    cycles = request.sampling.cycles
    # Only hooks look at the masks here.
    masks = to_latent_size(request.noise_masks, latents_bchw) if request.hook.uses("before_sampling") else None
    for cycle in range(cycles):
        if control.stopped():
            return None
        seeds = tuple(wrap_seed(seed + cycle) for seed in request.seeds)
        start = request.hook.before_cycle(latents_bchw, cycle, cycles)
        noise = request.hook.noise(backend.noise(request, start, seeds, cycle), seeds, cycle)
        given = CycleInput(latents_bchw=start, noise_bchw=noise, sampling=request.sampling, cycle=cycle, cycles=cycles, seeds=seeds, masks_b1hw=masks)
        if cycle == 0:
            given = _with_masked_content(request, given)
        given = request.hook.before_sampling(_with_inversion(backend, request, given))
        sampled = backend.sample(replace(request, sampling=given.sampling), given)
        if sampled is None:
            return None
        latents_bchw = sampled
    return latents_bchw


def _with_masked_content(request: WaveRequest, given: CycleInput) -> CycleInput:
    """The first cycle's input with noise or nothing under the noise masks, as the settings want it."""
    content = request.sampling.masked_content
    if content not in ("latent-noise", "latent-nothing"):
        return given
    start = given.latents_bchw
    # A segment without a mask is not meant: to_latent_size would take it for one that is masked everywhere.
    masks = to_latent_size(tuple(torch.zeros(1, 1, 1, 1) if mask is None else mask for mask in request.noise_masks), start)
    inside = given.noise_bchw if content == "latent-noise" else torch.zeros_like(start)
    return replace(given, latents_bchw=start * (1 - masks) + inside * masks, kept_bchw=start)


def _with_inversion(backend: LatentBackend, request: WaveRequest, given: CycleInput) -> CycleInput:
    """The cycle's input, able to ask the backend for its inversion if that has one."""
    if not isinstance(backend, InvertingBackend):
        return given

    def invert(bent: CycleInput) -> Tensor:
        return backend.invert(replace(request, sampling=bent.sampling), bent)

    return replace(given, invert=invert)
