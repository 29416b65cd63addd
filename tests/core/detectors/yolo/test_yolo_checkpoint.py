"""Reading, writing and caching of whole models."""

from __future__ import annotations

import json
import types
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from detailer_core.detectors.yolo.checkpoint import YoloCheckpoint, cached, read_pt, read_safetensors, write_safetensors
from detailer_core.errors import DetectorNotFoundError, ModelFileError

Saver = Callable[..., Path]


def equal(one: YoloCheckpoint, other: YoloCheckpoint) -> bool:
    """Whether two checkpoints say the same."""
    if one.tensors.keys() != other.tensors.keys():
        return False
    same = all(torch.equal(one.tensors[name], other.tensors[name]) for name in one.tensors)
    return same and replace(one, tensors={}) == replace(other, tensors={})


@pytest.mark.parametrize(("family", "task"), [("yolov8", "detect"), ("yolo11", "segment"), ("yolov5u", "detect")])
def test_pt_is_read(save_model: Saver, family: str, task: str) -> None:
    """Family, task, names, stride, picture size and layers come from the file."""
    checkpoint = read_pt(save_model(family=family, task=task))
    assert (checkpoint.family, checkpoint.task, checkpoint.class_names) == (family, task, ("face", "hand"))
    assert (checkpoint.stride, checkpoint.image_size, len(checkpoint.layers)) == (32, 64, 10)
    assert all(tensor.dtype == torch.float32 for tensor in checkpoint.tensors.values())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_number_types(save_model: Saver, parts: types.SimpleNamespace, dtype: torch.dtype) -> None:
    """Weights of any float type are read as float32."""
    checkpoint = read_pt(save_model(module=parts.model().to(dtype)))
    assert checkpoint.tensors["model.0.weight"].dtype == torch.float32
    assert float(checkpoint.tensors["model.0.weight"].abs().max()) > 0


def test_norm_is_folded(save_model: Saver, parts: types.SimpleNamespace) -> None:
    """Weight and bias do what convolution and batch norm did."""
    whole = parts.model()
    first = whole.model[0]
    pictures = torch.rand(1, 3, 32, 32)
    with torch.inference_mode():
        expected = first.bn(first.conv(pictures))
    checkpoint = read_pt(save_model(module=whole))
    got = nn.functional.conv2d(pictures, checkpoint.tensors["model.0.weight"], checkpoint.tensors["model.0.bias"], 2, 1)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


def test_averaged_model_comes_first(save_model: Saver, parts: types.SimpleNamespace) -> None:
    """Of two models in one file the averaged one is taken."""
    path = save_model(module=parts.model(names=("last",)), ema=parts.model(names=("averaged",)))
    assert read_pt(path).class_names == ("averaged",)


def test_old_segmentation_model(save_model: Saver, parts: types.SimpleNamespace) -> None:
    """Early versions kept a method in the head, which protocol 2 pickles as a call of `getattr`; it is read as a name."""
    whole = parts.model(task="segment")
    whole.model[9].detect = parts.classes["Detect"].forward
    path = save_model(module=whole)
    assert b"getattr" in path.read_bytes()
    assert read_pt(path).task == "segment"


def test_names_that_are_no_text(save_model: Saver, parts: types.SimpleNamespace) -> None:
    """A class without a name of text is called by its number; a list of names is as good as a dictionary."""
    whole = parts.model()
    whole.names = {0: ["nested"]}
    assert read_pt(save_model(module=whole)).class_names == ("class 0", "class 1")
    whole.names = ["x", "y", "z"]
    assert read_pt(save_model(module=whole)).class_names == ("x", "y")


def test_safetensors_round_trip(tmp_path: Path, save_model: Saver) -> None:
    """What is written is read back, tensors bit for bit."""
    checkpoint = read_pt(save_model(family="yolo11", task="segment"))
    write_safetensors(checkpoint, tmp_path / "model.safetensors")
    assert equal(read_safetensors(tmp_path / "model.safetensors"), checkpoint)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.pt", "model.safetensors"]


def test_cache_is_used(tmp_path: Path, save_model: Saver, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second reading takes the file that the first one wrote, named by its hash."""
    path, folder = save_model(), tmp_path / "made" / "cache"
    first = cached(path, folder)
    assert [len(file.stem) for file in folder.glob("*.safetensors")] == [64]
    monkeypatch.setattr("detailer_core.detectors.yolo.checkpoint.read_pt", lambda path: pytest.fail("read again"))
    assert equal(cached(path, folder), first)


def test_cache_notices_a_changed_file(tmp_path: Path, save_model: Saver) -> None:
    """Another file under the same name is read anew."""
    first = cached(save_model(), tmp_path / "cache")
    second = cached(save_model(names=("one", "two", "three")), tmp_path / "cache")
    assert (first.class_names, second.class_names) == (("face", "hand"), ("one", "two", "three"))


@pytest.mark.parametrize("damage", [b"", b"\xff" * 64])
def test_damaged_cache_is_made_anew(tmp_path: Path, save_model: Saver, damage: bytes) -> None:
    """A cached file that is cut off or garbled, and a note that is no JSON, do no harm."""
    path, folder = save_model(), tmp_path / "cache"
    first = cached(path, folder)
    next(folder.glob("*.safetensors")).write_bytes(damage)
    assert equal(cached(path, folder), first)
    next(folder.glob("*.json")).write_bytes(damage)
    assert equal(cached(path, folder), first)


def test_cache_that_cannot_be_written(tmp_path: Path, save_model: Saver, caplog: pytest.LogCaptureFixture) -> None:
    """Without a cache the model is still read, and the log says why it was not kept."""
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    assert cached(save_model(), tmp_path / "file").class_names == ("face", "hand")
    assert "could not be kept" in caplog.text


def test_odd_file_names(tmp_path: Path, write_model: Saver) -> None:
    """Spaces and any script's letters are fine, for the file and for the cache."""
    path = write_model(tmp_path / "лицо 顔 model.pt")
    cached(path, tmp_path / "käse cache")
    assert cached(path, tmp_path / "käse cache").class_names == ("face", "hand")


def test_missing_file(tmp_path: Path) -> None:
    """The error says that the file is not there."""
    with pytest.raises(DetectorNotFoundError, match=r"no\.pt' not found"):
        cached(tmp_path / "no.pt", tmp_path)


def test_unknown_layer_is_named(save_model: Saver, parts: types.SimpleNamespace) -> None:
    """A model of another architecture is refused with the name of what is not known."""
    whole = parts.model()
    whole.model[3] = parts.make("A2C2f")
    whole.model[3].f = -1
    with pytest.raises(ModelFileError, match=r"layer 'A2C2f' at 'model\.3' is not known; YOLOv8, YOLO11 and YOLOv5u"):
        read_pt(save_model(module=whole))


def test_unknown_head_is_named(save_model: Saver, parts: types.SimpleNamespace) -> None:
    """So is a model for another task."""
    whole = parts.model()
    whole.model[9] = parts.make("Pose")
    whole.model[9].f = [8, 6]
    with pytest.raises(ModelFileError, match="'Pose'"):
        read_pt(save_model(module=whole))


def test_end_to_end_head_is_named(save_model: Saver, parts: types.SimpleNamespace) -> None:
    """A head with branches that we do not know is refused, not run without them."""
    whole = parts.model()
    whole.model[9].one2one_cv2 = nn.ModuleList()
    with pytest.raises(ModelFileError, match="one2one_cv2"):
        read_pt(save_model(module=whole))


@pytest.mark.parametrize(("change", "message"), [
    (lambda whole: setattr(whole.model[0].conv, "padding_mode", "circular"), "pads in a way"),
    (lambda whole: whole.model[0].add_module("act", nn.Softplus()), "Softplus"),
    (lambda whole: whole.model[0].add_module("bn", nn.GroupNorm(1, 8)), "GroupNorm"),
    (lambda whole: setattr(whole.model[7], "mode", "bilinear"), "bilinear"),
    (lambda whole: setattr(whole.model[8], "d", 2), "Concat"),
    (lambda whole: setattr(whole.model[8], "f", [-1, 20]), "input from -1, 20"),
    (lambda whole: whole.add_module("model", nn.Sequential()), "no list of layers"),
    (lambda whole: whole.model.pop(9), "whose last layer is 'Concat'")])
def test_changed_layers_are_named(save_model: Saver, parts: types.SimpleNamespace, change: Callable[[nn.Module], None],
                                  message: str) -> None:
    """What a layer does otherwise than we know is refused with its name."""
    whole = parts.model()
    change(whole)
    with pytest.raises(ModelFileError, match=message):
        read_pt(save_model(module=whole))


def test_tensors_that_do_not_belong_together(save_model: Saver, parts: types.SimpleNamespace) -> None:
    """A batch norm of another width than its convolution is refused."""
    whole = parts.model()
    whole.model[0].add_module("bn", nn.BatchNorm2d(5))
    with pytest.raises(ModelFileError, match=r"'model\.0' do not belong together"):
        read_pt(save_model(module=whole))


@pytest.mark.parametrize(("strides", "expected"), [
    (torch.tensor([8.0, 64.0]), 64), (torch.zeros(5000)[:2], 32), (torch.tensor([float("nan")]), 32), (torch.tensor([1e9]), 32),
    ("none", 32)])
def test_stride(save_model: Saver, parts: types.SimpleNamespace, strides: object, expected: int) -> None:
    """The largest stride counts; one that makes no sense, or hides many numbers, is taken for 32."""
    whole = parts.model()
    whole.stride = strides
    assert read_pt(save_model(module=whole)).stride == expected


def test_giant_tensor_is_not_read(save_model: Saver, parts: types.SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tensor beyond measure, and too many of them, are refused before their numbers are read."""
    path = save_model()
    monkeypatch.setattr("detailer_core.detectors.yolo.tensor_reader.MAX_TENSOR", 1000)
    with pytest.raises(ModelFileError, match="in one tensor, at most 1000"):
        read_pt(path)
    monkeypatch.setattr("detailer_core.detectors.yolo.tensor_reader.MAX_NUMBERS", 2000)
    with pytest.raises(ModelFileError, match="at most 2000 are read"):
        read_pt(path)


def test_numbers_used_many_times(save_model: Saver, parts: types.SimpleNamespace) -> None:
    """A file that looks larger than it is, by the same numbers in many layers or by slices of a large piece, is refused."""
    whole = parts.model()
    for name in ("cv2", "cv3"):
        whole.model[9].get_submodule(name).extend([whole.model[3]] * 20)
    with pytest.raises(ModelFileError, match="none many times"):
        read_pt(save_model(module=whole))
    whole = parts.model()
    whole.model[0].bn.bias = nn.Parameter(torch.zeros(100_000)[:8])
    with pytest.raises(ModelFileError, match="only a small part of its numbers"):
        read_pt(save_model(module=whole))


def test_description_of_another_version(tmp_path: Path, save_model: Saver, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of another format is refused with what to do."""
    monkeypatch.setattr("detailer_core.detectors.yolo.checkpoint.FORMAT", "0")
    write_safetensors(read_pt(save_model()), tmp_path / "old.safetensors")
    monkeypatch.undo()
    with pytest.raises(ModelFileError, match=r"use the \.pt or \.onnx file"):
        read_safetensors(tmp_path / "old.safetensors")


def test_description_is_json(tmp_path: Path, save_model: Saver) -> None:
    """The file says in plain JSON what it is, for people who look into it."""
    write_safetensors(read_pt(save_model()), tmp_path / "m.safetensors")
    data = (tmp_path / "m.safetensors").read_bytes()
    header = json.loads(data[8:8 + int.from_bytes(data[:8], "little")])
    assert json.loads(header["__metadata__"]["description"])["class_names"] == ["face", "hand"]
