"""Gradio without its own warnings about the libraries below it; a test cannot do anything about those."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import gradio as gr

__all__ = ["gr", "quiet"]


@contextmanager
def quiet() -> Iterator[None]:
    """A context without the warning that gradio 4 causes in FastAPI whenever a page is built."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"\s*on_event is deprecated", DeprecationWarning)
        yield
