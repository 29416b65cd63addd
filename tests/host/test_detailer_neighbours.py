"""Beside another detailer that calls every script's callbacks again, and after "Reload UI"."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import scenes
import standin
from scenes import REPOSITORY, Stage, notes, pixels

NEIGHBOUR = '''
from copy import copy
from modules import processing, scripts

class Neighbour(scripts.Script):
    active = True
    activations = 0

    def title(self):
        return "Neighbour"

    def show(self, is_img2img):
        return scripts.AlwaysVisible

    def after_extra_networks_activate(self, p, *args, **kwargs):
        Neighbour.activations += 1

    def postprocess_image(self, p, pp, *args):
        if getattr(p, "_ad_inner", False) or not Neighbour.active:
            return
        inner = processing.StableDiffusionProcessingImg2Img(
            sd_model=p.sd_model, init_images=[pp.image], prompt=p.prompt, seed=p.seed, sampler_name=p.sampler_name, steps=p.steps, width=96,
            height=96, do_not_save_samples=True, do_not_save_grid=True, denoising_strength=0.1)
        inner._ad_inner = True
        inner.scripts, inner.script_args = p.scripts, p.script_args
        processing.process_images(inner)
        p.scripts.postprocess(copy(p), processing.Processed(p, [], p.seed, ""))
        p.scripts.before_process(copy(p))
        p.scripts.process(copy(p))
'''


@pytest.fixture(params=["a_neighbour", "z_neighbour"])
def beside(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    """Detailer beside another detailer that comes before it, or after it."""
    folder = tmp_path / "extension"
    (folder / "scripts").mkdir(parents=True)
    shutil.copy(REPOSITORY / "scripts" / "detailer.py", folder / "scripts")
    (folder / "scripts" / f"{request.param}.py").write_text(NEIGHBOUR, encoding="utf-8")
    with standin.install(host="a1111-1.10.1", tmp_path=tmp_path / "host") as world:
        yield scenes.load(world, folder=folder)


def test_the_other_detailers_calls_change_nothing(beside: Stage) -> None:
    """Its inner passes are left alone, its extra calls of the callbacks do nothing twice, and each picture is detailed once."""
    result = beside.txt2img({}, batch_size=2)
    assert [call.seeds for call in beside.detail_calls] == [(1, 2, 2, 3)]
    assert result.infotexts[0].count("Detailer detector") == 1 and notes(result) == "" and beside.world.reports == []
    assert len([call for call in beside.world.sampler_log if call.size_wh == (96, 96)]) == 2


def test_problems_are_told_once(beside: Stage) -> None:
    """What is wrong with the settings stands in the note once, although the settings are read again for each picture."""
    result = beside.txt2img({"detector": "gone"}, {}, batch_size=2)
    assert [notes(result, n).count("detector 'gone' not found") for n in (0, 1)] == [1, 1]
    assert result.comments.count("unit 1 is left out") == 1


def test_other_scripts_do_not_see_nested_runs(beside: Stage) -> None:
    """Neither a wave nor the networks that are put back call another script."""
    neighbour = type(beside.world.extension.script("Neighbour"))  # type: ignore[union-attr]
    neighbour.active = False
    beside.txt2img({}, prompt="x<lora:thin:1>", n_iter=2)
    assert neighbour.activations == 2 and len(beside.detail_calls) == 2


def test_reload_ui(stage: Stage) -> None:
    """After "Reload UI" there is one Detailer, it works as before, and its page and options are there once."""
    first = stage.txt2img({})
    options = [key for key in stage.world.shared.opts.data_labels if key.startswith("detailer")]
    again = scenes.load(stage.world)
    result = again.txt2img({})
    scripts = stage.world.module("scripts").scripts_txt2img.scripts
    assert [type(one).__name__ for one in scripts].count("DetailerScript") == 1
    assert np.array_equal(pixels(first.images[0]), pixels(result.images[0])) and stage.world.reports == []
    assert again.script() is scripts[0] and options == [key for key in stage.world.shared.opts.data_labels if key.startswith("detailer")]


def test_nothing_happens_on_import(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The host's callbacks are registered by the script file, and not by the package, which stays imported after "Reload UI"."""
    callbacks, registered = stage.world.module("script_callbacks"), []
    for name in [name for name in vars(callbacks) if name.startswith("on_")]:
        monkeypatch.setattr(callbacks, name, lambda *args, name=name, **kwargs: registered.append(name))
    loaded = [name for name in sys.modules if name.startswith("detailer_webui")]
    for name in loaded:
        monkeypatch.delitem(sys.modules, name)
    import_module("detailer_webui.script")
    assert registered == []
    stage.world.module("script_loading").load_module(str(REPOSITORY / "scripts" / "detailer.py"))
    assert registered == ["on_ui_settings", "on_before_ui", "on_infotext_pasted", "on_app_started"]


def test_the_script_file_names_one_script() -> None:
    """The host registers every script class that it finds in the script file: there is just ours, in a file of few lines."""
    source = (REPOSITORY / "scripts" / "detailer.py").read_text(encoding="utf-8")
    assert len(source.splitlines()) <= 20 and "import Script" not in source
    assert [path.name for path in (REPOSITORY / "scripts").glob("*.py")] == ["detailer.py"]
