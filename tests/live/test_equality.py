"""In a running host: waves equal single runs for every sampler, with everything that could mix pictures up.

Needs the address of a host that has Detailer and `detailer_live_check` in its extensions folder: DETAILER_LIVE_URL=http://127.0.0.1:7860.
"""

from __future__ import annotations

from typing import Any

import pytest

from .webui import URL, ask

pytestmark = pytest.mark.skipif(not URL, reason="needs a running host: set DETAILER_LIVE_URL")

LONG = "a face, " + ", ".join(["very detailed skin with freckles"] * 16)
PROMPTS = ["a face", "an old man with a beard", LONG]
# Too few steps for the order of the method would be the host's error, not ours.
STEPS = {"UniPC": 12}


def samplers() -> list[str]:
    """All samplers that the host offers; the model is loaded first, Forge has none before its first picture."""
    if not URL:
        return ["none"]
    ask("/sdapi/v1/txt2img", {"prompt": "x", "steps": 1, "width": 64, "height": 64})
    return [s["name"] for s in ask("/sdapi/v1/samplers")]


KINDS: dict[str, dict[str, Any]] = {
    "hard": {"settings": {"noise_mask_feather": 0, "cycle": 2}},
    "soft": {"settings": {"noise_mask_feather": 0}, "soft": True},
    "differential": {"settings": {"noise_mask_feather": 20}},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sampler", samplers())
def test_waves_equal_single_runs(sampler: str, kind: str) -> None:
    """Eight segments with three prompts of unequal length, negatives, seeds and subseeds: at most 1/255 apart."""
    alone = sampler in ("DPM adaptive", "DDPM")
    case = {"sampler": sampler, "count": 2 if alone else 8, "prompts": PROMPTS, "negative": "blurry, " * 30, "subseed_strength": 0.3,
            "steps": STEPS.get(sampler, 6), **KINDS[kind]}
    got = ask("/detailer-live/compare", case)
    assert "failed" not in got, got
    print(f"{sampler} {kind}: worst {got['worst']:.4f}/255, waves {got['waves']}")
    assert got["worst"] <= 1
    assert got["changed"] > 5
    assert (max(got["waves"]) == 1) == alone


@pytest.mark.parametrize("count", [2, 4, 8])
def test_sizes_of_waves(count: int) -> None:
    """Waves of two, four and eight."""
    got = ask("/detailer-live/compare", {"sampler": "Euler a", "count": count})
    assert got["waves"] == [count]
    assert got["worst"] <= 1


def test_overlapping_segments() -> None:
    """Segments that need each other's result run in the sequential order."""
    got = ask("/detailer-live/compare", {"sampler": "DPM++ 2M SDE", "count": 4, "overlap": True, "settings": {"noise_mask_feather": 0}})
    assert len(got["waves"]) > 1
    assert got["worst"] == 0
