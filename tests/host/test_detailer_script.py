"""The real Script in a played host, end to end: what it makes of pictures, what it inherits, what it says."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import pytest
import standin
import torch
from PIL import Image
from scenes import UNIT, Stage, cells, difference, inside, notes, pixels

from detailer_core.settings import UnitSettings, make_settings
from detailer_core.version import VERSION

every_host = pytest.mark.parametrize("played", list(standin.HOSTS), indirect=True, scope="module")


@every_host
class TestEveryHost:
    """What must hold on all five hosts."""

    def test_only_the_spots_change(self, stage: Stage) -> None:
        """Both spots are redrawn in one nested run, and no pixel beyond their feather changes."""
        plain = stage.txt2img().images[0]
        stage.reset()
        result = stage.txt2img({})
        changed = difference(plain, result.images[0]) > 0
        assert changed[inside(cells(1))].any() and changed[inside(cells(2)[1:])].any()
        assert not changed[~inside(cells(2), grow=2)].any()
        assert [call.batch for call in stage.detail_calls] == [2]
        assert stage.world.counters.process_images == 2 and stage.world.reports == []

    def test_off_costs_nothing(self, stage: Stage) -> None:
        """Switched off, neither detector nor sampler runs, and infotext and comments say nothing of Detailer."""
        result = stage.txt2img()
        assert stage.spots.pictures == [] and stage.world.counters.process_images == 1 and stage.world.counters.samples == 1
        assert "Detailer" not in result.infotexts[0] and result.comments == ""

    def test_each_picture_has_its_own_prompt_and_seed(self, stage: Stage) -> None:
        """In two batches of two, each a wave, each picture's spots get its prompt, its negative prompt, and its seed + index over the spots."""
        result = stage.txt2img({}, batch_size=2, n_iter=2, prompt=["red", "green", "blue", "grey"], negative_prompt=["a", "b", "c", "d"], seed=10)
        assert [call.seeds for call in stage.detail_calls] == [(10, 11, 11, 12), (12, 13, 13, 14)]
        assert [call.prompts for call in stage.detail_calls] == [("red", "red", "green", "green"), ("blue", "blue", "grey", "grey")]
        assert [call.negative_prompts for call in stage.detail_calls] == [("a", "a", "b", "b"), ("c", "c", "d", "d")]
        assert len(result.images) == 4 and stage.world.reports == []

    def test_infotext_has_what_differs(self, stage: Stage) -> None:
        """The infotext names version, detector and changed settings, nothing else, and keeps the main job's own values."""
        result = stage.txt2img({"denoise": 0.5, "steps": 7}, prompt="a, face")
        params = stage.world.module("infotext_utils").parse_generation_parameters(result.infotexts[0])
        labels = {key: value for key, value in params.items() if key.startswith("Detailer")}
        changed = {key: value for key, value in UNIT.items() if getattr(UnitSettings(), key) != value}
        assert labels.pop("Detailer") == VERSION and labels.pop("Detailer steps") == "7" and labels.pop("Detailer denoising strength") == "0.5"
        assert sorted(labels.values()) == sorted(str(value) for value in changed.values())
        assert (params["Steps"], params["Size-1"], params["Seed"], params["CFG scale"]) == ("4", "128", "1", "7.0")
        assert (stage.world.folder / "params.txt").read_text(encoding="utf8") == result.infotexts[0]

    def test_sampling_is_inherited(self, stage: Stage) -> None:
        """Steps, sampler, scheduler, guidance and prompts are the main picture's unless the unit has its own."""
        scheduler = {"scheduler": "Karras"} if stage.world.host.has_schedulers else {}
        stage.txt2img({}, sampler_name="Euler a", steps=10, cfg_scale=3.0, **scheduler)
        own = {"steps": 20, "sampler": "DDIM", "cfg": 5.0, "seed": 99, "prompt": "a nose", "negative_prompt": "[PROMPT], bad", "denoise": 0.5}
        stage.txt2img(own, sampler_name="Euler a", negative_prompt="ugly", **scheduler)
        first, second = stage.detail_calls
        assert (first.sampler, first.steps, first.cfg_scale, first.seeds) == ("Euler a", 5, 3.0, (1, 2))
        assert first.scheduler == scheduler.get("scheduler") and set(first.prompts) == {"a face"}
        assert (second.sampler, second.steps, second.cfg_scale, second.seeds) == ("DDIM", 11, 5.0, (99, 100))
        assert set(second.prompts) == {"a nose"} and set(second.negative_prompts) == {"ugly, bad"}

    def test_the_same_twice(self, stage: Stage) -> None:
        """The same job gives the same picture again, whatever the global generator did before."""
        unit = {"sampler": "Euler a"}
        first = stage.txt2img(unit).images[0]
        torch.manual_seed(77)
        second = stage.txt2img(unit).images[0]
        assert np.array_equal(pixels(first), pixels(second))


def test_a_unit_follows_the_other(stage: Stage) -> None:
    """The second unit sees what the first has drawn, with prompt and labels of its own."""
    result = stage.txt2img({"prompt": "red"}, {"prompt": "blue"})
    assert [set(call.prompts) for call in stage.detail_calls] == [{"red"}, {"blue"}]
    assert not np.array_equal(stage.spots.pictures[0], stage.spots.pictures[1])
    assert "Detailer prompt: red" in result.infotexts[0] and "Detailer 2 prompt: blue" in result.infotexts[0]


def test_variation_seeds_count_up(stage: Stage) -> None:
    """With a variation strength, seeds of the pictures stay, variation seeds count; the spots count on from both."""
    stage.txt2img({}, batch_size=2, seed=5, subseed=50, subseed_strength=0.5)
    assert [call.seeds for call in stage.detail_calls] == [(5, 6, 5, 6)]
    pictures = [stage.txt2img({}, seed=5, subseed=sub, subseed_strength=0.5).images[0] for sub in (50, 51)]
    assert difference(*pictures).max() > 0


def test_separated_prompts_and_skip(stage: Stage) -> None:
    """[SEP] gives each spot its text, [SKIP] leaves one out; that is told, but is no note in the picture."""
    result = stage.txt2img({"prompt": "[ASC]red[SEP][SKIP]"})
    assert [call.prompts for call in stage.detail_calls] == [("red",)]
    assert "segment 2 skipped: the prompt says [SKIP]" in result.comments and notes(result) == ""


def test_nothing_found_is_told(stage: Stage) -> None:
    """Where the detector finds nothing, the picture is the main one and the user reads so."""
    plain = stage.txt2img().images[0]
    stage.spots.boxes = []
    result = stage.txt2img({})
    assert np.array_equal(pixels(plain), pixels(result.images[0]))
    assert "unit 1: nothing found by spots" in result.comments and "nothing found by spots" in notes(result)


def test_notes_belong_to_their_picture(stage: Stage) -> None:
    """What went wrong with the first picture is not said of the second."""
    stage.world.faults.sampling_errors[1] = RuntimeError("ordered")
    result = stage.txt2img({"wave_pixels": 64 * 64 * 2}, batch_size=2)
    assert "ordered" in notes(result, 0) and notes(result, 1) == ""


def test_files_hold_what_the_job_returns(stage: Stage) -> None:
    """The picture that is written is the redrawn one, with the same infotext."""
    saved: list[str] = []
    stage.world.module("script_callbacks").on_before_image_saved(lambda params: saved.append(params.filename))
    result = stage.txt2img({}, do_not_save_samples=False)
    with Image.open(saved[0]) as written:
        assert np.array_equal(pixels(written), pixels(result.images[0]))
    assert len(saved) == 1  # and no crop


def as_fields(stage: Stage, *units: dict[str, Any]) -> list[Any]:
    """The arguments as the page sends them: the switch, then every field of each unit."""
    fields = import_module("detailer_webui.fields")  # there only while a host is played
    values: list[Any] = [True]
    for number, unit in enumerate(units):
        own = fields.fields_from_settings(make_settings({**UNIT, **unit}))
        values += [own[field.key] for field in fields.unit_fields(number)]
    return values


def test_page_values_mean_the_same_as_a_mapping(stage: Stage) -> None:
    """Values in the page's order give the picture and infotext that a mapping gives, optional ones included."""
    unit = {"steps": 6, "seed": 4, "sampler": "Euler a", "denoise": 0.6}
    by_mapping = stage.txt2img(unit)
    by_page = stage.txt2img(args=as_fields(stage, unit))
    assert by_page.infotexts == by_mapping.infotexts
    assert np.array_equal(pixels(by_page.images[0]), pixels(by_mapping.images[0]))


def test_a_mapping_can_be_switched_off(stage: Stage) -> None:
    """A mapping with `enable` false is not run; the other keeps its number in messages."""
    stage.spots.boxes = []
    result = stage.txt2img({"enable": False}, {})
    assert len(stage.spots.pictures) == 1 and "unit 2: nothing found" in result.comments


GARBAGE = [
    ([True, {"denoice": 0.5}], "unknown setting 'denoice'; did you mean 'denoise'?"),
    ([True, {"denoise": "much"}], "denoise (Denoising strength): it must be a number, got 'much'"),
    ([True, {"denoise": [1]}], "it must be a number, got [1]"),
    ([True, {"steps": 0}], "steps (Steps): it must lie in 1..150, got 0"),
    ([True, {"mask_shape": "star"}], "choose one of pixel, box, rounded, ellipse"),
    ([True, {"detector": "no_such.pt"}], "detector 'no_such.pt' not found"),
    ([True, {"detector": 7}], "it must be text, got 7"),
    ([True, {"sampler": "Euler z"}], "sampler 'Euler z' is not known; did you mean"),
    ([True, {"scheduler": "Karas"}], "scheduler 'Karas' is not known; did you mean 'Karras'?"),
    ([True, {"checkpoint": "nowhere"}], "checkpoint 'nowhere' not found; there are fake.safetensors"),
    ([True, {"refiner": "nowhere"}], "refiner 'nowhere' not found"),
    ([True, {"enable": "yes"}], "enable: it must be true or false, got 'yes'"),
    ([True, {"min_ratio": 0.5, "max_ratio": 0.1}], "min_ratio 0.5 is above max_ratio 0.1"),
    (["yes", {}], "the first argument switches Detailer on and must be true or false, got 'yes'"),
    ([1], "the first argument switches Detailer on and must be true or false, got 1"),
    ([True, "yes"], "enable: it must be true or false, got 'yes'"),
    ([True, True, 5], "detector (Detector): it must be text, got 5"),
]


@pytest.mark.parametrize(("args", "message"), GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_costs_no_picture(stage: Stage, args: list[Any], message: str) -> None:
    """Arguments that make no sense leave the main picture as it is; comment and note say why; the host sees no error."""
    plain = stage.txt2img().images[0]
    result = stage.txt2img(args=args)
    assert np.array_equal(pixels(plain), pixels(result.images[0]))
    params = stage.world.module("infotext_utils").parse_generation_parameters(result.infotexts[0])
    assert message in result.comments and message in params["Detailer note"]
    assert "Detailer" not in params and "Detailer detector" not in params
    assert stage.world.reports == [] and stage.spots.pictures == []


def test_too_many_values_are_told_where_the_host_keeps_them(stage: Stage) -> None:
    """The host drops what exceeds the page; a caller that bypasses it gets a message that says how many values are expected."""
    result = stage.txt2img(args=[*as_fields(stage, {}, {}), "one more", "and more"])
    assert stage.world.reports == [] and notes(result) == "" and len(stage.detail_calls) == 2
    script = stage.script()
    p = stage.world.module("processing").StableDiffusionProcessingTxt2Img(prompt="x")
    script.process(p, *as_fields(stage, {}), "one more")
    assert "expected a mapping of settings for each unit" in " ".join(p.comments)


def test_a_wrong_unit_does_not_stop_the_others(stage: Stage) -> None:
    """A unit with a wrong setting or an unknown detector is left out by its number; the others work and only they are in the infotext."""
    result = stage.txt2img({"denoise": 7}, {"detector": "gone"}, {"denoise": 0.5})
    params = stage.world.module("infotext_utils").parse_generation_parameters(result.infotexts[0])
    assert len(stage.detail_calls) == 1
    assert params["Detailer denoising strength"] == "0.5" and not any(key.startswith("Detailer 2") for key in params)
    assert "unit 1 is left out: denoise" in params["Detailer note"] and "unit 2 is left out: detector 'gone' not found" in params["Detailer note"]


def test_notes_do_not_tell_folders(stage: Stage) -> None:
    """The picture's note does not hold the path of the models folder, the comment does: it says where to put the file."""
    result = stage.txt2img({"detector": "gone.pt"})
    assert str(stage.world.folder) in result.comments and str(stage.world.folder) not in notes(result)
    assert "models" in notes(result)


def test_a_broken_model_file_is_told(stage: Stage) -> None:
    """A model file that cannot be read leaves its unit out before anything is drawn."""
    folder = stage.world.folder / "models" / "detailer"
    folder.mkdir(exist_ok=True)
    (folder / "broken.pt").write_bytes(b"not a model")
    result = stage.txt2img({"detector": "broken.pt"})
    assert "unit 1 is left out" in notes(result) and stage.world.reports == [] and "broken.pt" in result.comments
