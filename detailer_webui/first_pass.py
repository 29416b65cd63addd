"""Units that work before hires fix: on the pictures of the first pass.

No hook of the hosts lies there. So the job's own `sample_hr_pass` is wrapped, on that job alone: it is given the first pass's latents, or its
pictures where those are what hires fix enlarges.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from modules import devices, processing, shared
from torch import Tensor

from . import host
from .ahead import Remark
from .job import Job, Workshop
from .keep_state import kept_generators
from .work import detail_first_pass

logger = logging.getLogger(__name__)

_METHOD = "sample_hr_pass"
_LATENT_PIXEL = 8


def watch(p: Any, job: Job | None, workshop: Workshop) -> None:
    """See to it that the units of the first pass work in this job; without any, the job is left as it is."""
    mine = vars(p).get(_METHOD)
    if isinstance(mine, _HiresPass):  # of an earlier start of this job, or of the job that this one is a copy of
        del vars(p)[_METHOD]
        if mine.p is p and getattr(mine.inner, "__func__", None) is not getattr(type(p), _METHOD, None):
            vars(p)[_METHOD] = mine.inner
    if job is not None and job.units_at("first pass"):
        vars(p)[_METHOD] = _HiresPass(p=p, inner=p.sample_hr_pass, job=job, workshop=workshop)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _HiresPass:
    """Stands for a job's `sample_hr_pass`: details the first pass, then goes on with `inner`. Whatever fails here, hires fix is made."""

    p: Any
    inner: Callable[..., Any]
    job: Job
    workshop: Workshop

    def __call__(self, samples: Any, decoded_samples: Any = None, *rest: Any, **named: Any) -> Any:
        """What the host's own method returns; the detailed pictures of the first pass if the job was interrupted while they were made."""
        if shared.state.interrupted or shared.state.skipped:
            self._say("the first pass: not run, because the picture was interrupted or skipped")
            return self.inner(samples, decoded_samples, *rest, **named)
        try:
            given = self._pictures(samples, decoded_samples)
            done = self._detailed(given)
            if shared.state.interrupted:  # the host would give the latents of the first pass back: what is finished is to stay
                return processing.DecodedSamples(done.to(devices.cpu))
            if decoded_samples is None:
                samples = self._latents(samples, given, done)
            else:
                decoded_samples = done
        except Exception as error:
            logger.exception("Detailer: the first pass failed")
            self._say(f"the first pass failed: {type(error).__name__}: {error}")
        return self.inner(samples, decoded_samples, *rest, **named)

    def _indices(self, count: int) -> list[int]:
        return [self.p.iteration * self.p.batch_size + place for place in range(count)]

    def _say(self, text: str) -> None:
        for index in self._indices(self.p.batch_size):
            self.job.earlier[index] = (Remark(text=text),)

    def _pictures(self, samples: Any, decoded: Any) -> Tensor:
        """The first pass's pictures, float -1..1 `[N, 3, H, W]`."""
        if decoded is None:
            decoded = processing.decode_latent_batch(self.p.sd_model, samples, target_device=devices.cpu, check_for_nans=True)
        return (decoded if isinstance(decoded, Tensor) else torch.stack(list(decoded))).float()

    def _detailed(self, given: Tensor) -> Tensor:
        """The pictures after the units; what was not redrawn is the same to the last bit."""
        pictures = ((given + 1) / 2).clamp(0, 1)
        # The host samples in half precision, which is too coarse for crops and masks. A detail pass switches it on for itself.
        with devices.without_autocast():
            try:
                done = torch.cat(detail_first_pass(self.p, list(pictures[:, None]), self._indices(len(given)), self.job, self.workshop))
            finally:
                host.load_main_model()  # the host does so itself before the next batch, but not before hires fix
        return torch.where(done == pictures, given, done * 2 - 1)

    def _latents(self, samples: Tensor, given: Tensor, done: Tensor) -> Tensor:
        """The latents with what was redrawn encoded anew: a trip through the VAE costs detail, so all else keeps its own."""
        latents = samples.clone()
        changed = (done != given).any(1, keepdim=True)
        for place in range(len(samples)):
            if changed[place].any():
                where = torch.nn.functional.max_pool2d(changed[place : place + 1].float(), _LATENT_PIXEL)
                where = torch.nn.functional.max_pool2d(where, 3, stride=1, padding=1).bool().to(samples.device)
                latents[place : place + 1] = torch.where(where, self._encoded(done[place : place + 1], place).to(samples), samples[place : place + 1])
        return latents

    def _encoded(self, picture: Tensor, place: int) -> Tensor:
        approximation = processing.approximation_indexes.get(getattr(shared.opts, "sd_vae_encode_method", "Full"))
        with kept_generators():
            devices.manual_seed(self.p.seeds[place])
            return processing.images_tensor_to_samples(((picture + 1) / 2).clamp(0, 1).to(shared.device), approximation, self.p.sd_model)
