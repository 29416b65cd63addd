"""One wave with one model: what the loop in latent space asks an engine for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ...errors import EngineUnsupportedError
from ...hook_library.arc import by_row, slerp
from ...hooks import CycleInput
from ...image_ops import resample_mask
from ...sampling import Sampling
from ...wildcards.lora_tags import remove_lora_tags
from ..base import Control, WaveRequest
from ..latent_masks import differential_mask, differential_threshold, to_latent_size
from .guidance import Guidance, Predict, join
from .loaded import Loaded
from .schedule import Schedule, make_schedule, steps_to_do
from .text import Encoded
from .transformers import FluxPrediction, Sd3Prediction
from .unet import ControlInput, UNetPrediction


class Wave:
    """The backend of `latent.run_cycles` for one wave. refiner: the model of `sampling.refiner`, None if there is none."""

    def __init__(self, loaded: Loaded, refiner: Loaded | None, request: WaveRequest, control: Control) -> None:
        self.loaded, self.refiner, self.control = loaded, refiner, control
        height, width = request.images_bchw.shape[-2:]
        self.size_wh = width, height
        asked = request.sampling.control
        self.net = None if asked is None else loaded.controls.get(asked, request.images_bchw)
        self.guidance = _guidance(loaded, request.prompts, request.negative_prompts, self._prediction(loaded, request, self.net))
        self.refining = None if refiner is None else self._refining(refiner, request)
        self.generators: list[torch.Generator] = []

    def _prediction(self, loaded: Loaded, request: WaveRequest, net: ControlInput | None = None) -> Predict:
        model = loaded.model
        if model.family.name == "sd3":
            return Sd3Prediction(model)
        if model.family.name == "flux":
            return FluxPrediction(model, loaded.options.distilled_guidance)
        return UNetPrediction(model, self.size_wh, net, self._shown(loaded, request) if model.shows_mask else None)

    def _refining(self, refiner: Loaded, request: WaveRequest) -> Guidance:
        asked = request.sampling.refiner
        if asked is None or refiner.model.latent_channels != self.loaded.model.latent_channels or refiner.model.family.flow:
            raise EngineUnsupportedError(f"refiner: {refiner.model.source} cannot go on with the latents of {self.loaded.model.source}; "
                                         f"choose one of the same family")
        prompts = tuple(asked.prompt or prompt for prompt in request.prompts)
        negatives = tuple(asked.negative_prompt or prompt for prompt in request.negative_prompts)
        return _guidance(refiner, prompts, negatives, self._prediction(refiner, request))

    def _shown(self, loaded: Loaded, request: WaveRequest) -> Tensor:
        """What an inpainting model is shown: the mask, and the latents of the picture without what lies in it."""
        parts: list[Tensor] = []
        for image, mask in zip(request.images_bchw, request.noise_masks, strict=True):
            if mask is None or not request.sampling.inpaint_model:
                whole = torch.ones(1, 1, *image.shape[-2:])
            else:
                whole = resample_mask(mask.float(), (image.shape[-1], image.shape[-2])).cpu().round()
            # What is hidden becomes mid grey, which is 0 to the VAE.
            hidden = image[None].cpu() * (1 - whole) + 0.5 * whole
            latents = loaded.vae.encode(hidden)
            parts.append(torch.cat([torch.nn.functional.interpolate(whole, latents.shape[-2:]).to(latents), latents], 1))
        return torch.cat(parts)

    def encode(self, request: WaveRequest) -> Tensor:
        """See `LatentBackend`."""
        return self.loaded.vae.encode(request.images_bchw)

    def noise(self, request: WaveRequest, latents_bchw: Tensor, seeds: tuple[int, ...], cycle: int) -> Tensor:
        """See `LatentBackend`; drawn on the CPU, so that every device gives the same. What is random later goes on with the same generators."""
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        noise = _draw(self.generators, latents_bchw)
        strength = request.sampling.subseed_strength
        if strength > 0:
            other = _draw([torch.Generator().manual_seed(seed + cycle) for seed in request.subseeds], latents_bchw)
            noise = by_row(lambda one, two: slerp(one, two, strength), noise, other)
        return noise.to(latents_bchw)

    def sample(self, request: WaveRequest, given: CycleInput) -> Tensor | None:
        """See `LatentBackend`."""
        sampling, clean, kept = given.sampling, given.latents_bchw.float(), given.outside.float()
        if steps_to_do(sampling) == 0:
            return given.latents_bchw
        schedule = self._schedule(sampling, clean)
        masked = any(mask is not None for mask in request.noise_masks)
        masks = to_latent_size(request.noise_masks, clean) if masked else None
        refine_from = self._refine_from(sampling)
        x = schedule.noised(clean, given.noise_bchw.float())
        for place in range(schedule.begin, len(schedule.times)):
            if self.control.stopped():
                return None
            moment = schedule.moment(place)
            guidance = self.guidance if self.refining is None or moment.step < refine_from else self.refining
            predicted = guidance.at(schedule.model_input(x, place), moment, sampling.cfg)
            if masks is not None:
                redrawn = _mask_at(masks, schedule, place) if sampling.differential else masks
                predicted = redrawn * predicted + (1 - redrawn) * schedule.keeping(x, kept, place)
            x = schedule.step(predicted, x, place, self.generators)
        if masks is not None and not sampling.differential:
            x = torch.where(masks == 0, kept, x)  # exactly, and not only up to the last noise level
        return x.to(given.latents_bchw)

    def _schedule(self, sampling: Sampling, latents_bchw: Tensor) -> Schedule:
        model = self.loaded.model
        tokens = latents_bchw.shape[-2] * latents_bchw.shape[-1] // model.family.patch**2
        return make_schedule(sampling, model.scheduler_config, model.family, tokens)

    def _refine_from(self, sampling: Sampling) -> int:
        """The first step that the refiner does, of those that are done."""
        ratio = 0.0 if sampling.refiner is None else sampling.refiner.ratio
        return round(steps_to_do(sampling) * (1 - ratio))

    def decode(self, request: WaveRequest, latents_bchw: Tensor) -> Tensor:
        """See `LatentBackend`."""
        return self.loaded.vae.decode(latents_bchw.float())


def _mask_at(masks_b1hw: Tensor, schedule: Schedule, place: int) -> Tensor:
    first, now = float(schedule.times[schedule.begin]), float(schedule.times[place])
    return differential_mask(masks_b1hw, differential_threshold(now, first, 0.0))


def _draw(generators: Sequence[torch.Generator], latents_bchw: Tensor) -> Tensor:
    shape = latents_bchw.shape[1:]
    return torch.stack([torch.randn(shape, generator=generator) for generator in generators])


def _guidance(loaded: Loaded, prompts: Sequence[str], negatives: Sequence[str], predict: Predict) -> Guidance:
    """The model with its prompts; those of one row are made equally long."""
    positive = [loaded.encoded(remove_lora_tags(prompt), negative=False) for prompt in prompts]
    negative = [loaded.encoded(remove_lora_tags(prompt), negative=True) for prompt in negatives]
    length = max(loaded.text.length(remove_lora_tags(prompt)) for prompt in (*prompts, *negatives))
    rows = [[replace(loaded.text.lengthen(text, length)) for text in texts] for texts in (positive, negative)]
    return Guidance(predict=predict, positive=_joined(rows[0], loaded), negative=_joined(rows[1], loaded))


def _joined(texts: Sequence[Encoded], loaded: Loaded) -> Encoded:
    joined, device = join(texts), loaded.model.device
    return Encoded(tokens=joined.tokens.to(device), pooled=None if joined.pooled is None else joined.pooled.to(device))
