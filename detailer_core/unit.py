"""One unit from detection to the finished pictures: what hosts and the command line call."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import Tensor

from .detectors.assembly import detect_options, selection_options
from .detectors.base import Detector
from .detectors.selection import select
from .engines.base import Engine
from .geometry import Box, iou
from .hook_library import parse_hooks
from .hooks import DetailerHook, combine
from .pictures import to_uint8_rgb
from .plan import PictureJob, Plan, PromptRules, make_plan
from .run import Outcome, RunOptions, RunResult, run_plan
from .sampling import MainGeneration
from .segments import Segments
from .settings import UnitSettings


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class UnitResult:
    """What a unit did. segments: per picture, before planning. Seconds are of the whole batch."""

    run: RunResult
    plan: Plan
    segments: tuple[Segments, ...]
    detect_seconds: float
    redraw_seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class DoneParts:
    """The boxes of one picture that units have redrawn so far. A unit leaves them alone only where its `skip_done` says so: two units on
    the same face, the second finer than the first, are as common as two that should not meet."""

    boxes: tuple[Box, ...] = ()

    def leave_out(self, segments: Segments, settings: UnitSettings) -> Segments:
        """The segments whose box overlaps none of these by the unit's `skip_done` or more."""
        if settings.skip_done <= 0:
            return segments
        return segments.with_items([s for s in segments if all(iou(s.bbox_xyxy, box) < settings.skip_done for box in self.boxes)])

    def adding(self, outcomes: Sequence[Outcome]) -> DoneParts:
        """These and the parts that a unit has redrawn; what it left, and what failed, is free for the next."""
        return DoneParts(boxes=(*self.boxes, *(o.segment.bbox_xyxy for o in outcomes if o.state == "done")))


def find_segments(picture_bchw: Tensor, settings: UnitSettings, detector: Detector, device: str = "cpu") -> Segments:
    """The segments of one picture (float 0..1 `[1, C, H, W]`), in order.

    detector: as `detectors.assembly.unit_detector` gives it; a plain one does without tiles and the second detector. device: where the
    picture is worked on.
    Raises: DetectorError if the detector cannot work on it; SettingsError for a list of numbers that cannot be read.
    """
    found = detector.detect(to_uint8_rgb(picture_bchw), detect_options(settings, detector, device))
    return select(found, (picture_bchw.shape[-1], picture_bchw.shape[-2]), selection_options(settings, detector))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class UnitTools:
    """What a unit works with. device: for detectors that run in torch, as text. rules: how prompts are read.

    hook_folder: where the settings may name hook files from; None = they may not.
    """

    detector: Detector
    engine: Engine
    options: RunOptions = field(default_factory=RunOptions)
    rules: PromptRules = field(default_factory=PromptRules)
    device: str = "cpu"
    hook_folder: Path | None = None


def unit_hook(settings: UnitSettings, tools: UnitTools) -> DetailerHook:
    """The hooks that the settings name, then the run's own, each watched. Raises: SettingsError, HookError as `parse_hooks` does."""
    return combine([parse_hooks(settings.hooks, tools.hook_folder), tools.options.hook])


def run_unit(pictures: Sequence[Tensor], mains: Sequence[MainGeneration], settings: UnitSettings, tools: UnitTools) -> UnitResult:
    """The pictures of one batch with this unit's parts redrawn.

    pictures: float 0..1 `[1, C, H, W]`; mains: how each was made.
    Raises: DetectorError, SettingsError, PromptError, HookError, EngineUnsupportedError before anything is drawn.
    """
    hook = unit_hook(settings, tools)  # first: a text that cannot be read should not cost a detection
    started = time.perf_counter()
    segments = tuple(find_segments(picture, settings, tools.detector, tools.device) for picture in pictures)
    return _redraw(pictures, segments, mains, settings, tools, hook, time.perf_counter() - started)


def redraw_segments(pictures: Sequence[Tensor], segments: Sequence[Segments], mains: Sequence[MainGeneration], settings: UnitSettings,
                    tools: UnitTools, *, detect_seconds: float = 0.0) -> UnitResult:
    """As `run_unit`, with segments that were found already."""
    return _redraw(pictures, segments, mains, settings, tools, unit_hook(settings, tools), detect_seconds)


def _redraw(pictures: Sequence[Tensor], segments: Sequence[Segments], mains: Sequence[MainGeneration], settings: UnitSettings, tools: UnitTools,
            hook: DetailerHook, detect_seconds: float) -> UnitResult:
    started = time.perf_counter()
    jobs = [PictureJob(segments=s, main=m) for s, m in zip(segments, mains, strict=True)]
    bends = any(hook.uses(point) for point in ("after_detection", "crop_region", "sampling_size"))
    if hook.uses("after_paste"):
        # It may change the picture anywhere, so each segment has to see what the one before left.
        settings = replace(settings, wave_pixels=0)
    plan = make_plan(jobs, settings, policy=tools.engine, hook=hook if bends else None, rules=tools.rules)
    run = run_plan(pictures, plan, tools.engine, replace(tools.options, hook=hook))
    return UnitResult(run=run, plan=plan, segments=tuple(segments), detect_seconds=detect_seconds,
                      redraw_seconds=time.perf_counter() - started)
