"""Hooks: where they are called, what they may return, and what a bad one costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from stub_engine import StubEngine
from torch import Tensor

from detailer_core.engines.base import Capabilities
from detailer_core.errors import EngineMemoryError, EngineUnsupportedError, HookError, MaskError, PictureError, SettingsError
from detailer_core.geometry import Box, SizeWH
from detailer_core.hooks import LATENT_POINTS, CombinedHook, CycleInput, DetailerHook, GuardedHook, combine
from detailer_core.plan import PictureJob, Plan, make_plan
from detailer_core.run import RunOptions, RunResult, run_plan
from detailer_core.sampling import Sampling
from detailer_core.segments import Segment, Segments
from detailer_core.settings import make_settings

PLAN_POINTS = ("after_detection", "crop_region", "sampling_size")
RUN_POINTS = (*LATENT_POINTS, "after_decode", "after_paste")
POINTS = (*PLAN_POINTS, *RUN_POINTS)
TENSOR_POINTS = tuple(p for p in RUN_POINTS if p != "before_sampling")

WH = (160, 96)


def segment(bbox: Box) -> Segment:
    """A segment with ten pixels around its box, which is masked."""
    crop = (bbox[0] - 10, bbox[1] - 10, bbox[2] + 10, bbox[3] + 10)
    mask = torch.zeros(crop[3] - crop[1], crop[2] - crop[0])
    mask[10:-10, 10:-10] = 1
    return Segment(bbox_xyxy=bbox, crop_xyxy=crop, mask_hw=mask)


THREE = Segments(size_wh=WH, items=tuple(segment((x, 30, x + 20, 50)) for x in (20, 70, 120)))
LATENTS = torch.rand(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
CYCLE = CycleInput(latents_bchw=LATENTS, noise_bchw=LATENTS + 1, sampling=Sampling(), cycle=0, cycles=1, seeds=(1, 2))
ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "after_detection": (THREE,), "crop_region": ((0, 0, 40, 40), (10, 10, 30, 30), WH), "sampling_size": ((64, 64),),
    "after_encode": (LATENTS, (1, 2)), "before_cycle": (LATENTS, 0, 1), "noise": (LATENTS, (1, 2), 0), "before_sampling": (CYCLE,),
    "before_decode": (LATENTS,), "after_decode": (torch.rand(2, 3, 64, 64),), "after_paste": (torch.rand(1, 3, 96, 160), (0, 0, 10, 10)),
}


def hook_at(point: str, act: Callable[..., Any], name: str = "Bad") -> DetailerHook:
    """A hook that does something at one point."""
    return type(name, (DetailerHook,), {point: lambda self, *rest: act(*rest)})()


def plan(limit: int = 64, values: dict[str, Any] | None = None) -> Plan:
    """The three segments, small."""
    settings = make_settings({"guide_size": 64, "max_size": 128, "steps": 6, **(values or {})})
    return make_plan([PictureJob(segments=THREE)], settings, policy=StubEngine(limit=limit))


def picture() -> Tensor:
    """Noise, k/255."""
    return torch.randint(0, 256, (1, 3, 96, 160), generator=torch.Generator().manual_seed(3)).float() / 255


def run(hook: DetailerHook, limit: int = 64, values: dict[str, Any] | None = None, before: Tensor | None = None) -> RunResult:
    """The three segments, redrawn with a hook."""
    return run_plan([picture() if before is None else before], plan(limit, values), StubEngine(), RunOptions(hook=hook))


def states(result: RunResult) -> list[str]:
    """What became of the segments."""
    return [o.state for o in result.outcomes[0]]


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("wrap", [lambda h: h, GuardedHook, lambda h: CombinedHook([h, h]), lambda h: CombinedHook([])])
def test_the_base_changes_nothing(wrap: Callable[[DetailerHook], DetailerHook], point: str) -> None:
    """Every method gives back what it was given, alone, watched and combined, and uses no point."""
    hook = wrap(DetailerHook())
    assert getattr(hook, point)(*ARGUMENTS[point]) is ARGUMENTS[point][0]
    assert not hook.uses(point)
    assert not hook.needs_latents


@pytest.mark.parametrize("point", POINTS)
def test_a_hook_uses_what_it_overrides(point: str) -> None:
    """And nothing else; the watcher and a combination say the same; points in latent space need latents."""
    hook = hook_at(point, lambda value, *_: value)
    for one in (hook, GuardedHook(hook), CombinedHook([DetailerHook(), hook])):
        assert [p for p in POINTS if one.uses(p)] == [point]
        assert one.needs_latents == (point in LATENT_POINTS)


def test_names() -> None:
    """A hook is called as its class; the watcher as what it watches; a combination as all."""
    bad = hook_at("noise", lambda *_: None)
    assert (bad.name, GuardedHook(bad).name, CombinedHook([bad, DetailerHook()]).name) == ("Bad", "Bad", "Bad + DetailerHook")


@pytest.mark.parametrize("point", TENSOR_POINTS)
def test_combined_hooks_act_one_after_the_other(point: str) -> None:
    """The second gets what the first made, and both get the rest as it is."""
    seen = []

    def times(value: Tensor, *rest: Any) -> Tensor:
        seen.append(rest)
        return value * 3

    combined = CombinedHook([hook_at(point, lambda value, *_: value + 1), hook_at(point, times)])
    given = ARGUMENTS[point]
    assert torch.allclose(getattr(combined, point)(*given), (given[0] + 1) * 3)
    assert seen == [given[1:]]


@pytest.mark.parametrize(("point", "one", "other", "result"), [
    ("crop_region", lambda box, *_: (box[0] + 1, *box[1:]), lambda box, *_: (box[0] * 5, *box[1:]), (5, 0, 40, 40)),
    ("sampling_size", lambda size: (size[0] + 1, size[1]), lambda size: (size[0] * 2, size[1]), (130, 64)),
    ("after_detection", lambda s: s.with_items(s.items[1:]), lambda s: s.with_items(s.items[:1]), None),
    ("before_sampling", lambda g: replace(g, cycle=g.cycle + 1), lambda g: replace(g, cycle=g.cycle * 5), None),
])
def test_combined_hooks_bend_plans_and_cycles(point: str, one: Any, other: Any, result: Any) -> None:
    """In order at the points whose values are no tensors, too."""
    got = getattr(CombinedHook([hook_at(point, one), hook_at(point, other)]), point)(*ARGUMENTS[point])
    if point == "after_detection":
        assert got.items == THREE.items[1:2]
    elif point == "before_sampling":
        assert got.cycle == 5
    else:
        assert got == result


def raising(error: Exception) -> Callable[..., Any]:
    """Raises whatever it is given."""
    def act(*_: Any) -> Any:
        raise error
    return act


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("error", [ValueError("no"), KeyError("k"), PictureError("no"), MaskError("no"), SettingsError("no"),
                                   EngineMemoryError("no")], ids=lambda e: type(e).__name__)
def test_what_a_hook_raises_names_it_and_the_point(point: str, error: Exception) -> None:
    """Whatever it is, this project's own errors included, it becomes one HookError that keeps the cause."""
    with pytest.raises(HookError, match=rf"^hook 'Bad' failed at {point}: {type(error).__name__}: ") as caught:
        getattr(GuardedHook(hook_at(point, raising(error))), point)(*ARGUMENTS[point])
    assert caught.value.__cause__ is error


def test_a_hook_error_from_a_watched_hook_inside_stays_as_it_is() -> None:
    """Watched twice, it is told once."""
    with pytest.raises(HookError, match=r"^hook 'Bad' failed at noise: ValueError: no$"):
        GuardedHook(GuardedHook(hook_at("noise", raising(ValueError("no"))))).noise(LATENTS, (1, 2), 0)


@pytest.mark.parametrize("point", TENSOR_POINTS)
@pytest.mark.parametrize(("act", "text"), [
    (lambda *_: None, "expected a tensor, got NoneType"),
    (lambda value, *_: value.numpy(), "expected a tensor, got ndarray"),
    (lambda value, *_: value[:1, :2], r"expected a float tensor of shape \(.*\), got torch.float32 \(1, 2, "),
    (lambda value, *_: value[..., None], r"expected a float tensor of shape \(.*\), got torch.float32 \("),
    (lambda value, *_: value.int(), r"expected a float tensor of shape \(.*\), got torch.int32 "),
    (lambda value, *_: value * float("nan"), "it holds values that are not finite"),
    (lambda value, *_: value / 0, "it holds values that are not finite"),
], ids=["None", "numpy", "cut", "5-d", "int", "nan", "inf"])
def test_wrong_tensors_are_refused(point: str, act: Callable[..., Any], text: str) -> None:
    """Type, shape, kind of number, and finiteness are checked at every point that gives a tensor."""
    with pytest.raises(HookError, match=rf"^hook 'Bad' returned something wrong at {point}: {text}"):
        getattr(GuardedHook(hook_at(point, act)), point)(*ARGUMENTS[point])


@pytest.mark.parametrize(("point", "value", "text"), [
    ("after_detection", None, "expected Segments of the same picture"),
    ("after_detection", [], "expected Segments of the same picture"),
    ("after_detection", Segments(size_wh=(96, 160)), "expected Segments of the same picture"),
    ("crop_region", None, "expected four whole numbers, got None"),
    ("crop_region", [0, 0, 5, 5], r"expected four whole numbers, got \[0, 0, 5, 5\]"),
    ("crop_region", (0, 0, 5), r"expected four whole numbers, got \(0, 0, 5\)"),
    ("crop_region", (0, 0, 5.5, 5), r"expected four whole numbers, got \(0, 0, 5.5, 5\)"),
    ("crop_region", (0, 0, 161, 5), r"\(0, 0, 161, 5\) does not lie in the picture of \(160, 96\) pixels"),
    ("crop_region", (5, 0, 5, 5), r"\(5, 0, 5, 5\) does not lie in the picture"),
    ("crop_region", (-1, 0, 5, 5), r"\(-1, 0, 5, 5\) does not lie in the picture"),
    ("sampling_size", None, "expected two positive whole numbers, got None"),
    ("sampling_size", (64, 0), r"expected two positive whole numbers, got \(64, 0\)"),
    ("sampling_size", (64.0, 64), r"expected two positive whole numbers, got \(64.0, 64\)"),
    ("sampling_size", 64, "expected two positive whole numbers, got 64"),
    ("before_sampling", None, "expected a CycleInput, got NoneType"),
    ("before_sampling", LATENTS, "expected a CycleInput, got Tensor"),
    ("before_sampling", replace(CYCLE, latents_bchw=LATENTS[:1]), r"expected a float tensor of shape \(2, 4, 8, 8\), got torch.float32 \(1, "),
    ("before_sampling", replace(CYCLE, noise_bchw=LATENTS / 0), "it holds values that are not finite"),
    ("before_sampling", replace(CYCLE, sampling=None), "expected its sampling to be a Sampling, got NoneType"),  # type: ignore[arg-type]
])
def test_wrong_values_are_refused(point: str, value: Any, text: str) -> None:
    """Boxes lie in the picture, sizes are positive, a cycle's input is whole; the message shows what came."""
    with pytest.raises(HookError, match=rf"^hook 'Bad' returned something wrong at {point}: {text}"):
        getattr(GuardedHook(hook_at(point, lambda *_: value)), point)(*ARGUMENTS[point])


@pytest.mark.parametrize(("changes", "text"), [
    ({"steps": 0}, "expected a whole number of steps from 1 on, got 0"), ({"steps": 2.5}, "expected a whole number of steps from 1 on, got 2.5"),
    ({"denoise": 1.5}, r"expected denoise in 0..1 and a finite cfg, got 1.5"), ({"denoise": -0.1}, r"expected denoise in 0..1"),
    ({"cfg": float("nan")}, r"expected denoise in 0..1 and a finite cfg, got 0.4.* nan"),
])
def test_sampling_out_of_range_is_refused(changes: dict[str, Any], text: str) -> None:
    """What a hook makes of a cycle's sampling has to be possible."""
    hook = GuardedHook(hook_at("before_sampling", lambda g: replace(g, sampling=replace(g.sampling, **changes))))
    with pytest.raises(HookError, match=rf"^hook 'Bad' returned something wrong at before_sampling: {text}"):
        hook.before_sampling(CYCLE)


def test_combined_hooks_are_watched_one_by_one() -> None:
    """`combine` names the one at fault; hooks that change nothing are left out, one alone is not wrapped in a list, none is the base."""
    good, bad = hook_at("noise", lambda value, *_: value, "Good"), hook_at("noise", raising(ValueError("no")))
    with pytest.raises(HookError, match=r"^hook 'Bad' failed at noise"):
        combine([good, bad]).noise(LATENTS, (1, 2), 0)
    assert combine([good, DetailerHook(), bad]).name == "Good + Bad"
    assert type(combine([DetailerHook()])) is type(combine([])) is DetailerHook
    assert isinstance(combine([good]), GuardedHook)
    watched = GuardedHook(good)
    assert combine([watched]) is watched


def test_a_cycle_that_cannot_be_inverted_says_so() -> None:
    """Without an engine that can, asking for it is a clear error; a hook that needs it says so through every wrapper."""
    with pytest.raises(EngineUnsupportedError, match="this engine cannot run its sampler backwards"):
        CYCLE.invert(CYCLE)
    needing = type("Needing", (DetailerHook,), {"needs_inversion": True})()
    for hook in (needing, GuardedHook(needing), CombinedHook([DetailerHook(), needing])):
        assert hook.needs_inversion
    assert not CombinedHook([GuardedHook(DetailerHook())]).needs_inversion


@pytest.mark.parametrize("point", PLAN_POINTS)
def test_a_bad_hook_stops_the_planning(point: str) -> None:
    """Nothing was drawn by then; the error names hook and point."""
    hook = GuardedHook(hook_at(point, raising(ValueError("no"))))
    with pytest.raises(HookError, match=f"hook 'Bad' failed at {point}: ValueError: no"):
        make_plan([PictureJob(segments=THREE)], make_settings({}), hook=hook)


@pytest.mark.parametrize("point", RUN_POINTS)
@pytest.mark.parametrize("kind", ["raises", "PictureError", "wrong shape", "wrong type", "nan"])
def test_a_bad_hook_fails_its_segments_only(point: str, kind: str) -> None:
    """It fails for the second of three waves: that segment's pixels stay, the others come out as without the hook."""
    calls = []

    def act(value: Any, *_: Any) -> Any:
        calls.append(1)
        if len(calls) != 2:
            return value
        if kind in ("raises", "PictureError"):
            raise ValueError("no") if kind == "raises" else PictureError("no")
        if kind == "wrong type":
            return "text"
        bad = (lambda t: t[..., :1]) if kind == "wrong shape" else (lambda t: t * float("nan"))
        return replace(value, latents_bchw=bad(value.latents_bchw)) if isinstance(value, CycleInput) else bad(value)

    before = picture()
    result = run(hook_at(point, act), limit=1, before=before)
    assert states(result) == ["done", "failed", "done"]
    what = "failed" if kind in ("raises", "PictureError") else "returned something wrong"
    assert result.outcomes[0][1].reason.startswith(f"hook 'Bad' {what} at {point}: ")
    wanted = run(DetailerHook(), limit=1, before=before).pictures[0].clone()
    wanted[..., 20:60, 60:100] = before[..., 20:60, 60:100]
    assert torch.equal(result.pictures[0], wanted)


@pytest.mark.parametrize("error", [True, False])
def test_a_hook_that_spoils_the_picture_and_fails_leaves_no_trace(error: bool) -> None:
    """What it wrote after pasting, anywhere, is undone with its segment."""
    def act(value: Tensor, box: Box) -> Any:
        if box[0] > 100:
            value.zero_()
            if error:
                raise ValueError("no")
            return None
        return value

    before = picture()
    result = run(hook_at("after_paste", act), before=before)
    assert states(result) == ["done", "done", "failed"]
    wanted = run(DetailerHook(), before=before).pictures[0].clone()
    wanted[..., 20:60, 110:150] = before[..., 20:60, 110:150]
    assert torch.equal(result.pictures[0], wanted)


def test_points_are_passed_in_order_with_their_seeds() -> None:
    """Encode once, each cycle three points with its own seeds, decode, then one paste a segment."""
    passed: list[tuple[Any, ...]] = []

    class Watch(DetailerHook):
        def after_encode(self, latents_bchw: Tensor, seeds: Sequence[int]) -> Tensor:
            passed.append(("after_encode", tuple(latents_bchw.shape[:2]), seeds))
            return latents_bchw

        def before_cycle(self, latents_bchw: Tensor, cycle: int, cycles: int) -> Tensor:
            passed.append(("before_cycle", cycle, cycles))
            return latents_bchw

        def noise(self, noise_bchw: Tensor, seeds: Sequence[int], cycle: int) -> Tensor:
            passed.append(("noise", seeds, cycle))
            return noise_bchw

        def before_sampling(self, given: CycleInput) -> CycleInput:
            passed.append(("before_sampling", given.seeds, given.cycle, given.cycles, given.sampling.steps))
            return given

        def before_decode(self, latents_bchw: Tensor) -> Tensor:
            passed.append(("before_decode", len(latents_bchw)))
            return latents_bchw

        def after_decode(self, images_bchw: Tensor) -> Tensor:
            passed.append(("after_decode", tuple(images_bchw.shape[:2])))
            return images_bchw

        def after_paste(self, picture_bchw: Tensor, paste_xyxy: Box) -> Tensor:
            passed.append(("after_paste", tuple(picture_bchw.shape), paste_xyxy))
            return picture_bchw

    result = run(Watch(), values={"cycle": 2})
    assert passed == [
        ("after_encode", (3, 4), (0, 1, 2)), ("before_cycle", 0, 2), ("noise", (0, 1, 2), 0), ("before_sampling", (0, 1, 2), 0, 2, 6),
        ("before_cycle", 1, 2), ("noise", (1, 2, 3), 1), ("before_sampling", (1, 2, 3), 1, 2, 6), ("before_decode", 3), ("after_decode", (3, 3)),
        *(("after_paste", (1, 3, 96, 160), (x - 5, 25, x + 25, 55)) for x in (20, 70, 120))]
    assert torch.equal(result.pictures[0], run(DetailerHook(), values={"cycle": 2}).pictures[0])


@pytest.mark.parametrize("point", ["after_encode", "before_cycle", "noise", "before_decode", "after_decode"])
def test_what_a_hook_returns_is_used(point: str) -> None:
    """Each point of the redrawing changes the result inside the masks."""
    before = picture()
    bent = run(hook_at(point, lambda value, *_: value * 0.5), before=before).pictures[0]
    plain = run(DetailerHook(), before=before).pictures[0]
    assert not torch.equal(bent, plain)
    assert torch.equal(bent[..., :20, :], before[..., :20, :])


def test_sampling_can_be_bent_for_one_cycle() -> None:
    """Steps of the second cycle are the hook's; the engine gets them, and the plan stays."""
    engine = StubEngine()
    hook = hook_at("before_sampling", lambda g: replace(g, sampling=replace(g.sampling, steps=50)) if g.cycle else g)
    run_plan([picture()], plan(values={"cycle": 2}), engine, RunOptions(hook=hook))
    assert [(given.sampling.steps, request.sampling.steps) for given, request in engine.calls] == [(6, 6), (50, 50)]


def test_after_paste_may_give_another_tensor() -> None:
    """Its values become the picture's."""
    result = run(hook_at("after_paste", lambda value, box: torch.zeros_like(value)))
    assert states(result) == ["done"] * 3
    assert not bool(result.pictures[0].any())


def test_hooks_in_latent_space_need_an_engine_that_has_it() -> None:
    """Refused before anything is drawn, with the hook's name."""
    class NoLatents(StubEngine):
        capabilities = Capabilities(latents=False)

    engine = NoLatents()
    with pytest.raises(EngineUnsupportedError, match="hook: the engine 'stub' does not support hook 'Bad', which works on latents"):
        run_plan([picture()], plan(), engine, RunOptions(hook=hook_at("noise", lambda value, *_: value)))
    assert engine.waves == []
    run_plan([picture()], plan(), engine, RunOptions(hook=hook_at("after_decode", lambda value, *_: value)))
    assert engine.waves == [3]


def test_plan_points_bend_through_the_watcher() -> None:
    """What a good hook returns reaches the plan."""
    class Good(DetailerHook):
        def crop_region(self, crop_xyxy: Box, bbox_xyxy: Box, picture_wh: SizeWH) -> Box:
            return 0, 0, *picture_wh

        def sampling_size(self, size_wh: SizeWH) -> SizeWH:
            return 320, 192

    made = make_plan([PictureJob(segments=THREE)], make_settings({"sizes": "exact"}), hook=GuardedHook(Good()))
    assert {(i.segment.crop_xyxy, i.size_wh) for i in made.items} == {((0, 0, *WH), (320, 192))}
