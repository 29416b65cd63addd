"""ADetailer's pictures pasted into the page, its arguments sent to Detailer, and both extensions installed together."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import scenes
import standin
from scenes import REPOSITORY, UNIT, Stage, notes
from test_adetailer_lines import MAIN, SECOND, USUAL, VERSION

from detailer_core.settings import UnitSettings

NEIGHBOUR = '''
from modules import scripts

class AfterDetailer(scripts.Script):
    def title(self):
        return "ADetailer"

    def show(self, is_img2img):
        return scripts.AlwaysVisible
'''
PICTURE = f"a face\nNegative prompt: bad\n{MAIN}, {USUAL}, ADetailer prompt: smile, {SECOND}, {VERSION}"


def pasted(stage: Stage, text: str) -> dict[int, UnitSettings]:
    """The units that the page shows, switched on, after something was pasted."""
    assert stage.world.extension is not None
    values = {id(component): value for component, value in stage.world.extension.paste(text)}
    shown = [component for component, _ in stage.world.module("scripts").scripts_txt2img.infotext_fields]
    args = [_value(values[id(one)]) if id(one) in values else one.value for one in shown]
    return dict(import_module("detailer_webui.fields").units_from_args(args).units)


def _value(pasted: Any) -> Any:
    return pasted["value"] if isinstance(pasted, dict) else pasted


@pytest.fixture
def together(tmp_path: Path) -> Iterator[Stage]:
    """Detailer beside something that is called ADetailer."""
    folder = tmp_path / "extension"
    (folder / "scripts").mkdir(parents=True)
    shutil.copy(REPOSITORY / "scripts" / "detailer.py", folder / "scripts")
    (folder / "scripts" / "!adetailer.py").write_text(NEIGHBOUR, encoding="utf-8")
    with standin.install(host="a1111-1.10.1", tmp_path=tmp_path / "host") as world:
        yield scenes.load(world, folder=folder)


def test_a_pasted_picture_of_adetailers_fills_the_page(stage: Stage) -> None:
    """Its tabs switch units on and set their fields; the panel is opened."""
    units = pasted(stage, PICTURE)
    assert (units[1].detector, units[2].detector) == ("face_yolov8n.pt", "hand_yolov8n.pt")
    assert (units[1].prompt, units[2].denoise, units[1].guide_size) == ("smile", 0.25, 512)


def test_with_both_installed_only_adetailer_is_filled(together: Stage) -> None:
    """A picture is not detailed twice because it was pasted."""
    assert pasted(together, PICTURE) == {}


def test_with_both_installed_the_setting_decides(together: Stage) -> None:
    """Who wants to change over says so in the settings."""
    together.world.shared.opts.set("detailer_adetailer", "always")
    assert pasted(together, PICTURE)[1].detector == "face_yolov8n.pt"


def test_the_setting_switches_it_off(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who does not want it gets nothing pasted."""
    monkeypatch.setitem(stage.world.shared.opts.data, "detailer_adetailer", "never")
    assert pasted(stage, PICTURE) == {}


def test_our_own_picture_is_read_as_ours(stage: Stage) -> None:
    """A picture that both have worked on gives what Detailer did."""
    (unit,) = pasted(stage, f"a\n{MAIN}, {USUAL}, Detailer: 0.1.0, Detailer detector: face_haar, Detailer denoising strength: 0.2").values()
    assert (unit.detector, unit.denoise) == ("face_haar", 0.2)


def test_what_is_not_taken_over_is_told_when_pasted(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """Once in the log, with its label and what happens instead; values of a picture go nowhere else."""
    pasted(stage, f"a\n{MAIN}, {USUAL}, ADetailer dynamic denoise power: 2, ADetailer sparkle: <b>x</b>, {VERSION}")
    told = [record.message for record in caplog.records if "not taken over" in record.message]
    assert len(told) == 1
    assert "ADetailer dynamic denoise power: all parts have" in told[0] and "ADetailer sparkle: unknown" in told[0] and "<b>" not in told[0]


def test_adetailers_arguments_work_here(stage: Stage) -> None:
    """A client that sends ADetailer's arguments to Detailer gets a picture detailed with them, sampled at the main picture's size."""
    result = stage.txt2img(args=[True, False, {"ad_model": "spots", "ad_denoising_strength": 0.3, "ad_dynamic_denoise_power": 2.0}])
    detail = [call for call in stage.world.sampler_log if call.denoising_strength == 0.3]
    assert {call.size_wh for call in detail} == {(128, 128)}
    assert "Detailer detector: spots" in result.infotexts[0] and "Detailer denoising strength: 0.3" in result.infotexts[0]
    assert "unit 1: not taken over from ADetailer: ad_dynamic_denoise_power" in notes(result)


def test_a_wrong_argument_of_adetailers_costs_its_unit(stage: Stage) -> None:
    """It is told by name, and the other unit works."""
    result = stage.txt2img(args=[True, {"ad_model": "spots", "ad_denoise": 0.3}, dict(UNIT)])
    assert "unit 1 is left out: ad_denoise: unknown argument of ADetailer; did you mean" in notes(result)
    assert len(stage.detail_calls) == 1
