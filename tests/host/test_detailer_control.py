"""A ControlNet for each segment, with the host's own: A1111's extension and the one that Forge and its kin bring along."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import controlnets
import numpy as np
import pytest
import standin
from controlnets import MODELS, Record
from scenes import Stage, cells, difference, inside, notes, pixels

every_host = pytest.mark.parametrize("played", list(standin.HOSTS), indirect=True, scope="module")
CANNY: dict[str, Any] = {"control_model": "control_canny", "control_module": "canny"}


@pytest.fixture
def record(stage: Stage) -> Iterator[Record]:
    """What the host's ControlNet does in this test."""
    with controlnets.installed(stage.world) as record:
        yield record


def plain_model(stage: Stage) -> bool:
    """Whether nothing is left on the model."""
    model = stage.world.model
    return not model.forge_objects.unet.controls if stage.world.host.forge else not hasattr(model.model.diffusion_model, "_original_forward")


@every_host
class TestEveryHost:
    """What must hold on all five hosts."""

    def test_each_crop_guides_its_own_redrawing(self, stage: Stage, record: Record) -> None:
        """Each part has a run of its own, whose control picture is its crop at sampling size; the result differs, and nothing else changes."""
        plain = stage.txt2img()
        without = stage.txt2img({})
        result = stage.txt2img({**CANNY, "control_weight": 2.0})
        changed = difference(without.images[0], result.images[0]) > 0
        assert changed[inside(cells(1))].any() and changed[inside(cells(2)[1:])].any() and not changed[~inside(cells(2), grow=2)].any()
        assert [call.batch for call in stage.detail_calls] == [2, 1, 1] and set(record.sizes) == {(64, 64)}
        crops = [plain.images[0].crop((x - 8, y - 8, x + 24, y + 24)) for x, y, _, _ in cells(2)]
        for crop, picture in zip(crops, record.pictures, strict=True):
            assert picture.shape == (64, 64, 3) and abs(picture.mean() - np.asarray(crop).mean()) < 2
        assert record.finished == [(3, 64, 64)] * 2 and plain_model(stage) and stage.world.reports == []
        assert "Detailer control model: control_canny, Detailer control module: canny, Detailer control weight: 2.0" in result.infotexts[0]

    def test_settings_reach_the_unit(self, stage: Stage, record: Record) -> None:
        """Names are the host's own, with their hash; numbers and modes are as set."""
        stage.txt2img({"control_model": MODELS[0], "control_module": "none", "control_weight": 0.5, "control_start": 0.1, "control_end": 0.8,
                       "control_mode": "control", "control_pixel_perfect": False})
        unit = record.units[0]
        assert (unit.model, unit.weight, unit.guidance_start, unit.guidance_end) == (MODELS[0], 0.5, 0.1, 0.8)
        assert (unit.control_mode, unit.pixel_perfect, unit.save_detected_map) == ("ControlNet is more important", False, False)
        assert unit.module == ("None" if stage.world.host.forge else "none") and record.masks == [None, None]

    def test_inpainting_gets_the_parts_mask(self, stage: Stage, record: Record) -> None:
        """A preprocessor for inpainting sees what is redrawn, white, at sampling size; the host lays nothing over the result."""
        stage.txt2img({"control_model": "control_inpaint", "control_module": "inpaint_global_harmonious"})
        mask = record.masks[0]
        assert mask is not None and mask.shape == (64, 64) and mask[24:40, 24:40].min() == 255 and mask[:8].max() == 0
        assert stage.world.reports == [] and plain_model(stage)

    def test_cycles_put_it_on_once_each(self, stage: Stage, record: Record) -> None:
        """In several passes in latent space, the ControlNet is on the model once at a time."""
        stage.spots.boxes = cells(1)
        stage.txt2img({**CANNY, "cycle": 3})
        assert len(stage.detail_calls) == 3 and set(record.stacked) == {1} and plain_model(stage) and stage.world.reports == []

    def test_encodings_do_not_leak(self, stage: Stage, record: Record) -> None:
        """A pass without a ControlNet after one with it gives what it gave before."""
        before = stage.txt2img({})
        stage.txt2img(CANNY)
        assert np.array_equal(pixels(before.images[0]), pixels(stage.txt2img({}).images[0]))

    def test_failure_costs_only_the_segment(self, stage: Stage, record: Record) -> None:
        """What the ControlNet says is told with the way out, the picture stays as it is, and the model is clean."""
        plain = stage.txt2img()
        record.fails = RuntimeError("the model does not fit SDXL")
        result = stage.txt2img(CANNY)
        assert np.array_equal(pixels(plain.images[0]), pixels(result.images[0])) and plain_model(stage)
        assert "failed: RuntimeError: the model does not fit SDXL; choose others, or set control_model to None" in notes(result)

    def test_failure_while_sampling(self, stage: Stage, record: Record) -> None:
        """A sampler that fails leaves nothing on the model, and the next segment is redrawn."""
        plain = stage.txt2img()
        stage.reset()
        stage.world.faults.sampling_errors[1] = RuntimeError("ordered")
        result = stage.txt2img(CANNY)
        changed = difference(plain.images[0], result.images[0]) > 0
        assert not changed[inside(cells(1))].any() and changed[inside(cells(2)[1:])].any() and plain_model(stage)
        assert "segment 1 failed" in notes(result) and set(record.stacked) == {1}

    def test_interrupted(self, stage: Stage, record: Record) -> None:
        """An interrupt in the middle of a guided segment keeps the one before, and leaves nothing on the model."""
        plain = stage.txt2img()
        stage.reset()
        stage.world.faults.stops[2, 0] = "interrupted"
        changed = difference(plain.images[0], stage.txt2img(CANNY).images[0]) > 0
        assert changed[inside(cells(1))].any() and not changed[inside(cells(2)[1:])].any() and plain_model(stage)

    def test_no_controlnet_is_told_before_anything_is_drawn(self, stage: Stage) -> None:
        """On a host without one, the unit is left out, and says what to install."""
        result = stage.txt2img(CANNY)
        assert "this host has no ControlNet; install the extension sd-webui-controlnet" in notes(result) and stage.detail_calls == []

    @pytest.mark.parametrize(("unit", "told"), [
        ({"control_model": "control_cany"}, "control_model 'control_cany' not found; did you mean 'control_canny [aabbccdd]'?"),
        ({"control_model": "control_canny", "control_module": "cany"}, "control_module 'cany' not found; did you mean 'canny'?"),
        ({"control_module": "canny"}, "control_module 'canny' has no ControlNet to work for")])
    def test_unknown_names(self, stage: Stage, record: Record, unit: dict[str, Any], told: str) -> None:
        """A misspelt name leaves the unit out and says what was meant."""
        assert told in notes(stage.txt2img(unit)) and stage.detail_calls == []

    def test_choices_of_the_page(self, stage: Stage, record: Record) -> None:
        """The lists on the page begin with none and hold the host's own names."""
        controlnet: Any = import_module("detailer_webui.controlnet")
        assert controlnet.model_names() == ("None", *MODELS)
        assert controlnet.module_names() == ("none", "canny", "inpaint_global_harmonious")

    def test_adetailers_control(self, stage: Stage, record: Record) -> None:
        """A client's ControlNet for ADetailer guides the parts here, with the preprocessor that belongs to it where none was chosen."""
        args = {"ad_model": "spots", "ad_controlnet_model": MODELS[1], "ad_controlnet_weight": 0.5, "ad_controlnet_guidance_end": 0.8}
        result = stage.txt2img(args=[True, False, args])
        unit = record.units[0]
        assert (unit.model, unit.module, unit.weight, unit.guidance_end) == (MODELS[1], "inpaint_global_harmonious", 0.5, 0.8)
        assert "Detailer control module: inpaint_global_harmonious" in result.infotexts[0] and "not taken over" not in notes(result)


class TestMainControl:
    """A1111's ControlNet of the main job stays on the model until all pictures are done."""

    def run(self, stage: Stage, record: Record, *units: dict[str, Any]) -> Any:
        """Two batches of img2img whose own ControlNet is on."""
        script = next(s for s in stage.world.module("scripts").scripts_img2img.alwayson_scripts if s.title() == "ControlNet")
        controlnet: Any = import_module("detailer_webui.controlnet")
        script.default_units = [controlnet._external_code().ControlNetUnit(enabled=True, model=MODELS[0])]
        record.sizes.clear()
        result = stage.img2img(*units, n_iter=2)
        assert script.latest_network is None and plain_model(stage) and stage.world.reports == []
        return result

    @pytest.mark.parametrize(("unit", "sizes"), [({}, {(128, 128)}), (CANNY, {(128, 128), (64, 64)})], ids=["none", "own"])
    def test_it_does_not_guide_the_crops(self, stage: Stage, record: Record, unit: dict[str, Any], sizes: set[tuple[int, int]]) -> None:
        """Parts are redrawn without the picture's ControlNet, with their own if they have one; the picture's goes on with the next batch."""
        plain = self.run(stage, record)
        result = self.run(stage, record, unit)
        assert set(record.sizes) == sizes and notes(result) == ""
        for one, other in zip(plain.images[-2:], result.images[-2:], strict=True):
            changed = difference(one, other) > 0
            assert changed[inside(cells(1))].any() and changed[inside(cells(2)[1:])].any() and not changed[~inside(cells(2), grow=2)].any()


def test_steps_that_change_between_cycles(stage: Stage, record: Record) -> None:
    """Prompts that are encoded anew in the middle of a job are marked for A1111's ControlNet."""
    result = stage.txt2img({**CANNY, "cycle": 2, "steps": 4, "hooks": "steps ->6"})
    assert len({call.steps for call in stage.detail_calls}) == 2 and notes(result) == "" and stage.world.reports == [] and plain_model(stage)


def test_numpys_generator_is_left_alone(stage: Stage, record: Record) -> None:
    """A ControlNet seeds numpy for its preprocessor with the segment's seeds, which other extensions do not notice."""
    np.random.seed(5)
    wanted = np.random.random()
    np.random.seed(5)
    assert notes(stage.txt2img(CANNY)) == "" and len(record.pictures) == 2
    assert np.random.random() == wanted


def test_told_once(stage: Stage, record: Record, caplog: pytest.LogCaptureFixture) -> None:
    """The log says once why segments with a ControlNet are sampled one by one."""
    with caplog.at_level(logging.INFO):
        stage.txt2img(CANNY, n_iter=2)
    assert caplog.text.count("one by one, because a ControlNet takes one picture") == 1


def test_a1111s_inner_names_of_preprocessors(stage: Stage, record: Record) -> None:
    """Clients of its API know some by other names than its page shows; both are taken."""
    result = stage.txt2img({"control_model": "control_inpaint", "control_module": "inpaint"})
    assert notes(result) == "" and [unit.module for unit in record.units] == ["inpaint", "inpaint"]
