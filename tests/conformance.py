"""What every engine must do, as one suite: derive a test class from `EngineConformance` and give it a `rig`.

It holds engines to the contract in `detailer_core/engines/base.py`. What an engine declares not to have, it must refuse; everything else it
must do. All pictures are 64 pixels, so that any model's stand-in is quick.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import pytest
import torch
from torch import Tensor

from detailer_core.engines.base import Capabilities, Control, Engine, Redrawn, WaveRequest, check_supported
from detailer_core.engines.latent_masks import to_latent_size
from detailer_core.errors import EngineMemoryError, EngineUnsupportedError, HookError
from detailer_core.geometry import Box
from detailer_core.hooks import CycleInput, DetailerHook, GuardedHook
from detailer_core.plan import SegmentPlan
from detailer_core.sampling import Refiner, Sampling
from detailer_core.segments import Segment

SIDE = 64
SAME = 1e-5
"""Largest difference of two pictures that count as equal: the rounding of a batch's arithmetic, far below a level of 8 bit."""


class Rig(Protocol):
    """How the suite gets an engine. sampler: one of its own, without randomness in its steps.

    spread: how far the decoder carries what is redrawn into what is kept: 0 but for normalisation over the whole picture. Largest difference, 0..1.
    """

    sampler: str
    spread: float

    def make(self, *, fits: int | None = None, interrupt: bool = False) -> Engine:
        """An engine. fits: most segments that "fit into memory". interrupt: the user interrupts it in the middle of its next wave."""
        ...


@dataclass
class Recorder(DetailerHook):
    """A hook that notes at which points it is called, and bends what it is told to. bend: a function for a point's first value, by point."""

    bend: dict[str, Callable[[Any], Any]] = field(default_factory=dict)
    points: list[str] = field(default_factory=list)
    seen: dict[str, list[Any]] = field(default_factory=dict)

    def _at(self, point: str, value: Any, *rest: Any) -> Any:
        self.points.append(point)
        self.seen.setdefault(point, []).append((value, *rest))
        return self.bend.get(point, lambda v: v)(value)

    def after_encode(self, latents_bchw: Tensor, seeds: Sequence[int]) -> Tensor:
        """See `DetailerHook`."""
        return self._at("after_encode", latents_bchw, seeds)

    def before_cycle(self, latents_bchw: Tensor, cycle: int, cycles: int) -> Tensor:
        """See `DetailerHook`."""
        return self._at("before_cycle", latents_bchw, cycle, cycles)

    def noise(self, noise_bchw: Tensor, seeds: Sequence[int], cycle: int) -> Tensor:
        """See `DetailerHook`."""
        return self._at("noise", noise_bchw, seeds, cycle)

    def before_sampling(self, given: CycleInput) -> CycleInput:
        """See `DetailerHook`."""
        return self._at("before_sampling", given)

    def before_decode(self, latents_bchw: Tensor) -> Tensor:
        """See `DetailerHook`."""
        return self._at("before_decode", latents_bchw)

    def after_decode(self, images_bchw: Tensor) -> Tensor:
        """See `DetailerHook`."""
        return self._at("after_decode", images_bchw)


class Decoded(DetailerHook):
    """Makes decoded pictures grey; needs no latents."""

    def after_decode(self, images_bchw: Tensor) -> Tensor:
        """See `DetailerHook`."""
        return images_bchw.mean(1, keepdim=True).expand_as(images_bchw).contiguous()


def pictures(count: int) -> Tensor:
    """Soft pictures `[N, 3, 64, 64]`, each another."""
    rough = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(7)) * 0.6 + 0.2
    return torch.nn.functional.interpolate(rough, scale_factor=8, mode="bicubic").clamp(0, 1)


def hard_mask(side: int = 32) -> Tensor:
    """A mask `[1, 1, side, side]`: 1 on the right half, at a resolution of its own."""
    mask = torch.zeros(1, 1, side, side)
    mask[..., side // 2 :] = 1
    return mask


def soft_mask() -> Tensor:
    """A mask that rises from 0 on the left to 1 on the right."""
    return torch.linspace(0, 1, SIDE).clamp(0.0, 1.0).expand(1, 1, SIDE, SIDE).clone()


def largest(one: Tensor, other: Tensor) -> float:
    """The largest difference of two pictures, 0..1."""
    return float((one - other).abs().max())


class EngineConformance:
    """The suite. A test class for an engine overrides `rig`."""

    @pytest.fixture
    def rig(self) -> Rig:
        """How to get the engine. Raises: NotImplementedError; every engine has its own."""
        raise NotImplementedError

    @pytest.fixture
    def can(self, rig: Rig) -> Capabilities:
        """What the engine declares."""
        return rig.make().capabilities

    @staticmethod
    def sampling(rig: Rig, can: Capabilities, **changes: Any) -> Sampling:
        """A sampling that the engine supports, for whole crops."""
        return Sampling(**{"sampler": rig.sampler, "steps": 6, "cfg": 4.0, "denoise": 0.6, "noise_mask": False, **changes})

    def request(self, rig: Rig, can: Capabilities, count: int = 1, *, masks: Sequence[Tensor | None] = (), hook: DetailerHook | None = None,
                seeds: Sequence[int] | None = None, **changes: Any) -> WaveRequest:
        """A wave of so many segments, each with its own picture, prompt (that a host switches in mid-run), negative prompt and seeds."""
        changes = {"noise_mask": any(mask is not None for mask in masks), **changes}
        return WaveRequest(
            images_bchw=pictures(count), noise_masks=tuple(masks) or (None,) * count, prompts=tuple(f"[hue {n}:shade {n}:0.5]" for n in range(count)),
            negative_prompts=tuple(f"not {n}" for n in range(count)), seeds=tuple(seeds or range(11, 11 + count)),
            subseeds=tuple(range(50, 50 + count)), sampling=self.sampling(rig, can, **changes), hook=hook or DetailerHook())

    def redraw(self, rig: Rig, can: Capabilities, count: int = 1, **changes: Any) -> Tensor:
        """The pictures of such a wave."""
        done = rig.make().redraw(self.request(rig, can, count, **changes), Control())
        assert done.finished
        return done.images_bchw

    # pictures

    def test_pictures_come_back(self, rig: Rig, can: Capabilities) -> None:
        """A wave of three comes back as three float pictures in 0..1, changed, of the requested size; what was given is as it was."""
        request = self.request(rig, can, 3)
        before = request.images_bchw.clone()
        done = rig.make().redraw(request, Control())
        assert isinstance(done, Redrawn) and done.finished
        assert done.images_bchw.shape == (3, 3, SIDE, SIDE) and done.images_bchw.is_floating_point()
        assert float(done.images_bchw.min()) >= 0 and float(done.images_bchw.max()) <= 1
        assert torch.equal(request.images_bchw, before) and largest(done.images_bchw, before) > 0.01

    def test_the_same_twice(self, rig: Rig, can: Capabilities) -> None:
        """The same request gives the same pictures, whatever the global generator has done meanwhile; another seed gives others."""
        torch.manual_seed(1)
        first = self.redraw(rig, can, 2)
        torch.manual_seed(2)
        assert torch.equal(first, self.redraw(rig, can, 2))
        if can.diffusion:
            assert largest(first, self.redraw(rig, can, 2, seeds=(11, 13))) > 0.001

    @pytest.mark.parametrize("kind", ["none", "hard", "soft", "differential"])
    @pytest.mark.parametrize("cycles", [1, 3])
    def test_batch_equals_single_runs(self, rig: Rig, can: Capabilities, kind: str, cycles: int) -> None:
        """Each picture of a wave is as it would be alone, with masks of every kind (one without a mask among them) and cycles."""
        if (kind != "none" and not can.noise_mask) or (kind == "differential" and not can.differential) or (cycles > 1 and not can.cycles):
            pytest.skip("declared as lacking; see test_what_is_lacking_is_refused")
        masks = {"none": (None,) * 3, "hard": (hard_mask(), None, hard_mask(48)), "soft": (soft_mask(), hard_mask(), None),
                 "differential": (soft_mask(), None, soft_mask().flip(-1))}[kind]
        changes = {"cycles": cycles, "differential": kind == "differential"}
        request = self.request(rig, can, 3, masks=masks, **changes)
        together = rig.make().redraw(request, Control()).images_bchw
        for n in range(3):
            one = replace(request, images_bchw=request.images_bchw[n : n + 1], noise_masks=(masks[n],), prompts=(request.prompts[n],),
                          negative_prompts=(request.negative_prompts[n],), seeds=(request.seeds[n],), subseeds=(request.subseeds[n],))
            assert largest(rig.make().redraw(one, Control()).images_bchw, together[n : n + 1]) <= SAME

    # noise masks

    def test_hard_mask_keeps_the_rest(self, rig: Rig, can: Capabilities) -> None:
        """Where a hard noise mask is 0 the picture is as with a mask that is 0 everywhere (encoded and decoded); where it is 1 it is not."""
        if not can.noise_mask:
            pytest.skip("declared as lacking")
        kept = self.redraw(rig, can, masks=(torch.zeros(1, 1, 32, 32),))
        done = self.redraw(rig, can, masks=(hard_mask(),))
        assert largest(done[..., : SIDE // 2 - 8], kept[..., : SIDE // 2 - 8]) <= max(SAME, rig.spread)
        assert largest(done[..., SIDE // 2 + 8 :], kept[..., SIDE // 2 + 8 :]) > 0.01

    @pytest.mark.parametrize("content", ["latent-noise", "latent-nothing"])
    def test_masked_content_of_latents(self, rig: Rig, can: Capabilities, content: str) -> None:
        """Under the mask it takes the picture's place, in the first cycle only; outside all is as without."""
        if not (can.noise_mask and can.latents):
            pytest.skip("declared as lacking")
        cycles, starts = 2 if can.cycles else 1, {}
        for kind in ("original", content):
            hook = Recorder()
            starts[kind] = self.redraw(rig, can, 2, masks=(hard_mask(), None), masked_content=kind, cycles=cycles, hook=hook), hook.seen
        given = [seen["before_sampling"][0][0] for _, seen in starts.values()]
        expected = given[1].noise_bchw if content == "latent-noise" else torch.zeros_like(given[1].noise_bchw)
        masks = to_latent_size((hard_mask(), None), expected)[:1]
        assert torch.equal(given[1].latents_bchw[:1], given[0].latents_bchw[:1] * (1 - masks) + expected[:1] * masks)
        assert torch.equal(given[1].latents_bchw[1:], given[0].latents_bchw[1:]) and torch.equal(given[1].outside, given[0].latents_bchw)
        assert cycles == 1 or starts[content][1]["before_sampling"][1][0].kept_bchw is None
        (plain, _), (done, _) = starts.values()
        assert largest(done[1:], plain[1:]) <= SAME
        # Of the latents, since a decoder lets the redrawn half shine through to the other.
        plain_latents, done_latents = (seen["before_decode"][0][0][:1, ..., :3] for _, seen in starts.values())
        assert largest(done_latents, plain_latents) <= SAME
        assert largest(done[:1], plain[:1]) > 0.001

    @pytest.mark.parametrize("differential", [False, True])
    def test_kept_latents_are_kept(self, rig: Rig, can: Capabilities, differential: bool) -> None:
        """Where the noise mask is 0, the latents that are decoded are those that were encoded, exactly, also after two cycles.

        In differential diffusion nearly: its threshold falls to 0, so that the last and weakest step may reach all (REFERENCE item 32).
        """
        if not (can.noise_mask and can.latents and can.cycles and can.differential):
            pytest.skip("declared as lacking")
        hook = Recorder()
        self.redraw(rig, can, masks=(hard_mask(),), hook=hook, cycles=2, differential=differential)
        change = (hook.seen["before_decode"][0][0] - hook.seen["after_encode"][0][0]).abs()
        kept, redrawn = change[..., :3], change[..., -3:]
        assert float(kept.mean()) < float(redrawn.mean()) / 4 and float(redrawn.mean()) > 0.01
        assert differential or float(kept.max()) == 0

    def test_soft_mask_lies_between(self, rig: Rig, can: Capabilities) -> None:
        """The more a soft mask covers, the more is redrawn: between nothing at its 0 and something at its 1."""
        if not can.noise_mask:
            pytest.skip("declared as lacking")
        change = (self.redraw(rig, can, masks=(soft_mask(),)) - self.redraw(rig, can, masks=(torch.zeros(1, 1, 32, 32),))).abs()
        left, right = float(change[..., :16].mean()), float(change[..., -16:].mean())
        assert 0 < left < right / 2

    def test_differential_mask_is_a_threshold(self, rig: Rig, can: Capabilities) -> None:
        """With differential diffusion a mask of 0 keeps, of 1 redraws as without a mask, and what lies between is redrawn in part."""
        if not (can.differential and can.diffusion):
            pytest.skip("declared as lacking")
        zero, one = torch.zeros(1, 1, 32, 32), torch.ones(1, 1, 32, 32)
        kept, whole, free = (self.redraw(rig, can, masks=(m,), differential=d, denoise=0.9, steps=12)
                             for m, d in ((zero, False), (one, True), (one, False)))
        soft = self.redraw(rig, can, masks=(soft_mask(),), differential=True, denoise=0.9, steps=12)
        blend = self.redraw(rig, can, masks=(soft_mask(),), denoise=0.9, steps=12)
        change = (soft - kept).abs().mean((0, 1, 2))
        assert largest(whole, free) <= SAME and largest(soft, blend) > 0.001
        left, middle, right = (float(change[part].mean()) for part in (slice(0, 8), slice(28, 36), slice(-8, None)))
        assert left < right / 4 < middle

    # cycles and hooks

    @pytest.mark.parametrize("differential", [False, True])
    def test_cycles_are_passes_in_latent_space(self, rig: Rig, can: Capabilities, differential: bool) -> None:
        """Two cycles, the second weaker, are two passes with seed and seed + 1: the second starts from the latents of the first, as they are."""
        if not (can.cycles and can.latents and can.differential):
            pytest.skip("declared as lacking")
        asked: dict[str, Any] = {"masks": (hard_mask(), soft_mask()), "differential": differential, "steps": 12}

        def weaker(given: CycleInput) -> CycleInput:
            return replace(given, sampling=replace(given.sampling, denoise=0.3)) if given.cycle else given

        both = self.redraw(rig, can, 2, **asked, cycles=2, hook=Recorder(bend={"before_sampling": weaker}))
        first = Recorder()
        alone = self.redraw(rig, can, 2, **asked, hook=first)
        between = first.seen["before_decode"][0][0]
        again = self.redraw(rig, can, 2, **asked, denoise=0.3, seeds=(12, 13), hook=Recorder(bend={"after_encode": lambda _: between}))
        assert largest(both, again) <= SAME and largest(both, alone) > 0.001

    def test_hooks_are_called_in_order(self, rig: Rig, can: Capabilities) -> None:
        """Every point of an engine is passed in order, once a wave or once a cycle, with the cycle's seeds and number."""
        hook = Recorder()
        cycles = 2 if can.cycles else 1
        self.redraw(rig, can, 2, hook=hook, cycles=cycles)
        per_cycle = ["before_cycle", "noise", "before_sampling"] * cycles
        assert hook.points == (["after_encode", *per_cycle, "before_decode", "after_decode"] if can.latents else ["after_decode"])
        if can.latents:
            assert [tuple(seeds) for _, seeds, _ in hook.seen["noise"]] == [(11, 12), (12, 13)]
            assert [rest for _, *rest in hook.seen["before_cycle"]] == [[0, 2], [1, 2]]
            assert [(given.cycle, given.cycles, given.seeds) for given, in hook.seen["before_sampling"]] == [(0, 2, (11, 12)), (1, 2, (12, 13))]
            assert tuple(hook.seen["after_encode"][0][1]) == (11, 12)
            shapes = {value[0].shape for point in ("after_encode", "before_cycle", "noise", "before_decode") for value in hook.seen[point]}
            assert len(shapes) == 1 and next(iter(shapes))[0] == 2

    def test_decoded_pictures_can_be_bent(self, rig: Rig, can: Capabilities) -> None:
        """What `after_decode` returns is what the engine gives back, exactly."""
        seen = Recorder()
        self.redraw(rig, can, hook=seen)
        grey = self.redraw(rig, can, hook=Decoded())
        assert torch.equal(grey, Decoded().after_decode(seen.seen["after_decode"][0][0]))

    def test_custom_noise_is_used(self, rig: Rig, can: Capabilities) -> None:
        """Noise from a hook takes the place of the engine's own: it changes the picture, and the same noise given again does not."""
        if not can.latents:
            pytest.skip("declared as lacking")
        plain = self.redraw(rig, can, denoise=0.9)
        seen = Recorder()
        self.redraw(rig, can, denoise=0.9, hook=seen)
        own = seen.seen["noise"][0][0]
        assert abs(float(own.std()) - 1) < 0.25
        again = self.redraw(rig, can, denoise=0.9, hook=Recorder(bend={"noise": lambda _: own.clone()}))
        other = self.redraw(rig, can, denoise=0.9, hook=Recorder(bend={"noise": lambda noise: noise.flip(-1)}))
        assert largest(again, plain) <= SAME and largest(other, plain) > 0.001

    @pytest.mark.parametrize("change", [{"steps": 12}, {"cfg": 1.5}, {"denoise": 0.3}, {"steps": 9, "cfg": 2.0, "denoise": 0.8}])
    def test_sampling_can_be_bent(self, rig: Rig, can: Capabilities, change: dict[str, Any]) -> None:
        """A pass heeds steps, guidance and strength that `before_sampling` returns, as if they had been asked for."""
        if not can.latents:
            pytest.skip("declared as lacking")
        bent = Recorder(bend={"before_sampling": lambda given: replace(given, sampling=replace(given.sampling, **change))})
        assert largest(self.redraw(rig, can, hook=bent), self.redraw(rig, can, **change)) <= SAME

    def test_latents_can_be_bent(self, rig: Rig, can: Capabilities) -> None:
        """A pass starts from the latents that `before_sampling` returns, and what `before_decode` returns is decoded."""
        if not can.latents:
            pytest.skip("declared as lacking")
        plain = self.redraw(rig, can)
        for point, bend in (("before_sampling", lambda given: replace(given, latents_bchw=given.latents_bchw * 0.5)),
                            ("before_cycle", lambda latents: latents * 0.5), ("after_encode", lambda latents: latents * 0.5),
                            ("before_decode", lambda latents: latents * 0.5)):
            assert largest(self.redraw(rig, can, hook=Recorder(bend={point: bend})), plain) > 0.001, point

    @pytest.mark.parametrize("point", ["after_encode", "noise", "before_sampling", "after_decode"])
    def test_a_hook_that_fails_is_a_hook_error(self, rig: Rig, can: Capabilities, point: str) -> None:
        """What a watched hook raises comes out as HookError that names hook and point, through whatever the engine is built on."""
        if point != "after_decode" and not can.latents:
            pytest.skip("declared as lacking")

        def fail(_: Any) -> Any:
            raise ZeroDivisionError("oops")

        with pytest.raises(HookError, match=f"Recorder.*{point}.*oops"):
            self.redraw(rig, can, hook=GuardedHook(Recorder(bend={point: fail})))

    # trouble

    def test_an_interrupt_is_not_finished(self, rig: Rig, can: Capabilities) -> None:
        """A wave that is interrupted in its middle says so and gives the pictures back as they came; `after_decode` is not reached."""
        hook = Recorder()
        request = self.request(rig, can, 2, hook=hook)
        done = rig.make(interrupt=True).redraw(request, Control())
        assert not done.finished and torch.equal(done.images_bchw, request.images_bchw)
        assert "after_decode" not in hook.points

    def test_a_stop_from_outside_is_heeded(self, rig: Rig, can: Capabilities) -> None:
        """A run that is stopped before its first pass is not finished."""
        request = self.request(rig, can, 2)
        done = rig.make().redraw(request, Control(stopped=lambda: True))
        assert not done.finished and torch.equal(done.images_bchw, request.images_bchw)

    def test_out_of_memory_has_its_own_error(self, rig: Rig, can: Capabilities) -> None:
        """A wave that does not fit raises EngineMemoryError, a smaller one works with the same engine afterwards."""
        if not can.diffusion:
            pytest.skip("it has no model that could be too large")
        engine = rig.make(fits=1)
        with pytest.raises(EngineMemoryError):
            engine.redraw(self.request(rig, can, 2), Control())
        assert engine.redraw(self.request(rig, can, 1), Control()).finished

    # what it says of itself

    def test_what_is_lacking_is_refused(self, rig: Rig, can: Capabilities) -> None:
        """Each thing that the engine declares to lack is refused by name, each that it has is not; without a model nothing is refused."""
        engine, plain = rig.make(), self.sampling(rig, can)
        refiner = Refiner(checkpoint="x", ratio=0.2)
        asks = {"cycle": (can.cycles, replace(plain, cycles=2)), "noise_mask": (can.noise_mask, replace(plain, noise_mask=True)),
                "noise_mask_feather": (can.differential, replace(plain, differential=True)),
                "inpaint_model": (can.inpaint_model, replace(plain, inpaint_model=True)), "refiner": (can.refiner, replace(plain, refiner=refiner)),
                "checkpoint": (can.checkpoint, replace(plain, checkpoint="x")),
                "masked_content": (can.latents, replace(plain, masked_content="latent-noise")),
                "restore_face": (can.restore_face, replace(plain, restore_face=True)),
                "vae": (can.vae, replace(plain, vae="x")), "modules": (can.modules, replace(plain, modules=("x",))),
                "clip_skip": (can.clip_skip, replace(plain, clip_skip=2)),
                "noise_multiplier": (can.noise_multiplier, replace(plain, noise_multiplier=0.5)),
                "distilled_cfg": (can.distilled_cfg, replace(plain, distilled_cfg=2.0)),
                "sampler": (not can.samplers, replace(plain, sampler="no such sampler")),
                "scheduler": (not can.schedulers, replace(plain, scheduler="no such scheduler"))}
        check_supported(engine, plain, DetailerHook())
        for setting, (has, sampling) in asks.items():
            self.check(engine, sampling, DetailerHook(), setting, has or not can.diffusion)
        self.check(engine, plain, Recorder(), "hook", can.latents or not can.diffusion)

    @staticmethod
    def check(engine: Engine, sampling: Sampling, hook: DetailerHook, setting: str, has: bool) -> None:
        """The sampling is supported, or refused with the setting's name."""
        if has:
            check_supported(engine, sampling, hook)
            return
        with pytest.raises(EngineUnsupportedError, match=f"^{setting}: .*{engine.name}"):
            check_supported(engine, sampling, hook)

    def test_policy(self, rig: Rig, can: Capabilities) -> None:
        """Sizes are multiples of 8, waves hold at least one segment, keys can be compared, and equal segments may meet."""
        engine, box = rig.make(), (0, 0, 32, 32)
        item = self.item(self.sampling(rig, can), box)
        assert engine.size_multiple % 8 == 0 and engine.size_multiple > 0
        assert engine.wave_limit(item.sampling) >= 1
        assert hash(engine.wave_key(item)) == hash(engine.wave_key(self.item(item.sampling, (32, 0, 64, 32))))
        assert engine.wave_key(item) == engine.wave_key(self.item(item.sampling, (32, 0, 64, 32)))
        assert engine.memory_key and isinstance(engine.memory_key, str) and engine.name

    @staticmethod
    def item(sampling: Sampling, box: Box) -> SegmentPlan:
        """A planned segment."""
        segment = Segment(bbox_xyxy=box, crop_xyxy=box, mask_hw=torch.ones(32, 32), label="x")
        return SegmentPlan(index=0, picture=0, segment=segment, size_wh=(SIDE, SIDE), mask_xyxy=box, paste_xyxy=box, prompt="a",
                           negative_prompt="b", seed=1, subseed=1, feather=0, noise_mask_feather=0, sampling=sampling)
