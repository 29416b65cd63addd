"""Engines by name."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Protocol, runtime_checkable

from ..errors import EngineError
from ..sampling import MainGeneration
from .base import Engine
from .diffusers.options import ModelOptions
from .filter import FilterEngine

NAMES = ("filter", "diffusers")
"""Engines that the core has; a host brings its own."""

_NEEDED = ("diffusers", "transformers", "accelerate", "peft")


@runtime_checkable
class _HasMain(Protocol):
    @property
    def main(self) -> MainGeneration:
        """How a main generation with the engine's model is usually made."""
        ...


def make_engine(name: str, model: ModelOptions | None = None) -> Engine:
    """The engine of this name. model: for `diffusers`, which needs it.

    Raises: EngineError for another name, with the known ones, for packages that are missing, or a model that cannot be had.
    """
    if name == "filter":
        if model is not None:
            raise EngineError(f"the engine 'filter' has no model, got {model.model}; choose the engine 'diffusers'")
        return FilterEngine()
    if name == "diffusers":
        return _diffusers(model)
    raise EngineError(f"unknown engine '{name}'; choose one of {', '.join(NAMES)}")


def main_defaults(engine: Engine) -> MainGeneration:
    """What settings that are left open mean to this engine, where no main generation says it."""
    return engine.main if isinstance(engine, _HasMain) else MainGeneration()


def _diffusers(model: ModelOptions | None) -> Engine:
    if model is None:
        raise EngineError("the engine 'diffusers' needs a model; name a folder, a .safetensors file, or a model of the hub as hub:owner/name")
    missing = [package for package in _NEEDED if find_spec(package) is None]
    if missing:
        raise EngineError(f"the engine 'diffusers' needs packages that are not installed: pip install {' '.join(missing)}")
    from .diffusers.engine import DiffusersEngine

    return DiffusersEngine(model)
