"""What the page's scripts in the browser know of the panel: its names, the defaults, and what each field means."""

from __future__ import annotations

import html
import json
from collections.abc import Callable

from .fields import default_of, unit_fields
from .page_fields import help_of, label_of


def panel_data(*, units: int, tab: str, elem_id: Callable[[str], str]) -> str:
    """A hidden element that holds it as JSON."""
    fields = list(unit_fields(0))
    data = {"prefix": elem_id(""), "tab": tab, "units": units, "keys": [f.key for f in fields],
            "defaults": {f.key: default_of(f) for f in fields}, "labels": {f.key: label_of(f) for f in fields},
            "help": {f.key: help_of(f) for f in fields}}
    return f'<div class="detailer-data" hidden data-panel="{html.escape(json.dumps(data))}"></div>'
