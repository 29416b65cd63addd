"""The host's own model as an engine: one nested img2img job a wave."""

from __future__ import annotations

import logging
from collections.abc import Hashable
from contextlib import closing
from typing import Any

import torch
from modules import devices, extra_networks, processing, prompt_parser, shared
from torch import Tensor

from detailer_core.engines.base import Capabilities, Control, Redrawn, WaveRequest
from detailer_core.engines.memory import is_out_of_memory
from detailer_core.errors import DetailerError, EngineError, EngineMemoryError, EngineUnsupportedError
from detailer_core.plan import SegmentPlan
from detailer_core.sampling import Sampling

from . import controlnet, host
from .engine_memory import EngineMemory
from .faces import face_restorer, restore_faces
from .guest_scripts import guests_of
from .nested import WaveJob, placeholder_pictures

logger = logging.getLogger(__name__)

_ALONE = ("DPM adaptive", "DDPM")
"""Samplers whose segments are sampled one by one: the first sets its step size by the whole batch, the second (Forge) draws its noise from one
generator for all pictures."""


class WebuiEngine:
    """Redraws with the model that the host has loaded. Made for one main job `p`; `memory` outlives it."""

    name = "webui"

    def __init__(self, p: Any, memory: EngineMemory) -> None:
        self.p = p
        self.memory = memory
        self.guests = guests_of(p)

    @property
    def capabilities(self) -> Capabilities:
        """All of diffusion; samplers and schedulers as the host has them."""
        schedulers = host.scheduler_names()
        modules = host.takes_modules()
        return Capabilities(inpaint_model=True, refiner=True, checkpoint=True, control=controlnet.installed(), sigmas=True,
                            samplers=host.sampler_names(),
                            schedulers=("Automatic", *schedulers) if schedulers else (), vae=not modules, modules=modules, clip_skip=True,
                            noise_multiplier=True, distilled_cfg=hasattr(self.p, "distilled_cfg_scale"), restore_face=face_restorer() is not None)

    @property
    def memory_key(self) -> str:
        """The loaded checkpoint."""
        return host.model_key()

    @property
    def size_multiple(self) -> int:
        """8 pixels; 16 for the newer families, which look at latents in blocks of 2."""
        return 16 if host.latent_channels() > 4 else 8

    def wave_limit(self, sampling: Sampling) -> int:
        """1 where the sampler or the model looks at the whole batch; the log says so once."""
        reason = f"the sampler {sampling.sampler} looks at the whole batch" if sampling.sampler in _ALONE else host.why_alone()
        if self.guests and not reason:
            reason = "other scripts run inside the detail pass, and may take the first prompt or seed for all"
        if sampling.control is not None:
            reason = "a ControlNet takes one picture"
        if reason:
            self.memory.tell_once(f"segments are sampled one by one, because {reason}")
        return 1 if reason else 64

    def wave_key(self, item: SegmentPlan) -> Hashable:
        """Prompts of unequal length and other sets of LoRAs must not meet: the host would mix them up."""
        text, tags = extra_networks.parse_prompt(item.prompt)
        _, parts, _ = prompt_parser.get_multicond_prompt_list([text])  # those of AND are encoded apart, each with a length of its own
        networks = frozenset((kind, tuple(map(repr, (p.items for p in params)))) for kind, params in tags.items())
        steps = item.sampling.steps
        return networks, tuple(self._lengths(part, steps) for part in parts), self._lengths(item.negative_prompt, steps)

    def _lengths(self, prompt: str, steps: int) -> Hashable:
        schedule = prompt_parser.get_learned_conditioning_prompt_schedules([prompt], steps)[0]
        chunks = tuple((end, host.token_chunks(text)) for end, text in schedule)
        return prompt if any(count is None for _, count in chunks) else chunks

    def redraw(self, request: WaveRequest, control: Control) -> Redrawn:
        """The wave through the host's img2img."""
        refiner = request.sampling.refiner
        if refiner is not None and (refiner.prompt or refiner.negative_prompt):
            # The host encodes one prompt for both models: better no picture than one made with another prompt than was asked for.
            raise EngineUnsupportedError("refiner_prompt: this host gives the refiner the segment's own prompts; leave refiner_prompt and "
                                         "refiner_negative_prompt empty")
        job, memory_is_full = self._job(request), False
        try:
            with closing(job):
                job.prepare(request, control, self.memory, self.guests)
                processing.process_images(job)
        except DetailerError:
            raise
        except Exception as error:
            if not is_out_of_memory(error):
                logger.exception("the detail pass failed")
                raise EngineError(f"the detail pass failed: {type(error).__name__}: {error}") from error
            memory_is_full = True
        finally:
            job.end_control()
        if memory_is_full:
            # Not from the handler, and without the job: both hold the tensors that did not fit, and a smaller wave is to find their memory free.
            del job
            devices.torch_gc()
            raise EngineMemoryError(f"the device ran out of memory with {len(request.seeds)} segments of "
                                    f"{request.images_bchw.shape[-1]}x{request.images_bchw.shape[-2]}; lower max_size")
        if job.redrawn is None:
            return Redrawn(images_bchw=request.images_bchw, finished=False)
        return Redrawn(images_bchw=self._restored(job.redrawn) if request.sampling.restore_face else job.redrawn)

    def _restored(self, images_bchw: Tensor) -> Tensor:
        try:
            return torch.stack([restore_faces(image) for image in images_bchw])
        except Exception as error:
            logger.exception("face restoration failed")
            raise EngineError(f"face restoration failed: {type(error).__name__}: {error}") from error

    def _job(self, request: WaveRequest) -> WaveJob:
        p, sampling = self.p, request.sampling
        height, width = request.images_bchw.shape[-2:]
        fields: dict[str, Any] = {
            "sd_model": shared.sd_model, "outpath_samples": p.outpath_samples, "outpath_grids": p.outpath_grids,
            "prompt": list(request.prompts), "negative_prompt": list(request.negative_prompts), "styles": [],
            "seed": list(request.seeds), "subseed": list(request.subseeds), "subseed_strength": sampling.subseed_strength,
            "sampler_name": sampling.sampler, "steps": sampling.steps, "cfg_scale": sampling.cfg,
            "denoising_strength": sampling.denoise, "batch_size": len(request.seeds), "n_iter": 1, "width": width, "height": height,
            "init_images": placeholder_pictures(request), "resize_mode": 0, "mask": None, "inpainting_fill": 1, "restore_faces": False,
            "tiling": p.tiling, "do_not_save_samples": True, "do_not_save_grid": True, "do_not_reload_embeddings": True,
            "override_settings": {"save_init_img": False}, "eta": p.eta, "s_churn": p.s_churn, "s_tmin": p.s_tmin, "s_tmax": p.s_tmax,
            "s_noise": p.s_noise,
        }
        if hasattr(p, "scheduler"):
            fields["scheduler"] = sampling.scheduler
        if hasattr(p, "distilled_cfg_scale"):
            fields["distilled_cfg_scale"] = p.distilled_cfg_scale if sampling.distilled_cfg is None else sampling.distilled_cfg
        if sampling.noise_multiplier is not None:
            fields["initial_noise_multiplier"] = sampling.noise_multiplier
        fields["override_settings"] |= _overrides(sampling)
        if sampling.refiner is not None:
            fields |= {"refiner_checkpoint": sampling.refiner.checkpoint, "refiner_switch_at": 1 - sampling.refiner.ratio}
        return WaveJob(**fields)


def _overrides(sampling: Sampling) -> dict[str, Any]:
    """Options that the host sets for a wave and puts back after it."""
    wanted = {
        "sd_model_checkpoint": sampling.checkpoint and (host.checkpoint_title(sampling.checkpoint) or sampling.checkpoint),
        "sd_vae": sampling.vae,
        "forge_additional_modules": host.module_files(sampling.modules),
        "CLIP_stop_at_last_layers": sampling.clip_skip,
    }
    return {name: value for name, value in wanted.items() if value}
