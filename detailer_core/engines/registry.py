"""Engines by name."""

from __future__ import annotations

from ..errors import EngineError
from .base import Engine
from .filter import FilterEngine

NAMES = ("filter",)
"""Engines that the core has; a host brings its own."""


def make_engine(name: str) -> Engine:
    """The engine of this name. Raises: EngineError with the known names."""
    if name == "filter":
        return FilterEngine()
    raise EngineError(f"unknown engine '{name}'; choose one of {', '.join(NAMES)}")
