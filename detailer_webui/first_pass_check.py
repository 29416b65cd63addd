"""Whether units can work on the first pass of a job with hires fix."""

from __future__ import annotations

from typing import Any

from . import host


def why_not(p: Any) -> str:
    """Why the pictures of the first pass cannot be worked on; "" if they can."""
    if not callable(getattr(type(p), "sample_hr_pass", None)):
        return "this WebUI gives no access to the first pass's pictures"
    # Hosts load it before they hand the first pass on: parts would be redrawn with the wrong model, and the right one lost for hires fix.
    checkpoint = getattr(p, "hr_checkpoint_name", None)
    if checkpoint and checkpoint != "Use same checkpoint" and host.checkpoint_title(checkpoint) != host.model_key():
        return f"hires fix has a checkpoint of its own, {checkpoint}"
    modules = getattr(p, "hr_additional_modules", None)
    if modules and "Use same choices" not in modules:
        return "hires fix has a VAE or text encoder of its own"
    return ""
