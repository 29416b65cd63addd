"""One main job of the host: which units work on its pictures, and doing so. Whatever goes wrong, the picture stays and the user is told."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from detailer_core.detectors.registry import DetectorFolders, DetectorShelf
from modules import shared
from PIL import Image

from detailer_core.engines.base import Control
from detailer_core.errors import DetailerError
from detailer_core.masks import as_mask, intersect_mask
from detailer_core.pictures import from_pil, to_pil
from detailer_core.run import Progress, RunOptions
from detailer_core.sampling import MainGeneration, wrap_seed
from detailer_core.settings import UnitSettings
from detailer_core.unit import UnitResult, UnitTools, find_segments, redraw_segments
from detailer_core.wave_memory import WaveMemory

from . import host
from .cond_cache import CondCache
from .engine import WebuiEngine
from .keep_state import kept_state

logger = logging.getLogger(__name__)

NOTE_KEY = "Detailer note"
"""Label in the generation parameters for what was left out or went wrong."""


@dataclass(slots=True)
class Workshop:
    """What outlives a job: loaded detectors, encoded prompts, what fitted into memory."""

    conds: CondCache = field(default_factory=CondCache)
    memory: WaveMemory = field(default_factory=WaveMemory)
    folders: DetectorFolders = field(default_factory=lambda: DetectorFolders(models_root=host.models_root()))
    shelf: DetectorShelf = field(init=False)

    def __post_init__(self) -> None:
        self.shelf = DetectorShelf(self.folders)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Job:
    """The units for one main job. composed: its pictures are worked on after the host has put them together with the original."""

    units: tuple[UnitSettings, ...]
    composed: bool


def main_generation(p: Any, index: int) -> MainGeneration:
    """How picture `index` of the job was made."""
    return MainGeneration(
        prompt=p.all_prompts[index], negative_prompt=p.all_negative_prompts[index], seed=wrap_seed(int(p.all_seeds[index])),
        subseed=wrap_seed(int(p.all_subseeds[index])), subseed_strength=float(p.subseed_strength), steps=int(p.steps), cfg=float(p.cfg_scale),
        sampler=p.sampler_name, scheduler=getattr(p, "scheduler", None) or "Automatic")


def detail_image(p: Any, image: Image.Image, job: Job, workshop: Workshop, index: int) -> Image.Image:
    """The picture after all units; the very same object if nothing was redrawn. Never raises for what a unit does wrong."""
    changed = False
    picture = _to_device(image)
    before = picture
    for number, settings in enumerate(job.units, start=1):
        if host.stopped():
            break
        try:
            result = _unit(p, picture, settings, job, workshop, index)
        except DetailerError as error:
            tell(p, f"unit {number}: {error}")
            continue
        except Exception as error:  # the user's picture is worth more than a traceback: log it once, keep the picture, tell
            logger.exception("Detailer: unit %d failed", number)
            tell(p, f"unit {number} failed: {type(error).__name__}: {error}")
            continue
        _tell_outcomes(p, number, result)
        changed = changed or any(o.state == "done" for o in result.run.outcomes[0])
        picture = result.run.pictures[0]
    if not changed or picture is before:
        return image
    return _like_input(picture, image)


def _unit(p: Any, picture: torch.Tensor, settings: UnitSettings, job: Job, workshop: Workshop, index: int) -> UnitResult:
    detector = workshop.shelf.get(settings.detector)
    engine = WebuiEngine(p, workshop.conds)
    segments = find_segments(picture, settings, detector, str(picture.device))
    mask = _user_mask(p, segments.size_wh) if job.composed else None
    if mask is not None:
        segments = intersect_mask(segments, mask)
    options = RunOptions(control=Control(stopped=host.stopped), memory=workshop.memory, progress=_show)
    with kept_state(len(segments) * settings.cycle):
        return redraw_segments([picture], [segments], [main_generation(p, index)], settings,
                               UnitTools(detector=detector, engine=engine, options=options))


def _show(progress: Progress) -> None:
    shared.state.job = f"Detailer: segment {progress.segments_done + 1} of {progress.segments}"


def _user_mask(p: Any, size_wh: tuple[int, int]) -> torch.Tensor | None:
    """What the user allows to change in an inpainting job, `[H, W]`; None if there is no mask."""
    mask = getattr(p, "mask_for_overlay", None)
    if mask is None:
        return None
    grey = mask.convert("L")
    if grey.size != size_wh:
        grey = grey.resize(size_wh, Image.Resampling.BILINEAR)
    return as_mask(np.array(grey), where="the inpaint mask")


def _to_device(image: Image.Image) -> torch.Tensor:
    return from_pil(image).to(host.working_device(image.width * image.height))


def _like_input(picture: torch.Tensor, image: Image.Image) -> Image.Image:
    result = to_pil(picture.cpu())
    result.info = dict(image.info)
    return result


def _tell_outcomes(p: Any, number: int, result: UnitResult) -> None:
    outcomes = result.run.outcomes[0]
    if not outcomes:
        tell(p, f"unit {number}: nothing found by {result.plan.settings.detector}")
    for outcome in outcomes:
        if outcome.state != "done":
            tell(p, f"unit {number}, segment {outcome.index + 1} {outcome.state}: {outcome.reason}")


def tell(p: Any, text: str) -> None:
    """Tell the user: in the log, under the picture, and in its generation parameters."""
    logger.warning("Detailer: %s", text)
    p.comment(f"Detailer: {text}")
    notes = str(p.extra_generation_params.get(NOTE_KEY, ""))
    if text not in notes.split("; "):
        p.extra_generation_params[NOTE_KEY] = f"{notes}; {text}" if notes else text
