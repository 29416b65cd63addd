"""For tests of a running host: an extension that compares waves with single runs inside the host's own process.

Copy the folder `detailer_live_check` into the host's `extensions/` beside Detailer; `tests/live/test_equality.py` asks it over HTTP.
"""

import time
from dataclasses import replace
from typing import Annotated, Any

import torch
from fastapi import Body
from modules import processing, script_callbacks, shared
from modules.call_queue import queue_lock

from detailer_core.plan import PictureJob, make_plan
from detailer_core.run import RunOptions, run_plan
from detailer_core.sampling import MainGeneration
from detailer_core.segments import Segment, Segments
from detailer_core.settings import UnitSettings
from detailer_webui.engine import WebuiEngine
from detailer_webui.engine_memory import EngineMemory
from detailer_webui.keep_state import kept_state

CELL = 160
SIDE = 128


def compare(case: dict[str, Any]) -> dict[str, Any]:
    """Worst difference (0..255) between waves and one by one for one case, how large the waves were, and both times in seconds."""
    count, texts = case.get("count", 4), case.get("prompts", ["a face"])
    picture = torch.rand(1, 3, 2 * CELL // 8, count * CELL // 16, generator=torch.Generator().manual_seed(3))
    picture = torch.nn.functional.interpolate(picture, scale_factor=8, mode="bicubic").clamp(0, 1)
    width, height = picture.shape[-1], picture.shape[-2]
    segments = Segments(size_wh=(width, height), items=tuple(_segment(i, texts[i % len(texts)], case) for i in range(count)))
    settings = replace(UnitSettings(), guide_size=SIDE, guide_size_for="crop", max_size=SIDE, **case.get("settings", {}))
    main = MainGeneration(prompt="unused", negative_prompt=case.get("negative", "bad"), seed=case.get("seed", 11), subseed=5,
                          subseed_strength=case.get("subseed_strength", 0.0), steps=case.get("steps", 6), cfg=4.0, sampler=case["sampler"])
    p = processing.StableDiffusionProcessingTxt2Img(sd_model=shared.sd_model, outpath_samples="", outpath_grids="", prompt="", steps=6)
    results, seconds, waves = [], [], []
    for pixels in (settings.wave_pixels, 0):
        engine = WebuiEngine(p, EngineMemory())
        plan = make_plan([PictureJob(segments=segments, main=main)], replace(settings, wave_pixels=pixels), policy=engine)
        started = time.perf_counter()
        with kept_state(len(plan.waves)), torch.no_grad():
            done = run_plan([picture], plan, engine, RunOptions())
        seconds.append(time.perf_counter() - started)
        waves.append([len(w.items) for w in plan.waves])
        states = {o.state for o in done.outcomes[0]}
        if states != {"done"}:
            return {"failed": [o.reason for o in done.outcomes[0]][:1]}
        results.append(done.pictures[0])
    outside = torch.cat([(results[0] - picture)[..., : CELL // 8, :].abs().flatten(), torch.zeros(1)]).max()
    return {"worst": float((results[0] - results[1]).abs().max() * 255), "changed": float((results[0] - picture).abs().max() * 255),
            "outside": float(outside * 255), "waves": waves[0], "seconds": seconds}


def _segment(index: int, prompt: str, case: dict[str, Any]) -> Segment:
    x, y = (index // 2) * CELL + 16, (index % 2) * CELL + 16
    if case.get("overlap"):
        x, y = index * CELL // 4, 16
    mask = torch.zeros(SIDE, SIDE)
    mask[24:104, 24:104] = 1
    if case.get("soft"):
        mask[24:104, 24:104] = torch.linspace(0.05, 1, 80)
    box = (x + 24, y + 24, x + 104, y + 104)
    return Segment(bbox_xyxy=box, crop_xyxy=(x, y, x + SIDE, y + SIDE), mask_hw=mask, label="face", prompt=prompt)


def add_routes(_: Any, app: Any) -> None:
    """Called by the host when its server starts."""

    @app.post("/detailer-live/compare")
    def compare_route(case: Annotated[dict, Body()]) -> dict[str, Any]:
        with queue_lock:
            return compare(case)


script_callbacks.on_app_started(add_routes)
