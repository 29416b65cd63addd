"""What the host calls Detailer for, beside its script."""

from __future__ import annotations

from typing import Any

from modules import script_callbacks

from .adetailer_host import tell_pasted
from .api import add_routes
from .api_check import check_host_routes
from .options import add_options
from .xyz import add_axes


def register() -> None:
    """Register all of it with the host. Called by the script file and not on import: "Reload UI" runs that file again, while packages stay
    imported."""
    script_callbacks.on_ui_settings(add_options)
    script_callbacks.on_before_ui(add_axes)
    script_callbacks.on_infotext_pasted(tell_pasted)
    script_callbacks.on_app_started(_on_app_started)


def _on_app_started(demo: Any, app: Any) -> None:
    check_host_routes(app)
    add_routes(app)
