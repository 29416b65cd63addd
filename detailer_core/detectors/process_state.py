"""What belongs to the whole process, kept as it was around a library that changes it."""

from __future__ import annotations

import os
import random
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import torch


@contextmanager
def kept_process() -> Generator[None, None, None]:
    """Whatever is done inside: afterwards the environment, the threads of torch and OpenCV, their functions, how numbers are printed, which
    warnings are shown, random generators and deterministic modes are what they were. Other threads see what is changed in between.
    """
    environment, functions = dict(os.environ), [(module, dict(vars(module))) for module in (torch, cv2)]
    threads, cv_threads = torch.get_num_threads(), cv2.getNumThreads()
    printing, printing_torch = np.get_printoptions(), _torch_printing()
    states = random.getstate(), np.random.get_state(), torch.random.get_rng_state()
    flags = _backend_flags()
    strict = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    try:
        with warnings.catch_warnings():
            yield
    finally:
        for module, before in functions:
            _restore_names(module, before)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        if cv2.getNumThreads() != cv_threads:
            cv2.setNumThreads(cv_threads)
        np.set_printoptions(**printing)
        torch.set_printoptions(**printing_torch)
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.random.set_rng_state(states[2])
        if (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()) != strict:
            torch.use_deterministic_algorithms(strict[0], warn_only=strict[1])
        for name, value in flags.items():
            setattr(torch.backends.cudnn, name, value)
        _restore_environment(environment)  # last: torch itself sets variables when it is told some of the above


def _restore_environment(before: dict[str, str]) -> None:
    for name in set(os.environ) - set(before):
        del os.environ[name]
    for name, value in before.items():
        if os.environ.get(name) != value:
            os.environ[name] = value


def _restore_names(module: ModuleType, before: dict[str, Any]) -> None:
    """Put back what was replaced; what was added, as a submodule is by its import, stays."""
    for name, value in before.items():
        if vars(module).get(name) is not value:
            setattr(module, name, value)


def _backend_flags() -> dict[str, bool]:
    return {name: bool(getattr(torch.backends.cudnn, name)) for name in ("benchmark", "deterministic")}


def _torch_printing() -> dict[str, Any]:
    # torch can be told how to print, and not asked.
    options: Any = getattr(getattr(torch, "_tensor_str", None), "PRINT_OPTS", None)
    names = ("precision", "threshold", "edgeitems", "linewidth", "sci_mode")
    return {name: getattr(options, name) for name in names if hasattr(options, name)}
