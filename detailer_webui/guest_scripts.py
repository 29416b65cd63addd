"""Other extensions' scripts that are to run inside the detail pass: those that the settings page names, and no others.

A script that is not named sees nothing of a detail pass, so that what it keeps from the main job stays as it is. One that is named gets its own
arguments of the main job. `setup` is never called: it would set the wave's steps, sampler and seed to the main job's.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modules import shared

logger = logging.getLogger(__name__)

CALLBACKS = frozenset(("before_process", "process", "before_process_batch", "after_extra_networks_activate", "process_batch",
                       "process_before_every_sampling", "postprocess_batch", "postprocess"))
"""What guests are called for. Not what shows them pictures or latents: the wave's are ours, and what the host has of them is only a token."""

OPTION = "detailer_scripts"
"""The setting that names them."""

_OURS = "detailer"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Guest:
    """A script with its arguments in the main job."""

    script: Any
    args: tuple[Any, ...]


def guests_of(p: Any) -> tuple[Guest, ...]:
    """The main job's scripts that are to run inside the detail pass, in its order."""
    names = {name.strip().removesuffix(".py").lower() for name in str(getattr(shared.opts, OPTION, "")).split(",")} - {"", _OURS}
    runner = getattr(p, "scripts", None)
    if not names or runner is None:
        return ()
    args = tuple(p.script_args or ())
    return tuple(Guest(script=script, args=args[script.args_from:script.args_to]) for script in runner.alwayson_scripts
                 if Path(script.filename).stem.lower() in names)


def call(guests: Sequence[Guest], callback: str, p: Any, *given: Any, **named: Any) -> None:
    """Call one of `CALLBACKS` of all guests, as the host would. One that raises is logged, and costs no segment."""
    if callback == "postprocess_batch" and given:  # the host's runner gets the pictures by place, and hands them on by name
        named, given = {"images": given[0], **named}, ()
    for guest in guests:
        method = getattr(guest.script, callback, None)
        if method is None:
            continue
        try:
            method(p, *given, *guest.args, **named)
        except Exception:
            logger.exception("Detailer: %s of the script %s failed inside the detail pass", callback, guest.script.filename)
