"""Every option of every unit as an axis of the host's X/Y/Z plot."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing
from importlib import import_module
from pathlib import Path
from typing import Any

import controlnets
import pytest
import scenes
import standin
from scenes import REPOSITORY, UNIT, Stage

from detailer_core.errors import SettingsError
from detailer_core.settings import options


@pytest.fixture(params=["a1111-1.10.1", "forge", "forge-classic"], scope="module")
def plotting(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A host whose own plot is there."""
    folder = tmp_path_factory.mktemp("extension")
    (folder / "scripts").mkdir(parents=True)
    shutil.copy(REPOSITORY / "scripts" / "detailer.py", folder / "scripts")
    shutil.copy(Path(standin.__file__).parent / "host_scripts" / "xyz_grid.py", folder / "scripts")
    with standin.install(host=request.param, tmp_path=tmp_path_factory.mktemp("host")) as world:
        yield scenes.load(world, folder=folder)


def axes(stage: Stage) -> dict[str, Any]:
    """Detailer's axes by label."""
    (module,) = [data.module for data in stage.world.module("scripts").scripts_data if data.path.endswith("xyz_grid.py")]
    return {axis.label: axis for axis in module.axis_options if axis.label.startswith("[Detailer")}


def plot(stage: Stage, label: str, values: Any, *units: dict[str, Any], second: tuple[str, Any] = ("Nothing", "")) -> Any:
    """The pictures of a plot along one axis or two, as the host's page asks for it."""
    stage.reset()
    world, script = stage.world, stage.world.extension.script("X/Y/Z plot")  # type: ignore[union-attr]
    labels = [axis.label for axis in script.current_axis_options]
    processing, scripts = world.module("processing"), world.module("scripts")
    fields = {"prompt": "a face", "width": 128, "height": 128, "steps": 2, "seed": 1, "sampler_name": "Euler", "do_not_save_samples": True,
              "do_not_save_grid": True}
    world.shared.state.begin(job="scripts_txt2img")
    with closing(processing.StableDiffusionProcessingTxt2Img(sd_model=world.shared.sd_model, **fields)) as p:
        p.scripts = scripts.scripts_txt2img
        p.script_args = tuple(world.extension.arguments({"Detailer": [True, *({**UNIT, **unit} for unit in units or ({},))]}, "txt2img"))
        asked = []
        for kind, chosen in ((label, values), second):
            asked += [labels.index(kind), chosen if isinstance(chosen, str) else "", chosen if isinstance(chosen, list) else []]
        try:
            return script.run(p, *asked)
        finally:
            world.shared.state.end()


def test_every_option_of_every_unit_is_an_axis(plotting: Stage) -> None:
    """Two units, as on the page: for each option one axis, one that switches the unit, and one for words of its prompts."""
    found = axes(plotting)
    assert len(found) == 2 * (len(options()) + 2)
    for option in options().values():
        assert f"[Detailer] {option.label}" in found and f"[Detailer 2] {option.label}" in found


def test_axes_have_types_and_choices(plotting: Stage) -> None:
    """Numbers can be given as ranges, lists are offered to choose from, with what the host has now."""
    found = axes(plotting)
    assert found["[Detailer] Dilation"].type is int and found["[Detailer] Denoising strength"].type is float
    assert found["[Detailer] Mask shape"].choices() == ["pixel", "box", "rounded", "ellipse"]
    assert found["[Detailer] Noise mask"].choices() == ["True", "False"]
    assert "Euler" in found["[Detailer] Sampler"].choices() and "whole" in found["[Detailer] Detector"].choices()
    assert found["[Detailer] Prompt"].choices is None and found["[Detailer] Checkpoint"].cost == 1.0


def test_every_list_of_the_page_is_offered(plotting: Stage) -> None:
    """Whatever the page takes from the host can be chosen in the plot, too, and is the same there."""
    found, offered = axes(plotting), import_module("detailer_webui.choices").offered
    with controlnets.installed(plotting.world):
        lists = {option.label: found[f"[Detailer] {option.label}"].choices() for option in options().values() if option.source}
        assert lists == {option.label: offered(option.source) for option in options().values() if option.source}
    assert lists["Second detector"] == ["none", *lists["Detector"]] and "mask" not in lists["Detector"]
    assert lists["ControlNet"] == ["None", *controlnets.MODELS] and lists["Preprocessor"][:2] == ["none", "canny"]
    assert lists["Checkpoint"] == lists["Refiner"] and len(lists["Checkpoint"]) > 1 and offered("what nobody has") == []
    assert bool(lists["VAE"]) == bool(import_module("detailer_webui.host").vae_names())


def test_a_number_differs_from_picture_to_picture(plotting: Stage) -> None:
    """Each picture is detailed with its value, and its parameters say so; one with the default does not speak of the one before."""
    result = plot(plotting, "[Detailer] Denoising strength", "0.2, 0.4, 0.6")
    assert [call.denoising_strength for call in plotting.detail_calls] == [0.2, 0.4, 0.6]
    told = ["Detailer denoising strength: 0.2" in result.infotexts[0], "Detailer denoising" in result.infotexts[1],
            "Detailer denoising strength: 0.6" in result.infotexts[2]]
    assert told == [True, False, True]


def test_a_range_of_whole_numbers(plotting: Stage) -> None:
    """The host's own way to write ranges works."""
    result = plot(plotting, "[Detailer] Steps", "30-50 (+10)")
    assert [f"Detailer steps: {steps}," in text for steps, text in zip((30, 40, 50), result.infotexts, strict=True)] == [True] * 3
    assert len({call.steps for call in plotting.detail_calls}) == 3


def test_switches_and_lists(plotting: Stage) -> None:
    """Values that are chosen come as texts, and are read as what they mean."""
    result = plot(plotting, "[Detailer] Noise mask", ["True", "False"])
    assert ["Detailer noise mask: False" in text for text in result.infotexts] == [False, True]
    plot(plotting, "[Detailer] Sampler", ["Euler", "Heun"])
    assert [call.sampler for call in plotting.detail_calls] == ["Euler", "Heun"]


def test_a_unit_can_be_switched(plotting: Stage) -> None:
    """Off and on, also a unit that is off on the page."""
    plot(plotting, "[Detailer] Use unit", ["False", "True"])
    assert len(plotting.detail_calls) == 1
    plot(plotting, "[Detailer 2] Use unit", ["False", "True"], {}, {"enable": False})
    assert len(plotting.detail_calls) == 3


def test_the_second_unit_has_axes_of_its_own(plotting: Stage) -> None:
    """Two axes at once, one of each unit, change what they name and nothing else."""
    plot(plotting, "[Detailer] Denoising strength", "0.2, 0.3", {}, {"denoise": 0.9}, second=("[Detailer 2] CFG scale", "3, 4"))
    assert [(call.denoising_strength, call.cfg_scale) for call in plotting.detail_calls] == [
        (0.2, 7.0), (0.9, 3.0), (0.3, 7.0), (0.9, 3.0), (0.2, 7.0), (0.9, 4.0), (0.3, 7.0), (0.9, 4.0)]


@pytest.mark.parametrize(("label", "values"), [("[Detailer] Denoising strength", "0.5, 2"), ("[Detailer] Sampler", ["Euler", "gone"]),
                                               ("[Detailer] Use unit", ["perhaps"]), ("[Detailer] Mask shape", ["star"])])
def test_a_wrong_value_stops_the_plot_before_it_begins(plotting: Stage, label: str, values: Any) -> None:
    """Nothing is drawn for a grid that could not be finished."""
    with pytest.raises(SettingsError):
        plot(plotting, label, values)
    assert plotting.world.sampler_log == []


def test_words_of_the_units_prompts(plotting: Stage) -> None:
    """The first text is replaced by each, in both prompts of that unit and in no other; one that is not there is told."""
    units = {"prompt": "red eyes, [PROMPT]", "negative_prompt": "no red"}, {"prompt": "red hands"}
    result = plot(plotting, "[Detailer] Prompt S/R", "red, blue", *units)
    prompts = [(call.prompts[0], call.negative_prompts[0]) for call in plotting.detail_calls]
    assert [prompts[0], prompts[2]] == [("red eyes, a face", "no red"), ("blue eyes, a face", "no blue")]
    assert prompts[1][0] == prompts[3][0] == "red hands" and "Detailer prompt: \"blue eyes, [PROMPT]\"" in result.infotexts[1]
    result = plot(plotting, "[Detailer] Prompt S/R", "green, blue", *units)
    assert "unit 1 is left out: prompt S/R: 'green' is in none of the unit's own prompts" in result.infotexts[0]


def test_a_unit_that_is_not_there_is_told(plotting: Stage) -> None:
    """A client sends one unit and asks for changes of the second."""
    result = plot(plotting, "[Detailer 2] Steps", "7")
    assert "unit 2 of the X/Y/Z plot is not there" in result.infotexts[0]


def test_other_jobs_are_not_changed(plotting: Stage) -> None:
    """After a plot, a picture is made with the page's own values."""
    plot(plotting, "[Detailer] Denoising strength", "0.2")
    plotting.reset()
    plotting.txt2img({"denoise": 0.9})
    assert [call.denoising_strength for call in plotting.detail_calls] == [0.9]


def test_reload_adds_no_axis_twice(plotting: Stage) -> None:
    """After "Reload UI" each axis is there once."""
    again = scenes.load(plotting.world, folder=plotting.world.extension.folder)  # type: ignore[union-attr]
    labels = [axis.label for axis in again.world.extension.script("X/Y/Z plot").current_axis_options]  # type: ignore[union-attr]
    assert len(labels) == len(set(labels))


def test_a_host_without_the_plot_is_no_trouble(stage: Stage) -> None:
    """Nothing is reported where there is none."""
    assert stage.world.reports == []
