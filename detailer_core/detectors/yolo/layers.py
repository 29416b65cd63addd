"""What each kind of layer computes: small frozen callables over tensors `[batch, channels, height, width]`, float.

Sources: YOLOv8 and YOLO11 as described in their public documentation, CSP (Wang et al. 2019), SPP (He et al. 2014),
attention (Vaswani et al. 2017). Batch norms are folded into the convolutions before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
import torch.nn.functional as F

from detailer_core.detectors.yolo.layer_spec import Kind, LayerSpec

_ACTIVATIONS: Mapping[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "silu": partial(F.silu, inplace=True), "relu": F.relu_, "leaky_relu": partial(F.leaky_relu, negative_slope=0.01, inplace=True),
    "hardswish": partial(F.hardswish, inplace=True), "mish": partial(F.mish, inplace=True)}


class Layer(Protocol):
    """Anything that makes one tensor of one tensor."""

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """The result; `x` stays as it is."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Conv:
    """A convolution, or its transpose, with bias and activation."""

    weight: torch.Tensor
    bias: torch.Tensor
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int
    activation: Callable[[torch.Tensor], torch.Tensor] | None
    transposed: bool

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve and activate."""
        if self.transposed:
            y = F.conv_transpose2d(x, self.weight, self.bias, self.stride, self.padding, 0, self.groups, self.dilation)
        else:
            y = F.conv2d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)
        return y if self.activation is None else self.activation(y)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sequence:
    """Layers one after another; also holds lists of layers that others use one by one."""

    layers: tuple[Layer, ...]

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """All of them in order."""
        for layer in self.layers:
            x = layer(x)
        return x


@dataclass(frozen=True, kw_only=True, slots=True)
class Bottleneck:
    """Two convolutions, with the input added where `add`."""

    first: Layer
    second: Layer
    add: bool

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Same size and, where `add`, same channels as the input."""
        y = self.second(self.first(x))
        return x + y if self.add else y


@dataclass(frozen=True, kw_only=True, slots=True)
class C2f:
    """One half of the channels runs through the blocks; the results of all blocks are joined with both halves."""

    enter: Layer
    blocks: tuple[Layer, ...]
    leave: Layer

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Same height and width as the input."""
        pieces = list(self.enter(x).chunk(2, 1))
        for block in self.blocks:
            pieces.append(block(pieces[-1]))
        return self.leave(torch.cat(pieces, 1))


@dataclass(frozen=True, kw_only=True, slots=True)
class C3:
    """One branch through the blocks, one around them, joined."""

    enter: Layer
    around: Layer
    blocks: Layer
    leave: Layer

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Same height and width as the input."""
        return self.leave(torch.cat((self.blocks(self.enter(x)), self.around(x)), 1))


@dataclass(frozen=True, kw_only=True, slots=True)
class SpatialPyramid:
    """Poolings of growing reach, joined (SPPF)."""

    enter: Layer
    leave: Layer
    pool: int
    times: int
    add: bool

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Same height and width as the input."""
        pieces = [self.enter(x)]
        for _ in range(self.times):
            pieces.append(F.max_pool2d(pieces[-1], self.pool, 1, self.pool // 2))
        y = self.leave(torch.cat(pieces, 1))
        return x + y if self.add else y


@dataclass(frozen=True, kw_only=True, slots=True)
class Attention:
    """Self-attention over the pixels, with a convolution of the values as position encoding.

    heads, key_width, head_width: how the channels of `mix` are dealt out: per head 2 key widths and 1 head width.
    """

    mix: Layer
    position: Layer
    leave: Layer
    heads: int
    key_width: int
    head_width: int

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Same shape as the input."""
        batch, _, height, width = x.shape
        dealt = self.mix(x).reshape(batch, self.heads, 2 * self.key_width + self.head_width, height * width)
        query, key, value = torch.split(dealt, [self.key_width, self.key_width, self.head_width], 2)
        weights = (query.transpose(-2, -1) @ key * self.key_width ** -0.5).softmax(-1)
        mixed = (value @ weights.transpose(-2, -1)).reshape(batch, -1, height, width)
        return self.leave(mixed + self.position(value.reshape(batch, -1, height, width)))


@dataclass(frozen=True, kw_only=True, slots=True)
class AttentionBlock:
    """Attention, then two convolutions, each with its input added where `add`."""

    attention: Layer
    feed: Layer
    add: bool

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Same shape as the input."""
        x = x + self.attention(x) if self.add else self.attention(x)
        return x + self.feed(x) if self.add else self.feed(x)


@dataclass(frozen=True, kw_only=True, slots=True)
class C2psa:
    """One half of the channels through attention blocks, joined with the other."""

    enter: Layer
    blocks: Layer
    leave: Layer

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Same height and width as the input."""
        kept, worked = self.enter(x).chunk(2, 1)
        return self.leave(torch.cat((kept, self.blocks(worked)), 1))


@dataclass(frozen=True, kw_only=True, slots=True)
class Upsample:
    """Each pixel becomes `factor` x `factor` pixels."""

    factor: int

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """`factor` times as high and wide."""
        return F.interpolate(x, scale_factor=float(self.factor), mode="nearest")


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerBuilder:
    """Makes layers of specs and tensors.

    Every method raises ValueError if the spec and the tensors do not belong together.
    """

    tensors: Mapping[str, torch.Tensor]

    def build(self, spec: LayerSpec, path: str) -> Layer:
        """The layer at `path`, the start of its tensors' names."""
        maker = _MAKERS.get(spec.kind)
        if maker is None:
            raise ValueError(f"layer '{spec.kind}' cannot be where it is: at '{path}'")
        return maker(self, spec, path)

    def part(self, spec: LayerSpec, path: str, name: str) -> Layer:
        """A layer inside of another."""
        return self.build(spec.part(name), f"{path}.{name}")

    def parts(self, spec: LayerSpec, path: str) -> tuple[Layer, ...]:
        """All layers inside of another, in order."""
        return tuple(self.part(spec, path, name) for name in spec.parts)

    def conv(self, spec: LayerSpec, path: str) -> Layer:
        """A convolution; its channels, kernel and groups are checked against one another."""
        weight, bias = (self.tensors.get(f"{path}.{name}") for name in ("weight", "bias"))
        pairs = {name: (spec.integer(f"{name}_y"), spec.integer(f"{name}_x")) for name in ("stride", "padding", "dilation")}
        groups, act = spec.integer("groups"), spec.options.get("activation")
        transposed = spec.kind == "deconv"
        if weight is None or bias is None or weight.ndim != 4 or not groups or 0 in pairs["stride"] or 0 in pairs["dilation"]:
            raise ValueError(f"the convolution '{path}' has no weight or is not sound")
        if bias.shape != (weight.shape[1] * groups if transposed else weight.shape[0],) or weight.shape[0] % groups:
            raise ValueError(f"the weight and the bias of '{path}' do not belong together")
        if act != "none" and act not in _ACTIVATIONS:
            raise ValueError(f"the activation {str(act)[:50]!r} of '{path}' is not known")
        return Conv(weight=weight, bias=bias, groups=groups, activation=_ACTIVATIONS.get(str(act)), transposed=transposed, **pairs)


def _bottleneck(b: LayerBuilder, spec: LayerSpec, path: str) -> Layer:
    return Bottleneck(first=b.part(spec, path, "cv1"), second=b.part(spec, path, "cv2"), add=bool(spec.integer("add")))


def _c2f(b: LayerBuilder, spec: LayerSpec, path: str) -> Layer:
    return C2f(enter=b.part(spec, path, "cv1"), blocks=b.parts(spec.part("m"), f"{path}.m"), leave=b.part(spec, path, "cv2"))


def _c3(b: LayerBuilder, spec: LayerSpec, path: str) -> Layer:
    return C3(enter=b.part(spec, path, "cv1"), around=b.part(spec, path, "cv2"), blocks=b.part(spec, path, "m"),
              leave=b.part(spec, path, "cv3"))


def _sppf(b: LayerBuilder, spec: LayerSpec, path: str) -> Layer:
    return SpatialPyramid(enter=b.part(spec, path, "cv1"), leave=b.part(spec, path, "cv2"), pool=spec.integer("pool"),
                          times=spec.integer("times", 3), add=bool(spec.integer("add", 0)))


def _c2psa(b: LayerBuilder, spec: LayerSpec, path: str) -> Layer:
    return C2psa(enter=b.part(spec, path, "cv1"), blocks=b.part(spec, path, "m"), leave=b.part(spec, path, "cv2"))


def _attention_block(b: LayerBuilder, spec: LayerSpec, path: str) -> Layer:
    return AttentionBlock(attention=b.part(spec, path, "attn"), feed=b.part(spec, path, "ffn"), add=bool(spec.integer("add")))


def _attention(b: LayerBuilder, spec: LayerSpec, path: str) -> Layer:
    heads, key, head = (spec.integer(name) for name in ("heads", "key_width", "head_width"))
    if not heads or not key or not head:
        raise ValueError(f"the attention '{path}' has no heads")
    return Attention(mix=b.part(spec, path, "qkv"), position=b.part(spec, path, "pe"), leave=b.part(spec, path, "proj"), heads=heads,
                     key_width=key, head_width=head)


def _proto(b: LayerBuilder, spec: LayerSpec, path: str) -> Layer:
    return Sequence(layers=tuple(b.part(spec, path, name) for name in ("cv1", "upsample", "cv2", "cv3")))


_MAKERS: Mapping[Kind, Callable[[LayerBuilder, LayerSpec, str], Layer]] = {
    "conv": LayerBuilder.conv, "deconv": LayerBuilder.conv, "sequence": lambda b, spec, path: Sequence(layers=b.parts(spec, path)),
    "bottleneck": _bottleneck, "c2f": _c2f, "c3": _c3, "sppf": _sppf, "c2psa": _c2psa, "psa_block": _attention_block,
    "attention": _attention, "proto": _proto, "upsample": lambda b, spec, path: Upsample(factor=spec.integer("factor"))}
