"""Decide: settings and segments become frozen plans, grouped into waves. Nothing here draws a picture or knows a model.

A plan holds no `None`: what the settings leave open was taken from the main generation.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol, TypeAlias

import torch
from torch import Tensor

from .errors import PromptError
from .geometry import Box, SizeRule, SizeWH, box_size_wh, decide_size, intersect, shift
from .image_ops import nonzero_box
from .masks import crop_of_picture_mask
from .sampling import NO_CONTROL, MainGeneration, Refiner, Sampling, SegmentControl, wrap_seed
from .segments import Segment, Segments
from .settings import UnitSettings
from .sizing import fit
from .waves import WaveItem, group
from .wildcards import Choice, Dialect, WildcardLibrary, add_networks, parse, segment_prompt, without_networks

SkipReason: TypeAlias = Literal["empty-mask", "prompt-skip", "prompt-stop", "big", "upscale", "zero"]

SKIP_TEXTS: dict[SkipReason, str] = {
    "empty-mask": "its mask is empty",
    "prompt-skip": "the prompt says [SKIP]",
    "prompt-stop": "the prompt says [STOP]",
    "big": "it has the guide size already and force_inpaint is off",
    "upscale": "it would not be enlarged and force_inpaint is off",
    "zero": "its box or its sampling size has no area",
}
"""Why a segment is left out, in words."""

SEED_OF_CHOICES = 0x0DE7A11E
"""Mixed into the run's seed for random choices of prompts, so that they do not follow the sampling noise."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Region:
    """A prompt for a part of the picture (regional prompting).

    mask_hw: float 0..1, the whole picture at any resolution; in a plan cut to the crop region. weight: of its conditioning.
    """

    mask_hw: Tensor
    prompt: str
    weight: float = 1.0


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SegmentPlan:
    """One segment, ready to be redrawn.

    index: place in the order of work, skipped ones counted. picture: which picture of the batch. segment: with the crop region as it will
    be used. size_wh: sampling size in pixels. mask_xyxy: around what is not 0 in the mask, and paste_xyxy: where the picture can change, both in the
    picture's pixels. prompt, negative_prompt: expanded. feather, noise_mask_feather: pixels. regions: the picture's regional prompts, cut to the
    crop region (REFERENCE item 35).
    """

    index: int
    picture: int
    segment: Segment
    size_wh: SizeWH
    mask_xyxy: Box
    paste_xyxy: Box
    prompt: str
    negative_prompt: str
    seed: int
    subseed: int
    feather: int
    noise_mask_feather: int
    sampling: Sampling
    regions: tuple[Region, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Skip:
    """One segment that is left out, and why."""

    index: int
    picture: int
    segment: Segment
    reason: SkipReason

    @property
    def text(self) -> str:
        """The reason in words."""
        return SKIP_TEXTS[self.reason]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Wave:
    """Segments that are sampled together: one size, one `Sampling`; none waits for another."""

    items: tuple[SegmentPlan, ...]

    @property
    def size_wh(self) -> SizeWH:
        """Sampling size in pixels."""
        return self.items[0].size_wh

    @property
    def sampling(self) -> Sampling:
        """How all of it is sampled."""
        return self.items[0].sampling


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Plan:
    """Waves in the order in which they run, and what was left out. `settings` made it."""

    waves: tuple[Wave, ...]
    skips: tuple[Skip, ...]
    settings: UnitSettings

    @property
    def items(self) -> tuple[SegmentPlan, ...]:
        """All segments that are redrawn, in order of work."""
        return tuple(sorted((i for w in self.waves for i in w.items), key=lambda i: (i.picture, i.index)))


class PlanHook(Protocol):
    """The points at which a hook can bend a plan; see `hooks`."""

    def after_detection(self, segments: Segments) -> Segments:
        """The segments to work on."""
        ...

    def crop_region(self, crop_xyxy: Box, bbox_xyxy: Box, picture_wh: SizeWH) -> Box:
        """The crop region to use."""
        ...

    def sampling_size(self, size_wh: SizeWH) -> SizeWH:
        """The sampling size to use, before it is fitted to what the model can take."""
        ...


class WavePolicy(Protocol):
    """What an engine says about waves."""

    @property
    def size_multiple(self) -> int:
        """Sampling sizes must be multiples of this, in pixels."""
        ...

    def wave_limit(self, sampling: Sampling) -> int:
        """Most segments in one wave of this kind; 1 = no waves."""
        ...

    def wave_key(self, item: SegmentPlan) -> Hashable:
        """Segments whose keys differ must not share a wave; size and `Sampling` are seen to already."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class SimplePolicy:
    """Waves without restrictions: for engines without a model, and for planning without an engine."""

    size_multiple: int = 8
    limit: int = 64

    def wave_limit(self, sampling: Sampling) -> int:
        """The same for every kind of sampling."""
        return self.limit

    def wave_key(self, item: SegmentPlan) -> Hashable:
        """All segments may meet."""
        return None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PictureJob:
    """One picture of a batch: its segments, how it was made, and its regional prompts."""

    segments: Segments
    main: MainGeneration = field(default_factory=MainGeneration)
    regions: tuple[Region, ...] = ()


def seeded_choices(seed: int) -> random.Random:
    """Where random choices of prompts come from: settled by the run's seed (better than REFERENCE items 12, 16)."""
    return random.Random(f"{SEED_OF_CHOICES}:{seed}")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PromptRules:
    """How prompts are read. library: wildcards. dialect: which grammar. choices: makes the generator of random choices from a picture's seed."""

    library: WildcardLibrary = field(default_factory=WildcardLibrary)
    dialect: Dialect = "auto"
    choices: Callable[[int], random.Random] = seeded_choices


def make_plan(jobs: Sequence[PictureJob], settings: UnitSettings, *, policy: WavePolicy | None = None, hook: PlanHook | None = None,
              rules: PromptRules | None = None) -> Plan:
    """The plan of one unit for the pictures of a batch.

    Raises: PromptError if a prompt cannot be read; HookError if a hook misbehaves.
    """
    policy = policy or SimplePolicy()
    items: list[SegmentPlan] = []
    skips: list[Skip] = []
    for picture, job in enumerate(jobs):
        if hook is not None:
            job = replace(job, segments=hook.after_detection(job.segments))
        planned = _Picture(picture, job, settings, policy, hook, rules or PromptRules()).plan()
        items += [p for p in planned if isinstance(p, SegmentPlan)]
        skips += [p for p in planned if isinstance(p, Skip)]
    wave_items = [_wave_item(item, policy) for item in items]
    waves = tuple(Wave(items=tuple(items[i] for i in members)) for members in group(wave_items, settings.wave_pixels))
    return Plan(waves=waves, skips=tuple(skips), settings=settings)


def resolve_sampling(settings: UnitSettings, main: MainGeneration) -> Sampling:
    """How segments are sampled: the unit's own values, the main generation's where it has none."""
    refiner = None
    if settings.refiner and settings.refiner_ratio > 0:
        refiner = Refiner(checkpoint=settings.refiner, ratio=settings.refiner_ratio, prompt=settings.refiner_prompt,
                          negative_prompt=settings.refiner_negative_prompt)
    control = None
    if settings.control_model not in NO_CONTROL:
        control = SegmentControl(model=settings.control_model, module=settings.control_module, weight=settings.control_weight,
                                 start=settings.control_start, end=settings.control_end, mode=settings.control_mode,
                                 pixel_perfect=settings.control_pixel_perfect)
    return Sampling(
        steps=main.steps if settings.steps is None else settings.steps,
        cfg=main.cfg if settings.cfg is None else settings.cfg,
        sampler=settings.sampler or main.sampler,
        scheduler=settings.scheduler or (main.scheduler if not settings.sampler else "Automatic"),
        denoise=settings.denoise,
        cycles=settings.cycle,
        subseed_strength=main.subseed_strength,
        noise_mask=settings.noise_mask,
        # REFERENCE item 32: any feather of the noise mask switches differential diffusion on; without a noise mask it does nothing.
        differential=settings.noise_mask and settings.noise_mask_feather > 0,
        inpaint_model=settings.inpaint_model and settings.noise_mask,
        checkpoint=settings.checkpoint or "",
        refiner=refiner,
        control=control,
        sigmas=main.sigmas,
        masked_content=settings.masked_content if settings.noise_mask else "original",
        restore_face=settings.restore_face,
        vae=settings.vae or "",
        modules=tuple(name.strip() for name in settings.modules.split(",") if name.strip()),
        clip_skip=settings.clip_skip,
        noise_multiplier=settings.noise_multiplier,
        distilled_cfg=settings.distilled_cfg,
    )


class _Picture:
    """Plans the segments of one picture, in the reference's order of work (REFERENCE items 1-3)."""

    def __init__(self, picture: int, job: PictureJob, settings: UnitSettings, policy: WavePolicy, hook: PlanHook | None,
                 rules: PromptRules) -> None:
        self.picture, self.job, self.settings, self.policy, self.hook, self.rules = picture, job, settings, policy, hook, rules
        self.sampling = resolve_sampling(settings, job.main)
        # REFERENCE item 8: of a batch with a seed of its own, each picture has the next one.
        self.seed = job.main.seed if settings.seed is None else settings.seed + job.main.place

    def plan(self) -> list[SegmentPlan | Skip]:
        segments = self.job.segments
        positive, negative = parse(self.settings.prompt, self.rules.dialect), parse(self.settings.negative_prompt, "adetailer")
        # Each text draws from a generator of its own, so that editing one does not change the other's choices.
        choose, choose_negative = positive.chooser(self.rules.choices(self.seed)), negative.chooser(self.rules.choices(self.seed))
        planned: list[SegmentPlan | Skip] = []
        stopped = False
        for index, place in enumerate(positive.order([s.bbox_xyxy for s in segments])):
            segment = segments[place]
            if stopped:
                planned.append(self._skip(index, segment, "prompt-stop"))
                continue
            mask_xyxy = mask_box(segment)
            if mask_xyxy is None:
                planned.append(self._skip(index, segment, "empty-mask"))
                continue
            choice, negative_choice = choose.get(segment.label), choose_negative.get(segment.label)
            stopped = choice.action == "stop"
            if choice.action != "use":
                planned.append(self._skip(index, segment, "prompt-stop" if stopped else "prompt-skip"))
                continue
            planned.append(self._segment(index, segment, mask_xyxy, choice, negative_choice, (positive.concat, negative.concat)))
        return planned

    def _skip(self, index: int, segment: Segment, reason: SkipReason) -> Skip:
        return Skip(index=index, picture=self.picture, segment=segment, reason=reason)

    def _segment(self, index: int, segment: Segment, mask_xyxy: Box, choice: Choice, negative: Choice,
                 concat: tuple[bool, bool]) -> SegmentPlan | Skip:
        settings, main = self.settings, self.job.main
        if self.hook is not None:
            segment = with_crop(segment, self.hook.crop_region(segment.crop_xyxy, segment.bbox_xyxy, self.job.segments.size_wh))
            cut = mask_box(segment)
            if cut is None:
                return self._skip(index, segment, "empty-mask")  # the hook's region leaves nothing of it
            mask_xyxy = cut
        guide = main.model_side if settings.guide_size is None else settings.guide_size
        rule = SizeRule(guide_size=guide, guide_for=settings.guide_size_for, max_size=settings.max_size,
                        force_inpaint=settings.force_inpaint)
        decision = decide_size(box_size_wh(segment.crop_xyxy), box_size_wh(segment.bbox_xyxy), rule)
        if decision.skip:
            return self._skip(index, segment, decision.skip)
        size = decision.size_wh if self.hook is None else self.hook.sampling_size(decision.size_wh)
        crop, size = fit(segment.crop_xyxy, size, self.job.segments.size_wh, sizes=settings.sizes,
                         multiple=self.policy.size_multiple, max_size=settings.max_size)
        segment = with_crop(segment, crop)  # never smaller, so the mask's box stays
        seed = wrap_seed(self.seed + index if choice.seed is None else choice.seed)
        prompt = self._prompt(choice, segment, seed, concat[0])
        return SegmentPlan(index=index, picture=self.picture, segment=segment, size_wh=size, mask_xyxy=mask_xyxy,
                           paste_xyxy=paste_area(mask_xyxy, segment.crop_xyxy, settings.feather), prompt=prompt,
                           negative_prompt=self._text(negative, main.negative_prompt, seed, concat[1]), seed=seed,
                           subseed=wrap_seed(main.subseed + index), feather=settings.feather, noise_mask_feather=settings.noise_mask_feather,
                           sampling=replace(self.sampling, control=segment.control or self.sampling.control), regions=self._regions(segment))

    def _prompt(self, choice: Choice, segment: Segment, seed: int, concat: bool) -> str:
        main, loras = self.job.main.prompt, self.settings.main_loras
        prompt = segment.prompt
        if prompt is None:
            prompt = without_networks(main) if loras == "drop" else main
        if segment.prompt is None or choice.text:
            prompt = self._text(choice, prompt, seed, concat)
        return add_networks(prompt, main) if loras == "keep" else prompt

    def _regions(self, segment: Segment) -> tuple[Region, ...]:
        size_wh = self.job.segments.size_wh
        return tuple(replace(r, mask_hw=crop_of_picture_mask(r.mask_hw, size_wh, segment.crop_xyxy)) for r in self.job.regions)

    def _text(self, choice: Choice, main_prompt: str, seed: int, concat: bool) -> str:
        try:
            text = segment_prompt(choice, main_prompt=main_prompt, seed=seed, library=self.rules.library).strip()
        except PromptError as error:
            raise PromptError(f"prompt '{choice.text[:80]}': {error}") from error
        # BREAK encodes both parts apart and joins their tokens, which is what the reference's concatenation does (REFERENCE item 15).
        return f"{main_prompt} BREAK {text}" if concat and choice.text and main_prompt else text


def mask_box(segment: Segment) -> Box | None:
    """The smallest box around what is not 0 in the segment's mask, in the picture's pixels; None if all is 0."""
    inner = nonzero_box(segment.mask_hw)
    return None if inner is None else shift(inner, segment.crop_xyxy[0], segment.crop_xyxy[1])


def paste_area(mask_xyxy: Box, crop_xyxy: Box, feather: int) -> Box:
    """The box of the picture that pasting a segment can change: its mask's box with the feather around it, inside the crop region."""
    x0, y0, x1, y1 = mask_xyxy
    reach = max(feather, 0)
    return intersect((x0 - reach, y0 - reach, x1 + reach, y1 + reach), crop_xyxy)


def with_crop(segment: Segment, crop_xyxy: Box) -> Segment:
    """The segment with another crop region: its mask is cut, or grows by zeros."""
    if crop_xyxy == segment.crop_xyxy:
        return segment
    width, height = box_size_wh(crop_xyxy)
    mask = torch.zeros(height, width)
    common = intersect(crop_xyxy, segment.crop_xyxy)
    if common[0] < common[2] and common[1] < common[3]:
        x0, y0, x1, y1 = shift(common, -crop_xyxy[0], -crop_xyxy[1])
        u0, v0, u1, v1 = shift(common, -segment.crop_xyxy[0], -segment.crop_xyxy[1])
        mask[y0:y1, x0:x1] = segment.mask_hw[v0:v1, u0:u1]
    return replace(segment, crop_xyxy=crop_xyxy, mask_hw=mask)


def _wave_item(item: SegmentPlan, policy: WavePolicy) -> WaveItem:
    width, height = item.size_wh
    return WaveItem(picture=item.picture, crop_xyxy=item.segment.crop_xyxy, paste_xyxy=item.paste_xyxy, pixels=width * height,
                    key=(item.size_wh, item.sampling, policy.wave_key(item)), limit=policy.wave_limit(item.sampling))
