"""The library's classes by name: it builds its names when they are asked for, which no type checker follows."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def class_of_diffusers(name: str) -> Any:
    """The class of that name."""
    return getattr(import_module("diffusers"), name)
