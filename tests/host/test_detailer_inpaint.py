"""img2img and inpainting: the composed picture is worked on, and only what the user's mask allows."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import pytest
import standin
from PIL import Image
from scenes import SIDE, UNIT, Stage, cells, difference, inside, notes, picture, pixels

every_host = pytest.mark.parametrize("played", list(standin.HOSTS), indirect=True, scope="module")

LEFT = (0, 0, SIDE // 2, SIDE)
PAINT: dict[str, Any] = {"mask_blur": 0, "inpainting_fill": 1}


def mask_of(*boxes: tuple[int, int, int, int]) -> Image.Image:
    """A mask picture, white in the boxes."""
    mask = Image.new("L", (SIDE, SIDE))
    for box in boxes:
        mask.paste(255, box)
    return mask


@every_host
class TestEveryHost:
    """What must hold on all five hosts."""

    def test_img2img(self, stage: Stage) -> None:
        """Spots of an img2img picture are redrawn and nothing else changes."""
        plain = stage.img2img().images[0]
        result = stage.img2img({})
        changed = difference(plain, result.images[0]) > 0
        assert changed[inside(cells(2))].any() and not changed[~inside(cells(2), grow=2)].any()
        assert stage.world.reports == []

    @pytest.mark.parametrize("only_masked", [False, True], ids=["whole", "only-masked"])
    @pytest.mark.parametrize("inverted", [0, 1], ids=["as-drawn", "inverted"])
    def test_inpainting_keeps_to_the_mask(self, stage: Stage, only_masked: bool, inverted: int) -> None:
        """The detector sees the composed picture; spots outside of the user's mask are left out, also where it is inverted."""
        stage.spots.boxes = cells(4)
        fields = {**PAINT, "mask": mask_of(LEFT), "inpaint_full_res": only_masked, "inpainting_mask_invert": inverted}
        plain = stage.img2img(**fields).images[0]
        result = stage.img2img({}, **fields)
        changed = difference(plain, result.images[0]) > 0
        ours, theirs = (cells(4)[2:], cells(4)[:2]) if inverted else (cells(4)[:2], cells(4)[2:])
        assert result.images[0].size == (SIDE, SIDE) and np.array_equal(stage.spots.pictures[-1], np.asarray(plain))
        assert changed[inside(ours)].any() and not changed[inside(theirs, grow=2)].any() and not changed[~inside(ours, grow=2)].any()
        assert [call.seeds for call in stage.detail_calls] == [(3, 4) if inverted else (1, 2)]
        assert "skipped: its mask is empty" in result.comments and notes(result) == "" and stage.world.reports == []


@pytest.mark.parametrize("only_masked", [False, True], ids=["whole", "only-masked"])
@pytest.mark.parametrize("inverted", [0, 1], ids=["as-drawn", "inverted"])
def test_a_spot_on_the_masks_edge_is_cut(stage: Stage, only_masked: bool, inverted: int) -> None:
    """Of a spot that reaches over the user's mask only the part inside is redrawn, in each way of inpainting."""
    stage.spots.boxes = [(56, 40, 72, 56)]
    fields = {**PAINT, "mask": mask_of(LEFT), "inpaint_full_res": only_masked, "inpainting_mask_invert": inverted}
    plain = stage.img2img(**fields).images[0]
    changed = difference(plain, stage.img2img({"feather": 0, "denoise": 0.8}, **fields).images[0]) > 0
    left, right = changed[40:56, 56:64], changed[40:56, 64:72]
    ours, theirs = (right, changed[:, :64]) if inverted else (left, changed[:, 64:])
    assert ours.any() and not theirs.any()


@every_host
def test_a_folder_of_pictures(stage: Stage) -> None:
    """The host's batch from a folder takes one job through all pictures: each is detailed, with its own mask, and has its own note."""
    processing, scripts = stage.world.module("processing"), stage.world.module("scripts")
    p = processing.StableDiffusionProcessingImg2Img(
        init_images=[picture()], mask=mask_of(LEFT), prompt="a face", steps=4, width=SIDE, height=SIDE, sampler_name="Euler", seed=1, mask_blur=0,
        inpainting_fill=1, inpaint_full_res=False, denoising_strength=0.4, do_not_save_samples=True, do_not_save_grid=True)
    p.scripts, p.is_api = scripts.scripts_img2img, True
    p.script_args = tuple(stage.world.extension.arguments({"Detailer": [True, UNIT]}, "img2img"))  # type: ignore[union-attr]
    results = []
    for number, (allowed, boxes) in enumerate(((LEFT, cells(4)), (LEFT, []), ((SIDE // 2, 0, SIDE, SIDE), cells(4)))):
        stage.spots.boxes = boxes
        p.init_images, p.image_mask = [picture(number)], mask_of(allowed)
        results.append(processing.process_images(p))
    assert [seen.shape for seen in stage.spots.pictures] == [(SIDE, SIDE, 3)] * 3
    assert [call.seeds for call in stage.detail_calls] == [(1, 2), (3, 4)] and all("Detailer: " in r.infotexts[0] for r in results)
    assert ["nothing found by spots" in notes(result) for result in results] == [False, True, False]


def test_only_masked_sees_the_whole_picture(stage: Stage) -> None:
    """With "only masked" the host samples a crop; the spots are found in the whole picture all the same."""
    stage.spots.boxes = [(24, 24, 40, 40)]
    stage.img2img({}, **PAINT, mask=mask_of((16, 16, 48, 48)), inpaint_full_res=True, inpaint_full_res_padding=0)
    assert stage.spots.pictures[0].shape == (SIDE, SIDE, 3) and len(stage.detail_calls) == 1


def test_a_blank_mask_is_no_mask(stage: Stage) -> None:
    """The host turns "only masked" with an empty mask into plain img2img, and so do we."""
    stage.img2img({}, **PAINT, mask=mask_of(), inpaint_full_res=True)
    assert [call.batch for call in stage.detail_calls] == [2] and stage.world.reports == []


def test_batches_of_composed_pictures(stage: Stage) -> None:
    """Each picture of an inpainting batch is detailed once, with its own seed."""
    result = stage.img2img({}, **PAINT, mask=mask_of(LEFT), inpaint_full_res=True, batch_size=2, seed=20)
    assert [call.seeds for call in stage.detail_calls] == [(20, 21), (21, 22)] and len(result.images) == 2


def test_an_inpainting_model_gets_each_crops_own_mask(stage: Stage) -> None:
    """For an inpainting checkpoint the masked pictures are encoded one by one: waves equal one by one."""
    conditioning = stage.world.model.model
    conditioning.conditioning_key = "hybrid"
    try:
        unit = {"denoise": 0.9, "inpaint_model": True}
        together, alone = (stage.img2img({**unit, **waves}, image=picture(2)).images[0] for waves in ({}, {"wave_pixels": 0}))
        assert [call.batch for call in stage.detail_calls] == [2, 1, 1]
        plain = stage.img2img({"denoise": 0.9, "noise_mask": False}, image=picture(2)).images[0]
    finally:
        conditioning.conditioning_key = "crossattn"
    assert difference(together, alone).max() == 0 and difference(together, plain).max() > 0


@pytest.mark.parametrize("mode", ["RGBA", "L"])
def test_other_kinds_of_pictures_keep_their_kind(stage: Stage, mode: str) -> None:
    """A picture that another script has made grey or transparent comes back as such, with its text."""
    job = stage.script().workshop
    jobs, batch = import_module("detailer_webui.job"), import_module("detailer_webui.batch")
    p = stage.world.module("processing").StableDiffusionProcessingTxt2Img(
        prompt="x", steps=4, width=SIDE, height=SIDE, sampler_name="Euler", seed=1, do_not_save_samples=True)
    stage.world.module("processing").process_images(p)
    image = picture().convert(mode)
    image.info["parameters"] = "kept"
    done = batch.detail_image(p, image, jobs.begin_job(p, [True, {"detector": "spots", "drop_size": 1}], job), job, 0)
    assert done is not image and done.mode == mode and done.info == image.info
    assert np.abs(pixels(done) - pixels(image)).max() > 0
