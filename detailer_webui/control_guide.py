"""The host's ControlNet in one nested job.

It works on a copy of the host's script object: the main job may be using the script itself, which is not finished before the picture is. The control
picture is the job's own picture; all hosts read it, and the mask beside it, from the job when the unit has none.
"""

from __future__ import annotations

import copy
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from modules import scripts
from PIL import Image
from torch import Tensor

from detailer_core.engines.base import WaveRequest
from detailer_core.engines.memory import is_out_of_memory
from detailer_core.errors import EngineError
from detailer_core.image_ops import resample_mask
from detailer_core.pictures import to_pil

from . import controlnet

logger = logging.getLogger(__name__)

_STATE: dict[str, Any] = {"latest_network": None, "noise_modifier": None, "input_image": None}
_LISTS = ("enabled_units", "detected_map", "post_processors")
"""What A1111's script keeps between its callbacks."""


class ControlGuide:
    """A ControlNet for a wave of one segment."""

    def __init__(self, request: WaveRequest) -> None:
        """Raises: EngineUnsupportedError, SettingsError as `controlnet.make_unit`."""
        control = request.sampling.control
        if control is None or len(request.seeds) != 1:
            raise EngineError(f"a ControlNet takes one segment at a time, got {len(request.seeds)}")
        self._inpaints = "inpaint" in control.module.lower()
        self._request = request
        self.unit = controlnet.make_unit(control)
        self.script = _own_copy(controlnet.script())
        self._open = False

    def join(self, p: Any) -> None:
        """Become part of the job: beside the scripts that it has, with arguments after theirs."""
        before = list(p.script_args or ())
        self.script.args_from, self.script.args_to = len(before), len(before) + 1
        p.scripts = GuidedRunner(p.scripts, self)
        p.script_args = [*before, self.unit]

    def begin(self, p: Any) -> None:
        """The host's script prepares control picture and model. Raises: EngineError with what it says is wrong."""
        self._open = True
        seeds, drawn = (p.seed, p.subseed), np.random.get_state()
        # Only while it looks for its picture: the host itself would lay the original over what is not masked.
        p.image_mask, p.inpaint_full_res = self._mask() if self._inpaints else None, False
        p.seed, p.subseed = self._request.seeds[0], self._request.subseeds[0]  # it seeds numpy for its preprocessor, and cannot read lists
        try:
            self.call("process", p)
        finally:
            p.image_mask, (p.seed, p.subseed) = None, seeds
            np.random.set_state(drawn)

    def call(self, name: str, p: Any, *before: Any, **kwargs: Any) -> None:
        """One callback of the host's script. Raises: EngineError with what it says is wrong."""
        try:
            getattr(self.script, name)(p, *before, self.unit, **kwargs)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            logger.exception("the ControlNet failed")
            raise EngineError(f"ControlNet '{self.unit.model}' with preprocessor '{self.unit.module}' failed: {type(error).__name__}: {error}; "
                              "choose others, or set control_model to None") from error

    @contextmanager
    def sampling(self, p: Any, latents_bchw: Tensor, noise_bchw: Tensor) -> Iterator[Tensor]:
        """The noise to sample with; the ControlNet is on the model meanwhile, and off it afterwards, so that the next cycle puts it on only once."""
        self._mark(p)
        objects = getattr(p.sd_model, "forge_objects", None)
        if objects is not None:
            p.sd_model.forge_objects = objects.shallow_copy()
        try:
            self.call("process_before_every_sampling", p, x=latents_bchw, noise=noise_bchw, c=p.c, uc=p.uc)
            noise = getattr(p, "modified_noise", None)
            if noise is not None:
                p.modified_noise = None
            yield noise_bchw if noise is None else noise
        finally:
            if objects is not None:
                p.sd_model.forge_objects = objects

    def _mark(self, p: Any) -> None:
        """A1111's tells prompts from negative prompts by a mark in their encodings, which encodings made since the job's start lack."""
        network = getattr(self.script, "latest_network", None)
        mark = getattr(sys.modules.get(type(network).__module__), "mark_prompt_context", None)
        if network is not None and mark is not None:
            mark(p.c, positive=True)
            mark(p.uc, positive=False)

    def finish(self, p: Any, images_bchw: Tensor) -> Tensor:
        """The pictures (float 0..1 `[1, 3, h, w]`) after what some preprocessors do with them; of the given size and device."""
        given = [image.cpu() for image in images_bchw]
        self.call("postprocess_batch", p, images=given, batch_number=0)
        args = scripts.PostprocessBatchListArgs(given)
        self.call("postprocess_batch_list", p, args, batch_number=0)
        done = torch.stack([image.to(images_bchw) for image in args.images])
        return done if done.shape == images_bchw.shape else images_bchw

    def end(self, p: Any, processed: Any = None) -> None:
        """Take everything off the model; does nothing the second time."""
        if not self._open:
            return
        self._open = False
        try:
            self.script.postprocess(p, processed or SimpleNamespace(images=[], extra_generation_params=[]), self.unit)
        except Exception:
            logger.exception("the ControlNet could not be taken off the model")

    def _mask(self) -> Image.Image:
        """What is redrawn, white, at sampling size."""
        height, width = self._request.images_bchw.shape[-2:]
        mask = self._request.noise_masks[0]
        if mask is None:
            return Image.new("L", (width, height), 255)
        return to_pil(resample_mask(mask.float().cpu(), (width, height)).clamp(0, 1))


def _own_copy(script: Any) -> Any:
    own = copy.copy(script)
    for name, value in _STATE.items():
        if hasattr(own, name):
            setattr(own, name, value)
    for name in _LISTS:
        if hasattr(own, name):
            setattr(own, name, [])
    return own


class GuidedRunner:
    """A job's scripts with the ControlNet beside them."""

    def __init__(self, inner: Any, guide: ControlGuide) -> None:
        self.inner, self.guide = inner, guide

    @property
    def alwayson_scripts(self) -> list[Any]:
        """The scripts, the ControlNet's last; it looks for itself here."""
        return [*self.inner.alwayson_scripts, self.guide.script]

    @property
    def scripts(self) -> list[Any]:
        """As `alwayson_scripts`."""
        return [*self.inner.scripts, self.guide.script]

    def process(self, p: Any) -> None:
        """The job begins."""
        self.inner.process(p)
        self.guide.begin(p)

    def before_process_batch(self, p: Any, **kwargs: Any) -> None:
        """The noise's generator is there."""
        self.inner.before_process_batch(p, **kwargs)
        self.guide.call("before_process_batch", p, **kwargs)

    def postprocess(self, p: Any, processed: Any) -> None:
        """The job ends."""
        self.inner.postprocess(p, processed)
        self.guide.end(p, processed)

    def __getattr__(self, name: str) -> Any:
        if name in ("inner", "guide"):  # while it is being copied
            raise AttributeError(name)
        return getattr(self.inner, name)
