"""What a segment or a picture can bring beside the settings: a ControlNet, regional prompts, noise levels of its own."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from stub_engine import StubEngine

from detailer_core.engines.filter import FilterEngine
from detailer_core.errors import EngineUnsupportedError, MaskError
from detailer_core.masks import dilate_segments, shape_mask
from detailer_core.plan import PictureJob, Region, SimplePolicy, make_plan
from detailer_core.run import Keep, RunOptions, run_plan
from detailer_core.sampling import MainGeneration, SegmentControl
from detailer_core.segments import Segment, Segments, add
from detailer_core.settings import make_settings

SETTINGS = make_settings({"guide_size": 64, "max_size": 64, "noise_mask_feather": 0})


def job(**rest: object) -> PictureJob:
    """One segment in the middle of a picture of 96 x 64 pixels."""
    segment = Segment(bbox_xyxy=(32, 16, 64, 48), crop_xyxy=(16, 0, 80, 64), mask_hw=shape_mask((64, 64), (16, 16, 48, 48)))
    return PictureJob(segments=Segments(size_wh=(96, 64), items=(segment,)), **rest)  # type: ignore[arg-type]


def run(given: PictureJob, keep: Keep | None = None) -> tuple[torch.Tensor, object]:
    """The picture and the outcome of its segment."""
    engine = StubEngine()
    picture = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    result = run_plan([picture], make_plan([given], SETTINGS, policy=engine), engine, RunOptions(keep=keep or Keep()))
    return result.pictures[0], result.outcomes[0][0]


def with_control(given: PictureJob, weight: float) -> PictureJob:
    """The same with a ControlNet on its segment."""
    control = SegmentControl(model="lineart", weight=weight)
    return replace(given, segments=given.segments.with_items([replace(s, control=control) for s in given.segments]))


def test_control_of_a_segment_reaches_the_engine() -> None:
    """Its weight changes the result, and its control picture comes back when it is to be kept."""
    plain, _ = run(job())
    weak, outcome = run(with_control(job(), 0.5), Keep(control=True))
    strong, forgotten = run(with_control(job(), 1.0))
    assert not torch.equal(plain, weak)
    assert not torch.equal(weak, strong)
    assert outcome.control_bchw.shape == (1, 3, 64, 64)
    assert forgotten.control_bchw is None


def test_segments_with_other_controls_do_not_share_a_wave() -> None:
    """A wave has one ControlNet."""
    one = job().segments[0]
    far = replace(one, bbox_xyxy=(160, 16, 192, 48), crop_xyxy=(144, 0, 208, 64), control=SegmentControl(model="lineart"))
    segments = Segments(size_wh=(256, 64), items=(one, far))
    assert len(make_plan([PictureJob(segments=segments)], SETTINGS).waves) == 2
    alike = segments.with_items([one, replace(far, control=None)])
    assert len(make_plan([PictureJob(segments=alike)], SETTINGS).waves) == 1


def test_region_is_cut_with_the_crop() -> None:
    """A region's mask of half resolution is cut to the crop region, x by the width ratio and y by the height ratio."""
    mask = torch.zeros(32, 48)
    mask[:, 24:] = 1
    plan = make_plan([job(regions=(Region(mask_hw=mask, prompt="left"),))], SETTINGS)
    cut = plan.items[0].regions[0].mask_hw
    assert tuple(cut.shape) == (32, 32)
    assert cut[:, :16].max() == 0
    assert cut[:, 16:].min() == 1


def test_region_changes_its_part_only() -> None:
    """Where a region's mask is 0 the picture is as without it."""
    mask = torch.zeros(64, 96)
    mask[:, 48:] = 1
    plain, _ = run(job())
    regional, _ = run(job(regions=(Region(mask_hw=mask, prompt="something else"),)))
    assert torch.equal(plain[..., :40], regional[..., :40])
    assert not torch.equal(plain[..., 48:64], regional[..., 48:64])


LACKING = [
    (with_control(job(), 1.0), "control_model"),
    (job(regions=(Region(mask_hw=torch.ones(64, 96), prompt="x"),)), "regions"),
    (job(main=MainGeneration(sigmas=lambda n: torch.linspace(1, 0, n + 1))), "sigmas"),
]


@pytest.mark.parametrize(("given", "word"), LACKING)
def test_engine_that_lacks_it_refuses(given: PictureJob, word: str) -> None:
    """The error names what is lacking and the engine, before anything is drawn."""
    class Plain(StubEngine):
        capabilities = replace(StubEngine.capabilities, control=False, regions=False, sigmas=False)

    plan = make_plan([given], SETTINGS, policy=SimplePolicy())
    with pytest.raises(EngineUnsupportedError, match=rf"{word}: the engine 'stub' does not support"):
        run_plan([torch.zeros(1, 3, 64, 96)], plan, Plain())


def test_filter_engine_refuses_regions() -> None:
    """It has no prompts at all."""
    plan = make_plan([job(regions=(Region(mask_hw=torch.ones(64, 96), prompt="x"),))], SETTINGS)
    with pytest.raises(EngineUnsupportedError, match="regional prompts"):
        run_plan([torch.zeros(1, 3, 64, 96)], plan, FilterEngine())


def test_add_joins_segments_of_one_picture() -> None:
    """Both, in order; other sizes are refused."""
    one = job().segments
    assert len(add(one, one)) == 2
    with pytest.raises(MaskError, match="scale_to"):
        add(one, replace(one, size_wh=(97, 64)))


def test_dilate_segments_grows_every_mask() -> None:
    """A kernel of five pixels moves each edge by two."""
    grown = dilate_segments(job().segments, 5)[0].mask_hw
    assert grown.sum() == 36 * 36
