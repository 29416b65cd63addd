"""What the page's buttons do on the server: the answers, and that trouble is told and never raised."""

from __future__ import annotations

import base64
import io
import json
from importlib import import_module
from typing import Any

import pytest
import scenes
from PIL import Image
from scenes import Stage

from detailer_core.settings import UnitSettings, make_settings

UNITS = 2


def handlers(stage: Stage) -> Any:
    """The handlers of the txt2img page."""
    fields = import_module("detailer_webui.fields")
    presets = import_module("detailer_webui.presets").PresetShelf(stage.world.folder / "presets.json")
    keys = tuple(field.key for field in fields.unit_fields(0))
    return import_module("detailer_webui.page_handlers").PageHandlers(workshop=stage.script().workshop, presets=presets, units=UNITS, keys=keys)


def values(enabled: bool = True, **settings: Any) -> list[Any]:
    """The values of a unit's fields, in order."""
    fields = import_module("detailer_webui.fields")
    by_key = fields.fields_from_settings(make_settings({"detector": "spots", "drop_size": 1, **settings}), enabled=enabled)
    return [by_key[field.key] for field in fields.unit_fields(0)]


def data_uri(image: Image.Image, kind: str = "PNG") -> str:
    """The picture as the browser sends it."""
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def look(stage: Stage, picture: str | None = None, **settings: Any) -> dict[str, Any]:
    """The answer to a look at a picture."""
    return json.loads(handlers(stage).preview(data_uri(scenes.picture()) if picture is None else picture, *values(**settings)))


@pytest.fixture(autouse=True)
def no_presets(stage: Stage) -> None:
    """Each test starts without presets."""
    (stage.world.folder / "presets.json").unlink(missing_ok=True)


def test_preview_tells_all_segments(stage: Stage) -> None:
    """Boxes, crops, and masks that are as large as what they cover; nothing is sampled."""
    answer = look(stage, dilation=0)
    assert answer["size"] == [scenes.SIDE, scenes.SIDE]
    assert [one["box"] for one in answer["segments"]] == [list(box) for box in scenes.cells(2)]
    assert [(one["number"], one["label"], one["confidence"]) for one in answer["segments"]] == [(1, "spot", 1.0), (2, "spot", 1.0)]
    first = answer["segments"][0]
    assert first["mask_box"] == first["box"]
    mask = Image.open(io.BytesIO(base64.b64decode(first["mask"].partition(",")[2])))
    assert mask.size == (16, 16) and mask.getextrema() == ((255, 255), (255, 255))
    assert stage.world.counters.samples == 0


@pytest.mark.parametrize(("pick", "picked"), [("", None), ("2", [2]), ("2,1,2", [2, 1]), ("1-9", [1, 2]), ("9", [])])
def test_preview_shows_what_is_not_picked_too(stage: Stage, pick: str, picked: list[int] | None) -> None:
    """All segments come; which are picked, in which order, is told beside them. None = there is no list of numbers."""
    answer = look(stage, pick=pick)
    assert len(answer["segments"]) == 2
    assert answer["picked"] == picked


@pytest.mark.parametrize(("prompt", "prompts"), [
    ("", [""]), ("a face", ["a face"]), ("a [SEP] b", ["a", "b"]), ("[SKIP]", ["[SKIP]"]), ("[ASC] a [SEP] b", None), ("[CONCAT] more", None),
    ("[LAB][face]x", None)])
def test_preview_tells_prompts_of_parts(stage: Stage, prompt: str, prompts: list[str] | None) -> None:
    """As the core reads them; a text with an order or a grammar of its own is not the page's to change."""
    assert look(stage, prompt=prompt)["prompts"] == prompts


@pytest.mark.parametrize(("picture", "told"), [
    ("", "there is no picture"), ("http://127.0.0.1/a.png", "there is no picture"), ("data:image/png;base64,%%", "cannot be read"),
    ("data:image/png;base64,aGVsbG8=", "cannot be read"), (None, "")])
def test_pictures_that_cannot_be_read_are_told(stage: Stage, picture: str | None, told: str) -> None:
    """What is no picture is told; a broken one does not stop the server."""
    assert told in look(stage, picture).get("error", "")


def test_large_pictures_are_refused(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the file nor the picture may be larger than can be worked on."""
    data = import_module("detailer_webui.data_uri")
    monkeypatch.setattr(data, "MAX_PIXELS", scenes.SIDE * scenes.SIDE - 1)
    assert "128x128" in look(stage)["error"]
    monkeypatch.setattr(data, "MAX_BYTES", 100)
    assert "larger than" in look(stage)["error"]


@pytest.mark.parametrize(("settings", "told"), [({"detector": "gone.pt"}, "'gone.pt' not found"), ({"pick": "a"}, "the list of numbers")])
def test_wrong_settings_are_told(stage: Stage, settings: dict[str, Any], told: str) -> None:
    """What a run would refuse, the preview refuses with the same words."""
    assert told in look(stage, **settings)["error"]


def test_a_detector_that_fails_is_told(stage: Stage) -> None:
    """Whatever a model makes a library do, the page gets an answer, and the lock is free again."""
    stage.spots.error = ZeroDivisionError("by zero")
    assert "ZeroDivisionError" in look(stage)["error"]
    stage.spots.error = None
    assert len(look(stage)["segments"]) == 2


def test_preview_waits_for_no_picture(stage: Stage) -> None:
    """While the host makes a picture, the detector is the job's: the page is told to try again, at once."""
    lock = stage.world.module("call_queue").queue_lock
    with lock:
        assert "a picture is being made" in look(stage)["error"]
    assert "error" not in look(stage)


def test_another_number_of_values_is_told(stage: Stage) -> None:
    """A page that was built before the extension was updated is to be reloaded."""
    answer = json.loads(handlers(stage).preview(data_uri(scenes.picture()), *values()[1:]))
    assert "reload" in answer["error"]


def test_rescan_finds_new_files(stage: Stage) -> None:
    """Both lists of each unit get the file that was put into the folder, and no value changes; the status says how many there are."""
    folder = stage.world.folder / "models" / "detailer"
    folder.mkdir(exist_ok=True)
    (folder / "new face.pt").write_bytes(b"x")
    *updates, status = handlers(stage).rescan()
    (folder / "new face.pt").unlink()
    assert len(updates) == 2 * UNITS
    assert all("new face.pt" in str(update["choices"]) and "value" not in update for update in updates)
    assert "detectors found" in status


@pytest.mark.parametrize(("names", "shown"), [((), ""), (("face",), ""), (("face", "<b>"), "&lt;b&gt;")])
def test_classes_become_buttons(stage: Stage, names: tuple[str, ...], shown: str) -> None:
    """One class is no choice; a name is text and never markup."""
    stage.spots.class_names = names  # type: ignore[misc]
    made = handlers(stage).classes("spots")
    assert made.count("<button") == (len(names) if len(names) > 1 else 0)
    assert shown in made and "<b>" not in made


def test_classes_of_an_unknown_detector_are_told(stage: Stage) -> None:
    """The reason stands where the classes would; no detector is none to tell of."""
    assert "not found" in handlers(stage).classes("gone.pt")
    assert handlers(stage).classes("") == ""


def test_presets_keep_units_that_are_on(stage: Stage) -> None:
    """Saved under the name that is typed; loading sets their fields and switches the other units off."""
    page = handlers(stage)
    update, status = page.save_preset(" mine ", None, *values(prompt="one"), *values(enabled=False, prompt="two"))
    assert update["choices"] == ["mine"] and update["value"] == "mine" and "&#x27;mine&#x27; is saved" in status
    *loaded, status = page.load_preset("mine")
    assert loaded[:len(page.keys)] == values(prompt="one")
    assert loaded[len(page.keys)] is False
    assert all(isinstance(one, dict) and "value" not in one for one in loaded[len(page.keys) + 1:])
    assert "is loaded" in status


def test_without_a_name_the_chosen_preset_is_saved_over(stage: Stage) -> None:
    """The list's choice stands for a name that is not typed."""
    page = handlers(stage)
    page.save_preset("mine", None, *values(prompt="one"), *values(enabled=False))
    page.save_preset("", "mine", *values(prompt="other"), *values(enabled=False))
    assert page.load_preset("mine")[:len(page.keys)] == values(prompt="other")


def test_a_preset_with_more_units_than_the_page(stage: Stage) -> None:
    """The first ones are loaded, and the user is told of the others."""
    page = handlers(stage)
    page.presets.save("many", [UnitSettings()] * 3)
    *loaded, status = page.load_preset("many")
    assert len(loaded) == UNITS * len(page.keys)
    assert "without its last 1 units" in status and "detailer-problem" in status


@pytest.mark.parametrize("call", ["save_preset", "rename_preset", "delete_preset", "export_preset", "load_preset", "import_presets"])
@pytest.mark.parametrize("name", [None, "", "gone"])
def test_mistakes_with_presets_are_told(stage: Stage, call: str, name: str | None) -> None:
    """No name, and a name that is not there: as many outputs as always, the last one a line that says it."""
    page = handlers(stage)
    off = [*values(enabled=False), *values(enabled=False)]
    args = {"save_preset": [name, None, *off], "rename_preset": [name, name]}.get(call, [name])
    *rest, status = getattr(page, call)(*args)
    assert len(rest) == (UNITS * len(page.keys) if call == "load_preset" else 1)
    assert "detailer-problem" in status or (call == "import_presets" and not name)


def test_presets_travel_as_text(stage: Stage) -> None:
    """What is exported can be imported again."""
    page = handlers(stage)
    page.save_preset("mine", None, *values(prompt="one"), *values(enabled=False))
    text, _ = page.export_preset("mine")
    page.delete_preset("mine")
    assert page.preset_names() == []
    page.import_presets(text)
    assert page.preset_names() == ["mine"]


def test_last_pictures_are_those_of_the_last_run(stage: Stage) -> None:
    """One pair for each picture that was changed; a run that changes nothing leaves the pairs of the one before."""
    stage.txt2img({}, n_iter=2)
    pairs = json.loads(handlers(stage).last_pictures())
    assert len(pairs) == 2 and all(pair["before"] != pair["after"] for pair in pairs)
    assert all(pair[key].startswith("data:image/jpeg") for pair in pairs for key in ("before", "after"))
    stage.txt2img()
    assert json.loads(handlers(stage).last_pictures()) == pairs
    stage.txt2img({})
    assert len(json.loads(handlers(stage).last_pictures())) == 1


def test_kept_pictures_are_few_and_small(stage: Stage) -> None:
    """The last eight pairs at most, and none larger than the page shows."""
    comparison = import_module("detailer_webui.comparison")
    kept = comparison.Comparison()
    for _ in range(comparison.MOST + 2):
        kept.add(Image.new("RGB", (2000, 10)), Image.new("RGBA", (2000, 10)))
    assert len(kept.pairs()) == comparison.MOST
    small = Image.open(io.BytesIO(base64.b64decode(kept.pairs()[0].after.partition(",")[2])))
    assert small.size[0] == comparison.SIDE


@pytest.mark.parametrize(("marks", "side"), [({"is_sd1": True}, 512), ({"is_sd1": False, "is_sd2": True}, 768),
                                             ({"is_sd1": False, "is_sdxl": True}, 1024), ({"is_sd1": False}, 1024)])
def test_guide_size_follows_the_loaded_model(stage: Stage, monkeypatch: pytest.MonkeyPatch, marks: dict[str, bool], side: int) -> None:
    """The side that the model was trained at: what is neither SD1 nor SD2 is of a later family."""
    host = import_module("detailer_webui.host")
    for name, mark in marks.items():
        monkeypatch.setattr(type(stage.world.model), name, mark)
    assert host.model_side() == side
