"""Built-in hooks: schedules over the cycles, noise, unsampling, filters, preview; and `parse_hooks`, the text that names them in the settings."""

from __future__ import annotations

from .filters import LabelFilter, OrderedFilter, RangeFilter
from .noise import NoiseInjection, NoiseVariation, Unsampling
from .ramp import Ramp, constant
from .schedule import Schedule
from .show import Preview
from .text import USAGE, parse_hooks

__all__ = ["USAGE", "LabelFilter", "NoiseInjection", "NoiseVariation", "OrderedFilter", "Preview", "Ramp", "RangeFilter", "Schedule", "Unsampling",
           "constant", "parse_hooks"]
