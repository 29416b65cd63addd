"""Samplers by name: which scheduler class of diffusers each is, and with what."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from ...errors import EngineUnsupportedError
from .library import class_of_diffusers

Scale: TypeAlias = Literal["added", "kept", "steps", "flow"]
"""How latents x are made of a clean z and noise n at a noise level s.

added: z + s n. kept: both shrunk so that the variance stays, s from the scheduler's list. steps: as kept, s from the model's training step. flow:
(1 - s) z + s n.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampler:
    """One row of the table. scheduler: a class of diffusers. settings: beside those of the model's own scheduler."""

    scheduler: str
    scale: Scale
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def takes_levels(self) -> bool:
        """Whether noise levels can be given to it: the others count in training steps."""
        return self.scale != "steps"


_NOT_CLIPPED = {"clip_sample": False}  # meant for pixels; latents reach beyond -1 and 1

SAMPLERS: dict[str, Sampler] = {
    "Euler a": Sampler(scheduler="EulerAncestralDiscreteScheduler", scale="added"),
    "Euler": Sampler(scheduler="EulerDiscreteScheduler", scale="added"),
    "Heun": Sampler(scheduler="HeunDiscreteScheduler", scale="added"),
    "DPM++ 2M": Sampler(scheduler="DPMSolverMultistepScheduler", scale="kept", settings={"algorithm_type": "dpmsolver++", "solver_order": 2}),
    "DPM++ 2M SDE": Sampler(scheduler="DPMSolverMultistepScheduler", scale="kept", settings={"algorithm_type": "sde-dpmsolver++", "solver_order": 2}),
    "DPM++ 2S": Sampler(scheduler="DPMSolverSinglestepScheduler", scale="kept", settings={"algorithm_type": "dpmsolver++", "solver_order": 2}),
    "UniPC": Sampler(scheduler="UniPCMultistepScheduler", scale="kept"),
    "DEIS": Sampler(scheduler="DEISMultistepScheduler", scale="kept", settings={"algorithm_type": "deis"}),
    "DDIM": Sampler(scheduler="DDIMScheduler", scale="steps", settings=_NOT_CLIPPED),
    "DDPM": Sampler(scheduler="DDPMScheduler", scale="steps", settings=_NOT_CLIPPED | {"variance_type": "fixed_small"}),
    "LCM": Sampler(scheduler="LCMScheduler", scale="steps", settings=_NOT_CLIPPED),
    "TCD": Sampler(scheduler="TCDScheduler", scale="steps", settings=_NOT_CLIPPED),
}
"""For models that were trained to find added noise. None of these looks at the batch, so that all may be sampled in waves."""

FLOW_SAMPLERS: dict[str, Sampler] = {
    "Euler": Sampler(scheduler="FlowMatchEulerDiscreteScheduler", scale="flow"),
    "Heun": Sampler(scheduler="FlowMatchHeunDiscreteScheduler", scale="flow"),
}
"""For flow matching models."""


def samplers(flow: bool) -> dict[str, Sampler]:
    """The table of a kind of model."""
    return FLOW_SAMPLERS if flow else SAMPLERS


def find_sampler(name: str, flow: bool) -> Sampler:
    """The sampler of that name. Raises: EngineUnsupportedError with the nearest name and all others."""
    table = samplers(flow)
    if name not in table:
        raise EngineUnsupportedError(f"sampler: there is no sampler '{name}'{nearest(name, table)}; choose one of {', '.join(table)}")
    return table[name]


def nearest(name: str, names: Mapping[str, Any] | tuple[str, ...]) -> str:
    """A question after the name that was perhaps meant, or nothing."""
    lower = {known.lower(): known for known in names}
    near = difflib.get_close_matches(name.lower(), lower, n=1)
    return f"; did you mean '{lower[near[0]]}'?" if near else ""


def make_scheduler(sampler: Sampler, config: Mapping[str, Any]) -> Any:
    """A fresh scheduler of diffusers: the model's own settings as far as this class has them, then the sampler's."""
    kind = class_of_diffusers(sampler.scheduler)
    known = inspect.signature(kind.__init__).parameters
    # Not `from_config`: it warns of each setting that the other class does not have.
    own = {name: value for name, value in config.items() if name in known}
    return kind(**own | {name: value for name, value in sampler.settings.items() if name in known})
