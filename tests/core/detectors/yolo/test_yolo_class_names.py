"""Names of classes out of a model file, without its network: from every kind of file, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from detailer_core.detectors.registry import DetectorFolders, DetectorShelf
from detailer_core.detectors.yolo import checkpoint as checkpoint_file
from detailer_core.detectors.yolo.checkpoint import cached, read_class_names, read_pt, write_safetensors
from detailer_core.errors import ModelFileError, UnknownArchitectureError

Saver = Callable[..., Path]


@pytest.fixture
def no_tensors(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From the call on, reading a tensor fails the test."""
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a tensor was read")

    return lambda: monkeypatch.setattr(checkpoint_file.TensorReader, "read", refuse)


@pytest.mark.parametrize("family", ["yolov8", "yolo11", "yolov5u"])
@pytest.mark.parametrize("task", ["detect", "segment"])
def test_names_of_every_family(save_model: Saver, tmp_path: Path, no_tensors: Callable[[], None], family: str, task: str) -> None:
    """As the whole model says, out of the `.pt`, and no tensor is read."""
    path = save_model(family=family, task=task)
    expected = read_pt(path).class_names
    no_tensors()
    assert read_class_names(path, tmp_path / "cache") == expected
    assert not (tmp_path / "cache").exists()


def test_names_out_of_what_was_converted(save_model: Saver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a `.pt` is in the cache its pickle is not read again; a `.safetensors` says them itself; a damaged cache is passed over."""
    path, cache = save_model(), tmp_path / "cache"
    model = cached(path, cache)
    write_safetensors(model, tmp_path / "made.safetensors")
    with monkeypatch.context() as patched:
        patched.setattr(checkpoint_file, "read_pickle", lambda *_: pytest.fail("the pickle was read"))
        assert read_class_names(path, cache) == read_class_names(tmp_path / "made.safetensors", cache) == model.class_names
    for file in cache.glob("*.safetensors"):
        file.write_bytes(b"damaged")
    assert read_class_names(path, cache) == model.class_names


def test_refused_files_are_refused(save_model: Saver, tmp_path: Path, parts: object) -> None:
    """No file that cannot be loaded has names."""
    (tmp_path / "bad.pt").write_bytes(b"PK no archive")
    for name in ("bad.pt", "bad.safetensors"):
        (tmp_path / name).write_bytes(b"PK no archive")
        with pytest.raises(ModelFileError, match=name):
            read_class_names(tmp_path / name, tmp_path / "cache")
    outside = save_model("outside.pt")
    (tmp_path / "inside").mkdir()
    with pytest.raises(ModelFileError, match=r"outside\.pt"):
        read_class_names(outside, tmp_path / "cache", tmp_path / "inside")


def test_the_shelf_reads_names_and_loads_nothing(save_model: Saver, tmp_path: Path) -> None:
    """By the detector's name; once it is loaded, its own."""
    (tmp_path / "yolo").mkdir()
    path = save_model("yolo/face.pt")
    shelf = DetectorShelf(DetectorFolders(models_root=tmp_path))
    assert shelf.class_names("face.pt") == read_pt(path).class_names
    assert not vars(shelf)["_kept"]
    assert shelf.get("face.pt").class_names == shelf.class_names("face.pt")


def test_an_unknown_architecture_is_told(save_model: Saver, tmp_path: Path, parts: object) -> None:
    """Its names are asked of what may load it, and that says why it cannot."""
    (tmp_path / "yolo").mkdir()
    model = parts.model()  # type: ignore[attr-defined]
    model.model[0].__class__ = parts.classes["A2C2f"]  # type: ignore[attr-defined]
    save_model("yolo/other.pt", model.half())
    with pytest.raises(UnknownArchitectureError, match="A2C2f"):
        DetectorShelf(DetectorFolders(models_root=tmp_path)).class_names("other.pt")
