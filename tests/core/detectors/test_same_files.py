"""The same model file in several folders is one detector, and its short name is not ambiguous."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from detailer_core.detectors import same_files
from detailer_core.detectors.registry import DetectorFolders, DetectorInfo, DetectorShelf, list_detectors
from detailer_core.detectors.same_files import first_copies
from detailer_core.errors import DetectorNotFoundError


def put(path: Path, contents: str) -> Path:
    """A file, folders included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(contents, encoding="utf-8")
    return path


def files(root: Path) -> list[DetectorInfo]:
    """The model files in the list."""
    return [info for info in list_detectors(DetectorFolders(models_root=root)) if info.path is not None]


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that are read, from now on."""
    read: list[Path] = []
    real = same_files.hash_file
    monkeypatch.setattr(same_files, "hash_file", lambda path: (read.append(path), real(path))[1])
    return read


def test_the_same_file_in_two_folders_is_one(tmp_path: Path) -> None:
    """It keeps its short name, and is that of the folder that is searched first; both of its long names mean it, too."""
    for folder in ("adetailer", "detailer", "ultralytics/bbox"):
        put(tmp_path / folder / "face.pt", "a model")
    (info,) = files(tmp_path)
    assert (info.name, info.title, info.also) == ("face.pt", "detailer/face.pt", ("adetailer/face.pt", "ultralytics/bbox/face.pt"))
    shelf = DetectorShelf(DetectorFolders(models_root=tmp_path))
    assert {shelf.find(name) for name in ("face.pt", "detailer/face.pt", "adetailer/face.pt", "ultralytics/bbox/face.pt")} == {info}


@pytest.mark.parametrize(("one", "other"), [("a model", "b model"), ("a model", "a longer model")])
def test_files_that_differ_stay_two(tmp_path: Path, one: str, other: str) -> None:
    """Of one size or not, with other contents they need their folder in the name."""
    put(tmp_path / "detailer/face.pt", one)
    put(tmp_path / "adetailer/face.pt", other)
    assert [info.name for info in files(tmp_path)] == ["adetailer/face.pt", "detailer/face.pt"]
    with pytest.raises(DetectorNotFoundError, match="in several folders"):
        DetectorShelf(DetectorFolders(models_root=tmp_path)).find("face.pt")


def test_two_of_three_are_the_same(tmp_path: Path) -> None:
    """Then there are two, and the copy's name still means the one that it is a copy of."""
    put(tmp_path / "detailer/face.pt", "a model")
    put(tmp_path / "adetailer/face.pt", "b model")
    put(tmp_path / "yolo/face.pt", "a model")
    assert [info.name for info in files(tmp_path)] == ["adetailer/face.pt", "detailer/face.pt"]
    assert DetectorShelf(DetectorFolders(models_root=tmp_path)).find("yolo/face.pt").name == "detailer/face.pt"


def test_files_of_other_names_are_not_compared(tmp_path: Path, read: list[Path]) -> None:
    """A copy under another name is a detector of its own, and nothing is read for it; neither is a file of another size."""
    put(tmp_path / "detailer/face.pt", "a model")
    put(tmp_path / "detailer/copy.pt", "a model")
    put(tmp_path / "yolo/face.pt", "a longer model")
    assert [info.name for info in files(tmp_path)] == ["copy.pt", "detailer/face.pt", "yolo/face.pt"] and read == []


def test_files_are_read_once_and_again_when_they_change(tmp_path: Path, read: list[Path]) -> None:
    """A list that is built again reads nothing; one whose file has changed reads that file."""
    paths = [put(tmp_path / folder / "face.pt", "a model") for folder in ("detailer", "adetailer")]
    for _ in range(3):
        assert first_copies(paths) == dict.fromkeys(paths, paths[0])
    assert sorted(read) == sorted(paths)
    put(paths[1], "b model")
    os.utime(paths[1], ns=(1, 1))
    assert first_copies(paths) == {path: path for path in paths} and read[2:] == [paths[1]]


def test_a_file_that_is_gone_is_no_trouble(tmp_path: Path) -> None:
    """It stays in the list, and is told when it is asked for."""
    there, gone = put(tmp_path / "detailer/face.pt", "a model"), tmp_path / "adetailer/face.pt"
    assert first_copies([there, gone]) == {there: there, gone: gone}
