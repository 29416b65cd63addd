"""What a network is made of, as plain data that JSON can hold: kinds of layers, their numbers and their parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, cast, get_args

Kind: TypeAlias = Literal["conv", "deconv", "sequence", "bottleneck", "c2f", "c3", "sppf", "c2psa", "psa_block", "attention", "concat",
                          "upsample", "detect", "segment", "proto"]
Option: TypeAlias = int | str
Activation: TypeAlias = Literal["none", "silu", "relu", "leaky_relu", "hardswish", "mish"]

MAX_DEPTH = 12
"""Parts within parts; YOLO has 7 levels."""
MAX_NAME = 100
"""Longest name of a part."""
_CHANNEL_OPTIONS = frozenset({"groups", "heads", "key_width", "head_width"})


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerSpec:
    """One layer.

    kind: what it computes, see `layers`.
    options: its numbers, see the layer of that kind.
    parts: the layers inside of it, by name; its tensors' names start with the names on the way to it, joined by dots.
    sources: for a layer of the top level, the layers whose results it takes; negative counts back from this one.
    """

    kind: Kind
    options: Mapping[str, Option] = field(default_factory=dict[str, Option])
    parts: Mapping[str, LayerSpec] = field(default_factory=dict[str, "LayerSpec"])
    sources: tuple[int, ...] = (-1,)

    def integer(self, name: str, default: int | None = None) -> int:
        """The option as a whole number.

        Raises: ValueError if it is missing, no whole number, negative or beyond what any YOLO has.
        """
        value = self.options.get(name, default)
        if type(value) is not int or not 0 <= value <= (8192 if name in _CHANNEL_OPTIONS else 64):
            raise ValueError(f"layer '{self.kind}' has {name} = {value!r}")
        return value

    def part(self, name: str) -> LayerSpec:
        """The layer inside of this one.

        Raises: ValueError if there is none.
        """
        if name not in self.parts:
            raise ValueError(f"layer '{self.kind}' lacks its part '{name}'")
        return self.parts[name]


def to_json(spec: LayerSpec) -> dict[str, object]:
    """The spec as JSON values."""
    return {"kind": spec.kind, "options": dict(spec.options), "sources": list(spec.sources),
            "parts": {name: to_json(part) for name, part in spec.parts.items()}}


def from_json(value: object, depth: int = 0) -> LayerSpec:
    """The spec that `to_json` gave.

    Raises: ValueError if the value is of another shape or nested deeper than `MAX_DEPTH`.
    """
    if not isinstance(value, dict) or depth > MAX_DEPTH:
        raise ValueError("a layer is described in a way that is not known")
    entry = cast("dict[str, object]", value)
    kind, options, parts, sources = (entry.get(key) for key in ("kind", "options", "parts", "sources"))
    if kind not in get_args(Kind):
        raise ValueError(f"layer kind {str(kind)[:100]!r} is not known")
    if not (isinstance(options, dict) and isinstance(parts, dict) and isinstance(sources, list)):
        raise ValueError(f"layer '{kind}' is described in a way that is not known")
    numbers, inputs = cast("dict[str, object]", options), cast("list[object]", sources)
    if any(len(name) > MAX_NAME for name in cast("dict[str, object]", parts)):
        raise ValueError(f"layer '{kind}' has a part with a name beyond measure")
    if not all(type(item) in (int, str) for item in numbers.values()) or not all(type(item) is int for item in inputs):
        raise ValueError(f"layer '{kind}' has options that are no numbers")
    return LayerSpec(kind=cast(Kind, kind), options=cast("dict[str, Option]", options), sources=tuple(cast("list[int]", inputs)),
                     parts={str(name): from_json(part, depth + 1) for name, part in cast("dict[str, object]", parts).items()})
