"""The tensors of a torch archive as float32, with the batch norms multiplied into the convolutions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from detailer_core.detectors.yolo.archive import Archive
from detailer_core.detectors.yolo.inert import StorageRef, TensorRef
from detailer_core.detectors.yolo.module_tree import ConvParts
from detailer_core.errors import ModelFileError

MAX_NUMBERS = 200_000_000
"""Most elements that all tensors of a model may have; the largest YOLOv5u has 155 million."""
MAX_TENSOR = 40_000_000
"""Most elements of one tensor; the largest convolution of the largest YOLOv5u has 15 million."""
_SPARE = 4096
"""Elements by which a storage may exceed twice its tensor."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorReader:
    """Reads from one open archive.

    prefix: the folder inside of the archive, with a slash at its end.
    """

    archive: Archive
    prefix: str

    def read(self, view: TensorRef) -> torch.Tensor:
        """A tensor in float32, its own memory.

        Raises: ModelFileError if its numbers are missing or damaged.
        """
        data = self._storage(view.storage)
        return data.as_strided(view.shape, view.strides, view.offset).to(torch.float32, copy=True)

    def read_folded(self, convolutions: Mapping[str, ConvParts]) -> dict[str, torch.Tensor]:
        """`PATH.weight` and `PATH.bias` of each convolution.

        Raises: ModelFileError if they are too large, do not belong together or are damaged.
        """
        self._check_size(convolutions)
        tensors: dict[str, torch.Tensor] = {}
        for path, parts in convolutions.items():
            weight, bias = self._fold(path, parts)
            tensors[f"{path}.weight"], tensors[f"{path}.bias"] = weight.contiguous(), bias.contiguous()
        return tensors

    def _check_size(self, convolutions: Mapping[str, ConvParts]) -> None:
        """Refuse, before anything is read, what would not fit and what repeats its numbers to look larger than the file is."""
        views = [view for parts in convolutions.values() for view in (parts.weight, parts.bias, *(parts.norm or ())) if view is not None]
        total = sum(view.count for view in views)
        distinct = sum({view.storage.key: view.storage.count for view in views}.values())
        if total > MAX_NUMBERS or total > 2 * distinct:
            raise ModelFileError(f"model file '{self.archive.name}' refused: {total} numbers in its tensors and {distinct} in the file; "
                                 f"at most {MAX_NUMBERS} are read, and none many times")
        largest = max((view.count for view in views), default=0)
        if largest > MAX_TENSOR:
            raise ModelFileError(f"model file '{self.archive.name}' refused: {largest} numbers in one tensor, at most "
                                 f"{MAX_TENSOR} are read")
        if any(view.storage.count > 2 * view.count + _SPARE for view in views):
            raise ModelFileError(f"model file '{self.archive.name}' refused: a tensor uses only a small part of its numbers")

    def _storage(self, storage: StorageRef) -> torch.Tensor:
        """All numbers of a member, flat."""
        dtype: torch.dtype = getattr(torch, storage.dtype)
        name = f"{self.prefix}data/{storage.key}"
        width = torch.empty((), dtype=dtype).element_size()
        data = self.archive.read(name, (2 * MAX_TENSOR + _SPARE) * 8)
        if len(data) != storage.count * width:
            raise ModelFileError(f"model file '{self.archive.name}' refused: '{name}' has {len(data)} bytes instead of "
                                 f"{storage.count * width}; download it again")
        return torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)

    def _fold(self, path: str, parts: ConvParts) -> tuple[torch.Tensor, torch.Tensor]:
        """Weight and bias of a convolution with its batch norm multiplied in. Source: Ioffe and Szegedy 2015, at inference."""
        width = parts.weight.shape[1 if parts.transposed else 0]
        vectors = [view for view in (parts.bias, *(parts.norm or ())) if view is not None]
        if any(view.shape != (width,) for view in vectors) or (parts.norm and parts.transposed):
            raise ModelFileError(f"model file '{self.archive.name}' refused: the tensors of '{path}' do not belong together")
        weight = self.read(parts.weight)
        bias = self.read(parts.bias) if parts.bias is not None else torch.zeros(width, dtype=torch.float32)
        if parts.norm is None:
            return weight, bias
        gain, shift, mean, variance = (self.read(view) for view in parts.norm)
        factor = gain / torch.sqrt(variance + parts.epsilon)
        return weight * factor[:, None, None, None], (bias - mean) * factor + shift
