"""The units' work on pictures. Whatever goes wrong, each picture comes back, and with it what is to be told."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image

from detailer_core.detectors.assembly import unit_detector
from detailer_core.engines.base import Control
from detailer_core.errors import DetailerError
from detailer_core.masks import as_mask, intersect_mask
from detailer_core.pictures import from_pil, to_pil
from detailer_core.run import Outcome, Progress, RunOptions
from detailer_core.sampling import MainGeneration, wrap_seed
from detailer_core.segments import Segments
from detailer_core.settings import UnitSettings
from detailer_core.unit import DoneParts, UnitResult, UnitTools, find_segments, redraw_segments

from . import host
from .ahead import Finished, Remark
from .engine import WebuiEngine
from .job import Job, Moment, Workshop
from .keep_state import kept_state
from .watcher import UnitSeen, kept

logger = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(kw_only=True, slots=True, eq=False)
class _Sheet:
    """One picture at work (float `[1, C, H, W]`), and what is to be said of it.

    index: its number in the job. done: what its units have redrawn so far.
    """

    index: int
    picture: torch.Tensor
    changed: bool = False
    done: DoneParts = field(default_factory=DoneParts)
    remarks: list[Remark] = field(default_factory=list)

    def say(self, text: str, *, noted: bool = True) -> None:
        self.remarks.append(Remark(text=text, noted=noted))

    def attempt(self, what: str, work: Callable[[], T]) -> T | None:
        """What the work gives; None if it failed. The user's picture is worth more than a traceback."""
        try:
            return work()
        except DetailerError as error:
            self.say(f"{what}: {error}")
        except Exception as error:
            logger.exception("Detailer: %s failed", what)
            self.say(f"{what} failed: {type(error).__name__}: {error}")
        return None

    def finish(self, given: Image.Image) -> Image.Image:
        """The picture; the very object that was given if nothing was redrawn."""
        image = self.attempt("the picture", partial(self._image, given)) if self.changed else None
        return image or given

    def _image(self, given: Image.Image) -> Image.Image:
        image = to_pil(self.picture.cpu())
        image.info = dict(given.info)
        return image


def detail_pictures(p: Any, images: Sequence[Image.Image], indices: Sequence[int], job: Job, workshop: Workshop) -> list[Finished]:
    """The pictures with these numbers in the job, after all units, planned together. Raises: whatever turning them into tensors does."""
    device = host.working_device(sum(image.width * image.height for image in images))
    sheets = [_Sheet(index=index, picture=from_pil(image).to(device)) for index, image in zip(indices, images, strict=True)]
    _all_units(p, sheets, "end", job, workshop)
    return [_handed_back(sheet, image, job) for sheet, image in zip(sheets, images, strict=True)]


def _handed_back(sheet: _Sheet, given: Image.Image, job: Job) -> Finished:
    image = sheet.finish(given)
    for watcher in job.watchers:
        sheet.attempt("what is kept of the picture", partial(watcher.picture_done, sheet.index, given, image))
    return Finished(image=image, remarks=tuple(sheet.remarks))


def detail_first_pass(p: Any, pictures: Sequence[torch.Tensor], indices: Sequence[int], job: Job, workshop: Workshop) -> list[torch.Tensor]:
    """The pictures of a first pass (float 0..1 `[1, 3, H, W]`) after the units that work before hires fix, on the device that they were on."""
    device = host.working_device(sum(picture.shape[-1] * picture.shape[-2] for picture in pictures))
    sheets = [_Sheet(index=index, picture=picture.float().to(device)) for index, picture in zip(indices, pictures, strict=True)]
    _all_units(p, sheets, "first pass", job, workshop)
    job.earlier.update({sheet.index: tuple(replace(remark, text=f"first pass, {remark.text}") for remark in sheet.remarks) for sheet in sheets})
    return [sheet.picture.to(picture) for sheet, picture in zip(sheets, pictures, strict=True)]


def _all_units(p: Any, sheets: Sequence[_Sheet], moment: Moment, job: Job, workshop: Workshop) -> None:
    for number, settings in job.units_at(moment).items():
        _unit(p, number, settings, sheets, job, workshop)


def _unit(p: Any, number: int, settings: UnitSettings, sheets: Sequence[_Sheet], job: Job, workshop: Workshop) -> None:
    if host.stopped():
        for sheet in sheets:
            sheet.say(f"unit {number} was not run, because the job was interrupted")
        return
    found = [(sheet, sheet.attempt(f"unit {number}", partial(_find, p, number, settings, sheet, job, workshop))) for sheet in sheets]
    _redraw(p, number, settings, [(sheet, segments) for sheet, segments in found if segments is not None], job, workshop)


def _find(p: Any, number: int, settings: UnitSettings, sheet: _Sheet, job: Job, workshop: Workshop) -> Segments | None:
    """The segments to redraw; None if earlier units have redrawn all that was found."""
    segments = find_segments(sheet.picture, settings, unit_detector(workshop.shelf, settings), str(sheet.picture.device))
    mask = _user_mask(p, segments.size_wh) if job.composed else None
    if mask is not None:
        segments = intersect_mask(segments, mask)
    left = sheet.done.leave_out(segments, settings)
    if len(left) < len(segments):
        sheet.say(f"unit {number}: {len(segments) - len(left)} left out, redrawn by an earlier unit already", noted=False)  # as the settings want it
        return left if len(left) else None
    return segments


def _redraw(p: Any, number: int, settings: UnitSettings, found: Sequence[tuple[_Sheet, Segments]], job: Job, workshop: Workshop) -> None:
    if not found:
        return
    sheets = [sheet for sheet, _ in found]
    if len(found) == 1:
        result = sheets[0].attempt(f"unit {number}", partial(_run, p, settings, found, job, workshop))
    else:
        try:
            result = _run(p, settings, found, job, workshop)
        except Exception:  # one picture's prompt may be at fault: alone, only that one is left out, and is told why
            logger.debug("the batch cannot be planned together", exc_info=True)
            for one in found:
                _redraw(p, number, settings, [one], job, workshop)
            return
    if result is None:
        return
    for place, (sheet, segments) in enumerate(found):
        seen = UnitSeen(index=sheet.index, unit=number, settings=settings, before_bchw=sheet.picture, segments=segments,
                        outcomes=result.run.outcomes[place])
        sheet.picture = result.run.pictures[place]
        sheet.changed = sheet.changed or any(o.state == "done" for o in result.run.outcomes[place])
        sheet.done = sheet.done.adding(result.run.outcomes[place])
        _say_outcomes(sheet, f"unit {number}", settings, result.run.outcomes[place])
        for watcher in job.watchers:
            sheet.attempt("what is kept of the parts", partial(watcher.unit_done, seen))


def _run(p: Any, settings: UnitSettings, found: Sequence[tuple[_Sheet, Segments]], job: Job, workshop: Workshop) -> UnitResult:
    options = RunOptions(control=Control(stopped=host.stopped), memory=workshop.memory, progress=_show, keep=kept(job.watchers))
    tools = UnitTools(detector=unit_detector(workshop.shelf, settings), engine=WebuiEngine(p, workshop.engine_memory), options=options,
                      rules=job.rules, hook_folder=host.hook_folder())
    with kept_state(sum(len(segments) for _, segments in found), p):
        return redraw_segments([sheet.picture for sheet, _ in found], [segments for _, segments in found],
                               [main_generation(p, sheet.index) for sheet, _ in found], settings, tools)


def main_generation(p: Any, index: int) -> MainGeneration:
    """How picture `index` of the job was made."""
    return MainGeneration(
        prompt=_at(p.all_prompts, index), negative_prompt=_at(p.all_negative_prompts, index), seed=wrap_seed(int(_at(p.all_seeds, index))),
        subseed=wrap_seed(int(_at(p.all_subseeds, index))), subseed_strength=float(p.subseed_strength), steps=int(p.steps), place=index,
        cfg=float(p.cfg_scale), sampler=p.sampler_name or host.sampler_names()[0], scheduler=getattr(p, "scheduler", None) or "Automatic",
        model_side=host.model_side())


def _at(values: Sequence[Any], index: int) -> Any:
    """A script may add pictures to a batch; what it adds is taken for the last one."""
    return values[min(index, len(values) - 1)]


def _show(progress: Progress) -> None:
    host.begin_part(f"Detailer: segment {progress.segments_done + 1} of {progress.segments}")


def _user_mask(p: Any, size_wh: tuple[int, int]) -> torch.Tensor | None:
    """What the user allows to change in an inpainting job, `[H, W]`; None if there is no mask."""
    mask = getattr(p, "mask_for_overlay", None)
    if mask is None:
        return None
    grey = mask.convert("L")
    if grey.size != size_wh:
        grey = grey.resize(size_wh, Image.Resampling.BILINEAR)
    return as_mask(np.array(grey), where="the inpaint mask")


def _say_outcomes(sheet: _Sheet, unit: str, settings: UnitSettings, outcomes: Sequence[Outcome]) -> None:
    if not outcomes:
        sheet.say(f"{unit}: nothing found by {settings.detector}")
    groups: dict[tuple[str, str], list[str]] = {}
    for outcome in outcomes:
        if outcome.state != "done":
            groups.setdefault((outcome.state, outcome.reason), []).append(str(outcome.index + 1))
    for (state, reason), indices in groups.items():
        text = f"{unit}, segment{'s' if len(indices) > 1 else ''} {', '.join(indices)} {state}: {reason}"
        sheet.say(text, noted=state != "skipped")  # skipped is as the settings want it
