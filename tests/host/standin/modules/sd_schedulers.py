"""Plays `modules.sd_schedulers` (absent on Forge Classic): the schedulers' names; `function` makes a simple schedule."""

import dataclasses

import torch
from modules._standin import _world


@dataclasses.dataclass
class Scheduler:
    """A noise schedule."""

    name: str
    label: str
    function: any
    default_rho: float = -1
    need_inner_model: bool = False
    aliases: list = None


def _power(rho):
    """A schedule of `n` falling noise levels and a zero; larger `rho` spends more steps on small noise."""
    def sigmas(n, sigma_min, sigma_max, device="cpu"):
        ramp = torch.linspace(0, 1, n)
        levels = (sigma_max ** (1 / rho) + ramp * (sigma_min ** (1 / rho) - sigma_max ** (1 / rho))) ** rho
        return torch.cat([levels, levels.new_zeros(1)])

    return sigmas


_RHO = {"automatic": 5.0, "karras": 7.0, "uniform": 2.0, "exponential": 9.0}
schedulers = [Scheduler(name, label, None if name == "automatic" else _power(_RHO.get(name, 3.0 + index / 8)))
              for index, (name, label) in enumerate(_world.host.scheduler_labels)]
schedulers_map = {**{x.name: x for x in schedulers}, **{x.label: x for x in schedulers}}
