"""The way from noise to a picture: which noise levels a pass goes through, and how one step is done."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...errors import EngineUnsupportedError
from ...sampling import Sampling
from .families import Family
from .guidance import Moment
from .levels import SCHEDULES, install, level_to_time, trained_levels
from .samplers import Sampler, find_sampler, make_scheduler, nearest


def schedule_names(flow: bool) -> tuple[str, ...]:
    """Names of how noise levels are spaced; "Automatic" is the model's own way."""
    return ("Automatic",) if flow else ("Automatic", *SCHEDULES)


def steps_to_do(sampling: Sampling) -> int:
    """How many steps of the whole schedule are done: the last `denoise` share, rounded down, at least one unless denoise is 0."""
    if sampling.denoise <= 0:
        return 0
    return min(sampling.steps, max(1, math.floor(sampling.steps * sampling.denoise + 1e-6)))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Schedule:
    """One pass with a scheduler of diffusers, which keeps its state: for one use.

    times: the model's timesteps, `[steps]` (or about twice as many, for samplers that look twice in a step). begin: first of those that are done.
    prediction: what the model predicts.
    """

    scheduler: Any
    sampler: Sampler
    times: Tensor
    begin: int
    prediction: str

    def at(self, place: int) -> tuple[float, float]:
        """The factors of the clean latents and of the noise in the latents of this place."""
        if self.sampler.scale == "steps":
            kept = float(self.scheduler.alphas_cumprod[int(self.times[place])])
            return math.sqrt(kept), math.sqrt(1 - kept)
        level = float(self.scheduler.sigmas[place])
        if self.sampler.scale == "flow":
            return 1 - level, level
        if self.sampler.scale == "added":
            return 1.0, level
        clean = 1 / math.sqrt(level * level + 1)
        return clean, level * clean

    def moment(self, place: int) -> Moment:
        """The place in words: samplers that look twice in a step are in the same step both times."""
        order = int(getattr(self.scheduler, "order", 1))
        done = len(self.times) - self.begin
        return Moment(time=self.times[place], step=(place - self.begin) // order, steps=-(-done // order))

    def noised(self, latents_bchw: Tensor, noise_bchw: Tensor) -> Tensor:
        """The latents that the pass starts from."""
        clean, noise = self.at(self.begin)
        return clean * latents_bchw + noise * noise_bchw

    def model_input(self, x: Tensor, place: int) -> Tensor:
        """The latents as the model wants to see them."""
        return self.scheduler.scale_model_input(x, self.times[place]) if hasattr(self.scheduler, "scale_model_input") else x

    def keeping(self, x: Tensor, clean_bchw: Tensor, place: int) -> Tensor:
        """What a model would predict that knew that `clean_bchw` is the picture."""
        clean, noise_factor = self.at(place)
        noise = (x - clean * clean_bchw) / noise_factor
        if self.sampler.scale == "flow":
            return noise - clean_bchw
        if self.prediction == "sample":
            return clean_bchw
        if self.prediction == "v_prediction":
            length = math.hypot(clean, noise_factor)
            return (clean * noise - noise_factor * clean_bchw) / length
        return noise

    def step(self, predicted: Tensor, x: Tensor, place: int, generators: Sequence[torch.Generator]) -> Tensor:
        """The latents of the next place; what is random in it comes from each row's own generator."""
        options: dict[str, Any] = {}
        if "generator" in inspect.signature(self.scheduler.step).parameters:
            options["generator"] = list(generators)
        return self.scheduler.step(predicted, self.times[place], x, return_dict=False, **options)[0]


def make_schedule(sampling: Sampling, config: Mapping[str, Any], family: Family, tokens: int) -> Schedule:
    """The pass that this sampling asks for.

    config: of the model's own scheduler. tokens: how many the model cuts the latents into; some flow models shift their levels by that.
    Raises: EngineUnsupportedError for unknown names, or levels that this sampler or model cannot take.
    """
    flow = family.flow
    sampler = find_sampler(sampling.sampler, flow)
    names = schedule_names(flow)
    if sampling.scheduler not in ("", *names):
        raise EngineUnsupportedError(f"scheduler: there is no scheduler '{sampling.scheduler}' for this model{nearest(sampling.scheduler, names)}; "
                                     f"choose one of {', '.join(names)}")
    own = sampling.sigmas is None and sampling.scheduler in ("", "Automatic")
    if not own and not sampler.takes_levels:
        raise EngineUnsupportedError(f"scheduler: the sampler '{sampling.sampler}' counts in training steps and takes no other noise levels; set "
                                     f"scheduler to Automatic, or choose another sampler")
    scheduler = make_scheduler(sampler, config)
    if flow:
        _flow_levels(scheduler, sampling, config, family, tokens)
    else:
        scheduler.set_timesteps(sampling.steps)
        if not own:
            levels = _levels(sampling, scheduler)
            times = level_to_time(levels[:-1].double().numpy(), trained_levels(scheduler))
            install(scheduler, levels, torch.from_numpy(times))
    order = int(getattr(scheduler, "order", 1))
    begin = (sampling.steps - steps_to_do(sampling)) * order
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(begin)
    prediction = str(config.get("prediction_type") or "epsilon")
    return Schedule(scheduler=scheduler, sampler=sampler, times=scheduler.timesteps.to("cpu"), begin=begin, prediction=prediction)


def _levels(sampling: Sampling, scheduler: Any) -> Tensor:
    """The levels that were asked for, float `[steps + 1]`."""
    if sampling.sigmas is not None:
        return _checked(sampling.sigmas(sampling.steps), sampling.steps)
    levels = SCHEDULES[sampling.scheduler](sampling.steps, trained_levels(scheduler))
    return torch.from_numpy(np.append(levels, 0.0)).float()


def _checked(levels: Tensor, steps: int) -> Tensor:
    levels = levels.detach().to("cpu", torch.float32)
    if levels.shape != (steps + 1,) or not bool((levels[:-1] > 0).all()) or float(levels[-1]) != 0 or not bool((levels.diff() < 0).all()):
        raise EngineUnsupportedError(f"sigmas: expected {steps + 1} falling noise levels with 0 at the end, got {levels.tolist()[:8]}")
    return levels


def _flow_levels(scheduler: Any, sampling: Sampling, config: Mapping[str, Any], family: Family, tokens: int) -> None:
    """Give a flow scheduler its levels: those of diffusers' plain Euler, whatever the sampler, or the given ones."""
    trained = int(config.get("num_train_timesteps") or 1000)
    if sampling.sigmas is not None:
        levels = _checked(sampling.sigmas(sampling.steps), sampling.steps)
        if float(levels[0]) > 1:
            raise EngineUnsupportedError(f"sigmas: this model's noise levels lie in 0..1, got {float(levels[0]):g}")
    else:
        plain = make_scheduler(find_sampler("Euler", True), config)
        if config.get("use_dynamic_shifting"):
            plain.set_timesteps(sigmas=np.linspace(1.0, 1 / sampling.steps, sampling.steps), mu=_shift(config, tokens))
        elif family.name == "flux":
            plain.set_timesteps(sigmas=np.linspace(1.0, 1 / sampling.steps, sampling.steps))
        else:
            plain.set_timesteps(sampling.steps)
        levels = plain.sigmas
    if sampling.sampler != "Euler" or not config.get("use_dynamic_shifting"):
        scheduler.set_timesteps(sampling.steps)
    install(scheduler, levels, levels[:-1] * trained)


def _shift(config: Mapping[str, Any], tokens: int) -> float:
    """How far the levels are shifted for so many tokens: on the line through the two points that the model's configuration names."""
    low, high = config.get("base_image_seq_len") or 256, config.get("max_image_seq_len") or 4096
    small, large = config.get("base_shift") or 0.5, config.get("max_shift") or 1.15
    return float(small + (large - small) * (tokens - low) / (high - low))


