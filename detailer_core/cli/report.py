"""What a run did, as plain data for a JSON file."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import PictureError
from ..run import Outcome
from ..segments import Segments


def segment_entry(outcome: Outcome) -> dict[str, Any]:
    """One segment: boxes are pixels x0 y0 x1 y1, end exclusive; sizes are width and height."""
    plan, segment = outcome.plan, outcome.segment
    entry: dict[str, Any] = {"number": outcome.index + 1, "state": outcome.state, "box_xyxy": list(segment.bbox_xyxy), "label": segment.label,
                             "confidence": round(float(segment.confidence), 4), "crop_region_xyxy": list(segment.crop_xyxy)}
    if plan is not None:
        entry |= {"sampling_size_wh": list(plan.size_wh), "seed": plan.seed, "prompt": plan.prompt}
    if outcome.reason:
        entry["reason"] = outcome.reason
    return entry | {"seconds": round(outcome.seconds, 4)}


def found_entries(segments: Segments) -> list[dict[str, Any]]:
    """The segments that a detector found, before any was redrawn."""
    return [{"number": i, "box_xyxy": list(s.bbox_xyxy), "label": s.label, "confidence": round(float(s.confidence), 4),
             "crop_region_xyxy": list(s.crop_xyxy)} for i, s in enumerate(segments, start=1)]


def counts(outcomes: Sequence[Outcome]) -> dict[str, int]:
    """How many segments are in each state."""
    states = [o.state for o in outcomes]
    return {state: states.count(state) for state in dict.fromkeys(states)}


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write the file whole or not at all. Raises: PictureError if it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(value, file, indent=1, ensure_ascii=False)
            file.write("\n")
        os.replace(temporary, path)
    except OSError as error:
        raise PictureError(f"cannot write the report {path}: {error.strerror or error}; choose another place") from error
