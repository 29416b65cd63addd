"""The pictures of one batch: planned together, handed over one by one, the same as alone."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scenes
import standin
from PIL import Image
from scenes import REPOSITORY, SIDE, Stage, difference, notes, pixels

from detailer_core.errors import PromptError

every_host = pytest.mark.parametrize("played", list(standin.HOSTS), indirect=True, scope="module")

PAINTER = '''
from modules import scripts

class Painter(scripts.Script):
    paints, seen = False, []

    def title(self):
        return "Painter"

    def show(self, is_img2img):
        return scripts.AlwaysVisible

    def postprocess_image(self, p, pp, *args):
        Painter.seen.append(pp.image.copy())
        if Painter.paints:
            pp.image = pp.image.transpose(0)
'''


def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on the host never shows Detailer a whole batch."""
    monkeypatch.setattr(import_module("detailer_webui.script"), "detail_batch", lambda *_: None)


def equal(one: Any, other: Any) -> bool:
    """Whether two results have the same pictures, bit for bit, and the same texts."""
    return one.infotexts == other.infotexts and all(np.array_equal(pixels(a), pixels(b)) for a, b in zip(one.images, other.images, strict=True))


@every_host
def test_a_batch_shares_waves_and_is_the_same(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three pictures with two segments each are one wave of six, with prompts and seeds of their own; pictures and texts are those of one by one."""
    job: dict[str, Any] = {"batch_size": 3, "n_iter": 2, "prompt": "a face, {seed}"}
    together = stage.txt2img({}, {"seed": 77, "prompt": "[PROMPT] x [SEP] y"}, **job)
    calls = [(call.batch, len(set(call.prompts))) for call in stage.detail_calls]
    assert calls == [(6, 1), (6, 2)] * 2 and len(stage.spots.pictures) == 12
    assert stage.detail_calls[1].seeds == (77, 78, 78, 79, 79, 80) and stage.detail_calls[3].seeds == (80, 81, 81, 82, 82, 83)
    stage.reset()
    alone(monkeypatch)
    single = stage.txt2img({}, {"seed": 77, "prompt": "[PROMPT] x [SEP] y"}, **job)
    assert len(stage.detail_calls) == 12 and equal(together, single) and stage.world.reports == []


def test_the_batch_is_shown_in_eight_bit(stage: Stage) -> None:
    """The detector sees the very pictures that the host makes files of."""
    plain = stage.txt2img(batch_size=2).images
    stage.reset()
    stage.txt2img({}, batch_size=2)
    assert all(np.array_equal(seen, np.asarray(image)) for seen, image in zip(stage.spots.pictures, plain[-2:], strict=True))


@pytest.mark.parametrize(("fields", "why"), [({"restore_faces": True}, "restores the faces"), ({"batch_size": 1}, "only one")])
def test_what_forbids_a_common_plan_is_logged(stage: Stage, caplog: pytest.LogCaptureFixture, fields: dict[str, Any], why: str) -> None:
    """Where the host changes pictures after it has shown the batch, each is detailed at its turn, and the log says why."""
    caplog.set_level("INFO", logger="detailer_webui")
    stage.txt2img({}, **{"batch_size": 2, **fields})
    assert len(stage.detail_calls) == fields.get("batch_size", 2) and why in caplog.text


def test_inpainting_is_not_planned_together(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """What the host shows of an inpainting batch are not yet the pictures."""
    caplog.set_level("INFO", logger="detailer_webui")
    stage.img2img({}, batch_size=2, mask=Image.new("L", (SIDE, SIDE), 255))
    assert "with its original first" in caplog.text and [call.batch for call in stage.detail_calls] == [2, 2]


def test_an_interrupt_keeps_what_is_finished(stage: Stage) -> None:
    """Interrupted in the second of two waves: the first wave's segments of all pictures stay, and each picture tells what is missing."""
    unit = {"wave_pixels": 64 * 64 * 2}
    plain = stage.txt2img(batch_size=2).images[-2:]
    stage.reset()
    whole = stage.txt2img(unit, batch_size=2).images[-2:]
    stage.reset()
    stage.world.faults.stops = {(2, 1): "interrupted"}
    result = stage.txt2img(unit, batch_size=2)
    first, second = result.images[-2:]
    assert np.array_equal(pixels(first), pixels(whole[0])) and np.array_equal(pixels(second), pixels(plain[1]))
    assert notes(result, 0) == "" and "segments 1, 2 interrupted" in notes(result, 1)


def test_a_picture_that_fails_costs_itself_only(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where one picture makes the common plan fail, the others are done, and it alone is told."""
    work = import_module("detailer_webui.work")
    main_generation = work.main_generation

    def fails_second(p: Any, index: int) -> Any:
        if index == 1:
            raise PromptError("cannot be read")
        return main_generation(p, index)

    monkeypatch.setattr(work, "main_generation", fails_second)
    result = stage.txt2img({}, batch_size=2)
    assert notes(result, 0) == "" and "unit 1: cannot be read" in notes(result, 1) and [call.batch for call in stage.detail_calls] == [2]


def test_a_detector_that_fails_once(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture on which the detector fails is told; the others are done."""
    detect = stage.spots.detect

    def fails_first(picture_hwc: np.ndarray, options: Any) -> Any:
        found = detect(picture_hwc, options)
        if len(stage.spots.pictures) == 1:
            raise ValueError("first one")
        return found

    monkeypatch.setattr(stage.spots, "detect", fails_first, raising=False)
    result = stage.txt2img({}, batch_size=2)
    assert "ValueError: first one" in notes(result, 0) and notes(result, 1) == "" and [call.batch for call in stage.detail_calls] == [2]


def test_what_fails_altogether_is_done_one_by_one(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure in the common plan costs nothing but the common plan."""
    batch = import_module("detailer_webui.batch")
    whole = stage.txt2img({}, batch_size=2)
    stage.reset()
    monkeypatch.setattr(batch, "_as_the_host_will", lambda *_: 1 / 0)
    assert equal(whole, stage.txt2img({}, batch_size=2)) and len(stage.detail_calls) == 2


@pytest.fixture(params=["a_painter", "z_painter"])
def painted(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Stage, Any, str]]:
    """Detailer beside a script that looks at each picture before it, or after it."""
    folder = tmp_path / "extension"
    (folder / "scripts").mkdir(parents=True)
    shutil.copy(REPOSITORY / "scripts" / "detailer.py", folder / "scripts")
    (folder / "scripts" / f"{request.param}.py").write_text(PAINTER, encoding="utf-8")
    with standin.install(host="a1111-1.10.1", tmp_path=tmp_path / "host") as world:
        stage = scenes.load(world, folder=folder)
        painter = type(world.extension.script("Painter"))  # type: ignore[union-attr]
        yield stage, painter, request.param


def test_other_scripts_see_what_they_would(painted: tuple[Stage, Any, str]) -> None:
    """A script whose turn is before Detailer's sees pictures without details, one after it sees them with."""
    stage, painter, name = painted
    plain = stage.txt2img(batch_size=2).images[-2:]
    painter.seen.clear()
    stage.reset()
    done = stage.txt2img({}, batch_size=2).images[-2:]
    expected = plain if name.startswith("a_") else done
    assert all(np.array_equal(pixels(a), pixels(b)) for a, b in zip(painter.seen, expected, strict=True))
    assert difference(plain[0], done[0]).max() > 0 and len(stage.detail_calls) == 1


def test_what_another_script_changes_is_detailed_as_changed(painted: tuple[Stage, Any, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture that was changed before Detailer's turn is detailed as it is then, and later batches are not planned in vain."""
    stage, painter, name = painted
    painter.paints = True
    result = stage.txt2img({}, batch_size=2, n_iter=2)
    assert [call.batch for call in stage.detail_calls] == ([4, 2, 2, 2, 2] if name.startswith("a_") else [4, 4])
    stage.reset()
    alone(monkeypatch)
    assert equal(result, stage.txt2img({}, batch_size=2, n_iter=2))
