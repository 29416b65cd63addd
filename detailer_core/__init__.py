"""Finds parts of a picture, redraws each enlarged, and pastes it back without a seam. What programs call is here; it is loaded when it is used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .version import VERSION as __version__

if TYPE_CHECKING:
    from .api import Detailed, Settings, detail, detail_all, detail_with_report, load_detector, load_engine
    from .errors import DetailerError

__all__ = ["Detailed", "DetailerError", "Settings", "__version__", "detail", "detail_all", "detail_with_report", "load_detector", "load_engine"]


def __getattr__(name: str) -> Any:
    # The hosts and the command line import single modules of this package, and are not to wait for all of it.
    if name not in __all__:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(import_module(".errors" if name == "DetailerError" else ".api", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
