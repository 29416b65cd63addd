"""Hooks: every place where a run can be bent, as one small class of which a hook overrides what it needs.

The points, in the order in which they are passed: `after_detection`, `crop_region`, `sampling_size` (while planning); `after_encode`, then for
each cycle `before_cycle`, `noise`, `before_sampling`; `before_decode`, `after_decode` (in an engine that works in latent space; an engine without
one passes `after_decode` only); `after_paste` (for each segment). Latents are float `[N, C, h/8, w/8]`, one row a segment of the wave.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from .errors import EngineUnsupportedError, HookError
from .geometry import Box, SizeWH
from .sampling import Sampling
from .segments import Segments

T = TypeVar("T")


def _cannot_invert(given: CycleInput) -> Tensor:
    raise EngineUnsupportedError("hooks: this engine cannot run its sampler backwards (inversion); leave 'unsample' away")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CycleInput:
    """What one sampling pass starts from.

    latents_bchw, noise_bchw: same shape, the noise with standard deviation 1. cycle: 0-based, of `cycles`. seeds: of this cycle, one a segment.
    masks_b1hw: the noise masks, 0..1, at the latents' size; None = redraw all. invert: gives the noise, shaped as the latents, from which the
    model's deterministic sampler would come back to the latents of the pass it is given; raises EngineUnsupportedError where the engine cannot.
    kept_bchw: what stays outside of the masks, where that is not `latents_bchw`.
    """

    latents_bchw: Tensor
    noise_bchw: Tensor
    sampling: Sampling
    cycle: int
    cycles: int
    seeds: tuple[int, ...]
    masks_b1hw: Tensor | None = None
    invert: Callable[[CycleInput], Tensor] = _cannot_invert
    kept_bchw: Tensor | None = None

    @property
    def outside(self) -> Tensor:
        """The latents that stay outside of the masks."""
        return self.latents_bchw if self.kept_bchw is None else self.kept_bchw


class DetailerHook:
    """A hook that changes nothing: the base of all others. Every method returns what is to be used from there on."""

    @property
    def name(self) -> str:
        """How messages call it."""
        return type(self).__name__

    def uses(self, point: str) -> bool:
        """Whether it does anything at the point of this name."""
        return getattr(type(self), point) is not getattr(DetailerHook, point)

    @property
    def needs_latents(self) -> bool:
        """Whether it uses a point that only an engine in latent space has."""
        return any(self.uses(point) for point in LATENT_POINTS)

    @property
    def needs_inversion(self) -> bool:
        """Whether it calls `CycleInput.invert`, which not every engine has; then it is refused there before anything is drawn."""
        return False

    def after_detection(self, segments: Segments) -> Segments:
        """The segments to work on, in order."""
        return segments

    def crop_region(self, crop_xyxy: Box, bbox_xyxy: Box, picture_wh: SizeWH) -> Box:
        """The crop region of one segment, inside the picture."""
        return crop_xyxy

    def sampling_size(self, size_wh: SizeWH) -> SizeWH:
        """The sampling size of one segment, in pixels, before it is fitted to what the model can take."""
        return size_wh

    def after_encode(self, latents_bchw: Tensor, seeds: Sequence[int]) -> Tensor:
        """The latents of the wave's crops."""
        return latents_bchw

    def before_cycle(self, latents_bchw: Tensor, cycle: int, cycles: int) -> Tensor:
        """The latents that a cycle starts from."""
        return latents_bchw

    def noise(self, noise_bchw: Tensor, seeds: Sequence[int], cycle: int) -> Tensor:
        """The noise of a cycle, standard deviation 1."""
        return noise_bchw

    def before_sampling(self, given: CycleInput) -> CycleInput:
        """All that a cycle is sampled with. Of its sampling, engines heed steps, cfg and denoise."""
        return given

    def before_decode(self, latents_bchw: Tensor) -> Tensor:
        """The latents that are decoded."""
        return latents_bchw

    def after_decode(self, images_bchw: Tensor) -> Tensor:
        """The redrawn crops at sampling size, float 0..1 `[N, 3, h, w]`."""
        return images_bchw

    def after_paste(self, picture_bchw: Tensor, paste_xyxy: Box) -> Tensor:
        """The picture after one segment was pasted; only the box changed."""
        return picture_bchw


LATENT_POINTS = ("after_encode", "before_cycle", "noise", "before_sampling", "before_decode")
"""Points that an engine without latents does not have."""


class CombinedHook(DetailerHook):
    """Several hooks, one after the other at every point."""

    def __init__(self, hooks: Sequence[DetailerHook]) -> None:
        self.hooks = tuple(hooks)

    @property
    def name(self) -> str:
        """The names of all."""
        return " + ".join(h.name for h in self.hooks)

    def uses(self, point: str) -> bool:
        """Whether one of them does."""
        return any(h.uses(point) for h in self.hooks)

    @property
    def needs_inversion(self) -> bool:
        """Whether one of them does."""
        return any(h.needs_inversion for h in self.hooks)

    def _fold(self, point: str, value: Any, *rest: Any) -> Any:
        for hook in self.hooks:
            if not hook.uses(point):
                continue  # watching a hook costs a look at every value
            value = getattr(hook, point)(value, *rest)
        return value

    def after_detection(self, segments: Segments) -> Segments:
        """See `DetailerHook`."""
        return self._fold("after_detection", segments)

    def crop_region(self, crop_xyxy: Box, bbox_xyxy: Box, picture_wh: SizeWH) -> Box:
        """See `DetailerHook`."""
        return self._fold("crop_region", crop_xyxy, bbox_xyxy, picture_wh)

    def sampling_size(self, size_wh: SizeWH) -> SizeWH:
        """See `DetailerHook`."""
        return self._fold("sampling_size", size_wh)

    def after_encode(self, latents_bchw: Tensor, seeds: Sequence[int]) -> Tensor:
        """See `DetailerHook`."""
        return self._fold("after_encode", latents_bchw, seeds)

    def before_cycle(self, latents_bchw: Tensor, cycle: int, cycles: int) -> Tensor:
        """See `DetailerHook`."""
        return self._fold("before_cycle", latents_bchw, cycle, cycles)

    def noise(self, noise_bchw: Tensor, seeds: Sequence[int], cycle: int) -> Tensor:
        """See `DetailerHook`."""
        return self._fold("noise", noise_bchw, seeds, cycle)

    def before_sampling(self, given: CycleInput) -> CycleInput:
        """See `DetailerHook`."""
        return self._fold("before_sampling", given)

    def before_decode(self, latents_bchw: Tensor) -> Tensor:
        """See `DetailerHook`."""
        return self._fold("before_decode", latents_bchw)

    def after_decode(self, images_bchw: Tensor) -> Tensor:
        """See `DetailerHook`."""
        return self._fold("after_decode", images_bchw)

    def after_paste(self, picture_bchw: Tensor, paste_xyxy: Box) -> Tensor:
        """See `DetailerHook`."""
        return self._fold("after_paste", picture_bchw, paste_xyxy)


class GuardedHook(DetailerHook):
    """Another hook, watched: what it raises or returns wrongly becomes a HookError that names it and the point."""

    def __init__(self, hook: DetailerHook) -> None:
        self.hook = hook

    @property
    def name(self) -> str:
        """The watched hook's."""
        return self.hook.name

    def uses(self, point: str) -> bool:
        """Whether the watched hook does."""
        return self.hook.uses(point)

    @property
    def needs_inversion(self) -> bool:
        """Whether the watched hook does."""
        return self.hook.needs_inversion

    def _call(self, point: str, call: Callable[[], T], check: Callable[[Any], str]) -> T:
        try:
            value = call()
        except HookError:
            raise  # from a watched hook inside: it says already which one and where
        except Exception as error:  # a hook is a user's own code: whatever it raises has to reach the user as one clear message
            raise HookError(f"hook '{self.name}' failed at {point}: {type(error).__name__}: {error}") from error
        wrong = check(value)
        if wrong:
            raise HookError(f"hook '{self.name}' returned something wrong at {point}: {wrong}")
        return value

    def _tensor(self, point: str, given: Tensor, call: Callable[[], Tensor]) -> Tensor:
        return self._call(point, call, lambda value: _unlike(value, given))

    def after_detection(self, segments: Segments) -> Segments:
        """See `DetailerHook`."""
        return self._call("after_detection", lambda: self.hook.after_detection(segments),
                          lambda v: "" if isinstance(v, Segments) and v.size_wh == segments.size_wh else "expected Segments of the same picture")

    def crop_region(self, crop_xyxy: Box, bbox_xyxy: Box, picture_wh: SizeWH) -> Box:
        """See `DetailerHook`."""
        return self._call("crop_region", lambda: self.hook.crop_region(crop_xyxy, bbox_xyxy, picture_wh), lambda v: _bad_box(v, picture_wh))

    def sampling_size(self, size_wh: SizeWH) -> SizeWH:
        """See `DetailerHook`."""
        return self._call("sampling_size", lambda: self.hook.sampling_size(size_wh), _bad_size)

    def after_encode(self, latents_bchw: Tensor, seeds: Sequence[int]) -> Tensor:
        """See `DetailerHook`."""
        return self._tensor("after_encode", latents_bchw, lambda: self.hook.after_encode(latents_bchw, seeds))

    def before_cycle(self, latents_bchw: Tensor, cycle: int, cycles: int) -> Tensor:
        """See `DetailerHook`."""
        return self._tensor("before_cycle", latents_bchw, lambda: self.hook.before_cycle(latents_bchw, cycle, cycles))

    def noise(self, noise_bchw: Tensor, seeds: Sequence[int], cycle: int) -> Tensor:
        """See `DetailerHook`."""
        return self._tensor("noise", noise_bchw, lambda: self.hook.noise(noise_bchw, seeds, cycle))

    def before_sampling(self, given: CycleInput) -> CycleInput:
        """See `DetailerHook`."""
        def check(value: Any) -> str:
            if not isinstance(value, CycleInput):
                return f"expected a CycleInput, got {type(value).__name__}"
            return _bad_sampling(value.sampling) or _unlike(value.latents_bchw, given.latents_bchw) or _unlike(value.noise_bchw, given.noise_bchw)

        return self._call("before_sampling", lambda: self.hook.before_sampling(given), check)

    def before_decode(self, latents_bchw: Tensor) -> Tensor:
        """See `DetailerHook`."""
        return self._tensor("before_decode", latents_bchw, lambda: self.hook.before_decode(latents_bchw))

    def after_decode(self, images_bchw: Tensor) -> Tensor:
        """See `DetailerHook`."""
        return self._tensor("after_decode", images_bchw, lambda: self.hook.after_decode(images_bchw))

    def after_paste(self, picture_bchw: Tensor, paste_xyxy: Box) -> Tensor:
        """See `DetailerHook`."""
        return self._tensor("after_paste", picture_bchw, lambda: self.hook.after_paste(picture_bchw, paste_xyxy))


def combine(hooks: Sequence[DetailerHook]) -> DetailerHook:
    """All of them as one, each watched on its own so that messages name it; those that change nothing are left out."""
    watched = [hook if isinstance(hook, GuardedHook) else GuardedHook(hook) for hook in hooks if type(hook) is not DetailerHook]
    if not watched:
        return DetailerHook()
    return watched[0] if len(watched) == 1 else CombinedHook(watched)


def _bad_sampling(value: object) -> str:
    if not isinstance(value, Sampling):
        return f"expected its sampling to be a Sampling, got {type(value).__name__}"
    steps, denoise, cfg = (getattr(value, name) for name in ("steps", "denoise", "cfg"))
    if type(steps) is not int or steps < 1:
        return f"expected a whole number of steps from 1 on, got {steps!r}"
    finite = all(isinstance(v, (int, float)) and math.isfinite(v) for v in (denoise, cfg))
    return "" if finite and 0 <= denoise <= 1 else f"expected denoise in 0..1 and a finite cfg, got {denoise!r} and {cfg!r}"


def _unlike(value: object, given: Tensor) -> str:
    if not isinstance(value, Tensor):
        return f"expected a tensor, got {type(value).__name__}"
    if value.shape != given.shape or not value.is_floating_point():
        return f"expected a float tensor of shape {tuple(given.shape)}, got {value.dtype} {tuple(value.shape)}"
    return "" if bool(torch.isfinite(value).all()) else "it holds values that are not finite"


def _bad_box(value: object, picture_wh: SizeWH) -> str:
    if not (isinstance(value, tuple) and len(value) == 4 and all(isinstance(v, int) for v in value)):
        return f"expected four whole numbers, got {value!r}"
    x0, y0, x1, y1 = value
    return "" if 0 <= x0 < x1 <= picture_wh[0] and 0 <= y0 < y1 <= picture_wh[1] else f"{value} does not lie in the picture of {picture_wh} pixels"


def _bad_size(value: object) -> str:
    good = isinstance(value, tuple) and len(value) == 2 and all(isinstance(v, int) and v > 0 for v in value)
    return "" if good else f"expected two positive whole numbers, got {value!r}"
