"""What a run did, as plain data for a JSON file."""

from __future__ import annotations

from typing import Any

from ..run import Outcome
from ..segments import Segment, Segments


def segment_entry(outcome: Outcome) -> dict[str, Any]:
    """One segment: boxes are pixels x0 y0 x1 y1, end exclusive; sizes are width and height; None for what was never decided."""
    plan = outcome.plan
    entry = {"number": outcome.index + 1, "state": outcome.state} | _found(outcome.segment)
    entry |= {"sampling_size_wh": list(plan.size_wh) if plan else None, "seed": plan.seed if plan else None, "prompt": plan.prompt if plan else None}
    if outcome.reason:
        entry["reason"] = outcome.reason
    return entry | {"seconds": round(outcome.seconds, 4)}


def found_entries(segments: Segments) -> list[dict[str, Any]]:
    """The segments that a detector found, before any was redrawn."""
    return [{"number": number} | _found(segment) for number, segment in enumerate(segments, start=1)]


def _found(segment: Segment) -> dict[str, Any]:
    return {"box_xyxy": list(segment.bbox_xyxy), "label": segment.label, "confidence": round(float(segment.confidence), 4),
            "crop_region_xyxy": list(segment.crop_xyxy)}
