"""Small models with random weights, saved the way ultralytics saves: whole pickled modules in half precision."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

ModelSaver = Callable[..., Path]


def _class(module: str, name: str, base: type[nn.Module] = nn.Module) -> type[nn.Module]:
    """An empty module class that pickles under a name of ultralytics."""
    return type(name, (base,), {"__module__": f"ultralytics.nn.{module}"})


CLASSES = {name: _class(module, name) for module, names in {
    "modules.conv": ("Conv", "DWConv", "Concat"), "modules.head": ("Detect", "Segment", "Pose"), "tasks": ("DetectionModel",),
    "modules.block": ("C2f", "C3k2", "C3k", "C3", "Bottleneck", "SPPF", "C2PSA", "PSABlock", "Attention", "DFL", "Proto", "A2C2f"),
}.items() for name in names}


def _forward(self: nn.Module) -> None:
    """Stands for a method; it has no name of its own to be found by."""


_forward.__qualname__, _forward.__module__ = "Detect.forward", CLASSES["Detect"].__module__
CLASSES["Detect"].forward = _forward


def make(kind: str, parts: dict[str, nn.Module] | None = None, **attributes: object) -> nn.Module:
    """A module of ultralytics with these parts and attributes."""
    module = CLASSES[kind]()
    for name, part in (parts or {}).items():
        module.add_module(name, part)
    for name, value in attributes.items():
        setattr(module, name, value)
    return module


def conv(wide: int, out: int, side: int = 1, stride: int = 1, *, groups: int = 1, act: bool = True) -> nn.Module:
    """Convolution, batch norm with numbers that matter, activation."""
    norm = nn.BatchNorm2d(out, eps=1e-3)
    nn.init.uniform_(norm.weight, 0.5, 1.5)
    nn.init.normal_(norm.bias, 0, 0.1)
    norm.running_mean = torch.randn(out) * 0.1
    norm.running_var = torch.rand(out) + 0.5
    plain = nn.Conv2d(wide, out, side, stride, side // 2, groups=groups, bias=False)
    return make("Conv" if groups == 1 else "DWConv", {"conv": plain, "bn": norm, "act": nn.SiLU() if act else nn.Identity()})


def bottleneck(width: int, add: bool = True) -> nn.Module:
    """Two convolutions."""
    return make("Bottleneck", {"cv1": conv(width, width, 3), "cv2": conv(width, width, 3)}, add=add)


def c2f(wide: int, out: int, kind: str = "C2f") -> nn.Module:
    """One block, with shortcut."""
    half = out // 2
    return make(kind, {"cv1": conv(wide, out), "cv2": conv(3 * half, out), "m": nn.ModuleList([bottleneck(half)])}, c=half)


def c3(wide: int, out: int, kind: str = "C3") -> nn.Module:
    """One block without shortcut."""
    half = out // 2
    blocks = nn.Sequential(bottleneck(half, False))
    return make(kind, {"cv1": conv(wide, half), "cv2": conv(wide, half), "cv3": conv(out, out), "m": blocks})


def attention(width: int) -> nn.Module:
    """The block of YOLO11 with one head."""
    half, key = width // 2, width // 4
    mix = make("Attention", {"qkv": conv(half, half + 2 * key, act=False), "proj": conv(half, half, act=False),
                             "pe": conv(half, half, 3, groups=half, act=False)}, num_heads=1, head_dim=half, key_dim=key, scale=key ** -0.5)
    block = make("PSABlock", {"attn": mix, "ffn": nn.Sequential(conv(half, width), conv(width, half, act=False))}, add=True)
    return make("C2PSA", {"cv1": conv(width, width), "cv2": conv(width, width), "m": nn.Sequential(block)}, c=half)


def head(widths: tuple[int, ...], classes: int, masks: int, deep: bool) -> nn.Module:
    """Detect or Segment over levels of these widths, 16 bins; `deep` has the class branch of YOLO11."""
    def branch(width: int, out: int) -> nn.Module:
        return nn.Sequential(conv(width, 8, 3), nn.Conv2d(8, out, 1))

    def class_branch(width: int) -> nn.Module:
        if deep:
            return nn.Sequential(nn.Sequential(conv(width, width, 3, groups=width), conv(width, 8)), nn.Conv2d(8, classes, 1))
        return branch(width, classes)

    parts = {"cv2": nn.ModuleList([branch(width, 64) for width in widths]), "cv3": nn.ModuleList([class_branch(width) for width in widths]),
             "dfl": make("DFL", {"conv": nn.Conv2d(16, 1, 1, bias=False)}, c1=16)}
    if masks:
        parts["cv4"] = nn.ModuleList([branch(width, masks) for width in widths])
        parts["proto"] = make("Proto", {"cv1": conv(widths[0], 8, 3), "upsample": nn.ConvTranspose2d(8, 8, 2, 2), "cv2": conv(8, 8, 3),
                                        "cv3": conv(8, masks)})
    return make("Segment" if masks else "Detect", parts, nc=classes, nl=len(widths), reg_max=16, no=classes + 64)


def model(family: str = "yolov8", task: str = "detect", names: tuple[str, ...] = ("face", "hand")) -> nn.Module:
    """A whole model with two levels (strides 8 and 16)."""
    block = {"yolov8": lambda: c2f(16, 16), "yolo11": lambda: c2f(16, 16, "C3k2"), "yolov5u": lambda: c3(16, 16)}[family]
    pyramid = make("SPPF", {"cv1": conv(16, 8, act=False), "cv2": conv(32, 16), "m": nn.MaxPool2d(5, 1, 2)})
    layers = [(-1, conv(3, 8, 3, 2)), (-1, conv(8, 16, 3, 2)), (-1, conv(16, 16, 3, 2)), (-1, block()), (-1, conv(16, 16, 3, 2)),
              (-1, pyramid), (-1, attention(16) if family == "yolo11" else block()), (-1, nn.Upsample(None, 2.0, "nearest")),
              ([-1, 3], make("Concat", d=1)), ([8, 6], head((32, 16), len(names), 4 if task == "segment" else 0, family == "yolo11"))]
    for index, (source, layer) in enumerate(layers):
        layer.i, layer.f, layer.type = index, source, type(layer).__name__
    whole = make("DetectionModel", {"model": nn.Sequential(*(layer for _, layer in layers))}, names=dict(enumerate(names)),
                 stride=torch.tensor([8.0, 16.0]), yaml={"nc": len(names)}, task=task)
    return whole.eval()


@contextmanager
def pretended_ultralytics() -> Iterator[None]:
    """Let pickle find the classes above under the names of ultralytics; those of a real one are put back."""
    modules = {"ultralytics": types.ModuleType("ultralytics"), "ultralytics.nn": types.ModuleType("ultralytics.nn"),
               "ultralytics.nn.modules": types.ModuleType("ultralytics.nn.modules")}
    for kind in CLASSES.values():
        setattr(modules.setdefault(kind.__module__, types.ModuleType(kind.__module__)), kind.__name__, kind)
    before = {name: sys.modules.get(name) for name in modules}
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


@pytest.fixture(scope="session")
def write_model() -> ModelSaver:
    """Save a module, by default a small model, under the names of ultralytics."""
    def write(path: Path, module: object = None, *, ema: object = None, seed: int = 0, **options: Any) -> Path:
        with torch.random.fork_rng(), pretended_ultralytics():
            torch.manual_seed(seed)
            module = model(**options).half() if module is None else module
            torch.save({"model": module, "ema": ema, "train_args": {"imgsz": 64}}, path)
        return path

    return write


@pytest.fixture()
def save_model(tmp_path: Path, write_model: ModelSaver) -> ModelSaver:
    """As `write_model`, under a name in the test's own folder."""
    return lambda name="model.pt", module=None, **options: write_model(tmp_path / name, module, **options)


@pytest.fixture()
def parts() -> types.SimpleNamespace:
    """The makers of modules, for tests that put together their own."""
    return types.SimpleNamespace(make=make, conv=conv, bottleneck=bottleneck, c2f=c2f, c3=c3, head=head, model=model, attention=attention,
                                 classes=CLASSES)
