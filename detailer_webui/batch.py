"""What the host's hooks call: a whole batch when it is known, and each picture when its turn comes.

A batch is planned together when the host shows it (`postprocess_batch_list`), so that segments of several pictures share waves. Each result is
handed over at its picture's own turn, so that other extensions see in their hooks what they would see without this.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from modules import shared
from PIL import Image
from torch import Tensor

from . import host
from .ahead import Finished, Remark
from .job import NOTE_KEY, Job, Workshop, tell
from .work import detail_pictures

logger = logging.getLogger(__name__)


def detail_batch(p: Any, tensors_chw: Sequence[Tensor], job: Job, workshop: Workshop) -> None:
    """Detail the pictures of a batch (float 0..1 `[3, H, W]`) together, for `detail_image` to hand over.

    Never raises; the log says what was decided, and why.
    """
    reason = _why_one_by_one(p, tensors_chw, job)
    if reason:
        logger.info("Detailer: the pictures are detailed one by one, because %s", reason)
        return
    logger.info("Detailer: the %s pictures of the batch are detailed together", len(tensors_chw))
    try:
        images = [_as_the_host_will(tensor) for tensor in tensors_chw]
        indices = [p.iteration * p.batch_size + place for place in range(len(images))]
        job.ahead.put(indices, images, detail_pictures(p, images, indices, job, workshop))
    except Exception:  # then each is done when its turn comes, and what is wrong is told there
        logger.exception("Detailer: the batch cannot be detailed together")


def _why_one_by_one(p: Any, tensors_chw: Sequence[Tensor], job: Job) -> str:
    """Why the batch cannot be planned together; "" if it can."""
    reasons = {
        "there is only one": len(tensors_chw) < 2,
        "no unit works on finished ones": not job.units_at("end"),
        "the host puts each together with its original first": job.composed,
        "the host restores the faces of each first": bool(getattr(p, "restore_faces", False)),
        "another extension changes them first": job.ahead.overtaken,
        host.why_alone(): bool(host.why_alone()),
        "the job was interrupted or skipped": host.stopped() or shared.state.skipped,
    }
    return next((reason for reason, holds in reasons.items() if holds), "")


def _as_the_host_will(tensor_chw: Tensor) -> Image.Image:
    """The picture as the host is going to make it of this tensor: it truncates to 8 bit."""
    return Image.fromarray((255.0 * np.moveaxis(tensor_chw.cpu().float().numpy(), 0, 2)).astype(np.uint8))


def detail_image(p: Any, image: Image.Image, job: Job, workshop: Workshop, index: int) -> Image.Image:
    """The picture after all units; the very same object if nothing was redrawn. Never raises: what goes wrong is told."""
    begin_note(p, job)
    finished = job.ahead.take(index, image) or _alone(p, image, job, workshop, index)
    for remark in (*job.earlier.pop(index, ()), *finished.remarks):
        tell(p, remark.text, note=remark.noted)
    if finished.image is not image:
        workshop.comparison.add(image, finished.image)
    return finished.image


def _alone(p: Any, image: Image.Image, job: Job, workshop: Workshop, index: int) -> Finished:
    if not job.units_at("end"):
        return Finished(image=image)
    if host.stopped() or shared.state.skipped:
        return Finished(image=image, remarks=(Remark(text="not run, because the picture was interrupted or skipped"),))
    try:
        return detail_pictures(p, [image], [index], job, workshop)[0]
    except Exception as error:
        logger.exception("Detailer: the picture failed")
        return Finished(image=image, remarks=(Remark(text=f"the picture failed: {type(error).__name__}: {error}"),))


def begin_note(p: Any, job: Job) -> None:
    """Each picture's parameters say what happened to it, and not to the one before."""
    p.extra_generation_params.pop(NOTE_KEY, None)
    if job.note:
        p.extra_generation_params[NOTE_KEY] = job.note
