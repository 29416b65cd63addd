"""The engine: which models are loaded, and what a wave may hold."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import replace

import torch

from ...errors import DetailerError, EngineError, EngineMemoryError, EngineUnsupportedError
from ...plan import SegmentPlan
from ...sampling import MainGeneration, Sampling
from ...wildcards.lora_tags import remove_lora_tags
from ..base import Capabilities, Control, Redrawn, WaveRequest
from ..latent import redraw_latent
from ..memory import is_out_of_memory
from .load import find_model, load_model
from .loaded import Loaded
from .lora import lora_key
from .options import ModelOptions
from .samplers import samplers
from .schedule import schedule_names
from .vae import free_memory
from .wave import Wave

logger = logging.getLogger(__name__)

_OTHERS = 2
"""Models that stay loaded beside the main one: a refiner and another checkpoint."""


class DiffusersEngine:
    """Redraws with a model of diffusers. What differs from segment to segment of a wave is told to the model row by row, and rows never meet."""

    name = "diffusers"

    def __init__(self, options: ModelOptions) -> None:
        """Load the model. Raises: EngineError if it cannot be had; EngineUnsupportedError for a family that cannot be used."""
        self.options = options
        self._main = Loaded(load_model(find_model(options.model, options), options), options)
        if self._main.model.family.name == "xl-refiner":
            raise EngineUnsupportedError(f"{options.model} is {self._main.model.family.title}, which only finishes what another model began; "
                                         f"choose a whole model, and this one as refiner")
        self._others: OrderedDict[str, Loaded] = OrderedDict()

    @property
    def capabilities(self) -> Capabilities:
        """What the loaded model's family can do."""
        family, model = self._main.model.family, self._main.model
        return Capabilities(inpaint_model=model.shows_mask, refiner=not family.flow, checkpoint=True, control=not family.flow, sigmas=True,
                            samplers=tuple(samplers(family.flow)), schedulers=schedule_names(family.flow))

    @property
    def main(self) -> MainGeneration:
        """How a main generation with this model is usually made: what settings that are left open mean."""
        return replace(self._main.model.family.main, model_side=self._main.model.side)

    @property
    def memory_key(self) -> str:
        """The model, and how it is kept."""
        return f"{self.options.model} {self.options.precision} {self.options.offload}"

    @property
    def size_multiple(self) -> int:
        """What the model's latents and patches ask for."""
        return self._main.model.size_multiple

    def wave_limit(self, sampling: Sampling) -> int:
        """Any number: no sampler that is offered looks at the batch."""
        return 64

    def wave_key(self, item: SegmentPlan) -> Hashable:
        """LoRAs, and how long the texts are."""
        text = self._main.text
        return lora_key(item.prompt), text.length(remove_lora_tags(item.prompt)), text.length(remove_lora_tags(item.negative_prompt))

    def redraw(self, request: WaveRequest, control: Control) -> Redrawn:
        """The wave. Raises: EngineMemoryError, EngineError, HookError."""
        try:
            with torch.no_grad():
                return self._redraw(request, control)
        except DetailerError:
            raise
        except Exception as error:  # a library's error is told in one sentence; the picture is kept
            if not is_out_of_memory(error):
                logger.debug("the wave failed", exc_info=True)
                raise EngineError(f"the model failed: {type(error).__name__}: {error}") from error
        # Not from the handler: the error holds the tensors that did not fit, and a smaller wave is to find their memory free.
        free_memory()
        width, height = request.images_bchw.shape[-1], request.images_bchw.shape[-2]
        raise EngineMemoryError(f"the device ran out of memory with {len(request.seeds)} segments of {width}x{height}; lower max_size, or offload "
                                f"parts of the model")

    def _redraw(self, request: WaveRequest, control: Control) -> Redrawn:
        sampling = request.sampling
        loaded = self._other(sampling.checkpoint) if sampling.checkpoint else self._main
        if loaded.model.family != self._main.model.family:
            raise EngineUnsupportedError(f"checkpoint: {loaded.model.source} is {loaded.model.family.title}; choose one of the main model's family, "
                                         f"{self._main.model.family.title}")
        refiner = self._other(sampling.refiner.checkpoint) if sampling.refiner is not None else None
        loaded.use_loras(lora_key(request.prompts[0]))
        wave = Wave(loaded, refiner, request, control)
        on_device = replace(request, images_bchw=request.images_bchw.float())
        redrawn = redraw_latent(wave, on_device, control)
        if not redrawn.finished:
            return Redrawn(images_bchw=request.images_bchw, finished=False)
        if self.options.offload == "model":
            loaded.model.pipe.maybe_free_model_hooks()
        return replace(redrawn, control_bchw=None if wave.net is None else wave.net.images_bchw)

    def _other(self, name: str) -> Loaded:
        """A model by its name; beside the main one, those that were used last stay loaded."""
        source = find_model(name, self.options)
        if source == self._main.model.source:
            return self._main
        if source not in self._others:
            while len(self._others) >= _OTHERS:
                self._others.popitem(last=False)  # before the new one is loaded: both may not fit
                free_memory()
            self._others[source] = Loaded(load_model(source, self.options), self.options)
        self._others.move_to_end(source)
        return self._others[source]
