"""Faults on demand and counters: what a test can make go wrong, and what it can count."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import torch

Stop = Literal["interrupted", "skipped", "stopping_generation"]


def out_of_memory_error() -> type[RuntimeError]:
    """The exception class that this torch raises when a device's memory is full."""
    return getattr(torch, "OutOfMemoryError", None) or torch.cuda.OutOfMemoryError


@dataclass(kw_only=True)
class Faults:
    """What goes wrong, and when; sampler calls and steps count from 0, a hires pass is a sampler call of its own.

    sampling_errors: sampler call -> the exception that it raises before its first step.
    memory_limit: a sampler call with more pictures than this runs out of memory; None = never.
    decode_limit: decoding a latent of more latent pixels (height x width) than this runs out of memory; None = never.
    stops: (sampler call, step) -> the flag of `shared.state` that is set right before that step.
    """

    sampling_errors: dict[int, BaseException] = field(default_factory=dict)
    memory_limit: int | None = None
    decode_limit: int | None = None
    stops: dict[tuple[int, int], Stop] = field(default_factory=dict)

    def before_sampling(self, call: int, batch: int) -> None:
        """Nothing, or the error that was ordered for this sampler call.

        Raises: the ordered exception; torch's out of memory error for too large a batch.
        """
        if call in self.sampling_errors:
            raise self.sampling_errors[call]
        if self.memory_limit is not None and batch > self.memory_limit:
            raise out_of_memory_error()(f"stand-in out of memory: {batch} pictures, room for {self.memory_limit}")

    def before_decoding(self, latent_pixels: int) -> None:
        """Nothing, or torch's out of memory error for too large a latent."""
        if self.decode_limit is not None and latent_pixels > self.decode_limit:
            raise out_of_memory_error()(f"stand-in out of memory: {latent_pixels} latent pixels, room for {self.decode_limit}")

    def before_step(self, call: int, step: int, state: Any) -> None:
        """Sets the flag of the host's state that was ordered for this step."""
        flag = self.stops.get((call, step))
        if flag is not None:
            setattr(state, flag, True)


@dataclass(kw_only=True)
class Counters:
    """How often the host did something costly.

    process_images: calls of `processing.process_images`, nested ones included.
    encodes, decodes: pictures through the VAE.
    samples: sampler calls (`len(world.sampler_log)`); steps: calls of the CFG denoiser.
    text_encodes: texts through the text encoder; a prompt with three schedule entries counts three.
    gc: calls of `devices.torch_gc`. model_loads: checkpoints loaded. saved: picture files written.
    """

    process_images: int = 0
    encodes: int = 0
    decodes: int = 0
    samples: int = 0
    steps: int = 0
    text_encodes: int = 0
    gc: int = 0
    model_loads: int = 0
    saved: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplerCall:
    """One call of a sampler: what was asked of it.

    kind: "txt2img" or "img2img". size_wh: pixels. steps: denoiser steps asked for (img2img: after the denoising strength).
    """

    kind: str
    batch: int
    size_wh: tuple[int, int]
    steps: int
    sampler: str
    scheduler: str | None
    cfg_scale: float
    denoising_strength: float | None
    prompts: tuple[str, ...]
    negative_prompts: tuple[str, ...]
    seeds: tuple[int, ...]
    masked: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """One error that the host logged and swallowed: the host's message, and the exception if there was one."""

    message: str
    error: BaseException | None = None
    trace: str = ""
