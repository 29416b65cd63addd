"""Which other scripts run inside the detail pass: none but those that are named in the settings."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scenes
import standin
from scenes import REPOSITORY, Stage, notes, pixels

every_host = pytest.mark.parametrize("guested", list(standin.HOSTS), indirect=True)

REGIONAL = '''
import gradio as gr
from modules import scripts

class Regional(scripts.Script):
    """Keeps the job that it saw in process, and notes each call."""
    job, calls = None, []

    def title(self):
        return "Regional"

    def show(self, is_img2img):
        return scripts.AlwaysVisible

    def ui(self, is_img2img):
        return [gr.Number(value=0), gr.Textbox(value="plain")]

    def note(self, name, p, args, kwargs):
        Regional.calls.append((name, type(p).__name__, args, sorted(kwargs), list(p.prompts or [])))

    def setup(self, p, *args):
        self.note("setup", p, args, {})

    def before_process(self, p, *args):
        self.note("before_process", p, args, {})

    def process(self, p, *args):
        Regional.job = p
        self.note("process", p, args, {})

    def before_process_batch(self, p, *args, **kwargs):
        self.note("before_process_batch", p, args, kwargs)

    def after_extra_networks_activate(self, p, *args, **kwargs):
        self.note("after_extra_networks_activate", p, args, kwargs)

    def process_batch(self, p, *args, **kwargs):
        self.note("process_batch", p, args, kwargs)

    def process_before_every_sampling(self, p, *args, **kwargs):
        self.note("process_before_every_sampling", p, args, kwargs)

    def postprocess_batch(self, p, *args, **kwargs):
        self.note("postprocess_batch", p, args, kwargs)

    def postprocess_image(self, p, pp, *args):
        self.note("postprocess_image", p, args, {})

    def postprocess(self, p, processed, *args):
        self.note("postprocess", p, args, {})
'''
CALLED = ["before_process", "process", "before_process_batch", "after_extra_networks_activate", "process_batch", "process_before_every_sampling",
          "postprocess_batch", "postprocess"]


@pytest.fixture
def guested(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    """Detailer beside a script that keeps the job it saw; A1111 unless the test asks for others."""
    folder = tmp_path / "extension"
    (folder / "scripts").mkdir(parents=True)
    shutil.copy(REPOSITORY / "scripts" / "detailer.py", folder / "scripts")
    (folder / "scripts" / "Regional.py").write_text(REGIONAL, encoding="utf-8")
    with standin.install(host=getattr(request, "param", "a1111-1.10.1"), tmp_path=tmp_path / "host") as world:
        yield scenes.load(world, folder=folder)


def regional(stage: Stage) -> Any:
    """The script's class."""
    return type(stage.world.extension.script("Regional"))  # type: ignore[union-attr]


def inner(stage: Stage) -> list[Any]:
    """The calls inside of detail passes."""
    return [call for call in regional(stage).calls if call[1] == "WaveJob"]


def run(stage: Stage, *units: dict[str, Any], **fields: Any) -> Any:
    """A job with the script's arguments 3 and "own"."""
    arguments = {scenes.TITLE: [bool(units), *({**scenes.UNIT, **unit} for unit in units)], "Regional": [3, "own"]}
    return stage.world.run_txt2img(arguments, prompt="a face", width=scenes.SIDE, height=scenes.SIDE, **fields)


@every_host
def test_regional_prompter_like_scripts_keep_their_state(guested: Stage) -> None:
    """A script that is not named sees the main job only, and still has it when later batches come."""
    run(guested, {}, batch_size=2, n_iter=2)
    assert inner(guested) == [] and type(regional(guested).job).__name__ == "StableDiffusionProcessingTxt2Img"
    assert [call.batch for call in guested.detail_calls] == [4, 4] and guested.world.reports == []


@every_host
def test_a_named_script_runs_inside(guested: Stage) -> None:
    """It is called as in any job, with its own arguments of the main job, a segment at a time; never for `setup`, nor with pictures."""
    guested.world.shared.opts.data["detailer_scripts"] = " regional.py , other"
    result = run(guested, {"prompt": "red[SEP]blue"})
    calls = inner(guested)
    assert [name for name, *_ in calls] == CALLED * 2 and {args for _, _, args, *_ in calls} == {(3, "own")}
    named = {name: keys for name, _, _, keys, _ in calls}
    batch = ["batch_number", "prompts", "seeds", "subseeds"]
    assert named["process_batch"] == named["before_process_batch"] == batch and named["postprocess_batch"] == ["batch_number", "images"]
    assert named["process_before_every_sampling"] == ["c", "noise", "uc", "x"]
    assert [prompts for name, *_, prompts in calls if name == "process_batch"] == [["red"], ["blue"]]
    assert [call.batch for call in guested.detail_calls] == [1, 1] and notes(result) == "" and guested.world.reports == []


def test_each_cycle_is_a_sampling(guested: Stage) -> None:
    """It is told before each pass of the sampler, as in hires fix."""
    guested.world.shared.opts.data["detailer_scripts"] = "Regional"
    run(guested, {"cycle": 2})
    assert [name for name, *_ in inner(guested)].count("process_before_every_sampling") == 4


@pytest.mark.parametrize("callback", CALLED)
def test_one_that_fails_costs_no_segment(guested: Stage, callback: str) -> None:
    """Its error is logged, and the part is redrawn as without it."""
    plain = run(guested, {})
    guested.world.shared.opts.data["detailer_scripts"] = "Regional"
    calls = guested.world.counters.process_images
    note = regional(guested).note

    def fail(self: Any, name: str, p: Any, *rest: Any) -> None:
        note(self, name, p, *rest)
        if name == callback and type(p).__name__ == "WaveJob":
            raise ValueError("ordered")

    regional(guested).note = fail
    result = run(guested, {})
    assert guested.world.counters.process_images == calls + 3 and notes(result) == "" and guested.world.reports == []
    assert np.array_equal(pixels(plain.images[0]), pixels(result.images[0]))


def test_detailer_never_runs_inside_itself(guested: Stage) -> None:
    """Naming it does nothing, nor does a name that no script has."""
    guested.world.shared.opts.data["detailer_scripts"] = "detailer, gone,,"
    run(guested, {})
    assert [call.batch for call in guested.detail_calls] == [2] and inner(guested) == []
