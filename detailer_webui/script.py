"""The script object that the host registers: shows the panel, reads its values, hands pictures to `job`."""

from __future__ import annotations

import logging
from typing import Any

from modules import scripts, shared

from . import first_pass, host, page
from .batch import detail_batch, detail_image
from .choices import Choices
from .fields import unit_fields
from .job import Job, Workshop, begin_job
from .options import REMEMBER
from .page_handlers import PageHandlers
from .presets import PresetShelf

logger = logging.getLogger(__name__)

_ATTRIBUTE = "detailer_job"


class DetailerScript(scripts.Script):
    """Detailer in txt2img and img2img."""

    def __init__(self) -> None:
        self.workshop = Workshop()

    def title(self) -> str:
        """The name by which clients of the API send arguments."""
        return "Detailer"

    def show(self, is_img2img: bool) -> Any:
        """On both pages, always."""
        return scripts.AlwaysVisible

    def ui(self, is_img2img: bool) -> list[Any]:
        """The panel's components, in order; called several times by the host, and the same each time."""
        handlers = PageHandlers(workshop=self.workshop, presets=PresetShelf(host.presets_path()), units=host.unit_count(),
                                keys=tuple(field.key for field in unit_fields(0)))
        panel = page.build(choices=Choices.of_host(), handlers=handlers, tab="img2img" if is_img2img else "txt2img", elem_id=self.elem_id,
                           remember=bool(getattr(shared.opts, REMEMBER, False)))
        self.infotext_fields = list(panel.paste)
        return list(panel.components)

    def process(self, p: Any, *args: Any) -> None:
        """Read the settings once per job and write them into the generation parameters."""
        setattr(p, _ATTRIBUTE, None)
        if getattr(p, "_ad_inner", False):  # a pass inside another detailer, not a picture of the user's
            return
        job = begin_job(p, args, self.workshop)
        setattr(p, _ATTRIBUTE, job)
        first_pass.watch(p, job, self.workshop)

    def postprocess_batch_list(self, p: Any, pp: Any, *args: Any, **kwargs: Any) -> None:
        """All pictures of a batch, before the host makes files of them one after another."""
        job = getattr(p, _ATTRIBUTE, None)
        if job is not None:
            detail_batch(p, pp.images, job, self.workshop)

    def postprocess_image(self, p: Any, pp: Any, *args: Any) -> None:
        """A finished picture that is not put together with an original."""
        job = getattr(p, _ATTRIBUTE, None)
        if job is not None and not job.composed:
            pp.image = self._detail(p, pp, job)

    def postprocess_image_after_composite(self, p: Any, pp: Any, *args: Any) -> None:
        """A finished picture of an inpainting job, with its surroundings."""
        job = getattr(p, _ATTRIBUTE, None)
        if job is not None and job.composed:
            pp.image = self._detail(p, pp, job)

    def _detail(self, p: Any, pp: Any, job: Job) -> Any:
        index = getattr(pp, "index", None)
        if index is None:
            index = p.iteration * p.batch_size + getattr(p, "batch_index", 0)
        return detail_image(p, pp.image, job, self.workshop, index)
