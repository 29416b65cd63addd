"""From the pickled tree of modules to layers that we know: the tree itself is read, not the YAML text beside it.

So models with other widths, pruned or renamed ones are read as they are, and what each layer really does decides whether we know it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NoReturn, cast

from detailer_core.detectors.yolo.inert import Stub, TensorRef, entries, items, shown
from detailer_core.detectors.yolo.layer_spec import MAX_DEPTH, MAX_NAME, Kind, LayerSpec, Option
from detailer_core.errors import ModelFileError, UnknownArchitectureError

_ACTIVATIONS = {"SiLU": "silu", "Identity": "none", "ReLU": "relu", "LeakyReLU": "leaky_relu", "Hardswish": "hardswish", "Mish": "mish"}
_KINDS: dict[str, Kind] = {
    "Sequential": "sequence", "ModuleList": "sequence", "Bottleneck": "bottleneck", "C2f": "c2f", "C3k2": "c2f", "C3": "c3", "C3k": "c3",
    "SPPF": "sppf", "C2PSA": "c2psa", "PSABlock": "psa_block", "Attention": "attention", "Concat": "concat", "Upsample": "upsample",
    "Detect": "detect", "Segment": "segment", "Proto": "proto"}
MAX_WORK = 50_000
"""Modules that are looked at; the largest YOLO has about 2500 with their norms and activations."""
_KNOWN = "YOLOv8, YOLO11 and YOLOv5u for detection and segmentation are known"


@dataclass(frozen=True, kw_only=True, slots=True)
class ConvParts:
    """The tensors of one convolution before folding; `norm` is weight, bias, mean and variance of the batch norm after it."""

    weight: TensorRef
    bias: TensorRef | None
    norm: tuple[TensorRef, TensorRef, TensorRef, TensorRef] | None = None
    epsilon: float = 1e-3
    transposed: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class ModuleTree:
    """The layers of a model and where the tensors of each convolution lie, by the convolution's path."""

    layers: tuple[LayerSpec, ...]
    convolutions: Mapping[str, ConvParts]
    family: str


def read_module_tree(model: Stub, file_name: str) -> ModuleTree:
    """The layers of a pickled model; no tensor is read yet.

    Raises: ModelFileError (UnknownArchitectureError where nothing worse is wrong) naming the layer or model class that is not known.
    """
    return _TreeReader(file_name=file_name, model_name=model.name).read(model)


class _TreeReader:
    """Walks one tree; `convolutions` and `work` fill on the way. Thrown away afterwards."""

    def __init__(self, file_name: str, model_name: str) -> None:
        self.file_name = file_name
        self.model_name = model_name
        self.convolutions: dict[str, ConvParts] = {}
        self.work = 0

    def read(self, model: Stub) -> ModuleTree:
        """The whole tree."""
        if model.name.startswith("models."):
            self.refuse("which is the original YOLOv5 with anchors; use its YOLOv5u version")
        body = self.children(model).get("model")
        layers = list(self.children(body).values()) if isinstance(body, Stub) else []
        if not layers:
            self.refuse("which has no list of layers")
        specs: list[LayerSpec] = []
        for index, layer in enumerate(layers):
            spec = self.layer(layer, f"model.{index}", 0)
            specs.append(LayerSpec(kind=spec.kind, options=spec.options, parts=spec.parts, sources=self.sources(layer, index)))
        if specs[-1].kind not in ("detect", "segment"):
            self.unknown(f"whose last layer is '{layers[-1].kind}'; a detector ends in 'Detect' or 'Segment'")
        kinds = {layer.kind for layer in layers}
        family = next((name for kind, name in (("C3k2", "yolo11"), ("C2f", "yolov8"), ("C3", "yolov5u")) if kind in kinds), "yolo")
        return ModuleTree(layers=tuple(specs), convolutions=self.convolutions, family=family)

    def refuse(self, why: str, error: type[ModelFileError] = ModelFileError) -> NoReturn:
        """Raise the error about a model that cannot be built."""
        raise error(f"model file '{self.file_name}' refused: it holds a '{self.model_name}', {why}; {_KNOWN}")

    def unknown(self, why: str) -> NoReturn:
        """Raise the error about an architecture that is not known, but for which nothing speaks against the file."""
        self.refuse(why, UnknownArchitectureError)

    def children(self, module: Stub) -> dict[str, Stub]:
        """The modules inside of a module, those that are None left out."""
        modules = entries(module.state.get("_modules"))
        self.work += 1 + len(modules)
        if self.work > MAX_WORK or any(len(str(name)) > MAX_NAME for name in modules):
            self.refuse("nested, repeated or named beyond measure")
        return {str(name): part for name, part in modules.items() if isinstance(part, Stub)}

    def sources(self, layer: Stub, index: int) -> tuple[int, ...]:
        """The layers that feed a layer of the top level."""
        raw = layer.state.get("f")
        values = items(raw) or (raw,)
        found = tuple(value for value in values[:17] if type(value) is int and -index - 1 <= value < index)
        if not 0 < len(found) == len(values) <= 16:
            self.refuse(f"whose layer {index} ('{layer.kind}') takes its input from {', '.join(map(shown, values[:16]))}")
        return found

    def layer(self, module: Stub, path: str, depth: int) -> LayerSpec:
        """One module with everything inside of it."""
        if depth > MAX_DEPTH:
            self.refuse(f"nested beyond measure at '{path}'")
        if module.kind in ("Conv", "DWConv"):
            return self.convolution(module, path)
        if module.kind in ("Conv2d", "ConvTranspose2d"):
            return self.plain_convolution(module, path, "none", None)
        kind = _KINDS.get(module.kind)
        if kind is None:
            self.unknown(f"whose layer '{module.kind}' at '{path}' is not known")
        options = _OPTIONS[kind](self, module) if kind in _OPTIONS else {}
        skipped = {"sppf": {"m"}, "detect": {"dfl"}, "segment": {"dfl"}}.get(kind, set[str]())
        parts = {name: self.layer(part, f"{path}.{name}", depth + 1) for name, part in self.children(module).items() if name not in skipped
                 and part.kind != "Identity"}
        return LayerSpec(kind=kind, options=options, parts=parts)

    def convolution(self, module: Stub, path: str) -> LayerSpec:
        """A convolution with its batch norm (unless folded already) and activation."""
        parts = self.children(module)
        act = parts.get("act")
        name = _ACTIVATIONS.get(act.kind) if act is not None else "none"
        if name is None or "conv" not in parts or not parts.keys() <= {"conv", "bn", "act"}:
            self.unknown(f"whose '{module.kind}' at '{path}' is made of {', '.join(part.kind for part in parts.values())[:200]}")
        return self.plain_convolution(parts["conv"], path, name, parts.get("bn"))

    def plain_convolution(self, module: Stub, path: str, activation: str, norm: Stub | None) -> LayerSpec:
        """A convolution, its tensors noted under `path`."""
        weight = self.tensor(module, "weight")
        transposed = module.kind == "ConvTranspose2d"
        if weight is None or len(weight.shape) != 4 or weight.count == 0 or module.kind not in ("Conv2d", "ConvTranspose2d"):
            self.refuse(f"whose '{module.kind}' at '{path}' is no convolution of pictures")
        state = module.state
        if state.get("padding_mode", "zeros") != "zeros" or state.get("output_padding", (0, 0)) not in ((0, 0), 0):
            self.refuse(f"whose convolution at '{path}' pads in a way that is not known")
        options: dict[str, Option] = {"groups": self.number(state.get("groups", 1), path), "activation": activation}
        for name, default in (("stride", 1), ("padding", 0), ("dilation", 1)):
            value = state.get(name, default)
            pair = items(value) or (value, value)
            if len(pair) != 2:
                self.refuse(f"whose convolution at '{path}' has {len(pair)} numbers for its {name}")
            options[f"{name}_y"], options[f"{name}_x"] = self.number(pair[0], path), self.number(pair[1], path)
        self.convolutions[path] = ConvParts(weight=weight, bias=self.tensor(module, "bias"), transposed=transposed,
                                            norm=self.norm(norm, path), epsilon=self.epsilon(norm))
        return LayerSpec(kind="deconv" if transposed else "conv", options=options)

    def norm(self, norm: Stub | None, path: str) -> tuple[TensorRef, TensorRef, TensorRef, TensorRef] | None:
        """The tensors of a batch norm."""
        if norm is None or norm.kind == "Identity":
            return None
        found = tuple(self.tensor(norm, name) for name in ("weight", "bias", "running_mean", "running_var"))
        if norm.kind != "BatchNorm2d" or None in found:
            self.unknown(f"whose norm '{norm.kind}' at '{path}' is not known")
        return cast("tuple[TensorRef, TensorRef, TensorRef, TensorRef]", found)

    def epsilon(self, norm: Stub | None) -> float:
        """What the batch norm adds to the variance."""
        value = norm.state.get("eps") if norm is not None else None
        return value if isinstance(value, float) and 0 < value < 1 else 1e-3

    def tensor(self, module: Stub, name: str) -> TensorRef | None:
        """A parameter or buffer."""
        for group in ("_parameters", "_buffers"):
            value = entries(module.state.get(group)).get(name)
            if isinstance(value, TensorRef):
                return value
        return None

    def number(self, value: object, where: str) -> int:
        """A whole number, given as such or as a float without fraction."""
        if type(value) is float and value.is_integer():
            value = int(value)
        if type(value) is not int or not 0 <= value <= 8192:
            self.refuse(f"whose '{where}' has the number {shown(value)}")
        return value


def _shortcut(reader: _TreeReader, module: Stub) -> dict[str, Option]:
    """Whether the input is added to the result."""
    return {"add": int(module.state.get("add") is True)}


def _attention(reader: _TreeReader, module: Stub) -> dict[str, Option]:
    """How the channels are dealt out."""
    names = (("heads", "num_heads"), ("key_width", "key_dim"), ("head_width", "head_dim"))
    return {ours: reader.number(module.state.get(theirs), theirs) for ours, theirs in names}


def _sppf(reader: _TreeReader, module: Stub) -> dict[str, Option]:
    """Side and count of its poolings."""
    pool = reader.children(module).get("m")
    if pool is None or pool.kind != "MaxPool2d" or pool.state.get("stride") not in (1, (1, 1)):
        reader.unknown(f"whose 'SPPF' pools by '{pool.kind if pool else None}'")
    side = pool.state.get("kernel_size")
    return {"pool": reader.number(side, "kernel_size"), "times": reader.number(module.state.get("n", 3), "n"), **_shortcut(reader, module)}


def _concat(reader: _TreeReader, module: Stub) -> dict[str, Option]:
    """Only channels are joined."""
    if module.state.get("d", 1) != 1:
        reader.unknown("whose 'Concat' joins something else than channels")
    return {}


def _upsample(reader: _TreeReader, module: Stub) -> dict[str, Option]:
    """Whole factors, nearest pixel."""
    if module.state.get("mode", "nearest") != "nearest" or module.state.get("size") is not None:
        reader.unknown(f"whose 'Upsample' works by {shown(module.state.get('mode'))}")
    return {"factor": reader.number(module.state.get("scale_factor"), "scale_factor")}


def _head(reader: _TreeReader, module: Stub) -> dict[str, Option]:
    """Nothing: its numbers follow from the shapes of its tensors."""
    unknown = [name for name in reader.children(module) if name not in ("cv2", "cv3", "cv4", "dfl", "proto")]
    if unknown or module.state.get("end2end") is True:
        reader.unknown(f"whose '{module.kind}' is an end-to-end or otherwise changed head ('{(unknown or ['end2end'])[0][:50]}')")
    return {}


_OPTIONS: dict[Kind, Callable[[_TreeReader, Stub], dict[str, Option]]] = {
    "bottleneck": _shortcut, "psa_block": _shortcut, "attention": _attention, "sppf": _sppf, "concat": _concat, "upsample": _upsample,
    "detect": _head, "segment": _head}
