"""Do: execute a plan. Wave by wave: crop, enlarge, redraw, shrink, paste.

Promises: outside the blurred mask no bit changes; a segment that fails, is skipped or interrupted leaves the picture as it was before it; the
work for a segment depends on its crop, not on the picture's size.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from .engines.base import Control, Engine, Redrawn, WaveRequest, check_supported
from .errors import EngineError, EngineMemoryError, EngineUnsupportedError, HookError, PictureError
from .geometry import Box, box_size_wh, shift
from .hooks import DetailerHook, GuardedHook
from .image_ops import all_finite, as_rgb, blur_mask, crop, paste_, split_alpha
from .masked_fill import fill_masked
from .plan import Plan, SegmentPlan, Skip, Wave
from .resample import resample
from .segments import Segment
from .wave_memory import WaveMemory

logger = logging.getLogger(__name__)

State: TypeAlias = Literal["done", "skipped", "failed", "interrupted"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Keep:
    """What to keep beside the picture; nothing costs nothing."""

    cropped: bool = False
    enhanced: bool = False
    control: bool = False


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Outcome:
    """What became of one segment.

    reason: why it is not done, else "". plan: None for one that was skipped while planning. seconds: its share of its wave's time.
    cropped_bchw, enhanced_bchw: float `[1, 3, h, w]` at the crop's size, before and after; None unless they were to be kept.
    alpha_b1hw: the mask with which it was pasted, kept with `enhanced`. control_bchw: the control picture, at sampling size.
    """

    index: int
    segment: Segment
    state: State
    reason: str = ""
    plan: SegmentPlan | None = None
    seconds: float = 0.0
    cropped_bchw: Tensor | None = None
    enhanced_bchw: Tensor | None = None
    alpha_b1hw: Tensor | None = None
    control_bchw: Tensor | None = None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RunResult:
    """pictures: as given, with the segments redrawn. outcomes: per picture, in order of work."""

    pictures: tuple[Tensor, ...]
    outcomes: tuple[tuple[Outcome, ...], ...]

    @property
    def interrupted(self) -> bool:
        """Whether a segment was left because of an interrupt."""
        return any(o.state == "interrupted" for picture in self.outcomes for o in picture)


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """How far a run is. waves and segments that are over, of all; `wave` is the one that begins now."""

    wave: Wave
    waves_done: int
    waves: int
    segments_done: int
    segments: int


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RunOptions:
    """How a run is accompanied. in_place: the given tensors are changed and returned, which saves a copy of each picture."""

    hook: DetailerHook = field(default_factory=DetailerHook)
    control: Control = field(default_factory=Control)
    keep: Keep = field(default_factory=Keep)
    memory: WaveMemory = field(default_factory=WaveMemory)
    progress: Callable[[Progress], None] = lambda _: None
    in_place: bool = False


def run_plan(pictures: Sequence[Tensor], plan: Plan, engine: Engine, options: RunOptions | None = None) -> RunResult:
    """The pictures with the plan carried out.

    pictures: float 0..1 `[1, C, H, W]`, C = 1 (grey), 2 (grey, alpha), 3 or 4 (colour, alpha), any device; alpha is kept.
    Segments that fail are reported in their outcome and do not stop the others.
    Raises: EngineUnsupportedError before anything is drawn; PictureError for a picture of the wrong shape; HookError never (it fails its segments).
    """
    options = options or RunOptions()
    for picture in pictures:
        _check_picture(picture)
    planned = max((item.picture for item in plan.items), default=-1) + 1
    if planned > len(pictures):
        raise PictureError(f"the plan is for {planned} pictures, got {len(pictures)}; give the pictures that it was made for")
    hook = options.hook if type(options.hook) is DetailerHook else GuardedHook(options.hook)
    for sampling in {wave.sampling for wave in plan.waves}:
        check_supported(engine, sampling, hook)
    if any(item.regions for item in plan.items) and not engine.capabilities.regions:
        raise EngineUnsupportedError(f"regions: the engine '{engine.name}' does not support regional prompts")
    work = list(pictures) if options.in_place else [p.clone() for p in pictures]
    run = _Run(work, plan, engine, hook, options)
    for number, wave in enumerate(plan.waves):
        options.progress(Progress(wave=wave, waves_done=number, waves=len(plan.waves), segments_done=len(run.outcomes), segments=len(plan.items)))
        run.wave(wave)
    outcomes = [*run.outcomes, *((s.picture, _skipped(s)) for s in plan.skips)]
    by_picture = [sorted((o for p, o in outcomes if p == i), key=lambda o: o.index) for i in range(len(work))]
    return RunResult(pictures=tuple(work), outcomes=tuple(tuple(o) for o in by_picture))


def _skipped(skip: Skip) -> Outcome:
    return Outcome(index=skip.index, segment=skip.segment, state="skipped", reason=skip.text)


def _check_picture(picture_bchw: Tensor) -> None:
    if picture_bchw.ndim != 4 or picture_bchw.shape[0] != 1 or picture_bchw.shape[1] not in (1, 2, 3, 4) or not picture_bchw.is_floating_point():
        raise PictureError(f"expected a picture as float 0..1 [1, C, H, W] with 1 to 4 channels, got {picture_bchw.dtype} "
                           f"{tuple(picture_bchw.shape)}; `pictures.from_pil` converts")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Prepared:
    """One segment of a wave: its crop at sampling size and both masks, on the picture's device."""

    plan: SegmentPlan
    crop_bchw: Tensor | None
    enlarged_bchw: Tensor
    paste_mask_b1hw: Tensor
    noise_mask_b1hw: Tensor | None


class _Run:
    """The state of one run: the pictures being worked on, and what became of each segment."""

    def __init__(self, work: list[Tensor], plan: Plan, engine: Engine, hook: DetailerHook, options: RunOptions) -> None:
        self.work, self.plan, self.engine, self.hook, self.options = work, plan, engine, hook, options
        self.outcomes: list[tuple[int, Outcome]] = []

    def wave(self, wave: Wave) -> None:
        """Redraw a wave, in parts if the device has shown that it cannot take it whole."""
        self._in_parts(wave.items)

    def _in_parts(self, items: Sequence[SegmentPlan]) -> None:
        while items:
            limit = self.options.memory.limit(self.engine.memory_key, items[0].size_wh)
            part, items = items[:limit], items[limit:]
            self._part(part)

    def _part(self, items: Sequence[SegmentPlan]) -> None:
        if self.options.control.stopped():
            self._note(items, "interrupted", "the run was interrupted before it")
            return
        started = time.perf_counter()
        prepared = self._prepare_all(items)
        items = [p.plan for p in prepared]
        if not items:
            return
        try:
            redrawn = self.engine.redraw(self._request(prepared), self.options.control)
        except EngineMemoryError as error:
            self._out_of_memory(items, error)
            return
        except (EngineError, HookError, PictureError) as error:  # PictureError: an engine resamples, too
            logger.warning("segments %s failed: %s", [i.index + 1 for i in items], error)
            self._note(items, "failed", str(error))
            return
        except Exception as error:  # a fault of the engine's; what other waves have finished is not to be lost with it
            logger.exception("segments %s failed", [i.index + 1 for i in items])
            self._note(items, "failed", f"the engine '{self.engine.name}' failed: {type(error).__name__}: {error}")
            return
        if not redrawn.finished:
            self._note(items, "interrupted", "the run was interrupted while it was redrawn")
            return
        self._paste_all(prepared, redrawn, (time.perf_counter() - started) / len(items))

    def _out_of_memory(self, items: Sequence[SegmentPlan], error: EngineMemoryError) -> None:
        """Try again in halves; a smaller wave may fit. The crop itself is never made smaller."""
        if len(items) == 1:
            logger.warning("segment %s failed: %s", items[0].index + 1, error)
            self._note(items, "failed", str(error))
            return
        logger.info("a wave of %s did not fit into memory; going on with %s", len(items), len(items) // 2)
        self.options.memory.did_not_fit(self.engine.memory_key, items[0].size_wh, len(items))
        self._in_parts(items)

    def _prepare_all(self, items: Sequence[SegmentPlan]) -> list[_Prepared]:
        """What can be cropped; a segment that does not fit its picture fails alone."""
        prepared: list[_Prepared] = []
        for item in items:
            try:
                prepared.append(self._prepare(item))
            except PictureError as error:
                logger.warning("segment %s failed: %s", item.index + 1, error)
                self._note([item], "failed", str(error))
        return prepared

    def _prepare(self, item: SegmentPlan) -> _Prepared:
        picture = self.work[item.picture]
        colour = as_rgb(crop(picture, item.segment.crop_xyxy))
        mask = item.segment.mask_hw[None, None].to(picture)
        inner = shift(item.mask_xyxy, -item.segment.crop_xyxy[0], -item.segment.crop_xyxy[1])
        paste_mask = blur_mask(mask, item.feather, inner_xyxy=inner)
        noise_mask = None
        if item.sampling.noise_mask:
            same = item.noise_mask_feather == item.feather
            noise_mask = paste_mask if same else blur_mask(mask, item.noise_mask_feather, inner_xyxy=inner)
        source = fill_masked(colour, noise_mask) if noise_mask is not None and item.sampling.masked_content == "fill" else colour
        enlarged = resample(source, item.size_wh, self.plan.settings.resampler)
        # A crop is a view: what is kept must not change when the picture does.
        kept = colour.clone() if self.options.keep.cropped else None
        return _Prepared(plan=item, crop_bchw=kept, enlarged_bchw=enlarged, paste_mask_b1hw=paste_mask, noise_mask_b1hw=noise_mask)

    def _request(self, prepared: Sequence[_Prepared]) -> WaveRequest:
        plans = [p.plan for p in prepared]
        images = prepared[0].enlarged_bchw if len(prepared) == 1 else torch.cat([p.enlarged_bchw for p in prepared])
        return WaveRequest(images_bchw=images, noise_masks=tuple(p.noise_mask_b1hw for p in prepared),
                           prompts=tuple(p.prompt for p in plans), negative_prompts=tuple(p.negative_prompt for p in plans),
                           seeds=tuple(p.seed for p in plans), subseeds=tuple(p.subseed for p in plans), sampling=plans[0].sampling,
                           hook=self.hook, regions=tuple(p.regions for p in plans) if any(p.regions for p in plans) else ())

    def _paste_all(self, prepared: Sequence[_Prepared], redrawn: Redrawn, seconds: float) -> None:
        images = redrawn.images_bchw
        if images.ndim != 4 or images.shape[:2] != (len(prepared), 3) or not images.is_floating_point():
            self._note([p.plan for p in prepared], "failed",
                       f"the engine gave {images.dtype} {tuple(images.shape)} back for {len(prepared)} pictures; "
                       "expected float [N, 3, h, w]")
            return
        for row, (item, image) in enumerate(zip(prepared, images, strict=True)):
            try:
                enhanced = self._paste(item, image[None])
            except (PictureError, HookError) as error:
                logger.warning("segment %s failed: %s", item.plan.index + 1, error)
                self._note([item.plan], "failed", str(error))
                continue
            alpha = item.paste_mask_b1hw if self.options.keep.enhanced else None
            control = redrawn.control_bchw[row : row + 1] if self.options.keep.control and redrawn.control_bchw is not None else None
            self.outcomes.append((item.plan.picture, Outcome(
                index=item.plan.index, segment=item.plan.segment, state="done", plan=item.plan, seconds=seconds,
                cropped_bchw=item.crop_bchw, enhanced_bchw=enhanced, alpha_b1hw=alpha,
                control_bchw=control)))

    def _paste(self, item: _Prepared, image_bchw: Tensor) -> Tensor | None:
        """Shrink and blend one segment; only the window that the mask reaches is worked on. Comes back whole if it is to be kept."""
        picture, crop_box = self.work[item.plan.picture], item.plan.segment.crop_xyxy
        # Before anything is resampled: through 8 bit, what is not a number would become black.
        if not all_finite(image_bchw):
            raise PictureError("the redrawn picture holds values that are not numbers (the model overflowed); nothing was pasted")
        image = image_bchw.to(picture)
        window = shift(item.plan.paste_xyxy, -crop_box[0], -crop_box[1])
        size, resampler = box_size_wh(crop_box), self.plan.settings.resampler
        enhanced = resample(image, size, resampler) if self.options.keep.enhanced else None
        patch = resample(image, size, resampler, window) if enhanced is None else crop(enhanced, window)
        # All of it: a hook that fails may have written anywhere before.
        backup = picture.clone() if self.hook.uses("after_paste") else None
        paste_(picture, _like(patch, picture), item.plan.paste_xyxy, crop(item.paste_mask_b1hw, window))
        if backup is not None:
            self._after_paste(picture, item.plan.paste_xyxy, backup)
        return enhanced

    def _after_paste(self, picture_bchw: Tensor, paste_xyxy: Box, backup: Tensor) -> None:
        try:
            bent = self.hook.after_paste(picture_bchw, paste_xyxy)
        except HookError:
            picture_bchw.copy_(backup)
            raise
        if bent is not picture_bchw:
            picture_bchw.copy_(bent)

    def _note(self, items: Sequence[SegmentPlan], state: State, reason: str) -> None:
        self.outcomes += [(i.picture, Outcome(index=i.index, segment=i.segment, state=state, reason=reason, plan=i)) for i in items]


def _like(patch_bchw: Tensor, picture_bchw: Tensor) -> Tensor:
    """The patch in the picture's colours: grey pictures stay grey (luma of ITU-R BT.601)."""
    colour, _ = split_alpha(picture_bchw)
    if colour.shape[1] == 3:
        return patch_bchw
    weights = torch.tensor([0.299, 0.587, 0.114]).to(patch_bchw)
    return (patch_bchw * weights[:, None, None]).sum(1, keepdim=True)
