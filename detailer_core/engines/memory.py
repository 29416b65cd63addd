"""Telling an error of full memory from others, on every kind of device."""

from __future__ import annotations

import torch

_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "not enough gpu video memory", "alloc_failed")
"""What devices say that have no exception class of their own: MPS, CPUs on Linux and on Windows, DirectML, CUDA's libraries."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the error says that a device has no memory left."""
    kinds = tuple(k for k in (getattr(torch.cuda, "OutOfMemoryError", None), getattr(torch, "OutOfMemoryError", None), MemoryError) if k)
    text = str(error).lower()
    return isinstance(error, kinds) or (isinstance(error, RuntimeError) and any(words in text for words in _OUT_OF_MEMORY))
