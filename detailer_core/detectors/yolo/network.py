"""The network of a checkpoint: pictures in, what the head says about each anchor out."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from detailer_core.detectors.yolo.checkpoint import YoloCheckpoint
from detailer_core.detectors.yolo.layers import Layer, LayerBuilder
from detailer_core.errors import ModelFileError


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class HeadOutput:
    """What the head says, before any decoding; `n` anchors in all levels together, all float, on the network's device.

    sides: `[batch, 4 * bins, n]` logits of the distances from the anchor to left, top, right and bottom.
    classes: `[batch, classes, n]` logits.
    coefficients: `[batch, m, n]` weights of the prototypes, None for a detector of boxes.
    prototypes: `[batch, m, height, width]`, None for a detector of boxes.
    anchors: `[2, n]` x and y of each anchor in cells of its level.
    strides: `[n]` side of a cell in input pixels.
    """

    sides: torch.Tensor
    classes: torch.Tensor
    coefficients: torch.Tensor | None
    prototypes: torch.Tensor | None
    anchors: torch.Tensor
    strides: torch.Tensor

    def raw(self) -> torch.Tensor:
        """`[batch, 4 + classes + m, n]`: centre x, centre y, width, height in input pixels, scores 0..1, coefficients."""
        parts = [self._boxes(self.sides, self.anchors, self.strides), self.classes.sigmoid()]
        return torch.cat(parts if self.coefficients is None else [*parts, self.coefficients], 1)

    def raw_above(self, logit: float) -> torch.Tensor:
        """As `raw` for the first picture, `[4 + classes + m, k]`, but only anchors with a class logit above `logit`."""
        keep = (self.classes[0].amax(0) > logit).nonzero()[:, 0]
        boxes = self._boxes(self.sides[:1, :, keep], self.anchors[:, keep], self.strides[keep])
        parts = [boxes[0], self.classes[0][:, keep].sigmoid()]
        return torch.cat(parts if self.coefficients is None else [*parts, self.coefficients[0][:, keep]])

    @staticmethod
    def _boxes(sides: torch.Tensor, anchors: torch.Tensor, strides: torch.Tensor) -> torch.Tensor:
        """`[batch, 4, n]`; a distance is the expected value over its bins. Source: Li et al. 2020, Generalized Focal Loss."""
        batch, channels, count = sides.shape
        bins = channels // 4
        weights = torch.arange(bins, dtype=sides.dtype, device=sides.device)
        distances = torch.einsum("bskn,k->bsn", sides.reshape(batch, 4, bins, count).softmax(2), weights)
        start, end = anchors - distances[:, :2], anchors + distances[:, 2:]
        return torch.cat(((start + end) / 2, end - start), 1) * strides


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Head:
    """The last layer: per level three branches."""

    sides: tuple[Layer, ...]
    classes: tuple[Layer, ...]
    coefficients: tuple[Layer, ...]
    prototypes: Layer | None

    def __call__(self, levels: list[torch.Tensor], input_height: int) -> HeadOutput:
        def joined(branches: tuple[Layer, ...]) -> torch.Tensor:
            return torch.cat([branch(x).flatten(2) for branch, x in zip(branches, levels, strict=True)], 2)

        anchors, strides = _anchors(levels, input_height)
        return HeadOutput(sides=joined(self.sides), classes=joined(self.classes), anchors=anchors, strides=strides,
                          coefficients=joined(self.coefficients) if self.prototypes else None,
                          prototypes=self.prototypes(levels[0]) if self.prototypes else None)


def _anchors(levels: list[torch.Tensor], input_height: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Centres `[2, n]` of all cells in cells, and the side `[n]` of each in input pixels."""
    centres: list[torch.Tensor] = []
    strides: list[torch.Tensor] = []
    for x in levels:
        height, width = x.shape[2:]
        rows = torch.arange(height, dtype=x.dtype, device=x.device) + 0.5
        columns = torch.arange(width, dtype=x.dtype, device=x.device) + 0.5
        centres.append(torch.stack((columns.repeat(height), rows.repeat_interleave(width))))
        strides.append(torch.full((height * width,), input_height / height, dtype=x.dtype, device=x.device))
    return torch.cat(centres, 1), torch.cat(strides)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class YoloNetwork:
    """A network on one device. Make it with `build_network`.

    steps: per layer what it computes (None: join channels) and the layers whose results it takes, counted from 0; -1 is the picture.
    last_use: per layer the last step that needs its result, so that memory is freed early.
    """

    steps: tuple[tuple[Layer | None, tuple[int, ...]], ...]
    head: _Head
    head_sources: tuple[int, ...]
    device: torch.device

    def __call__(self, pictures_b3hw: torch.Tensor) -> HeadOutput:
        """What the head says.

        pictures_b3hw: float 0..1 RGB on the network's device, both sides multiples of the checkpoint's stride.

        Raises: RuntimeError of torch if the layers do not fit together.
        """
        results: list[torch.Tensor | None] = []
        needed = {source: at for at, (_, sources) in enumerate((*self.steps, (None, self.head_sources))) for source in sources}
        for at, (layer, sources) in enumerate(self.steps):
            inputs = [pictures_b3hw if source < 0 else results[source] for source in sources]
            tensors = [x for x in inputs if x is not None]
            results.append(torch.cat(tensors, 1) if layer is None else layer(tensors[0]))
            for source in sources:
                if source >= 0 and needed[source] == at:
                    results[source] = None
        return self.head([x for source in self.head_sources if (x := results[source]) is not None], pictures_b3hw.shape[2])


def build_network(checkpoint: YoloCheckpoint, device: torch.device | None = None) -> YoloNetwork:
    """The network with its tensors on `device` (None: the CPU), in the memory layout that convolutions are fastest in.

    Raises: ModelFileError if the layers and tensors of the checkpoint do not belong together.
    """
    device = device or torch.device("cpu")
    tensors = {name: tensor.to(device=device, memory_format=torch.channels_last) if tensor.ndim == 4 else tensor.to(device)
               for name, tensor in checkpoint.tensors.items()}
    builder = LayerBuilder(tensors=tensors)
    steps: list[tuple[Layer | None, tuple[int, ...]]] = []
    try:
        for index, spec in enumerate(checkpoint.layers[:-1]):
            layer = None if spec.kind == "concat" else builder.build(spec, f"model.{index}")
            steps.append((layer, _absolute(spec.sources, index)))
        last = len(checkpoint.layers) - 1
        head = _build_head(checkpoint, builder, f"model.{last}")
        return YoloNetwork(steps=tuple(steps), head=head, head_sources=_absolute(checkpoint.layers[last].sources, last), device=device)
    except ValueError as error:
        raise ModelFileError(f"the {checkpoint.family} model cannot be built: {error}; get the file again") from error


def _absolute(sources: tuple[int, ...], index: int) -> tuple[int, ...]:
    """Sources counted from the first layer, -1 for the picture."""
    result = tuple(source if source >= 0 else max(-1, index + source) for source in sources)
    if not result or any(source >= index for source in result):
        raise ValueError(f"layer {index} takes its input from a later one")
    return result


def _build_head(checkpoint: YoloCheckpoint, builder: LayerBuilder, path: str) -> _Head:
    """The head, with its branches checked for number and width."""
    spec = checkpoint.layers[-1]
    branches: dict[str, tuple[Layer, ...]] = {}
    for name in ("cv2", "cv3", "cv4") if checkpoint.task == "segment" else ("cv2", "cv3"):
        branches[name] = builder.parts(spec.part(name), f"{path}.{name}")
        if len(branches[name]) != len(spec.sources):
            raise ValueError(f"the head has {len(branches[name])} branches '{name}' for {len(spec.sources)} levels")
    prototypes = builder.part(spec, path, "proto") if checkpoint.task == "segment" else None
    return _Head(sides=branches["cv2"], classes=branches["cv3"], coefficients=branches.get("cv4", ()), prototypes=prototypes)
