"""What a pickle may name, and the lifeless values that stand for it: nothing here can be called, imported or executed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

_STUB_PACKAGES = ("ultralytics.", "torch.nn.", "models.", "utils.")
_STUB_NAMES = frozenset({
    "numpy.dtype", "numpy.ndarray", "numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar", "numpy.core.multiarray._reconstruct",
    "numpy._core.multiarray._reconstruct", "_codecs.encode", "pathlib.Path",
    "pathlib.PosixPath", "pathlib.WindowsPath", "pathlib.PurePosixPath", "pathlib.PureWindowsPath", "pathlib._local.PosixPath",
    "pathlib._local.WindowsPath", "datetime.datetime", "datetime.date", "types.SimpleNamespace", "argparse.Namespace"})
_DATA_TYPES = frozenset(f"torch.{name}" for name in (
    "float16", "float32", "float64", "bfloat16", "int8", "int16", "int32", "int64", "uint8", "bool", "contiguous_format", "channels_last",
    "preserve_format", "strided"))
STORAGE_TYPES = {"torch.HalfStorage": "float16", "torch.FloatStorage": "float32", "torch.DoubleStorage": "float64",
                 "torch.BFloat16Storage": "bfloat16", "torch.LongStorage": "int64", "torch.IntStorage": "int32",
                 "torch.ShortStorage": "int16", "torch.CharStorage": "int8", "torch.ByteStorage": "uint8", "torch.BoolStorage": "bool"}
"""Names of torch's storage classes and the element type, by torch's name, that each holds."""
MAPPINGS = frozenset({"collections.OrderedDict", "collections.defaultdict", "builtins.dict"})
SEQUENCES = frozenset({"builtins.set", "builtins.frozenset", "builtins.list", "builtins.tuple", "torch.Size", "collections.deque"})
REBUILD_TENSOR = "torch._utils._rebuild_tensor_v2"
REBUILD_PARAMETER = frozenset({"torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state"})
METHOD = "builtins.getattr"
"""How a pickle of protocol 2 names a method of a class: old segmentation models of ultralytics hold `Detect.forward`."""
_PLAIN = frozenset({"builtins.int", "builtins.float", "builtins.str", "builtins.bool", "builtins.object", "torch.device",
                    "torch.nn.parameter.Parameter", METHOD, REBUILD_TENSOR}) | REBUILD_PARAMETER


@dataclass(frozen=True, kw_only=True, slots=True)
class Name:
    """A class or function that the pickle names; only its name is known here."""

    text: str

    @property
    def is_stub(self) -> bool:
        """Whether an object of this class is kept as a `Stub`."""
        return self.text.startswith(_STUB_PACKAGES) or self.text in _STUB_NAMES

    @property
    def is_allowed(self) -> bool:
        """Whether a YOLO file has a reason to name it."""
        return (self.is_stub or self.text in _PLAIN or self.text in MAPPINGS or self.text in SEQUENCES or self.text in STORAGE_TYPES
                or self.text in _DATA_TYPES)


@dataclass(kw_only=True, slots=True, eq=False)
class Stub:
    """An object of the file: the name of its class and its attributes. Filled while reading, hence not frozen."""

    name: str
    state: dict[object, object] = field(default_factory=dict[object, object])

    def __repr__(self) -> str:
        """Only the name: attributes may be nested without end."""
        return f"Stub({self.name})"

    @property
    def kind(self) -> str:
        """The last part of the class's name: `Conv` of `ultralytics.nn.modules.conv.Conv`."""
        return self.name.rpartition(".")[2]


@dataclass(frozen=True, kw_only=True, slots=True)
class StorageRef:
    """Numbers in the archive: element type (torch's name), the member's key and how many elements it has."""

    dtype: str
    key: str
    count: int


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorRef:
    """A view of a storage: first element, shape and strides, all in elements. Checked to lie inside of the storage."""

    storage: StorageRef
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def count(self) -> int:
        """How many elements it has."""
        total = 1
        for side in self.shape:
            total *= side
        return total


def entries(value: object) -> Mapping[object, object]:
    """The value if it is a dictionary, else an empty one."""
    return cast("Mapping[object, object]", value) if isinstance(value, dict) else {}


def items(value: object) -> Sequence[object] | None:
    """The value if it is a list or tuple, else None."""
    return cast("Sequence[object]", value) if isinstance(value, list | tuple) else None


def shown(value: object) -> str:
    """The value as short text for a message; of what may be nested without end only the type."""
    if value is None or isinstance(value, str | bytes | float | bool) or (type(value) is int and abs(value) < 1 << 64):
        return repr(value[:100] if isinstance(value, str | bytes) else value)
    return f"a {type(value).__name__}"


def tensor_ref(storage: object, offset: object, shape: object, strides: object) -> TensorRef | None:
    """The view if it is sound and has no more elements than its storage; None if it is not."""
    sides, steps = items(shape), items(strides)
    if not isinstance(storage, StorageRef) or sides is None or steps is None or len(sides) != len(steps) or len(sides) > 8:
        return None
    numbers = [number for number in (offset, *sides, *steps) if type(number) is int and 0 <= number < 1 << 40]
    if len(numbers) != 1 + 2 * len(sides):
        return None
    view = TensorRef(storage=storage, offset=numbers[0], shape=tuple(numbers[1:1 + len(sides)]), strides=tuple(numbers[1 + len(sides):]))
    last = view.offset + sum((side - 1) * step for side, step in zip(view.shape, view.strides, strict=True))
    if view.count and (last >= storage.count or view.count > storage.count):
        return None
    return view
