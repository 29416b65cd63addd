"""A wave gives what its segments would give one by one, and overlapping segments what the sequential order gives."""

from __future__ import annotations

from typing import Any

import pytest
import standin
from PIL import Image
from scenes import Stage, cells, difference, inside, overlapping, picture

HOSTS = ("a1111-1.10.1", "forge", "forge-classic")
every_host = pytest.mark.parametrize("played", list(standin.HOSTS), indirect=True, scope="module")

HARD: dict[str, Any] = {"noise_mask_feather": 0, "denoise": 0.6}
SOFT = {**HARD, "mask_shape": "ellipse", "dilation": 3}
DIFFERENTIAL = {**HARD, "noise_mask_feather": 6}
LONG = " ".join(["word"] * 80)
ALONE = ("DPM adaptive",)


def both(stage: Stage, unit: dict[str, Any], **fields: Any) -> tuple[Image.Image, Image.Image, list[int], list[int]]:
    """The picture by waves and one by one, and how many segments each sampler call had."""
    images, batches = [], []
    for more in ({}, {"wave_pixels": 0}):
        calls = len(stage.detail_calls)
        result = stage.img2img({**unit, **more}, image=picture(4), **fields)
        assert result.comments == "" and stage.world.reports == []
        images.append(result.images[0])
        batches.append([call.batch for call in stage.detail_calls[calls:]])
    return images[0], images[1], batches[0], batches[1]


@every_host
class TestEveryHost:
    """What must hold on all five hosts."""

    @pytest.mark.parametrize("unit", [HARD, DIFFERENTIAL], ids=["hard", "differential"])
    def test_every_sampler(self, stage: Stage, unit: dict[str, Any]) -> None:
        """For each of the host's samplers, two spots together are as each alone, in every bit; who may not batch gets waves of one."""
        for sampler in stage.world.host.sampler_labels:
            together, alone, waves, singles = both(stage, unit, sampler_name=sampler)
            assert waves == ([1, 1] if sampler in ALONE else [2]), sampler
            assert singles == [1, 1] and difference(together, alone).max() == 0, sampler

    @pytest.mark.parametrize("unit", [HARD, SOFT, DIFFERENTIAL], ids=["hard", "soft", "differential"])
    @pytest.mark.parametrize("cycle", [1, 3])
    def test_masks_and_cycles(self, stage: Stage, unit: dict[str, Any], cycle: int) -> None:
        """Kinds of masks and numbers of cycles, with a sampler that draws at each step and four spots."""
        stage.spots.boxes = cells(4)
        together, alone, waves, _ = both(stage, {**unit, "cycle": cycle}, sampler_name="Euler a")
        assert difference(together, alone).max() == 0 and waves == [4] * cycle


@pytest.mark.parametrize("count", [2, 4, 8])
@pytest.mark.parametrize("played", HOSTS, indirect=True, scope="module")
def test_different_prompts_and_seeds(stage: Stage, count: int) -> None:
    """Each spot has its prompt, negative prompt, seed, variation seed with a strength; the pictures agree."""
    stage.spots.boxes = cells(count)
    texts = "[ASC]" + "[SEP]".join(f"colour {n}" for n in range(count))
    negatives = "[SEP]".join(f"not {n}" for n in range(count))
    unit = {**HARD, "prompt": texts, "negative_prompt": negatives}
    together, alone, waves, singles = both(stage, unit, seed=9, subseed=70, subseed_strength=0.4, sampler_name="DPM++ 2M SDE")
    assert waves == [count] and singles == [1] * count and difference(together, alone).max() == 0
    first = next(call for call in stage.detail_calls if call.batch == count)
    assert first.prompts == tuple(f"colour {n}" for n in range(count)) and first.seeds == tuple(range(9, 9 + count))
    assert first.negative_prompts == tuple(f"not {n}" for n in range(count))


@pytest.mark.parametrize("played", HOSTS, indirect=True, scope="module")
@pytest.mark.parametrize(("prompt", "waves"), [
    (f"[ASC]short[SEP]{LONG}[SEP]other[SEP]{LONG} more", [2, 2]),
    (f"[ASC]a AND b[SEP]{LONG} AND b[SEP]c AND d[SEP]b AND {LONG}", [2, 1, 1]),
    ("[ASC][red:blue:0.5] hat[SEP]plain[SEP][a:b:0.5] hat[SEP]other", [2, 2]),
    ("[ASC]a <lora:thin:1>[SEP]b[SEP]c <lora:thin:1>[SEP]d <lora:thin:0.5>", [2, 1, 1]),
], ids=["length", "and", "schedule", "lora"])
def test_what_must_not_share_a_wave(stage: Stage, prompt: str, waves: list[int]) -> None:
    """Prompts of unequal length, by parts, by schedule, and other networks go to waves of their own, and the result is the sequential one."""
    stage.spots.boxes = cells(4)
    together, alone, batches, _ = both(stage, {**HARD, "prompt": prompt})
    assert sorted(batches, reverse=True) == waves and difference(together, alone).max() == 0


def test_negatives_of_unequal_length(stage: Stage) -> None:
    """Negative prompts of unequal length, which crash the host in one batch, go to different waves."""
    together, alone, batches, _ = both(stage, {**HARD, "negative_prompt": f"short[SEP]{LONG}"})
    assert batches == [1, 1] and difference(together, alone).max() == 0


@pytest.mark.parametrize("played", HOSTS, indirect=True, scope="module")
def test_overlapping_segments_keep_their_order(stage: Stage) -> None:
    """Spots that lie in each other's crop are redrawn one after the other; those far away go along with them."""
    stage.spots.boxes = [*overlapping(3), (8, 100, 24, 116)]
    together, alone, waves, _ = both(stage, HARD)
    assert waves == [2, 1, 1] and difference(together, alone).max() == 0


def test_a_wave_is_not_a_no_op(stage: Stage) -> None:
    """The comparisons above would see another seed, prompt or mask: each changes the picture."""
    base = stage.img2img(HARD, image=picture(4)).images[0]
    for change in ({"seed": 44}, {"prompt": "else"}, {"dilation": 3}, {"noise_mask_feather": 6}, {"cycle": 2}, {"noise_mask": False}):
        other = stage.img2img({**HARD, **change}, image=picture(4)).images[0]
        assert difference(base, other).max() > 1, change


@pytest.mark.parametrize("played", HOSTS, indirect=True, scope="module")
def test_hard_masks_keep_what_they_cover(stage: Stage) -> None:
    """With a hard noise mask and no feather, nothing but the spot changes, and it does."""
    plain = stage.img2img(image=picture(4)).images[0]
    done = stage.img2img({**HARD, "feather": 0, "denoise": 1.0}, image=picture(4)).images[0]
    where = difference(plain, done) > 0
    assert where.any() and not where[~inside(cells(2))].any()
