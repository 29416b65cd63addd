"""Given pictures through the units, without generating: the main job only lends its prompts, seeds and values, and is not processed."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from modules import processing, shared
from PIL import Image

from detailer_core.detectors.assembly import NO_DETECTOR
from detailer_core.errors import PictureError, SettingsError

from . import host, kept_infotext
from .ahead import Finished, Remark
from .batch import begin_note
from .changes import changes_of
from .dropdown_request import Request
from .fields import units_from_args
from .given import Given, GivenPictures, page_mask, write
from .job import Job, Workshop, open_job, tell
from .lent_values import lend_values, overridden
from .page_mask import MaskShelf
from .work import detail_pictures

logger = logging.getLogger(__name__)

_MASK: dict[str, Any] = {"detector": "mask", "labels": "", "exclude_labels": "", "second_detector": NO_DETECTOR, "tile_size": 0}
"""Settings of a unit whose segments are the mask's areas: whatever else says what a detector finds does not hold."""
_TOGETHER = 8
"""Most pictures that are planned together: what is finished is written after each such group."""
_PIXELS = 2**24
"""Most pixels of such a group."""


def detail_given(p: Any, pictures: GivenPictures, arguments: Sequence[Any], request: Request, workshop: Workshop) -> Any:
    """The host's result with the detailed pictures; what was finished before an interrupt is kept.

    arguments: the panel's. Raises: SettingsError if no unit can work.
    """
    if pictures.folder:
        p.batch_size = p.n_iter = 1  # every file is a job of its own: the same seed gives it the same result alone or among others
        p.enable_hr = False  # there is no first pass of a picture that is there already
    with overridden(p), torch.no_grad():
        lend_values(p)
        job, workshop = _begin(p, arguments, request, workshop)
        run = _Run(p=p, pictures=pictures, job=job, workshop=workshop, request=request)
        run.all()
    return run.processed()


def _begin(p: Any, arguments: Sequence[Any], request: Request, workshop: Workshop) -> tuple[Job, Workshop]:
    # The size on the page, as ADetailer has it, whatever the picture's own is.
    requested = units_from_args(arguments, main_wh=(p.width, p.height), samplers=host.sampler_names(), changes=changes_of(p))
    mask = page_mask(p)
    p.mask_for_overlay = None if request.mask else mask  # else segments are cut to it, as in an inpainting job
    if request.mask:
        if mask is None:
            raise SettingsError("mask: there is no inpaint mask; paint one on the page 'Inpaint', or switch 'Inpaint mask as segments' off",
                                field="mask")
        workshop = copy.copy(workshop)
        workshop.shelf = MaskShelf(workshop.shelf, mask)  # type: ignore[assignment]  # all that is asked of it is `get`
        units = {number: replace(settings, **_MASK) for number, settings in requested.units.items()}
        requested = replace(requested, units=units)
    told = set(p.comments)
    job = open_job(p, requested, workshop)
    if job is None:
        raise SettingsError("; ".join(c.removeprefix("Detailer: ") for c in p.comments if c not in told), field="args")
    return job, workshop


@dataclass(kw_only=True, slots=True, eq=False)
class _Run:
    """One run over all pictures. images, texts: what is shown in the end."""

    p: Any
    pictures: GivenPictures
    job: Job
    workshop: Workshop
    request: Request
    images: list[Image.Image] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    shown: list[int] = field(default_factory=list)

    def all(self) -> None:
        """Group after group, until all are done or the user stops."""
        # The page's batch of pictures calls once for each of them, and has counted them already.
        shared.state.job_count = max(shared.state.job_count, shared.state.job_no + len(self.pictures))
        for group in self._groups():
            shared.state.skipped = False
            numbers = [number for number, _ in group]
            host.show_progress(f"Detailer: picture {numbers[0] + 1} of {len(self.pictures)}")
            logger.info("Detailer: picture%s %s of %s", "s" if len(group) > 1 else "", ", ".join(str(n + 1) for n in numbers), len(self.pictures))
            for (number, given), finished in zip(group, self._detail([g for _, g in group], numbers), strict=True):
                self._finish(number, given, finished)
                shared.state.nextjob()

    def _groups(self) -> Iterator[list[tuple[int, Given]]]:
        group: list[tuple[int, Given]] = []
        pixels = 0
        most = 1 if host.why_alone() else _TOGETHER
        for number in range(len(self.pictures)):
            try:
                given = self.pictures.read(number)
            except PictureError as error:
                tell(self.p, str(error), note=False)
                continue
            size = given.image.width * given.image.height
            if group and (len(group) == most or pixels + size > _PIXELS):
                if host.stopped():
                    return
                yield group
                group, pixels = [], 0
            group.append((number, given))
            pixels += size
        if group and not host.stopped():
            yield group

    def _index(self, number: int) -> int:
        """Which of the job's prompts and seeds a picture has."""
        return 0 if self.pictures.folder else number

    def _detail(self, group: Sequence[Given], numbers: Sequence[int]) -> list[Finished]:
        try:
            return detail_pictures(self.p, [g.image for g in group], [self._index(n) for n in numbers], self.job, self.workshop)
        except Exception as error:
            if len(group) > 1:  # one of them may be at fault: alone, only that one is left as it is
                return [one for g, n in zip(group, numbers, strict=True) for one in self._detail([g], [n])]
            logger.exception("Detailer: the picture failed")
            return [Finished(image=group[0].image, remarks=(Remark(text=f"the picture failed: {type(error).__name__}: {error}"),))]

    def _finish(self, number: int, given: Given, finished: Finished) -> None:
        """Say what happened, write the picture, and keep it to be shown."""
        p, index = self.p, self._index(number)
        p.width, p.height = finished.image.size
        p.iteration, p.batch_index = divmod(index, p.batch_size)
        begin_note(p, self.job)
        for remark in finished.remarks:
            tell(p, remark.text, note=remark.noted, about=given.name)
        if finished.image is not given.image:
            self.workshop.comparison.add(given.image, finished.image)
        text = self._text(given, index)
        if self.pictures.folder and finished.image is given.image and host.stopped():
            return  # the user stopped before its turn
        if shared.opts.enable_pnginfo:
            finished.image.info["parameters"] = text
        if self.pictures.folder or p.save_samples():
            try:
                write(p, given, finished.image, text, index, self.request.output)
            except OSError as error:
                tell(p, f"the picture cannot be written: {error}", note=False, about=given.name)
        self._show(finished.image, text, index)

    def _text(self, given: Given, index: int) -> str:
        if given.text:
            return kept_infotext.with_lines(given.text, self.p.extra_generation_params)
        p = self.p
        return processing.create_infotext(p, p.all_prompts, p.all_seeds, p.all_subseeds, index=index)

    def _show(self, image: Image.Image, text: str, index: int) -> None:
        most = int(getattr(shared.opts, "img2img_batch_show_results_limit", 32)) if self.pictures.folder else -1
        if most < 0 or len(self.images) < most:
            self.images.append(image)
            self.texts.append(text)
            self.shown.append(index)

    def processed(self) -> Any:
        """The host's result."""
        p = self.p
        seeds, subseeds = [p.all_seeds[i] for i in self.shown], [p.all_subseeds[i] for i in self.shown]
        return processing.Processed(
            p, self.images, seed=p.all_seeds[0], info=self.texts[0] if self.texts else "", subseed=p.all_subseeds[0], infotexts=self.texts,
            all_prompts=[p.all_prompts[i] for i in self.shown], all_negative_prompts=[p.all_negative_prompts[i] for i in self.shown],
            all_seeds=seeds, all_subseeds=subseeds)
