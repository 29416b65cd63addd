"""What the core itself costs per segment: against the number of segments, against the picture's size, and in memory. Prints JSON.

Usage: python benchmarks/overhead.py [--repeat 5] [--threads 1]

The engine is instant, so all time is the core's: planning, crop, enlarge, both blurs, shrink, paste. The one copy of the picture that a run makes,
so that the caller's stays as it was, is per picture and not per segment; it is reported apart (`copy_ms`) and left out by `in_place`.
Each side is compared with the first of its row; memory is measured in processes of their own.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from detailer_core.engines.base import Capabilities, Control, Redrawn, WaveRequest
from detailer_core.geometry import Box, box_size_wh, make_crop_region, shift
from detailer_core.masks import shape_mask
from detailer_core.plan import PictureJob, SegmentPlan, make_plan
from detailer_core.run import RunOptions, run_plan
from detailer_core.sampling import Sampling
from detailer_core.segments import Segment, Segments
from detailer_core.settings import make_settings

BOX = 96
SETTINGS = {"feather": 5, "noise_mask_feather": 20, "guide_size": 512, "max_size": 1024, "crop_factor": 3.0}


class InstantEngine:
    """Gives each crop back as it is."""

    name = "instant"
    memory_key = "instant"
    size_multiple = 8
    capabilities = Capabilities()

    def __init__(self, limit: int = 1) -> None:
        self.limit = limit

    def wave_limit(self, sampling: Sampling) -> int:
        """As set."""
        return self.limit

    def wave_key(self, item: SegmentPlan) -> Hashable:
        """All alike."""
        return None

    def redraw(self, request: WaveRequest, control: Control) -> Redrawn:
        """The crops themselves."""
        return Redrawn(images_bchw=request.images_bchw)


def segments_for(side: int, count: int) -> Segments:
    """`count` boxes of equal size at random places, the same for every size of the picture that holds them."""
    rng = random.Random(7)
    items = []
    for _ in range(count):
        x, y = rng.randrange(0, side - BOX), rng.randrange(0, side - BOX)
        box: Box = (x, y, x + BOX, y + BOX)
        crop = make_crop_region((side, side), box, SETTINGS["crop_factor"])
        mask = shape_mask(box_size_wh(crop), shift(box, -crop[0], -crop[1]))
        items.append(Segment(bbox_xyxy=box, crop_xyxy=crop, mask_hw=mask, label="face"))
    return Segments(size_wh=(side, side), items=tuple(items))


def once(picture: torch.Tensor, segments: Segments, limit: int = 1, in_place: bool = True) -> float:
    """Seconds for one run, planning included."""
    settings, engine = make_settings(SETTINGS), InstantEngine(limit)
    started = time.perf_counter()
    plan = make_plan([PictureJob(segments=segments)], settings, policy=engine)
    run_plan([picture], plan, engine, RunOptions(in_place=in_place))
    return time.perf_counter() - started


def per_segment(cases: Sequence[tuple[int, int]], repeat: int) -> list[dict[str, Any]]:
    """Milliseconds per segment for each (side, count); runs take turns, so that a busy moment hits all alike."""
    made = [(torch.rand(side, side, 3).permute(2, 0, 1)[None], segments_for(side, count), count) for side, count in cases]
    times: list[list[float]] = [[] for _ in made]
    for turn in range(repeat + 1):
        for place, (picture, segments, count) in enumerate(made):
            # As many segments in each measurement: one run of 64, or 64 runs of one.
            spent = sum(once(picture, segments) for _ in range(max(1, 64 // count)))
            if turn:
                times[place].append(1000 * spent / (count * max(1, 64 // count)))
    medians = [statistics.median(t) for t in times]
    rows = zip(cases, medians, strict=True)
    return [{"side": s, "segments": n, "ms_per_segment": round(m, 3), "ratio": round(m / medians[0], 3)} for (s, n), m in rows]


def peak_of(count: int, side: int) -> dict[str, float]:
    """Peak memory of a run beyond what is there with the picture loaded, in units of the picture, measured in a process of its own."""
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import overhead; overhead.report_peak({count}, {side})"
    return json.loads(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)


def report_peak(count: int, side: int) -> None:
    """Print the peak as JSON; called in the process that is measured."""
    torch.set_num_threads(1)
    warm = torch.rand(512, 512, 3).permute(2, 0, 1)[None]
    once(warm, segments_for(512, 1), in_place=False)
    picture = torch.rand(side, side, 3).permute(2, 0, 1)[None]
    segments = segments_for(side, count)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # Linux: the peak starts anew at what is in use now
    before = resident("VmRSS")
    once(picture, segments, limit=8, in_place=False)
    extra = resident("VmHWM") - before
    size = picture.numel() * 4
    print(json.dumps({"segments": count, "side": side, "picture_mib": round(size / 2**20, 1), "extra_mib": round(extra / 2**20, 1),
                      "extra_in_pictures": round(extra / size, 3)}))


def resident(what: str) -> int:
    """A line of the process's memory status, in bytes (Linux)."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(what))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    picture = torch.rand(4096, 4096, 3).permute(2, 0, 1)[None]
    copies = []
    for _ in range(args.repeat):
        started = time.perf_counter()
        picture.clone()
        copies.append(1000 * (time.perf_counter() - started))
    print(json.dumps({
        "by_count": per_segment([(4096, n) for n in (1, 8, 64)], args.repeat),
        "by_size": per_segment([(side, 8) for side in (1024, 2048, 4096, 8192)], args.repeat),
        "copy_ms_at_4096": round(statistics.median(copies), 1),
        "memory": [peak_of(1, 4096), peak_of(64, 4096)],
    }, indent=1))


if __name__ == "__main__":
    main()
