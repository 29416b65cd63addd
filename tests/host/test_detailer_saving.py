"""What the settings page adds: pictures saved beside the finished ones, and a limit of what is sampled together."""

from __future__ import annotations

import io
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import standin
from PIL import Image
from scenes import Stage, cells, difference, inside, notes

every_host = pytest.mark.parametrize("played", list(standin.HOSTS), indirect=True, scope="module")


@pytest.fixture
def folder(stage: Stage, tmp_path: Path) -> Path:
    """Where the pictures of a job are saved."""
    stage.world.shared.opts.outdir_txt2img_samples = str(tmp_path / "out")
    return tmp_path / "out"


@pytest.fixture
def option(stage: Stage) -> Iterator[Any]:
    """Sets one of the host's settings for a test."""
    data = stage.world.shared.opts.data
    before = dict(data)
    yield data.__setitem__
    data.clear()
    data.update(before)


def saved(folder: Path, mark: str = "") -> dict[str, Image.Image]:
    """The files with this in their names, by what stands behind the number."""
    return {path.stem.split("-detailer", 1)[-1]: Image.open(io.BytesIO(path.read_bytes())) for path in sorted(folder.rglob("*.png"))
            if mark in path.name}


def test_nothing_more_is_saved_by_default(stage: Stage, folder: Path) -> None:
    """One picture, one file."""
    stage.txt2img({}, do_not_save_samples=False)
    assert len(list(folder.rglob("*.png"))) == 1


@every_host
def test_all_kinds_are_saved(stage: Stage, folder: Path, option: Any) -> None:
    """Before, preview, mask, and each part before and after; with unit and number in their names, and the picture's parameters inside."""
    option("detailer_save", ["before", "preview", "crops", "masks"])
    result = stage.txt2img({}, do_not_save_samples=False)
    files = saved(folder, "-detailer-")
    assert set(files) == {"-before", "-1-preview", "-1-mask", "-1-crop-1", "-1-redrawn-1", "-1-crop-2", "-1-redrawn-2"}
    assert "Detailer detector: spots" in files["-before"].info["parameters"]
    changed = difference(files["-before"].convert("RGB"), result.images[0])
    assert changed[inside(cells(2))].any() and not changed[~inside(cells(2), grow=2)].any()
    mask = np.asarray(files["-1-mask"])
    assert mask.shape == (128, 128) and (mask[inside(cells(2))] == 255).all() and not mask[~inside(cells(2))].any()
    assert files["-1-crop-1"].size == files["-1-redrawn-1"].size == (32, 32)
    assert notes(result) == "" and stage.world.reports == []


def test_only_what_is_wanted_is_saved(stage: Stage, folder: Path, option: Any) -> None:
    """One kind alone."""
    option("detailer_save", ["masks"])
    stage.txt2img({}, {}, do_not_save_samples=False)
    assert set(saved(folder, "-detailer-")) == {"-1-mask", "-2-mask"}


def test_a_batch_saves_each_picture(stage: Stage, folder: Path, option: Any) -> None:
    """Pictures that are detailed together are saved one by one, none over another, each with its own seed and prompt in it."""
    option("detailer_save", ["before"])
    stage.txt2img({}, prompt=["a face", "b face", "c face"], batch_size=3, seed=7, do_not_save_samples=False)
    texts: list[str] = []
    for path in sorted(folder.rglob("*-before.png")):
        with Image.open(path) as image:
            texts.append(image.info["parameters"])
    assert [text.partition(" ")[0] for text in texts] == ["a", "b", "c"]
    assert [f"Seed: {7 + number}," in text for number, text in enumerate(texts)] == [True] * 3


def test_nothing_found_saves_nothing(stage: Stage, folder: Path, option: Any) -> None:
    """A picture that was not changed has no "before"."""
    option("detailer_save", ["before", "preview", "crops", "masks"])
    stage.spots.boxes = []
    stage.txt2img({}, do_not_save_samples=False)
    assert len(list(folder.rglob("*.png"))) == 1


def test_who_does_not_save_pictures_saves_none_of_these(stage: Stage, folder: Path, option: Any) -> None:
    """A client that keeps its pictures off the host's disk is heard."""
    option("detailer_save", ["before", "crops"])
    stage.txt2img({}, do_not_save_samples=True)
    assert not folder.exists()


def test_folder_and_names_can_be_chosen(stage: Stage, folder: Path, option: Any, tmp_path: Path) -> None:
    """A folder of its own, and an end of the name of its own."""
    option("detailer_save", ["crops"])
    option("detailer_save_folder", str(tmp_path / "parts é"))
    option("detailer_save_suffix", "_[label]_[segment]_[kind]")
    stage.spots.boxes = cells(1)
    stage.txt2img({}, do_not_save_samples=False)
    names = sorted(path.name[5:] for path in (tmp_path / "parts é").iterdir())
    assert names == ["_spot_1_crop.png", "_spot_1_redrawn.png"]


def test_a_full_disk_costs_no_picture(stage: Stage, folder: Path, option: Any, tmp_path: Path) -> None:
    """What cannot be saved is told; the picture is detailed all the same."""
    option("detailer_save", ["before"])
    (tmp_path / "file").write_text("x", encoding="utf-8")
    option("detailer_save_folder", str(tmp_path / "file"))
    result = stage.txt2img({}, do_not_save_samples=False)
    assert "what is kept of the picture failed" in notes(result) and len(stage.detail_calls) == 1


@pytest.mark.parametrize(("pattern", "names", "expected"), [
    ("-detailer-[unit]-[kind]-[segment]", {"kind": "crop", "unit": "1", "segment": "2"}, "-detailer-1-crop-2"),
    ("-detailer-[unit]-[kind]-[segment]", {"kind": "before"}, "-detailer-before"),
    ("", {"kind": "mask"}, "-mask"), ("../../[kind]", {"kind": "mask"}, ".._.._mask"), ("-[label]-[kind]", {"kind": "crop", "label": "a/b:c"},
                                                                                       "-a_b_c-crop"),
    ("-[seed]-[kind]", {"kind": "crop"}, "-_seed_-crop"), ("x" * 200, {"kind": "crop"}, "x" * 80), ("[kind]. ", {"kind": "a"}, "a"),
    ("-[label]", {"kind": "crop", "label": "[kind]"}, "-_kind_"),
])
def test_ends_of_names(stage: Stage, pattern: str, names: dict[str, str], expected: str) -> None:
    """Marks are filled in, and nothing that a folder's or a file's name may not hold is left."""
    assert import_module("detailer_webui.saving").suffix(pattern, **names) == expected


def test_waves_are_limited_by_the_settings(stage: Stage, option: Any) -> None:
    """Fewer megapixels than two parts have: each is sampled alone, and the picture's parameters still say what the unit asked for."""
    assert len(stage.txt2img({}).images) == 1
    together = [call.batch for call in stage.detail_calls]
    stage.reset()
    option("detailer_wave_megapixels", 0.005)
    result = stage.txt2img({})
    assert together == [2] and [call.batch for call in stage.detail_calls] == [1, 1]
    assert "wave limit" not in result.infotexts[0]


def test_every_option_has_a_section_and_a_label(stage: Stage) -> None:
    """All of Detailer's options stand together in the settings; folders cannot be set through the host's API."""
    labels = {key: info for key, info in stage.world.shared.opts.data_labels.items() if key.startswith("detailer_")}
    assert {info.section for info in labels.values()} == {("detailer", "Detailer")} and all(info.label for info in labels.values())
    assert [key for key, info in labels.items() if info.restrict_api] == [
        "detailer_detector_folders", "detailer_trusted_models", "detailer_save_folder"]
