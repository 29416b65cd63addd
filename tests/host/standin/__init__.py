"""A test stand-in for a Stable Diffusion WebUI host: fake `modules` around a tiny, deterministic model on the CPU.

    with standin.install(host="forge", tmp_path=tmp_path) as world:
        world.load_extension(repository)
        processed = world.run_txt2img({"Detailer": [True]}, prompt="a face", width=64, height=64, steps=4)
        assert world.counters.process_images == 1

`World` (file `world.py`) has what a test can read and turn: counters, logs, faults. Behaviour is written anew from what
the hosts do; where the stand-in is simpler than a host, the docstring of the function says so.
"""

from __future__ import annotations

from .hosts import HOSTS, HostTraits
from .lifecycle import install
from .world import World

__all__ = ["HOSTS", "HostTraits", "World", "install"]
