"""Runs: what changes in the pictures and what does not, in waves or one by one, when something fails, and when it is interrupted."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stub_engine import StubEngine
from torch import Tensor

from detailer_core.engines.base import Capabilities, Control, Redrawn, WaveRequest
from detailer_core.errors import EngineUnsupportedError, PictureError
from detailer_core.geometry import Box, SizeWH, make_crop_region
from detailer_core.image_ops import blur_mask
from detailer_core.plan import PictureJob, Plan, make_plan
from detailer_core.run import Keep, Progress, RunOptions, RunResult, run_plan
from detailer_core.sampling import MainGeneration
from detailer_core.segments import Segment, Segments
from detailer_core.settings import UnitSettings, make_settings
from detailer_core.wave_memory import WaveMemory

SMALL = {"guide_size": 64, "max_size": 128, "crop_factor": 2.0}
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"))]


def picture(channels: int = 3, wh: SizeWH = (160, 96), seed: int = 0) -> Tensor:
    """Values k/255, as pictures have them."""
    return torch.randint(0, 256, (1, channels, wh[1], wh[0]), generator=torch.Generator().manual_seed(seed)).float() / 255


def segment(bbox: Box, wh: SizeWH = (160, 96), factor: float = 2.0, weight: float = 1.0) -> Segment:
    """A segment whose box is masked."""
    crop = make_crop_region(wh, bbox, factor)
    mask = torch.zeros(crop[3] - crop[1], crop[2] - crop[0])
    mask[bbox[1] - crop[1] : bbox[3] - crop[1], bbox[0] - crop[0] : bbox[2] - crop[0]] = weight
    return Segment(bbox_xyxy=bbox, crop_xyxy=crop, mask_hw=mask)


THREE = Segments(size_wh=(160, 96), items=tuple(segment((x, 30, x + 20, 50)) for x in (20, 70, 120)))
"""Three segments apart from each other: one wave."""


def planned(segments: Segments | Sequence[Segments], values: dict[str, Any] | None = None, *, limit: int = 64, seed: int = 5) -> Plan:
    """The plan for pictures that all were made alike."""
    every = [segments] if isinstance(segments, Segments) else segments
    jobs = [PictureJob(segments=s, main=MainGeneration(prompt="a face", seed=seed, steps=8)) for s in every]
    return make_plan(jobs, make_settings({**SMALL, **(values or {})}), policy=StubEngine(limit=limit))


def states(result: RunResult, number: int = 0) -> list[str]:
    """What became of the segments of one picture, in order of work."""
    return [o.state for o in result.outcomes[number]]


def changed(before: Tensor, after: Tensor) -> Tensor:
    """Where any channel differs, `[H, W]`."""
    return (before != after).any(1)[0]


def reach(segments: Segments, feather: int = 5) -> Tensor:
    """Where pasting can change something: the blurred masks above 0, `[H, W]`."""
    whole = torch.zeros(segments.size_wh[1], segments.size_wh[0], dtype=torch.bool)
    for one in segments:
        x0, y0, x1, y1 = one.crop_xyxy
        whole[y0:y1, x0:x1] |= blur_mask(one.mask_hw[None, None], feather)[0, 0] > 0
    return whole


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("resampler", ["lanczos", "pillow-8bit"])
def test_pixels_outside_of_the_blurred_masks_keep_every_bit(channels: int, resampler: str) -> None:
    """Grey and colour, with alpha or without: inside the masks the colours change, outside nothing does, and alpha nowhere."""
    before = picture(channels)
    given_picture = before.clone()
    result = run_plan([given_picture], planned(THREE, {"resampler": resampler, "sizes": "multiple"}), StubEngine())
    after = result.pictures[0]
    assert states(result) == ["done"] * 3
    assert torch.equal(given_picture, before), "the input is never changed"
    assert after.shape == before.shape
    differs, masks = changed(before, after), reach(THREE)
    assert not bool((differs & ~masks).any())
    assert int((differs & masks).sum()) > 0.95 * int(masks.sum())
    if channels in (2, 4):
        assert torch.equal(after[:, -1], before[:, -1])
    assert float(after.min()) >= 0
    assert float(after.max()) <= 1


def test_the_work_in_numbers() -> None:
    """A grey level of 0.6 under the sampler "half" is 0.6 * 0.5 + 0.25 = 0.55 inside the mask, and blends with the feather."""
    before = torch.full((1, 3, 96, 160), 0.6)
    result = run_plan([before], planned(THREE, {"noise_mask": False, "sizes": "multiple"}), StubEngine(formula="half"))
    one = THREE[0]
    mask = blur_mask(one.mask_hw[None, None], 5)
    x0, y0, x1, y1 = one.crop_xyxy
    assert torch.allclose(result.pictures[0][..., y0:y1, x0:x1], (0.6 * (1 - mask) + 0.55 * mask).expand(1, 3, -1, -1), atol=2e-6)


@pytest.mark.parametrize("noise_mask", [True, False])
def test_filled_content_reaches_the_engine(noise_mask: bool) -> None:
    """Under a noise mask the engine is given the surroundings in place of the part; without one the part itself. The kept crop is the part."""
    before = torch.full((1, 3, 96, 160), 0.6)
    for one in THREE:
        x0, y0, x1, y1 = one.bbox_xyxy
        before[..., y0:y1, x0:x1] = 0.0
    engine, keep = StubEngine(), RunOptions(keep=Keep(cropped=True))
    plan = planned(THREE, {"masked_content": "fill", "noise_mask": noise_mask, "noise_mask_feather": 0, "sizes": "multiple"})
    result = run_plan([before], plan, engine, keep)
    ((_, request),) = engine.calls
    assert (float(request.images_bchw.min()) > 0.5) == noise_mask
    assert all(float(o.cropped_bchw.min()) == 0 for o in result.outcomes[0] if o.cropped_bchw is not None)


def test_grey_stays_grey_by_luma() -> None:
    """A redrawn colour becomes its luma: 0.299 R + 0.587 G + 0.114 B."""
    class Red(StubEngine):
        def redraw(self, request: WaveRequest, control: Control) -> Redrawn:
            images = torch.zeros_like(request.images_bchw)
            images[:, 0], images[:, 1], images[:, 2] = 1.0, 0.5, 0.25
            return Redrawn(images_bchw=images)

    result = run_plan([picture(1)], planned(THREE, {"feather": 0}), Red())
    assert float(result.pictures[0][0, 0, 40, 30]) == pytest.approx(0.299 + 0.587 * 0.5 + 0.114 * 0.25, abs=1e-6)


@pytest.mark.parametrize(("feather", "noise_feather"), [(5, 20), (5, 5), (0, 3), (4, 0)])
def test_the_engine_gets_the_noise_mask_with_its_own_feather(feather: int, noise_feather: int) -> None:
    """Both masks are blurred apart from the segment's own (REFERENCE item 31); with the noise mask off there is none."""
    engine = StubEngine()
    options = RunOptions(keep=Keep(enhanced=True))
    result = run_plan([picture()], planned(THREE, {"feather": feather, "noise_mask_feather": noise_feather}), engine, options)
    for outcome, noise_mask in zip(result.outcomes[0], engine.calls[0][1].noise_masks, strict=True):
        own = outcome.segment.mask_hw[None, None]
        assert outcome.alpha_b1hw is not None
        assert noise_mask is not None
        assert torch.equal(noise_mask, blur_mask(own, noise_feather))
        assert torch.equal(outcome.alpha_b1hw, blur_mask(own, feather))
    engine = StubEngine()
    run_plan([picture()], planned(THREE, {"noise_mask": False}), engine)
    assert engine.calls[0][1].noise_masks == (None,) * 3


@st.composite
def overlapping(draw: st.DrawFn) -> tuple[Segments, dict[str, Any]]:
    """Segments that may overlap, and settings of all kinds of masks, sizes and cycles."""
    width, height = draw(st.sampled_from([(64, 64), (90, 70)]))
    items = []
    for _ in range(draw(st.integers(1, 6))):
        x0, y0 = draw(st.integers(0, width - 8)), draw(st.integers(0, height - 8))
        bbox = (x0, y0, draw(st.integers(x0 + 6, min(width, x0 + 20))), draw(st.integers(y0 + 6, min(height, y0 + 20))))
        items.append(segment(bbox, (width, height), draw(st.sampled_from([1.0, 1.5, 2.5])), draw(st.sampled_from([1.0, 0.5]))))
    masks = draw(st.sampled_from([{"noise_mask": False}, {"noise_mask_feather": 0}, {"noise_mask_feather": 4}]))
    values = {**masks, "cycle": draw(st.integers(1, 2)), "feather": draw(st.sampled_from([0, 3])), "denoise": draw(st.sampled_from([0.3, 0.8])),
              "sizes": draw(st.sampled_from(["multiple", "bucket"])), "guide_size": 64, "max_size": 96}
    return Segments(size_wh=(width, height), items=tuple(items)), values


@settings(deadline=None, max_examples=40)
@given(overlapping(), st.integers(0, 2**32 - 1))
def test_waves_give_what_one_by_one_gives(case: tuple[Segments, dict[str, Any]], seed: int) -> None:
    """Hard, soft and differential masks, cycles, overlaps: the pictures of a run in waves are those of a run segment by segment."""
    segments, values = case
    given_picture = picture(3, segments.size_wh, seed % 97)
    in_waves = run_plan([given_picture], planned(segments, values, seed=seed), StubEngine())
    one_by_one = run_plan([given_picture], planned(segments, values, seed=seed, limit=1), StubEngine())
    assert states(in_waves) == states(one_by_one) == ["done"] * len(segments)
    assert float((in_waves.pictures[0] - one_by_one.pictures[0]).abs().max()) <= 1e-6


def test_what_is_apart_is_one_wave_of_the_engine() -> None:
    """The test above would prove nothing if waves were never larger than one."""
    engine = StubEngine()
    run_plan([picture()], planned(THREE), engine)
    assert engine.waves == [3]


def test_a_later_segment_sees_what_an_earlier_one_pasted() -> None:
    """Two on one place: the second starts from the first's result (REFERENCE item 4)."""
    twice = THREE.with_items([THREE[0], THREE[0]])
    level = torch.full((1, 3, 96, 160), 0.6)
    result = run_plan([level], planned(twice, {"noise_mask": False, "feather": 0, "crop_factor": 1.0}), StubEngine(formula="half"))
    once = run_plan([level], planned(THREE.with_items([THREE[0]]), {"noise_mask": False, "feather": 0}), StubEngine(formula="half"))
    again = run_plan(once.pictures, planned(THREE.with_items([THREE[0]]), {"noise_mask": False, "feather": 0}, seed=6), StubEngine(formula="half"))
    assert torch.equal(result.pictures[0], again.pictures[0])
    assert not torch.equal(once.pictures[0], again.pictures[0])


@pytest.mark.parametrize("k", [1, 2, 3])
def test_cycles_take_the_next_seeds(k: int) -> None:
    """Cycle k samples segment i with seed + i + k, wrapped at 2^32 (REFERENCE items 1, 42)."""
    engine = StubEngine()
    run_plan([picture()], planned(THREE, {"cycle": k}, seed=2**32 - 2), engine)
    limit = 2**32
    assert [c.seeds for c, _ in engine.calls] == [tuple((limit - 2 + i + c) % limit for i in range(3)) for c in range(k)]


def test_skipped_segments_are_told_and_keep_their_place() -> None:
    """Their index counts, their seed is used up, their reason is in words, and their pixels stay."""
    segments = THREE.with_items([THREE[0], replace(THREE[1], mask_hw=torch.zeros_like(THREE[1].mask_hw)), THREE[2]])
    engine = StubEngine()
    before = picture()
    result = run_plan([before], planned(segments), engine)
    assert states(result) == ["done", "skipped", "done"]
    assert result.outcomes[0][1].reason == "its mask is empty"
    assert result.outcomes[0][1].plan is None
    assert engine.calls[0][0].seeds == (5, 7)
    assert torch.equal(result.pictures[0][..., 30:50, 70:90], before[..., 30:50, 70:90])


@pytest.mark.parametrize("fits", [1, 2, 3, 5])
def test_out_of_memory_changes_nothing_but_the_waves(fits: int) -> None:
    """The wave is halved until it fits, what fitted is remembered for the next wave and the next run, and the picture is the same."""
    wh = (64 * 7, 64)
    seven = Segments(size_wh=wh, items=tuple(segment((64 * i + 22, 22, 64 * i + 42, 42), wh) for i in range(7)))
    before, memory, engine = picture(3, wh), WaveMemory(), StubEngine(fits=fits)
    result = run_plan([before], planned(seven), engine, RunOptions(memory=memory))
    assert states(result) == ["done"] * 7
    assert torch.equal(result.pictures[0], run_plan([before], planned(seven), StubEngine()).pictures[0])
    assert engine.waves == {1: [7, 3, 1, 1, 1, 1, 1, 1, 1], 2: [7, 3, 1, 1, 1, 1, 1, 1, 1], 3: [7, 3, 3, 1], 5: [7, 3, 3, 1]}[fits]
    engine.waves.clear()
    run_plan([before], planned(seven), engine, RunOptions(memory=memory))
    assert max(engine.waves) <= fits, "nothing that did not fit is tried again"


def test_one_segment_that_does_not_fit_fails_alone() -> None:
    """Its picture stays as it was, and the reason is the engine's."""
    before = picture()
    result = run_plan([before], planned(THREE), StubEngine(fits=0))
    assert states(result) == ["failed"] * 3
    assert result.outcomes[0][0].reason == "1 segments do not fit, 0 would"
    assert torch.equal(result.pictures[0], before)


@pytest.mark.parametrize("failing", [1, 2, 3])
def test_an_engine_that_fails_costs_its_wave_only(failing: int) -> None:
    """The segments of the other waves are as if the failed one had not been asked for."""
    before = picture()
    result = run_plan([before], planned(THREE, limit=1), StubEngine(fail_at=frozenset({failing})))
    assert states(result) == ["failed" if i == failing - 1 else "done" for i in range(3)]
    assert result.outcomes[0][failing - 1].reason == "the stub was told to fail"
    x0, y0, x1, y1 = THREE[failing - 1].bbox_xyxy
    assert torch.equal(result.pictures[0][..., y0:y1, x0:x1], before[..., y0:y1, x0:x1])
    assert int(changed(before, result.pictures[0]).sum()) > 0


def test_an_engine_with_a_fault_costs_its_wave_only() -> None:
    """An exception that no engine should raise is a failed wave; what was finished before stays, what comes after is tried."""
    class Faulty(StubEngine):
        def redraw(self, request: WaveRequest, control: Control) -> Redrawn:
            redrawn = super().redraw(request, control)
            if len(self.waves) == 2:
                raise KeyError("weights")
            return redrawn

    result = run_plan([picture()], planned(THREE, limit=1), Faulty())
    assert states(result) == ["done", "failed", "done"]
    assert "KeyError: 'weights'" in result.outcomes[0][1].reason


@pytest.mark.parametrize("resampler", ["lanczos", "pillow-8bit"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_no_numbers_are_not_pasted(value: float, resampler: str) -> None:
    """One overflowed segment of a wave fails, the others are pasted; through 8 bit it does not become a black patch."""
    class Overflow(StubEngine):
        def redraw(self, request: WaveRequest, control: Control) -> Redrawn:
            images = super().redraw(request, control).images_bchw.clone()
            images[1, 0, 3, 3] = value
            return Redrawn(images_bchw=images)

    before = picture()
    result = run_plan([before], planned(THREE, {"resampler": resampler}), Overflow())
    assert states(result) == ["done", "failed", "done"]
    assert "values that are not numbers" in result.outcomes[0][1].reason
    assert not bool((changed(before, result.pictures[0]) & reach(THREE.with_items([THREE[1]]))).any())
    assert bool(torch.isfinite(result.pictures[0]).all())


@pytest.mark.parametrize("shape", [(2, 3, 64, 64), (3, 4, 64, 64), (3, 1, 64, 64), (3, 64, 64)])
def test_pictures_of_the_wrong_shape_from_an_engine_fail(shape: tuple[int, ...]) -> None:
    """Too few, or other than three channels: nothing is pasted into a single channel or over alpha."""
    class Wrong(StubEngine):
        def redraw(self, request: WaveRequest, control: Control) -> Redrawn:
            return Redrawn(images_bchw=torch.ones(shape))

    before = picture(4)
    result = run_plan([before], planned(THREE), Wrong())
    assert states(result) == ["failed"] * 3
    assert "back for 3 pictures; expected float [N, 3, h, w]" in result.outcomes[0][0].reason
    assert torch.equal(result.pictures[0], before)


def test_a_decoder_may_give_another_size() -> None:
    """Some cut to multiples; the picture is brought to the crop's size all the same."""
    class Cut(StubEngine):
        def redraw(self, request: WaveRequest, control: Control) -> Redrawn:
            return Redrawn(images_bchw=super().redraw(request, control).images_bchw[..., 8:-8, :])

    assert states(run_plan([picture()], planned(THREE), Cut())) == ["done"] * 3


def test_a_segment_outside_its_picture_fails_alone() -> None:
    """Its wave mates are redrawn, though it was planned with them."""
    far = replace(THREE[1], crop_xyxy=(200, 10, 240, 50), mask_hw=torch.ones(40, 40))
    before = picture()
    result = run_plan([before], planned(THREE.with_items([THREE[0], far, THREE[2]]), {"sizes": "multiple"}), StubEngine())
    assert states(result) == ["done", "failed", "done"]
    assert "does not lie in the picture of 160x96 pixels" in result.outcomes[0][1].reason


@dataclass
class Stopper:
    """Says stop after some questions."""

    after: int
    asked: int = 0

    def __call__(self) -> bool:
        """Whether to stop now."""
        self.asked += 1
        return self.asked > self.after


@pytest.mark.parametrize("done", [0, 1, 2])
def test_an_interrupt_keeps_what_is_finished(done: int) -> None:
    """Segments before it are pasted as in a full run, the one that was begun is not, and those after it are not begun."""
    before = picture()
    engine = StubEngine(stop_after=done)
    result = run_plan([before], planned(THREE, limit=1), engine)
    assert states(result) == ["done"] * done + ["interrupted"] * (3 - done)
    assert result.interrupted
    assert result.outcomes[0][done].reason == "the run was interrupted while it was redrawn"
    full = run_plan([before], planned(THREE.with_items(THREE.items[:done]), limit=1), StubEngine())
    assert torch.equal(result.pictures[0], full.pictures[0])
    assert not full.interrupted


def test_an_unfinished_wave_is_not_pasted() -> None:
    """Interrupted in its second cycle, all of a wave stays as it was."""
    before = picture()
    result = run_plan([before], planned(THREE, {"cycle": 2}), StubEngine(stop_after=1))
    assert states(result) == ["interrupted"] * 3
    assert torch.equal(result.pictures[0], before)


@pytest.mark.parametrize("after", [0, 1, 2, 3, 4])
def test_stopping_from_outside(after: int) -> None:
    """Asked before each wave and each cycle; what was over by then stays."""
    engine = StubEngine()
    result = run_plan([picture()], planned(THREE, limit=1), engine, RunOptions(control=Control(stopped=Stopper(after))))
    assert states(result) == ["done"] * (after // 2) + ["interrupted"] * (3 - after // 2)
    assert len(engine.waves) == (after + 1) // 2
    assert result.outcomes[0][2].reason == "the run was interrupted before it"


def test_what_is_kept() -> None:
    """Nothing unless asked for; crops as they were before, enhanced ones and their masks at the crop's size."""
    before = picture(4)
    plain = run_plan([before], planned(THREE), StubEngine())
    assert all(o.cropped_bchw is o.enhanced_bchw is o.alpha_b1hw is None for o in plain.outcomes[0])
    result = run_plan([before], planned(THREE), StubEngine(), RunOptions(keep=Keep(cropped=True, enhanced=True)))
    assert torch.allclose(result.pictures[0], plain.pictures[0], atol=1e-6), "keeping changes nothing"
    for outcome in result.outcomes[0]:
        x0, y0, x1, y1 = outcome.segment.crop_xyxy
        crop, enhanced, alpha = outcome.cropped_bchw, outcome.enhanced_bchw, outcome.alpha_b1hw
        assert crop is not None
        assert enhanced is not None
        assert alpha is not None
        assert torch.equal(crop, before[:, :3, y0:y1, x0:x1])
        assert enhanced.shape == crop.shape
        assert torch.equal(alpha, blur_mask(outcome.segment.mask_hw[None, None], 5))
        blend = crop * (1 - alpha) + enhanced * alpha
        assert torch.allclose(result.pictures[0][:, :3, y0:y1, x0:x1], blend, atol=1e-6)
        assert outcome.seconds > 0
    only = run_plan([before], planned(THREE), StubEngine(), RunOptions(keep=Keep(cropped=True)))
    assert all(o.cropped_bchw is not None and o.enhanced_bchw is None for o in only.outcomes[0])


def test_in_place_changes_the_tensor_given() -> None:
    """The same tensor comes back, with the same result."""
    before = picture()
    wanted = run_plan([before], planned(THREE), StubEngine()).pictures[0]
    given_picture = before.clone()
    result = run_plan([given_picture], planned(THREE), StubEngine(), RunOptions(in_place=True))
    assert result.pictures[0] is given_picture
    assert torch.equal(given_picture, wanted)


def test_a_batch_of_different_pictures() -> None:
    """Colour, grey and RGBA of other sizes share waves, and each comes out as it does alone."""
    sizes = [(160, 96), (128, 128), (96, 160)]
    segments = [Segments(size_wh=wh, items=(segment((30, 30, 50, 50), wh), segment((70, 80, 90, 95), wh))) for wh in sizes]
    pictures = [picture(c, wh, c) for c, wh in zip((3, 1, 4), sizes, strict=True)]
    engine = StubEngine()
    together = run_plan(pictures, planned(segments, {"sizes": "multiple"}), engine)
    assert max(engine.waves) >= 3
    for number, one in enumerate(pictures):
        alone = run_plan([one], planned(segments[number], {"sizes": "multiple"}, limit=1), StubEngine())
        assert float((together.pictures[number] - alone.pictures[0]).abs().max()) <= 1e-6
        assert [o.index for o in together.outcomes[number]] == [0, 1]
        assert states(together, number) == ["done", "done"]


def test_no_segments_change_nothing() -> None:
    """The pictures come back as copies; pictures without a job, too."""
    before = picture()
    result = run_plan([before, before], planned(THREE.with_items([])), StubEngine())
    assert result.outcomes == ((), ())
    assert not result.interrupted
    assert torch.equal(result.pictures[0], before)
    assert result.pictures[0] is not before


def test_progress_is_told_before_each_wave() -> None:
    """Waves and segments that are over, of all."""
    told: list[Progress] = []
    run_plan([picture()], planned(THREE, limit=2), StubEngine(), RunOptions(progress=told.append))
    assert [(p.waves_done, p.waves, p.segments_done, p.segments) for p in told] == [(0, 2, 0, 3), (1, 2, 2, 3)]
    assert [len(p.wave.items) for p in told] == [2, 1]


@pytest.mark.parametrize("shape", [(3, 96, 160), (2, 3, 96, 160), (1, 5, 96, 160), (1, 0, 96, 160)])
def test_pictures_of_the_wrong_shape_are_refused(shape: tuple[int, ...]) -> None:
    """Before anything is drawn, with what was got and what converts."""
    engine = StubEngine()
    with pytest.raises(PictureError, match=r"expected a picture as float 0..1 \[1, C, H, W\] with 1 to 4 channels, got torch.float32 .*from_pil"):
        run_plan([torch.zeros(shape)], planned(THREE), engine)
    with pytest.raises(PictureError, match=r"got torch.uint8 \(1, 3, 96, 160\)"):
        run_plan([torch.zeros(1, 3, 96, 160, dtype=torch.uint8)], planned(THREE), engine)
    assert engine.waves == []


def test_too_few_pictures_are_refused() -> None:
    """A plan for two pictures needs two."""
    with pytest.raises(PictureError, match="the plan is for 2 pictures, got 1"):
        run_plan([picture()], planned([THREE, THREE]), StubEngine())


def test_what_the_engine_lacks_is_told_before_anything_is_drawn() -> None:
    """A setting that it does not support stops the run at once."""
    class Plain(StubEngine):
        capabilities = Capabilities(cycles=False)

    engine = Plain()
    with pytest.raises(EngineUnsupportedError, match="cycle: the engine 'stub' does not support more than one cycle"):
        run_plan([picture()], planned(THREE, {"cycle": 2}), engine)
    assert engine.waves == []


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-6), (torch.float16, 0.02), (torch.bfloat16, 0.1)])
def test_pictures_of_every_type(dtype: torch.dtype, tolerance: float, device: str) -> None:
    """A picture in another precision is worked on in its own type and comes out near the float32 one; what is outside keeps every bit."""
    plain = run_plan([picture()], planned(THREE), StubEngine(formula="masked")).pictures[0]
    before = picture().to(device, dtype)
    after = run_plan([before], planned(THREE), StubEngine(formula="masked")).pictures[0]
    assert after.dtype == dtype
    assert after.device.type == device
    assert float((after.cpu().double() - plain.double()).abs().max()) <= tolerance
    assert not bool((changed(before.cpu(), after.cpu()) & ~reach(THREE)).any())


@settings(deadline=None, max_examples=20)
@given(st.randoms(use_true_random=False))
def test_whatever_fails_the_picture_is_that_of_the_segments_done(rng: random.Random) -> None:
    """A run in which some waves fail gives what a run of the others alone gives, with the seeds that they had."""
    failing = frozenset(rng.sample([1, 2, 3], rng.randint(0, 3)))
    before = picture(seed=rng.randint(0, 99))
    result = run_plan([before], planned(THREE, limit=1), StubEngine(fail_at=failing))
    blank = [replace(s, mask_hw=torch.zeros_like(s.mask_hw)) if i + 1 in failing else s for i, s in enumerate(THREE)]
    assert torch.equal(result.pictures[0], run_plan([before], planned(THREE.with_items(blank)), StubEngine()).pictures[0])


def test_defaults_run_as_they_are() -> None:
    """The settings that nobody touched work on a small picture."""
    made = make_plan([PictureJob(segments=THREE)], UnitSettings())
    assert states(run_plan([picture()], made, StubEngine())) == ["done"] * 3
