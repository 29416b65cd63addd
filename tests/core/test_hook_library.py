"""Built-in hooks: what each does in numbers, that nothing asked is nothing done, and that waves equal single runs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stub_engine import StubEngine
from torch import Tensor

from detailer_core.engines.base import Capabilities, Control, WaveRequest
from detailer_core.engines.latent import run_cycles
from detailer_core.engines.latent_masks import to_latent_size
from detailer_core.errors import EngineUnsupportedError, SettingsError
from detailer_core.geometry import Box
from detailer_core.hook_library import (
    LabelFilter,
    NoiseInjection,
    NoiseVariation,
    OrderedFilter,
    Preview,
    Ramp,
    RangeFilter,
    Schedule,
    Unsampling,
    constant,
    parse_hooks,
)
from detailer_core.hook_library.arc import slerp
from detailer_core.hook_library.row_noise import row_noise
from detailer_core.hooks import CycleInput, DetailerHook
from detailer_core.plan import PictureJob, make_plan
from detailer_core.run import RunOptions, RunResult, run_plan
from detailer_core.sampling import Sampling
from detailer_core.segments import Segment, Segments
from detailer_core.settings import make_settings

WH = (160, 96)
EVERY = ["denoise 0.6->0.3", "cfg ->5", "steps ->12", "noise 0.1", "noise 0->0.5", "variation 7 0.3", "variation 7 0->1", "unsample",
         "unsample 0.5 normalise", "label face", "ordered x0 desc 2", "range x0 outside 50..70",
         "denoise ->0.8; steps 9; unsample 0.3; noise 0.2; variation 1 0.5"]


def segment(bbox: Box, label: str = "face") -> Segment:
    """A segment with ten pixels around its box, which is masked."""
    crop = (bbox[0] - 10, bbox[1] - 10, bbox[2] + 10, bbox[3] + 10)
    mask = torch.zeros(crop[3] - crop[1], crop[2] - crop[0])
    mask[10:-10, 10:-10] = 1
    return Segment(bbox_xyxy=bbox, crop_xyxy=crop, mask_hw=mask, label=label)


THREE = Segments(size_wh=WH, items=(segment((20, 30, 40, 50)), segment((70, 30, 92, 50), "hand"), segment((120, 30, 140, 60))))


EQUAL = Segments(size_wh=WH, items=tuple(segment((x, 30, x + 20, 50), label) for x, label in ((20, "face"), (70, "hand"), (120, "face"))))
"""Three of one size: one wave."""


def picture(seed: int = 3) -> Tensor:
    """Noise, k/255."""
    return torch.randint(0, 256, (1, 3, 96, 160), generator=torch.Generator().manual_seed(seed)).float() / 255


def run(hook: DetailerHook, engine: StubEngine | None = None, limit: int = 64, **values: Any) -> RunResult:
    """The three segments, redrawn with a hook. The engine notes what it was given."""
    engine = engine or StubEngine()
    engine.limit = limit
    chosen = make_settings({"guide_size": 64, "max_size": 128, "steps": 6, "cycle": 3, "prompt": "a face", "sizes": "multiple", **values})
    return run_plan([picture()], make_plan([PictureJob(segments=EQUAL)], chosen, policy=engine, hook=hook), engine, RunOptions(hook=hook))


def cycle_input(cycle: int = 0, cycles: int = 1, seeds: tuple[int, ...] = (1, 2), **rest: Any) -> CycleInput:
    """Latents and noise of two segments, unless others are given."""
    shape = (len(seeds), 4, 8, 8)
    given_input = CycleInput(latents_bchw=row_noise(torch.zeros(shape), seeds, "latents"), noise_bchw=row_noise(torch.zeros(shape), seeds, "noise"),
                             sampling=Sampling(steps=20, cfg=7.0, denoise=0.6), cycle=cycle, cycles=cycles, seeds=seeds)
    return replace(given_input, **rest)


def rows(value: CycleInput, index: int) -> CycleInput:
    """One segment of a wave by itself."""
    one = slice(index, index + 1)
    return replace(value, latents_bchw=value.latents_bchw[one], noise_bchw=value.noise_bchw[one], seeds=value.seeds[one])


@pytest.mark.parametrize(("ramp", "cycles", "wanted"), [
    (Ramp(start=0.6, target=0.3), 4, [0.6, 0.5, 0.4, 0.3]), (Ramp(start=1, target=2), 2, [1, 2]), (Ramp(start=1, target=2), 1, [1]),
    (Ramp(target=8), 3, [4, 6, 8]), (Ramp(target=8), 1, [4]), (constant(5), 3, [5, 5, 5]), (constant(5), 1, [5]),
])
def test_ramps_by_hand(ramp: Ramp, cycles: int, wanted: list[float]) -> None:
    """From the start, or from what it would be (4), in equal steps to the target, which is met exactly."""
    assert [ramp.at(k, cycles, 4.0) for k in range(cycles)] == pytest.approx(wanted, abs=1e-12)
    if cycles > 1:
        assert ramp.at(cycles - 1, cycles, 4.0) == ramp.target


@pytest.mark.parametrize(("hook", "wanted"), [
    (Schedule(of="denoise", ramp=Ramp(start=0.6, target=0.3)), [(6, 7.0, 0.6), (6, 7.0, 0.5), (6, 7.0, 0.4), (6, 7.0, 0.3)]),
    (Schedule(of="cfg", ramp=Ramp(target=5.5)), [(6, 7.0, 0.4), (6, 6.5, 0.4), (6, 6.0, 0.4), (6, 5.5, 0.4)]),
    (Schedule(of="steps", ramp=Ramp(start=20, target=27)), [(20, 7.0, 0.4), (22, 7.0, 0.4), (25, 7.0, 0.4), (27, 7.0, 0.4)]),
    (Schedule(of="steps", ramp=Ramp(start=1, target=2)), [(1, 7.0, 0.4), (1, 7.0, 0.4), (2, 7.0, 0.4), (2, 7.0, 0.4)]),
])
def test_schedules_reach_the_engine(hook: DetailerHook, wanted: list[tuple[int, float, float]]) -> None:
    """Each pass has its own steps, cfg and denoise, in what it is given and in its request; steps are rounded (22.3, 24.7)."""
    engine = StubEngine()
    result = run(hook, engine, cycle=4)
    assert {o.state for o in result.outcomes[0]} == {"done"}
    for index, wanted_pass in enumerate(wanted):
        for got in (engine.calls[index][0].sampling, engine.calls[index][1].sampling):
            assert (got.steps, got.cfg, got.denoise) == pytest.approx(wanted_pass)


@settings(deadline=None, max_examples=15)
@given(st.sampled_from([1, 2, 3]), st.sampled_from(["denoise", "cfg", "steps"]), st.integers(1, 30), st.booleans())
def test_a_schedule_between_equals_is_no_hook(cycles: int, of: Any, value: int, named: bool) -> None:
    """Equal start and target, named or the unit's own: the very same picture, and the same input is handed on."""
    own = value / 30 if of == "denoise" else value
    hook = Schedule(of=of, ramp=Ramp(start=own if named else None, target=own))
    assert torch.equal(run(hook, cycle=cycles, **{of: own}).pictures[0], run(DetailerHook(), cycle=cycles, **{of: own}).pictures[0])
    for cycle in range(cycles):
        asked = cycle_input(cycle, cycles, sampling=replace(Sampling(), **{of: own}))
        assert hook.before_sampling(asked) is asked


@pytest.mark.parametrize("text", ["", "noise 0", "noise 0->0", "variation 5 0", "unsample 0", "label all", "ordered x0 asc 3", "range width 0.."])
def test_hooks_of_no_strength_are_no_hooks(text: str) -> None:
    """Strengths of 0 and filters that every segment passes leave each bit of the picture; the same texts with more do not."""
    assert torch.equal(run(parse_hooks(text)).pictures[0], run(DetailerHook()).pictures[0])


@pytest.mark.parametrize("text", [t for t in EVERY if not t.startswith("cfg")])
def test_hooks_act(text: str) -> None:
    """Each changes the picture, inside the segments only (the test engine knows no guidance)."""
    with_hook, without, before = run(parse_hooks(text)).pictures[0], run(DetailerHook()).pictures[0], picture()
    assert not torch.equal(with_hook, without)
    assert torch.equal(with_hook[..., :20, :], before[..., :20, :])
    assert torch.equal(with_hook[..., 75:, :], before[..., 75:, :])


@pytest.mark.parametrize("text", EVERY)
def test_waves_equal_single_runs_and_repeat(text: str) -> None:
    """All segments in one wave, or each by itself: the same picture; a repeat is the same to the bit."""
    engine, alone = StubEngine(), StubEngine()
    together = run(parse_hooks(text), engine).pictures[0]
    assert torch.allclose(together, run(parse_hooks(text), alone, limit=1).pictures[0], atol=2e-6)
    assert max(engine.waves) > 1
    assert set(alone.waves) == {1}
    assert torch.equal(together, run(parse_hooks(text)).pictures[0])


HOOKS_OF_NOISE = [NoiseInjection(strength=constant(0.4)), NoiseVariation(seed=5, strength=constant(0.4)),
                  NoiseVariation(seed=5, strength=constant(1))]


@pytest.mark.parametrize("hook", HOOKS_OF_NOISE)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_rows_do_not_meet(hook: DetailerHook, dtype: torch.dtype) -> None:
    """Bit by bit what each segment gets alone, in the latents' own type; other seeds get other noise."""
    whole = cycle_input(seeds=(11, 12, 11))
    whole = replace(whole, latents_bchw=whole.latents_bchw.to(dtype), noise_bchw=whole.noise_bchw.to(dtype))
    got = hook.before_sampling(whole)
    assert got.latents_bchw.dtype == got.noise_bchw.dtype == dtype
    for index in range(3):
        alone = hook.before_sampling(rows(whole, index))
        assert torch.equal(got.latents_bchw[index], alone.latents_bchw[0])
        assert torch.equal(got.noise_bchw[index], alone.noise_bchw[0])
    added = (got.latents_bchw - whole.latents_bchw) + (got.noise_bchw - whole.noise_bchw)
    assert torch.equal(added[0], added[2])
    assert not torch.equal(added[0], added[1])


def test_noise_comes_from_the_seed_for_good() -> None:
    """Numbers that may never change, or pictures could not be made again; other seeds and other purposes give others."""
    noise = row_noise(torch.zeros(2, 1, 1, 2), (1, 2), "injection")
    assert noise.flatten().tolist() == pytest.approx([-0.714605, 0.680119, -1.433446, 3.068548], abs=1e-5)
    assert not torch.equal(noise, row_noise(noise, (1, 2), "variation 1"))
    large = row_noise(torch.zeros(1, 4, 64, 64), (9,), "injection")
    assert float(large.mean()) == pytest.approx(0, abs=0.03)
    assert float(large.std()) == pytest.approx(1, abs=0.03)


def test_injection_by_hand() -> None:
    """Latents + strength * noise * mask: nothing outside, half of it where the mask is a half; the noise of the pass stays."""
    mask = torch.ones(2, 1, 8, 8)
    mask[:, :, :4], mask[:, :, 4] = 0.0, 0.5
    whole = cycle_input(masks_b1hw=mask)
    got = NoiseInjection(strength=constant(0.25)).before_sampling(whole)
    assert torch.allclose(got.latents_bchw, whole.latents_bchw + 0.25 * row_noise(mask.expand(-1, 4, -1, -1), (1, 2), "injection") * mask)
    assert torch.equal(got.latents_bchw[:, :, :4], whole.latents_bchw[:, :, :4])
    assert got.noise_bchw is whole.noise_bchw


def test_injection_in_a_run_stays_inside_the_masks() -> None:
    """The engine's latents differ from what was encoded where the noise mask is above 0, and nowhere else."""
    engine = StubEngine()
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., 16:48, 16:48] = 1
    made, z = request(engine, parse_hooks("noise 0.5"), Sampling(), mask)
    run_cycles(engine, made, z, Control())
    added = engine.calls[0][0].latents_bchw - z
    inside = to_latent_size(made.noise_masks, z).expand_as(z) > 0
    assert 0 < int(inside[0].sum()) < inside[0].numel()
    assert torch.equal(added != 0, inside)


@pytest.mark.parametrize(("text", "wanted"), [("noise 0.2", [0.2, 0.2, 0.2]), ("noise 0->0.2", [0, 0.1, 0.2]), ("noise ->0.2", [0, 0.1, 0.2]),
                                              ("noise 0.3->0.1", [0.3, 0.2, 0.1])])
def test_injection_over_cycles(text: str, wanted: list[float]) -> None:
    """What is added is as strong as the ramp says, and another noise in each cycle, since its seed is another."""
    hook, parts = parse_hooks(text), []
    for cycle, strength in enumerate(wanted):
        whole = cycle_input(cycle, 3, seeds=(30 + cycle,))
        added = hook.before_sampling(whole).latents_bchw - whole.latents_bchw
        assert torch.allclose(added, strength * row_noise(added, whole.seeds, "injection"), atol=1e-6)
        parts.append(added)
    assert not torch.allclose(parts[1] / wanted[1], parts[2] / wanted[2], atol=0.1)


@pytest.mark.parametrize(("one", "other", "strength", "wanted"), [
    ([3.0, 0.0], [0.0, 1.0], 0.5, [math.sqrt(2), math.sqrt(2)]),
    ([2.0, 0.0], [0.0, 2.0], 1 / 3, [2 * math.cos(math.pi / 6), 2 * math.sin(math.pi / 6)]),
    ([2.0, 0.0], [0.0, 2.0], 0.0, [2.0, 0.0]), ([2.0, 0.0], [0.0, 2.0], 1.0, [0.0, 2.0]),
    ([2.0, 0.0], [4.0, 0.0], 0.5, [3.0, 0.0]), ([0.0, 0.0], [4.0, 2.0], 0.5, [2.0, 1.0]), ([4.0, 2.0], [0.0, 0.0], 0.25, [3.0, 1.5]),
    ([1.0, 0.0], [math.cos(2), math.sin(2)], 0.5, [math.cos(1), math.sin(1)]),
])
def test_slerp_by_hand(one: list[float], other: list[float], strength: float, wanted: list[float]) -> None:
    """Equal angles on a circle, the length in between; vectors of one direction and without any are mixed straight."""
    assert slerp(torch.tensor(one), torch.tensor(other), strength).tolist() == pytest.approx(wanted, abs=1e-6)


@settings(deadline=None, max_examples=40)
@given(st.floats(0, 1), st.integers(0, 2**32 - 1), st.integers(-5, 2**40))
def test_variation_keeps_the_noises_length_and_goes_its_share(strength: float, seed: int, variation: int) -> None:
    """Each row is as long as before, and turned by its share of the angle to the other noise; the latents stay."""
    whole = cycle_input(seeds=(seed, 3))
    got = NoiseVariation(seed=variation, strength=constant(strength)).before_sampling(whole)
    assert got.latents_bchw is whole.latents_bchw
    other = NoiseVariation(seed=variation, strength=constant(1)).before_sampling(whole).noise_bchw
    for before, after, end in zip(whole.noise_bchw, got.noise_bchw, other, strict=True):
        assert float(after.norm()) == pytest.approx(float(before.norm()), rel=1e-5)
        assert _angle(before, after) == pytest.approx(strength * _angle(before, end), abs=2e-3)


def _angle(one: Tensor, other: Tensor) -> float:
    cosine = float((one.double() * other.double()).sum() / (one.double().norm() * other.double().norm()))
    return math.acos(max(-1.0, min(1.0, cosine)))


def test_variations_differ_by_their_seed() -> None:
    """At full strength the noise is the other seed's, in its own direction, and not that of the segment's seed."""
    whole = cycle_input()
    one, other = (NoiseVariation(seed=s, strength=constant(1)).before_sampling(whole).noise_bchw for s in (1, 2))
    assert _angle(one[0], row_noise(one, whole.seeds, "variation 1")[0]) < 1e-3
    assert _angle(one[0], other[0]) > 1
    assert _angle(one[0], whole.noise_bchw[0]) > 1


def request(engine: StubEngine, hook: DetailerHook, sampling: Sampling, mask: Tensor | None) -> tuple[WaveRequest, Tensor]:
    """A wave of two crops, one with a mask, and its latents."""
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(4))
    made = WaveRequest(images_bchw=images, noise_masks=(mask, None), prompts=("a face", "b"), negative_prompts=("", ""), seeds=(5, 6),
                       subseeds=(0, 0), sampling=sampling, hook=hook)
    return made, engine.encode(made)


@pytest.mark.parametrize("differential", [False, True])
@pytest.mark.parametrize(("steps", "denoise"), [(20, 0.6), (8, 0.4), (3, 0.4), (30, 1.0)])
def test_unsampling_comes_back_to_the_latents(differential: bool, steps: int, denoise: float) -> None:
    """The pass meets the latents z before its last step, which leads to D(z) = z + (target - z) * denoise / 2, inside the mask."""
    engine, mask = StubEngine(), torch.linspace(0, 1, 64).expand(1, 1, 64, 64)
    made, z = request(engine, Unsampling(), Sampling(steps=steps, denoise=denoise, differential=differential), mask)
    got = run_cycles(engine, made, z, Control())
    targets = torch.tensor([(sum(p.encode()) % 97) / 97 for p in made.prompts])[:, None, None, None]
    masks = to_latent_size(made.noise_masks, z)
    keep = (masks >= 1 / max(1, int(steps * denoise))).float() if differential else masks
    assert got is not None
    assert torch.allclose(got, z + (targets - z) * denoise / 2 * keep, atol=1e-4)
    if steps > 3:
        assert float(engine.calls[0][0].noise_bchw[1].abs().mean()) > 0.1, "the way back began far away"


def test_unsampling_finds_the_noise_of_its_own_pass() -> None:
    """Schedules bend it, wherever they stand in the text; half the strength is half the arc from the seed's noise."""
    engine = StubEngine()
    made, z = request(engine, parse_hooks("unsample; denoise 0.9; steps 15"), Sampling(steps=20, denoise=0.5), None)
    run_cycles(engine, made, z, Control())
    given_input, bent = engine.calls[0]
    assert (bent.sampling.steps, bent.sampling.denoise) == (15, 0.9)
    found = engine.invert(bent, given_input)
    assert torch.allclose(given_input.noise_bchw, found)
    seeded = engine.noise(made, z, made.seeds, 0)
    half = Unsampling(strength=constant(0.5)).before_sampling(replace(given_input, noise_bchw=seeded, invert=lambda _: found))
    assert torch.allclose(half.noise_bchw[1], slerp(seeded[1], found[1], 0.5))


def test_engines_invert_with_the_bent_request() -> None:
    """A backend reads steps and denoise in the request or in the input: both are the hook's."""
    asked: list[tuple[Sampling, Sampling]] = []

    class Note(StubEngine):
        def invert(self, request: WaveRequest, given: CycleInput) -> Tensor:
            asked.append((request.sampling, given.sampling))
            return given.noise_bchw

    engine = Note()
    made, z = request(engine, parse_hooks("denoise 0.9; unsample"), Sampling(denoise=0.5), None)
    run_cycles(engine, made, z, Control())
    assert [(one.denoise, other.denoise) for one, other in asked] == [(0.9, 0.9)]


def test_normalised_unsampling_by_hand() -> None:
    """Each segment's noise by itself: 1, 3 and 10, 30 both become -1, 1; what is even stays as it is."""
    given_input = cycle_input(seeds=(1, 2, 3), latents_bchw=torch.zeros(3, 1, 1, 2), noise_bchw=torch.zeros(3, 1, 1, 2))
    given_input = replace(given_input, invert=lambda _: torch.tensor([[1.0, 3.0], [10.0, 30.0], [5.0, 5.0]])[:, None, None])
    got = Unsampling(normalise=True).before_sampling(given_input).noise_bchw
    assert got.flatten().tolist() == pytest.approx([-1, 1, -1, 1, 5, 5])


def test_unsampling_needs_an_engine_that_can() -> None:
    """Refused before anything is drawn, alone and combined; asking such an engine all the same is a clear error."""
    class Forwards(StubEngine):
        capabilities = Capabilities()

    for text in ("unsample", "noise 0.1; unsample 0.5; label face"):
        engine = Forwards()
        with pytest.raises(EngineUnsupportedError, match=r"^hooks: the engine 'stub' does not support hook '.*unsampling.*', which runs the sampler "
                                                         r"backwards \(inversion\); leave it away$"):
            run(parse_hooks(text), engine)
        assert engine.waves == []
    assert run(parse_hooks("noise 0.1"), Forwards()).outcomes[0][0].state == "done"
    with pytest.raises(EngineUnsupportedError, match=r"^hooks: this engine cannot run its sampler backwards \(inversion\); leave 'unsample' away$"):
        Unsampling().before_sampling(cycle_input())


@pytest.mark.parametrize(("hook", "left"), [
    (LabelFilter(labels="face"), [0, 2]), (LabelFilter(labels=" hand , foot"), [1]), (LabelFilter(labels="all"), [0, 1, 2]),
    (LabelFilter(labels="x"), []),
    (OrderedFilter(by="x0", count=2), [2, 1]), (OrderedFilter(by="x0", count=2, descending=False), [0, 1]), (OrderedFilter(by="area", count=1), [2]),
    (OrderedFilter(by="area", count=5, start=1), [1, 0]), (OrderedFilter(by="height", count=0), []),
    (RangeFilter(by="width", low=41, high=42), [1]), (RangeFilter(by="width", low=40, high=40), [0, 2]), (RangeFilter(by="height", low=50), [2]),
    (RangeFilter(by="x0", low=60, high=60, inside=False), [0, 2]), (RangeFilter(by="y1", high=60), [0, 1]),
])
def test_filters_by_hand(hook: DetailerHook, left: list[int]) -> None:
    """Crop regions are 40x40, 42x40 and 40x50; those that are left reach the plan in that order, numbered anew."""
    assert hook.after_detection(THREE).items == tuple(THREE[i] for i in left)
    plan = make_plan([PictureJob(segments=THREE)], make_settings({"sizes": "exact"}), hook=hook)
    assert [i.segment.bbox_xyxy for i in plan.items] == [THREE[i].bbox_xyxy for i in left]
    assert not hook.needs_latents


def test_preview_shows_what_was_done() -> None:
    """All crops of a wave after decoding, then the picture after each segment, each as it was then; nothing is changed by looking."""
    crops, pictures = [], []

    def look(picture_bchw: Tensor, paste_xyxy: Box) -> None:
        pictures.append((picture_bchw.clone(), paste_xyxy))
        picture_bchw.zero_()

    def look_at_crops(images_bchw: Tensor) -> None:
        crops.append(tuple(images_bchw.shape))
        images_bchw.zero_()

    result = run(Preview(crops=look_at_crops, picture=look))
    assert torch.equal(result.pictures[0], run(DetailerHook()).pictures[0])
    assert crops == [(3, 3, 128, 128)]
    assert len(pictures) == 3
    assert torch.equal(pictures[-1][0], result.pictures[0])
    x0, y0, x1, y1 = pictures[0][1]
    assert torch.equal(pictures[0][0][..., y0:y1, x0:x1], result.pictures[0][..., y0:y1, x0:x1])
    assert not torch.equal(pictures[0][0], pictures[1][0])


def test_a_preview_costs_only_where_someone_looks() -> None:
    """A run copies the picture before each paste for a hook that wants to see it; one that does not is not counted."""
    look: Callable[..., None] = lambda *_: None  # noqa: E731
    points = ("after_decode", "after_paste", "before_sampling")
    assert [p for p in points if Preview().uses(p)] == []
    assert [p for p in points if Preview(crops=look).uses(p)] == ["after_decode"]
    assert [p for p in points if Preview(picture=look).uses(p)] == ["after_paste"]


def test_a_preview_that_fails_keeps_the_picture() -> None:
    """The segments fail with its name and reason."""
    def broken(*_: Any) -> None:
        raise OSError("no window")

    result = run(Preview(picture=broken))
    assert {(o.state, o.reason) for o in result.outcomes[0]} == {("failed", "hook 'preview' failed at after_paste: OSError: no window")}
    assert torch.equal(result.pictures[0], picture())


def test_names() -> None:
    """How messages call them."""
    hooks = [Schedule(of="cfg", ramp=constant(5)), NoiseInjection(strength=constant(1)), NoiseVariation(seed=1, strength=constant(1)),
             Unsampling(), LabelFilter(labels="face"), OrderedFilter(by="area", count=1), RangeFilter(by="width"), Preview()]
    assert [h.name for h in hooks] == ["cfg schedule", "noise injection", "noise variation", "unsampling", "label face", "ordered area",
                                       "range width", "preview"]


@pytest.mark.parametrize(("make", "text"), [
    (lambda: Schedule(of="denoise", ramp=Ramp(target=1.1)), r"denoise must lie in 0\.\.1, got 1\.1"),
    (lambda: Schedule(of="denoise", ramp=Ramp(start=-0.1, target=1)), r"denoise must lie in 0\.\.1, got -0\.1"),
    (lambda: Schedule(of="denoise", ramp=Ramp(target=float("nan"))), r"denoise must lie in 0\.\.1, got nan"),
    (lambda: Schedule(of="cfg", ramp=constant(31)), r"cfg must lie in 0\.\.30, got 31"),
    (lambda: Schedule(of="steps", ramp=constant(0)), r"steps must lie in 1\.\.150, got 0"),
    (lambda: Schedule(of="steps", ramp=Ramp(start=2.5, target=3)), r"steps must be a whole number, got 2\.5"),
    (lambda: Schedule(of="seed", ramp=constant(1)), "there is no schedule of 'seed'; choose one of denoise, cfg, steps"),
    (lambda: NoiseInjection(strength=constant(11)), r"the strength must lie in 0\.\.10, got 11"),
    (lambda: NoiseVariation(seed=1, strength=constant(1.5)), r"the strength must lie in 0\.\.1, got 1\.5"),
    (lambda: Unsampling(strength=Ramp(target=-1)), r"the strength must lie in 0\.\.1, got -1"),
    (lambda: OrderedFilter(by="wide", count=1), "unknown measure 'wide'; choose one of area, width, "),
    (lambda: OrderedFilter(by="area", count=-1), "count and start must not be negative, got -1 and 0"),
    (lambda: RangeFilter(by="tall"), "unknown measure 'tall'; choose one of area, width, "),
    (lambda: RangeFilter(by="width", low=3, high=2), r"the range goes from low to high, got 3\.\.2"),
    (lambda: RangeFilter(by="width", low=float("nan")), r"the range goes from low to high, got nan\.\.inf"),
])
def test_what_cannot_be_is_refused(make: Callable[[], Any], text: str) -> None:
    """When it is made, and not while a picture is being drawn."""
    with pytest.raises(SettingsError, match=f"^{text}") as caught:
        make()
    assert caught.value.field == "hooks"
