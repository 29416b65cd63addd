"""Detection in a played host: two detectors, units that leave each other's parts alone, folders that the settings name."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
import standin
from PIL import Image
from scenes import Stage, cells, difference, inside, notes

every_host = pytest.mark.parametrize("played", list(standin.HOSTS), indirect=True, scope="module")
YOLO = Path(__file__).resolve().parents[3] / "shared" / "golden" / "yolo" / "face_yolov8n.pt"


def same(one: Image.Image, other: Image.Image) -> bool:
    """Whether two pictures are equal, pixel by pixel."""
    return not difference(one, other).any()


@pytest.fixture
def folder(stage: Stage, tmp_path: Path) -> Iterator[Path]:
    """A folder of models that the host's settings name, beside one that is not there."""
    stage.world.shared.opts.data["detailer_detector_folders"] = f'{tmp_path / "gone"}\n\n  "{tmp_path}" \n'
    yield tmp_path
    stage.world.shared.opts.data["detailer_detector_folders"] = ""


@every_host
def test_a_part_is_not_done_twice(stage: Stage) -> None:
    """The second unit leaves out what the first has redrawn, if its settings say so, and tells it; else it redraws it again."""
    stage.spots.boxes = cells(2)
    result = stage.txt2img({"max_count": 1, "max_count_by": "position"}, {"skip_done": 0.5})
    assert [call.batch for call in stage.detail_calls] == [1, 1]
    assert "unit 2: 1 left out, redrawn by an earlier unit already" in result.comments
    assert notes(result) == "" and stage.world.reports == []
    stage.reset()
    result = stage.txt2img({"max_count": 1, "max_count_by": "position"}, {})
    assert [call.batch for call in stage.detail_calls] == [1, 2]
    assert result.comments == ""


def test_all_done_is_not_nothing_found(stage: Stage) -> None:
    """Where everything is left out, the user is told why, not that nothing was found; the next picture begins anew."""
    result = stage.txt2img({}, {"skip_done": 0.5}, n_iter=2)
    assert "unit 2: 2 left out, redrawn by an earlier unit already" in result.comments
    assert "nothing found" not in result.comments
    assert [call.batch for call in stage.detail_calls] == [2, 2]


def test_a_part_that_failed_is_the_next_unit_s(stage: Stage) -> None:
    """What the first unit could not redraw is not taken for done."""
    stage.world.faults.sampling_errors[1] = ValueError("ordered")
    stage.txt2img({}, {"skip_done": 0.5})
    assert [call.batch for call in stage.detail_calls] == [2, 2]


@pytest.mark.parametrize(("how", "count"), [("and", 2), ("minus", 0), ("union", 3)])
def test_two_detectors(stage: Stage, how: str, count: int) -> None:
    """The second detector bears on the first one's parts: the whole picture confirms all of them."""
    result = stage.txt2img({"second_detector": "whole", "combine": how})
    assert sum(call.batch for call in stage.world.sampler_log[1:]) == count  # the first is the main picture's
    assert stage.world.reports == []
    assert (f"Detailer combine detectors: {how}" in result.infotexts[0]) is (how != "and")
    assert "Detailer second detector: whole" in result.infotexts[0]


def test_a_second_detector_that_is_missing_is_told(stage: Stage) -> None:
    """Its unit is left out, and the picture is kept."""
    plain = stage.txt2img().images[0]
    result = stage.txt2img({"second_detector": "gone.pt"})
    assert same(plain, result.images[0])
    assert "unit 1 is left out: detector 'gone.pt' not found" in notes(result)


def test_a_class_that_is_not_known_is_told(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt class is no run that silently finds nothing."""
    monkeypatch.setattr(type(stage.spots), "class_names", ("spot", "dot"))
    assert "has no class 'spott'; did you mean 'spot'" in notes(stage.txt2img({"exclude_labels": "spott"}))
    stage.txt2img({"labels": "spot"})
    assert [call.batch for call in stage.detail_calls] == [2]


@pytest.mark.skipif(not YOLO.is_file(), reason="no trained model beside this project")
def test_a_folder_of_the_settings_is_searched_at_once(stage: Stage, folder: Path) -> None:
    """A file that is put there while the host runs is found by the next job, and a changed file is read anew, without a restart."""
    unit = {"detector": "new.pt"}
    assert "detector 'new.pt' not found" in notes(stage.txt2img(unit))
    (folder / "new.pt").write_bytes(b"no model")
    assert "new.pt" in notes(stage.txt2img(unit)) and "not found" not in notes(stage.txt2img(unit))
    (folder / "new.pt").write_bytes(YOLO.read_bytes())
    result = stage.txt2img(unit)
    assert "unit 1: nothing found by new.pt" in result.comments and stage.world.reports == []
    names = [info.name for info in import_module("detailer_core.detectors.registry").list_detectors(
        import_module("detailer_webui.host").detector_folders())]
    assert "new.pt" in names
    (folder / "new.pt").unlink()
    assert "detector 'new.pt' not found" in notes(stage.txt2img(unit))


def test_folders_of_the_settings_do_not_reach_the_picture(stage: Stage, folder: Path) -> None:
    """What is told in a picture's parameters names no folder of this machine."""
    shown = import_module("detailer_webui.job")._without_folders(f"{folder / 'x.pt'} cannot be read")
    assert shown == f"{Path(folder.name, 'x.pt')} cannot be read"


def test_only_the_changed_spots_change(stage: Stage) -> None:
    """Of two parts the surest is redrawn if it is asked for by confidence, and nothing else changes."""
    plain = stage.txt2img().images[0]
    result = stage.txt2img({"max_side": 15})
    assert same(plain, result.images[0])
    result = stage.txt2img({"min_side": 16, "max_count": 1, "max_count_by": "confidence"})
    changed = difference(plain, result.images[0]) > 0
    assert changed.any() and not changed[~inside(cells(1), grow=2)].any()


@every_host
def test_what_lets_programs_run_is_not_the_api_s(stage: Stage) -> None:
    """Folders and trusted files are set by who has the settings page; both are read when they are needed."""
    options = stage.world.shared.opts
    for key in ("detailer_detector_folders", "detailer_trusted_models"):
        assert options.data_labels[key].restrict_api
    host = import_module("detailer_webui.host")
    assert host.trusted_models() == frozenset()
    options.data["detailer_trusted_models"] = f"{'AB' * 32} my model\nnot a hash"
    assert host.trusted_models() == {"ab" * 32}
    options.data["detailer_trusted_models"] = ""
