"""One main job of the host: which units work on its pictures, and doing so. Whatever goes wrong, the picture stays and the user is told."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from modules import shared
from PIL import Image

from detailer_core.detectors.registry import DetectorFolders, DetectorShelf
from detailer_core.engines.base import Control
from detailer_core.errors import DetailerError, SettingsError
from detailer_core.hook_library import parse_hooks
from detailer_core.masks import as_mask, intersect_mask
from detailer_core.pictures import from_pil, to_pil
from detailer_core.plan import PromptRules
from detailer_core.run import Progress, RunOptions
from detailer_core.sampling import MainGeneration, wrap_seed
from detailer_core.settings import UnitSettings
from detailer_core.unit import UnitResult, UnitTools, find_segments, redraw_segments
from detailer_core.wave_memory import WaveMemory
from detailer_core.wildcards import WildcardLibrary, check_unit_text

from . import host, infotext
from .cond_cache import CondCache
from .engine import WebuiEngine
from .fields import units_from_args
from .keep_state import kept_state

logger = logging.getLogger(__name__)

T = TypeVar("T")

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

    def prompt_rules(self) -> PromptRules:
        """How prompts are read, with the wildcard files as they are now."""
        return PromptRules(library=WildcardLibrary.from_folders(host.wildcard_folders()))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Job:
    """The units for one main job, by number. composed: its pictures are worked on after the host has put them together with the original.

    note: what is to be said in the generation parameters of all its pictures.
    """

    units: Mapping[int, UnitSettings]
    composed: bool
    note: str = ""
    rules: PromptRules = field(default_factory=PromptRules)


def begin_job(p: Any, args: Sequence[Any], workshop: Workshop) -> Job | None:
    """The units that can work, written into the generation parameters; None if there are none. What cannot work is told."""
    try:
        requested = units_from_args(args)
    except SettingsError as error:
        tell(p, f"switched off: {error}")
        return None
    problems = list(requested.problems)
    rules = workshop.prompt_rules() if requested.units else PromptRules()
    units: dict[int, UnitSettings] = {}
    for number, settings in requested.units.items():
        problem = _problem(settings, workshop, rules)
        if problem:
            problems.append(f"unit {number} is left out: {problem}")
        else:
            units[number] = settings
    for problem in problems:
        tell(p, problem)
    if not units:
        return None
    p.extra_generation_params.update(infotext.write(list(units.values())))
    return Job(units=units, composed=getattr(p, "image_mask", None) is not None, note="; ".join(map(_without_folders, problems)),
               rules=rules)


def _problem(settings: UnitSettings, workshop: Workshop, rules: PromptRules) -> str:
    """Why a unit cannot work, known before anything is drawn; else ""."""
    try:
        host.check_names(settings)
        parse_hooks(settings.hooks, host.hook_folder())
        for text in (settings.prompt, settings.negative_prompt):
            check_unit_text(text, rules.library)
        workshop.shelf.get(settings.detector)
    except DetailerError as error:
        return str(error)
    except Exception as error:  # whatever a model file makes a library do, the picture is to be made
        logger.exception("Detailer: detector '%s' failed", settings.detector)
        return f"detector '{settings.detector}' failed: {type(error).__name__}: {error}"
    return ""


def main_generation(p: Any, index: int) -> MainGeneration:
    """How picture `index` of the job was made."""
    return MainGeneration(
        prompt=_at(p.all_prompts, index), negative_prompt=_at(p.all_negative_prompts, index), seed=wrap_seed(int(_at(p.all_seeds, index))),
        subseed=wrap_seed(int(_at(p.all_subseeds, index))), subseed_strength=float(p.subseed_strength), steps=int(p.steps),
        cfg=float(p.cfg_scale), sampler=p.sampler_name or host.sampler_names()[0], scheduler=getattr(p, "scheduler", None) or "Automatic")


def _at(values: Sequence[Any], index: int) -> Any:
    """A script may add pictures to a batch; what it adds is taken for the last one."""
    return values[min(index, len(values) - 1)]


def detail_image(p: Any, image: Image.Image, job: Job, workshop: Workshop, index: int) -> Image.Image:
    """The picture after all units; the very same object if nothing was redrawn. Never raises: what goes wrong is told."""
    _begin_note(p, job)
    if host.stopped() or shared.state.skipped:
        tell(p, "not run, because the picture was interrupted or skipped")
        return image
    done = _attempt(p, "the picture", partial(_all_units, p, image, job, workshop, index))
    return image if done is None else done


def _all_units(p: Any, image: Image.Image, job: Job, workshop: Workshop, index: int) -> Image.Image:
    changed = False
    picture = _to_device(image)
    for number, settings in job.units.items():
        if host.stopped():
            tell(p, f"unit {number} was not run, because the job was interrupted")
            continue
        result = _attempt(p, f"unit {number}", partial(_unit, p, picture, settings, job, workshop, index))
        if result is None:
            continue
        _tell_outcomes(p, number, result)
        changed = changed or any(o.state == "done" for o in result.run.outcomes[0])
        picture = result.run.pictures[0]
    return _like_input(picture, image) if changed else image


def _attempt(p: Any, what: str, work: Callable[[], T]) -> T | None:
    """What the work gives; None if it failed, which is told. The user's picture is worth more than a traceback."""
    try:
        return work()
    except DetailerError as error:
        tell(p, f"{what}: {error}")
    except Exception as error:
        logger.exception("Detailer: %s failed", what)
        tell(p, f"{what} failed: {type(error).__name__}: {error}")
    return None


def _unit(p: Any, picture: torch.Tensor, settings: UnitSettings, job: Job, workshop: Workshop, index: int) -> UnitResult:
    detector = workshop.shelf.get(settings.detector)
    engine = WebuiEngine(p, workshop.conds)
    segments = find_segments(picture, settings, detector, str(picture.device))
    mask = _user_mask(p, segments.size_wh) if job.composed else None
    if mask is not None:
        segments = intersect_mask(segments, mask)
    options = RunOptions(control=Control(stopped=host.stopped), memory=workshop.memory, progress=_show)
    with kept_state(len(segments), p):
        return redraw_segments([picture], [segments], [main_generation(p, index)], settings,
                               UnitTools(detector=detector, engine=engine, options=options, rules=job.rules, hook_folder=host.hook_folder()))


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
    groups: dict[tuple[str, str], list[str]] = {}
    for outcome in outcomes:
        if outcome.state != "done":
            groups.setdefault((outcome.state, outcome.reason), []).append(str(outcome.index + 1))
    for (state, reason), indices in groups.items():
        text = f"unit {number}, segment{'s' if len(indices) > 1 else ''} {', '.join(indices)} {state}: {reason}"
        tell(p, text, note=state != "skipped")  # skipped is as the settings want it


def tell(p: Any, text: str, *, note: bool = True) -> None:
    """Tell the user: in the log, under the picture, and, if it is to be noted, in the picture's generation parameters."""
    logger.warning("Detailer: %s", text)
    p.comment(f"Detailer: {text}")
    shared_text = _without_folders(text)
    notes = str(p.extra_generation_params.get(NOTE_KEY, ""))
    if note and f"; {shared_text}; " not in f"; {notes}; ":
        p.extra_generation_params[NOTE_KEY] = f"{notes}; {shared_text}" if notes else shared_text


def _begin_note(p: Any, job: Job) -> None:
    """Each picture's parameters say what happened to it, and not to the one before."""
    p.extra_generation_params.pop(NOTE_KEY, None)
    if job.note:
        p.extra_generation_params[NOTE_KEY] = job.note


def _without_folders(text: str) -> str:
    """The text without the folders of this machine: pictures are shown to others, and paths tell the user's name."""
    for folder, name in ((host.models_root(), "models"), (Path.home(), "~")):
        if folder.name:  # else it is "/", which stands in every path
            text = text.replace(str(folder), name).replace(folder.as_posix(), name)
    return text
