"""The core as one function over arrays, for benchmarks: the project's own planner and runner, with an engine that wraps a given model."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from detailer_core.engines.base import Capabilities, Control, Redrawn, WaveRequest
from detailer_core.engines.latent import redraw_latent
from detailer_core.hooks import CycleInput
from detailer_core.plan import PictureJob, SegmentPlan, make_plan
from detailer_core.run import run_plan
from detailer_core.sampling import Sampling
from detailer_core.segments import Segment, Segments
from detailer_core.settings import UnitSettings


class Model(Protocol):
    """A model of single pictures."""

    def encode(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """`[h, w, 3]` to `[4, h/8, w/8]`."""
        ...

    def sample(self, latent: NDArray[np.float32], noise_mask: NDArray[np.float32] | None) -> NDArray[np.float32]:
        """Same shape as the latent; the mask is `[h, w]` at the crop's resolution."""
        ...

    def decode(self, latent: NDArray[np.float32]) -> NDArray[np.float32]:
        """`[4, h, w]` to `[8h, 8w, 3]`."""
        ...


class WrappedModel:
    """A model of single pictures as an engine, for waves of one."""

    name = "wrapped"
    memory_key = "wrapped"
    size_multiple = 8
    capabilities = Capabilities()

    def __init__(self, model: Model) -> None:
        self.model = model

    def wave_limit(self, sampling: Sampling) -> int:
        """Nothing to gain from waves here."""
        return 1

    def wave_key(self, item: SegmentPlan) -> Hashable:
        """All alike."""
        return None

    def redraw(self, request: WaveRequest, control: Control) -> Redrawn:
        """Through the shared loop."""
        return redraw_latent(self, request, control)

    def encode(self, request: WaveRequest) -> Tensor:
        """The wave's one picture."""
        return torch.from_numpy(self.model.encode(request.images_bchw[0].permute(1, 2, 0).numpy()))[None]

    def noise(self, request: WaveRequest, latents_bchw: Tensor, seeds: tuple[int, ...], cycle: int) -> Tensor:
        """The model makes its own."""
        return latents_bchw

    def sample(self, request: WaveRequest, given: CycleInput) -> Tensor | None:
        """The wave's one latent."""
        mask = request.noise_masks[0]
        return torch.from_numpy(self.model.sample(given.latents_bchw[0].numpy(), None if mask is None else mask[0, 0].numpy()))[None]

    def decode(self, request: WaveRequest, latents_bchw: Tensor) -> Tensor:
        """The wave's one latent."""
        return torch.from_numpy(self.model.decode(latents_bchw[0].numpy()))[None].permute(0, 3, 1, 2)


def detail(image: NDArray[np.float32], segments: Sequence[dict[str, Any]], params: dict[str, Any], model: Model) -> NDArray[np.float32]:
    """The picture with its segments redrawn by the model.

    image: float32 `[H, W, 3]` 0..1, not changed. segments: mappings with `bbox`, `crop_region` (half-open ints), `mask` (float32 `[h, w]` of the
    crop), `label`, `confidence`. params: guide_size, guide_size_for_bbox, max_size, feather, noise_mask, noise_mask_feather, force_inpaint,
    cycle, seed. Comes back as float32 `[H, W, 3]`.
    """
    height, width = image.shape[:2]
    items = tuple(Segment(bbox_xyxy=tuple(s["bbox"]), crop_xyxy=tuple(s["crop_region"]), mask_hw=torch.from_numpy(s["mask"]), label=s["label"],
                          confidence=s["confidence"]) for s in segments)
    settings = replace(
        UnitSettings(), guide_size=params["guide_size"], guide_size_for="bbox" if params["guide_size_for_bbox"] else "crop",
        max_size=params["max_size"], feather=params["feather"], noise_mask=params["noise_mask"], noise_mask_feather=params["noise_mask_feather"],
        force_inpaint=params["force_inpaint"], cycle=params["cycle"], seed=params["seed"], sizes="multiple")
    engine = WrappedModel(model)
    plan = make_plan([PictureJob(segments=Segments(size_wh=(width, height), items=items))], settings, policy=engine)
    # A view with the channels last, as the array has them: the run's copy keeps that order, and no other copy is made.
    picture = torch.from_numpy(image).permute(2, 0, 1)[None]
    return run_plan([picture], plan, engine).pictures[0][0].permute(1, 2, 0).numpy()
