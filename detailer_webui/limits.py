"""What the host's settings say above all units."""

from __future__ import annotations

from dataclasses import replace

from modules import shared

from detailer_core.settings import UnitSettings

WAVE_MEGAPIXELS = "detailer_wave_megapixels"
"""The setting for how many million pixels are sampled together at most; 0 = no limit."""


def limited(settings: UnitSettings) -> UnitSettings:
    """The settings as they are carried out: no larger waves than the host's settings allow."""
    most = int(float(getattr(shared.opts, WAVE_MEGAPIXELS, 0) or 0) * 1_000_000)
    return replace(settings, wave_pixels=most) if 0 < most < settings.wave_pixels else settings
