"""Plans: what becomes of each segment, with which prompt, seed and size, and in which wave."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from detailer_core.errors import PromptError
from detailer_core.geometry import Box, SizeWH
from detailer_core.hooks import DetailerHook
from detailer_core.plan import (
    SKIP_TEXTS,
    PictureJob,
    Plan,
    PromptRules,
    SegmentPlan,
    SimplePolicy,
    make_plan,
    mask_box,
    paste_area,
    resolve_sampling,
    with_crop,
)
from detailer_core.sampling import MainGeneration, Refiner
from detailer_core.segments import Segment, Segments
from detailer_core.settings import UnitSettings, make_settings
from detailer_core.wildcards import WildcardLibrary

MAIN = MainGeneration(prompt="main", negative_prompt="bad", seed=1000, subseed=50, subseed_strength=0.1, steps=28, cfg=5.5, sampler="DPM++ 2M",
                      scheduler="Karras")


def segment(bbox: Box, label: str = "face", prompt: str | None = None, masked: bool = True) -> Segment:
    """A segment with ten pixels around its box, which is masked."""
    crop = (bbox[0] - 10, bbox[1] - 10, bbox[2] + 10, bbox[3] + 10)
    mask = torch.zeros(crop[3] - crop[1], crop[2] - crop[0])
    mask[10:-10, 10:-10] = float(masked)
    return Segment(bbox_xyxy=bbox, crop_xyxy=crop, mask_hw=mask, label=label, prompt=prompt)


def row(*labels: str, side: int = 30) -> Segments:
    """Segments side by side, apart from each other, from left to right; a label of "" has an empty mask."""
    items = tuple(segment((10 + 60 * i, 20, 10 + 60 * i + side, 20 + side), label, masked=bool(label)) for i, label in enumerate(labels))
    return Segments(size_wh=(60 * max(1, len(labels)), 80), items=items)


def plan(segments: Segments, values: dict[str, Any] | None = None, **rest: Any) -> Plan:
    """The plan for one picture."""
    main = rest.pop("main", MAIN)
    return make_plan([PictureJob(segments=segments, main=main)], make_settings(values), **rest)


def reasons(made: Plan) -> list[tuple[int, str]]:
    """Index and reason of what is left out."""
    return [(s.index, s.reason) for s in made.skips]


def test_masked_content_needs_a_noise_mask() -> None:
    """Without one there is nothing that could be covered, and no engine is asked for it."""
    assert plan(row("a"), {"masked_content": "latent-noise"}).items[0].sampling.masked_content == "latent-noise"
    assert plan(row("a"), {"masked_content": "latent-noise", "noise_mask": False}).items[0].sampling.masked_content == "original"


def test_no_segments_make_an_empty_plan() -> None:
    """Nothing is planned, nothing is left out; no pictures are no error."""
    for made in (plan(row()), make_plan([], UnitSettings())):
        assert made.waves == made.skips == made.items == ()


def test_what_settings_leave_open_comes_from_the_main_generation() -> None:
    """A plan holds no None; what the unit sets itself wins."""
    (item,) = plan(row("a")).items
    sampling = item.sampling
    assert (sampling.steps, sampling.cfg, sampling.sampler, sampling.scheduler, sampling.subseed_strength) == (28, 5.5, "DPM++ 2M", "Karras", 0.1)
    assert (item.prompt, item.negative_prompt, item.seed, item.subseed) == ("main", "bad", 1000, 50)
    assert (item.feather, item.noise_mask_feather, sampling.denoise, sampling.cycles) == (5, 20, 0.4, 1)
    own = {"steps": 9, "cfg": 0.0, "sampler": "Euler", "scheduler": "Simple", "seed": 0, "denoise": 0.0, "cycle": 3, "checkpoint": "other",
           "prompt": "eyes", "negative_prompt": "ugly", "feather": 0, "noise_mask_feather": 7}
    (item,) = plan(row("a"), own).items
    sampling = item.sampling
    assert (sampling.steps, sampling.cfg, sampling.sampler, sampling.scheduler, sampling.checkpoint) == (9, 0.0, "Euler", "Simple", "other")
    assert (sampling.denoise, sampling.cycles, item.seed, item.feather, item.noise_mask_feather) == (0.0, 3, 0, 0, 7)
    assert (item.prompt, item.negative_prompt) == ("eyes", "ugly")


def test_a_sampler_of_its_own_does_not_take_the_main_scheduler() -> None:
    """Karras may mean nothing to it; the main sampler keeps the main scheduler."""
    assert resolve_sampling(make_settings({"sampler": "DDIM"}), MAIN).scheduler == "Automatic"
    assert resolve_sampling(make_settings({"sampler": "DDIM", "scheduler": "Simple"}), MAIN).scheduler == "Simple"
    assert resolve_sampling(make_settings({"steps": 3}), MAIN).scheduler == "Karras"


@pytest.mark.parametrize(("noise_mask", "feather", "inpaint", "differential", "inpaint_model"), [
    (True, 0, False, False, False), (True, 1, False, True, False), (False, 20, True, False, False), (True, 0, True, False, True)])
def test_differential_and_inpainting_follow_the_noise_mask(noise_mask: bool, feather: int, inpaint: bool, differential: bool,
                                                           inpaint_model: bool) -> None:
    """Any feather of the noise mask is differential diffusion (REFERENCE item 32); an inpainting model acts with a noise mask only (item 34)."""
    values = {"noise_mask": noise_mask, "noise_mask_feather": feather, "inpaint_model": inpaint}
    sampling = resolve_sampling(make_settings(values), MAIN)
    assert (sampling.noise_mask, sampling.differential, sampling.inpaint_model) == (noise_mask, differential, inpaint_model)


def test_a_refiner_needs_a_name_and_a_share() -> None:
    """Without either there is none."""
    values = {"refiner": "fine", "refiner_ratio": 0.3, "refiner_prompt": "p", "refiner_negative_prompt": "n"}
    assert resolve_sampling(make_settings(values), MAIN).refiner == Refiner(checkpoint="fine", ratio=0.3, prompt="p", negative_prompt="n")
    assert resolve_sampling(make_settings({**values, "refiner_ratio": 0}), MAIN).refiner is None
    assert resolve_sampling(make_settings({**values, "refiner": None}), MAIN).refiner is None


def test_seeds_count_skipped_segments() -> None:
    """Segment i has seed + i in order of work, whatever became of those before (REFERENCE items 1, 2)."""
    made = plan(row("a", "", "c", "d"), {"prompt": "[ASC]one[SEP][SKIP][SEP]three"})
    assert [(i.index, i.seed, i.subseed, i.prompt) for i in made.items] == [(0, 1000, 50, "one"), (3, 1003, 53, "three")]
    assert reasons(made) == [(1, "empty-mask"), (2, "prompt-skip")], "the empty one used up an index and no text"


def test_seeds_wrap() -> None:
    """After 2^32 - 1 comes 0 (REFERENCE item 42), also for subseeds and for seeds in the prompt."""
    main = replace(MAIN, seed=2**32 - 1, subseed=2**32 - 2)
    assert [(i.seed, i.subseed) for i in plan(row("a", "b", "c"), main=main).items] == [(2**32 - 1, 2**32 - 2), (0, 2**32 - 1), (1, 0)]
    made = plan(row("a", "b"), {"prompt": f"[ASC]x[SEP:{2**32 + 7}]y"})
    assert [i.seed for i in made.items] == [1000, 7]


def test_stop_ends_the_work() -> None:
    """The segment with [STOP] and all after it are left out with that reason, empty masks among them."""
    made = plan(row("a", "b", "", "d"), {"prompt": "[ASC]one[SEP][STOP][SEP]three"})
    assert [i.index for i in made.items] == [0]
    assert reasons(made) == [(1, "prompt-stop"), (2, "prompt-stop"), (3, "prompt-stop")]
    assert reasons(plan(row("a", "b"), {"prompt": "[STOP]"})) == [(0, "prompt-stop"), (1, "prompt-stop")]


@pytest.mark.parametrize(("values", "bbox", "reason"), [
    ({"force_inpaint": False, "guide_size": 64}, (20, 20, 84, 84), "big"),
    ({"force_inpaint": False, "guide_size": 64, "max_size": 64}, (20, 20, 60, 50), "upscale"),
    ({}, (20, 20, 20, 60), "zero"),
])
def test_segments_that_have_no_size_are_left_out(values: dict[str, Any], bbox: Box, reason: str) -> None:
    """Each reason of the size decision; the others go on, and a skip says its reason in words."""
    made = plan(Segments(size_wh=(200, 100), items=(replace(segment((20, 20, 80, 80)), bbox_xyxy=bbox), segment((150, 30, 160, 40)))), values)
    if reason != "upscale":
        assert [i.index for i in made.items] == [1]
    assert reasons(made)[0] == (0, reason)
    assert made.skips[0].text == SKIP_TEXTS[made.skips[0].reason]
    assert made.skips[0].segment.bbox_xyxy == bbox


@pytest.mark.parametrize(("tag", "order"), [("[ASC]", [1, 2, 0]), ("[DSC]", [0, 2, 1]), ("[ASC-SIZE]", [0, 1, 2]), ("[DSC-SIZE]", [2, 1, 0]),
                                             ("", [0, 1, 2])])
def test_order_of_work(tag: str, order: list[int]) -> None:
    """By place or area of the box as the prompt says; seeds follow that order."""
    boxes = [(120, 20, 130, 30), (10, 20, 30, 40), (60, 10, 90, 45)]
    segments = Segments(size_wh=(200, 80), items=tuple(segment(b, str(i)) for i, b in enumerate(boxes)))
    segments = segments.with_items([with_crop(s, (0, 0, 200, 80)) if s.crop_xyxy[1] < 10 else s for s in segments])
    made = plan(segments, {"prompt": f"{tag}text"})
    assert [int(i.segment.label) for i in made.items] == order
    assert [i.seed for i in made.items] == [1000, 1001, 1002]


def test_labels_choose_texts() -> None:
    """[LAB] gives each label its own, [ALL] goes before; a label without a text has the main prompt."""
    made = plan(row("face", "hand", "cat"), {"prompt": "[LAB][ALL]sharp [face]smile[hand][SKIP]"})
    assert [(i.segment.label, i.prompt) for i in made.items] == [("face", "sharpsmile"), ("cat", "sharp")]
    assert [i.prompt for i in plan(row("cat"), {"prompt": "[LAB][face]smile"}).items] == ["main"]


@pytest.mark.parametrize(("loras", "prompt", "expected"), [
    ("as-prompt", "", "main <lora:x:1>"), ("as-prompt", "red", "red"), ("as-prompt", "[PROMPT], red[SEP]", "main <lora:x:1>, red"),
    ("keep", "", "main <lora:x:1>"), ("keep", "red", "red <lora:x:1>"), ("keep", "red <lora:x:0.2>", "red <lora:x:0.2>"),
    ("keep", "[PROMPT], red[SEP]", "main <lora:x:1>, red"), ("keep", "[CONCAT]red", "main <lora:x:1> BREAK red"),
    ("drop", "", "main"), ("drop", "red <lora:x:0.2>", "red <lora:x:0.2>"), ("drop", "[PROMPT], red[SEP]", "main , red"),
    ("drop", "[CONCAT]red <lora:y>", "main  BREAK red <lora:y>")])
def test_loras_of_the_main_prompt(loras: str, prompt: str, expected: str) -> None:
    """They come with the main prompt's text, are added to any, or are left out; those in the unit's own text always stay."""
    main = replace(MAIN, prompt="main <lora:x:1>")
    assert plan(row("a"), {"prompt": prompt, "main_loras": loras}, main=main).items[0].prompt == expected


def test_concat_and_main_prompt_tokens() -> None:
    """[CONCAT] adds to the main prompt, [PROMPT] stands for it, an item's own seed replaces seed + index."""
    assert plan(row("a"), {"prompt": "[CONCAT]more"}).items[0].prompt == "main BREAK more"
    assert plan(row("a"), {"prompt": "[CONCAT]"}).items[0].prompt == "main"
    assert plan(row("a"), {"prompt": "[CONCAT]more"}, main=replace(MAIN, prompt="")).items[0].prompt == "more"
    assert plan(row("a"), {"prompt": "[PROMPT], more", "negative_prompt": "[PROMPT], worse"}).items[0].prompt == "main, more"
    assert plan(row("a"), {"negative_prompt": "[PROMPT], worse"}).items[0].negative_prompt == "bad, worse"
    assert [i.seed for i in plan(row("a", "b"), {"prompt": "[ASC]x[SEP:7]y"}).items] == [1000, 7]


def test_a_segments_own_prompt() -> None:
    """It takes the main prompt's place: the unit's text wins, and [PROMPT] stands for it."""
    segments = Segments(size_wh=(200, 80), items=(segment((20, 20, 40, 40), prompt="own"), segment((100, 20, 120, 40))))
    assert [i.prompt for i in plan(segments).items] == ["own", "main"]
    assert [i.prompt for i in plan(segments, {"prompt": "[PROMPT] x"}).items] == ["own x", "main x"]
    assert [i.prompt for i in plan(segments, {"prompt": "unit"}).items] == ["unit", "unit"]


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_the_same_seed_gives_the_same_texts(seed: int, count: int) -> None:
    """Wildcards, [RND] and random item seeds are settled by the run's seed; editing the negative prompt changes no positive one."""
    rules = PromptRules(library=WildcardLibrary.from_mapping({"colour": [f"c{i}" for i in range(50)]}))
    values = {"prompt": "[RND]__colour__ {x|y|z}[SEP:R]b __colour__[SEP]c", "negative_prompt": "{a|b|c}[SEP]__colour__", "seed": seed}
    segments = row(*"abcdef"[:count])
    texts = [[(i.prompt, i.negative_prompt, i.seed) for i in plan(segments, values, rules=rules).items] for _ in range(2)]
    assert texts[0] == texts[1]
    other = [(i.prompt, i.seed) for i in plan(segments, {**values, "negative_prompt": "plain"}, rules=rules).items]
    assert other == [(prompt, item_seed) for prompt, _, item_seed in texts[0]]


def test_another_seed_gives_other_texts() -> None:
    """Fifty colours in six segments do not come out alike for two seeds."""
    rules = PromptRules(library=WildcardLibrary.from_mapping({"colour": [f"c{i}" for i in range(50)]}))
    one, two = ([i.prompt for i in plan(row(*"abcdef"), {"prompt": "__colour__", "seed": s}, rules=rules).items] for s in (1, 2000))
    assert one != two
    assert len(set(one)) > 1, "each segment draws for itself"


def test_prompts_that_cannot_be_read_name_themselves() -> None:
    """The error says which text is at fault."""
    rules = PromptRules(library=WildcardLibrary.from_mapping({"loop": ["__loop__ __loop__"]}))
    with pytest.raises(PromptError, match=r"^prompt '__loop__': "):
        plan(row("a"), {"prompt": "__loop__"}, rules=rules)


def test_sizes_and_masks_follow_the_grown_region() -> None:
    """In buckets the region grows, its mask by zeros, and the paste area is the mask with its feather, inside the region."""
    one = segment((100, 100, 165, 150))
    (item,) = plan(Segments(size_wh=(400, 400), items=(one,)), {"guide_size": 512, "max_size": 2048, "feather": 3}).items
    # Region 85x70, factor 512/50: 870x716 -> 896x768; 85 * 896 / 870 = 87.5 -> 88, 70 * 768 / 716 = 75.1 -> 75.
    assert item.size_wh == (896, 768)
    assert item.segment.crop_xyxy == (88, 87, 176, 162)
    assert tuple(item.segment.mask_hw.shape) == (75, 88)
    assert item.paste_xyxy == (97, 97, 168, 153)
    assert float(item.segment.mask_hw.sum()) == 65 * 50
    assert bool((item.segment.mask_hw[13:63, 12:77] == 1).all())


def test_paste_area_by_hand() -> None:
    """The mask's box with the feather around it, cut at the region; an empty mask has none."""
    mask = torch.zeros(20, 30)
    mask[5:8, 25:28] = 0.1
    one = Segment(bbox_xyxy=(0, 0, 1, 1), crop_xyxy=(100, 200, 130, 220), mask_hw=mask)
    box = mask_box(one)
    assert box == (125, 205, 128, 208) and mask_box(replace(one, mask_hw=torch.zeros(20, 30))) is None
    assert paste_area(box, one.crop_xyxy, 0) == (125, 205, 128, 208)
    assert paste_area(box, one.crop_xyxy, 4) == (121, 201, 130, 212)
    assert paste_area(box, one.crop_xyxy, -4) == (125, 205, 128, 208)


@settings(deadline=None, max_examples=60)
@given(st.tuples(*[st.integers(0, 15)] * 4), st.tuples(*[st.integers(1, 10)] * 4))
def test_with_crop_moves_the_mask_with_the_picture(corners: tuple[int, ...], sides: tuple[int, ...]) -> None:
    """Each pixel of the mask stays on its pixel of the picture; what is new is 0."""
    old = (corners[0], corners[1], corners[0] + sides[0], corners[1] + sides[1])
    new = (corners[2], corners[3], corners[2] + sides[2], corners[3] + sides[3])
    one = Segment(bbox_xyxy=old, crop_xyxy=old, mask_hw=torch.rand(sides[1], sides[0]))
    whole = torch.zeros(30, 30)
    whole[old[1] : old[3], old[0] : old[2]] = one.mask_hw
    moved = with_crop(one, new)
    assert moved.crop_xyxy == new
    assert torch.equal(moved.mask_hw, whole[new[1] : new[3], new[0] : new[2]])


@dataclass(frozen=True, kw_only=True)
class Policy(SimplePolicy):
    """A policy with a key by prompt."""

    def wave_key(self, item: SegmentPlan) -> Hashable:
        """Segments with other prompts stay apart."""
        return item.prompt


def test_waves_follow_size_sampling_and_policy() -> None:
    """One wave for all that is alike; the policy's limit, key and multiple, and the cap in pixels, divide."""
    segments = row("a", "b", "a", "b")
    pixels = plan(segments).items[0].size_wh[0] ** 2
    waves = [[[i.index for i in w.items] for w in plan(segments, values, policy=policy).waves] for values, policy in (
        ({}, SimplePolicy()), ({}, SimplePolicy(limit=3)), ({"prompt": "[LAB][a]x[b]y"}, Policy()), ({"wave_pixels": 0}, SimplePolicy()),
        ({"wave_pixels": 2 * pixels}, SimplePolicy()))]
    assert waves == [[[0, 1, 2, 3]], [[0, 1, 2], [3]], [[0, 2], [1, 3]], [[0], [1], [2], [3]], [[0, 1], [2, 3]]]
    wave = plan(segments, policy=SimplePolicy(size_multiple=96)).waves[0]
    assert wave.size_wh[0] % 96 == 0
    assert wave.sampling is wave.items[0].sampling


def test_pictures_of_other_sizes_share_waves() -> None:
    """The pictures of a batch are planned together, each with its own main generation; indices begin anew in each."""
    jobs = [PictureJob(segments=row("a", "b"), main=MAIN), PictureJob(segments=row("c"), main=replace(MAIN, seed=7, prompt="second")),
            PictureJob(segments=row(), main=MAIN), PictureJob(segments=row("", "d"), main=replace(MAIN, steps=3))]
    made = make_plan(jobs, make_settings({}))
    assert [(i.picture, i.index, i.seed, i.prompt) for i in made.items] == [
        (0, 0, 1000, "main"), (0, 1, 1001, "main"), (1, 0, 7, "second"), (3, 1, 1001, "main")]
    assert [[(i.picture, i.index) for i in w.items] for w in made.waves] == [[(0, 0), (0, 1), (1, 0)], [(3, 1)]]
    assert [(s.picture, s.index) for s in made.skips] == [(3, 0)]


def test_a_seed_of_its_own_counts_up_with_the_place_in_the_batch() -> None:
    """Picture 3 of a batch has the unit's seed + 3, planned alone or with others (REFERENCE item 8)."""
    jobs = [PictureJob(segments=row("a"), main=replace(MAIN, place=place)) for place in (0, 3)]
    assert [i.seed for i in make_plan(jobs, make_settings({"seed": 7})).items] == [7, 10]
    assert [i.seed for i in make_plan(jobs[1:], make_settings({"seed": 7})).items] == [10]


class Bend(DetailerHook):
    """Drops the first segment, widens regions, doubles sizes."""

    def after_detection(self, segments: Segments) -> Segments:
        """All but the first."""
        return segments.with_items(segments.items[1:])

    def crop_region(self, crop_xyxy: Box, bbox_xyxy: Box, picture_wh: SizeWH) -> Box:
        """All of the picture for a, nothing of c's mask."""
        return (0, 0, *picture_wh) if bbox_xyxy[0] < 100 else (0, 0, 10, 10)

    def sampling_size(self, size_wh: SizeWH) -> SizeWH:
        """Twice as large."""
        return size_wh[0] * 2, size_wh[1] * 2


@pytest.mark.parametrize(("values", "model_side", "size"), [({}, 512, 512), ({}, 1024, 1024), ({"guide_size": 256}, 1024, 256)])
def test_an_open_guide_size_is_the_model_s(values: dict[str, Any], model_side: int, size: int) -> None:
    """What the model was trained at, unless the unit has a size of its own."""
    one = row("a", side=64)
    crop = {"guide_size_for": "crop", "sizes": "exact", "max_size": 4096} | values
    (item,) = plan(one, crop, main=replace(MAIN, model_side=model_side)).items
    assert min(item.size_wh) == size


def test_a_hook_bends_the_plan() -> None:
    """Segments, regions and sizes are the hook's; a region that leaves nothing of the mask is a skip and no failure."""
    made = plan(row("x", "a", "c"), {"sizes": "multiple", "guide_size": 64}, hook=Bend())
    (item,) = made.items
    assert (item.index, item.segment.label, item.segment.crop_xyxy) == (0, "a", (0, 0, 180, 80))
    assert float(item.segment.mask_hw.sum()) == 900
    assert item.size_wh == (768, 336)  # 180x80 at 64/30: 384x170, twice: 768x340, 340 / 8 = 42.5 -> 42
    assert reasons(made) == [(1, "empty-mask")]
