"""Plays `modules.devices`: everything is float32 on the CPU."""

import contextlib

import torch
from modules._standin import _world

cpu = torch.device("cpu")
device = cpu
dtype = torch.float32
dtype_vae = torch.float32
dtype_unet = torch.float32
dtype_inference = torch.float32
unet_needs_upcast = False
if not _world.host.classic:
    fp8 = False


class NansException(Exception):
    """A picture became NaN."""


def get_optimal_device():
    """The CPU."""
    return device


def torch_gc():
    """Would free memory; counts."""
    _world.counters.gc += 1


if _world.host.neo:
    def autocast(*args, **kwargs):
        """A context that does nothing."""
        return contextlib.nullcontext()

    def without_autocast(*args, **kwargs):
        """A context that does nothing."""
        return contextlib.nullcontext()

    def test_for_nans(x: torch.Tensor, *args, **kwargs):
        """Makes zeros of what is no number."""
        x.nan_to_num_(nan=0.0, posinf=1.0, neginf=0.0)
else:
    def autocast(disable=False):
        """A context that does nothing."""
        return contextlib.nullcontext()

    def without_autocast(disable=False):
        """A context that does nothing."""
        return contextlib.nullcontext()

    def test_for_nans(x, where):
        """Raises: NansException if the first value is NaN; in Forge nothing is looked at."""
        if not _world.host.new_backend and bool(torch.isnan(x[(0,) * len(x.shape)])):
            raise NansException("A tensor with NaNs was produced.")
