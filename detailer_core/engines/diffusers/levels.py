"""Noise levels by name, for samplers that take a list of them. A level is the noise's strength against the clean latents': 0 to about 14.6."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]

_RHO = 7.0  # Karras et al. 2022, "Elucidating the Design Space of Diffusion-Based Generative Models", table 1


def trained_levels(scheduler: Any) -> Array:
    """The level of each training step, rising."""
    kept = scheduler.alphas_cumprod.double().numpy()
    return np.sqrt((1 - kept) / kept)


def level_to_time(levels: Array, trained: Array) -> Array:
    """The training step (with a fraction) of each level: linear in the logarithm between the steps."""
    return np.interp(np.log(np.maximum(levels, 1e-10)), np.log(trained), np.arange(len(trained)))


def _at(times: Array, trained: Array) -> Array:
    """The level of each training step, which may have a fraction."""
    return np.exp(np.interp(times, np.arange(len(trained)), np.log(trained)))


def _normal(steps: int, trained: Array) -> Array:
    return _at(np.linspace(len(trained) - 1, 0, steps), trained)


def _sgm_uniform(steps: int, trained: Array) -> Array:
    return _at(np.linspace(len(trained) - 1, 0, steps + 1)[:-1], trained)


def _simple(steps: int, trained: Array) -> Array:
    return trained[::-1][(np.arange(steps) * len(trained) / steps).astype(int)]


def _karras(steps: int, trained: Array) -> Array:
    high, low = trained[-1] ** (1 / _RHO), trained[0] ** (1 / _RHO)
    return np.linspace(high, low, steps) ** _RHO


def _exponential(steps: int, trained: Array) -> Array:
    return np.exp(np.linspace(math.log(trained[-1]), math.log(trained[0]), steps))


SCHEDULES: dict[str, Callable[[int, Array], Array]] = {
    "Normal": _normal, "Karras": _karras, "Exponential": _exponential, "SGM Uniform": _sgm_uniform, "Simple": _simple,
}
"""Falling levels of so many steps, without the 0 at the end."""


def install(scheduler: Any, levels: Tensor, times: Tensor) -> None:
    """Give a scheduler, after its `set_timesteps`, other levels `[steps + 1]`, the last 0, and the model's times of all but the last."""
    levels, times = levels.to("cpu", torch.float32), times.to("cpu", torch.float32)
    if getattr(scheduler, "order", 1) == 2:  # each level but the first and the 0 is passed twice
        levels = torch.cat([levels[:1], levels[1:-1].repeat_interleave(2), levels[-1:]])
        times = torch.cat([times[:1], times[1:].repeat_interleave(2)])
    scheduler.sigmas, scheduler.timesteps = levels, times
