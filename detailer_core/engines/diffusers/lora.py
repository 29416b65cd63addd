"""LoRA files: found by the name in a `<lora:name:weight>` tag, checked against the model, and switched on for a wave."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...errors import EngineError, EngineUnsupportedError
from ...wildcards.lora_tags import LoraTag, extract_lora_tags
from ..memory import is_out_of_memory
from .model import Model
from .samplers import nearest

_KEPT = 8
_DOWN = (".lora_A.weight", ".lora.down.weight", ".lora_down.weight", ".lora_linear_layer.down.weight", "_lora.down.weight")
"""Endings of the tensors that take a layer's input, in the notations that the library's own conversion leaves."""

_ATTENTION = re.compile(r"(?:\.processor)?\.to_(q|k|v|out)$")

LoraKey = tuple[tuple[str, float, float], ...]
"""A set of LoRAs: name, weight for the denoiser, weight for the text encoders."""


def lora_key(prompt: str) -> LoraKey:
    """The LoRAs that a prompt asks for. Raises: EngineUnsupportedError for weights per block."""
    return tuple(sorted(_plain(tag) for tag in extract_lora_tags(prompt)))


def _plain(tag: LoraTag) -> tuple[str, float, float]:
    if tag.block_weights is not None:
        raise EngineUnsupportedError(f"prompt: <lora:{tag.name}:...> has weights per block (LBW), which this engine does not know; take them away")
    return tag.name, tag.model_weight, tag.clip_weight


class LoraRack:
    """The LoRAs of one model: the last few stay loaded, those of the wave at hand are switched on."""

    def __init__(self, model: Model, folders: tuple[Path, ...]) -> None:
        self.model, self.folders = model, folders
        self._loaded: dict[Path, str] = {}
        self._count = 0
        self._active: LoraKey = ()

    def use(self, key: LoraKey) -> None:
        """Switch these on and all others off. Raises: EngineError for one that is missing, damaged or made for another kind of model."""
        if key == self._active:
            return
        names = [self._load(name) for name, _, _ in key]
        pipe = self.model.pipe
        if key:
            pipe.enable_lora()
            parts = pipe.get_list_adapters()
            pipe.set_adapters(names, [_weights(parts, name, denoiser, text) for name, (_, denoiser, text) in zip(names, key, strict=True)])
        elif self._loaded:
            pipe.disable_lora()
        self._active = key

    def _load(self, name: str) -> str:
        path = self._find(name)
        if path in self._loaded:
            self._loaded[path] = self._loaded.pop(path)  # to the end: the first is the one that goes
            return self._loaded[path]
        self._check(name, path)
        self._make_room()
        adapter = f"detailer{self._count}"
        self._count += 1
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="Already found a `peft_config`")  # several LoRAs at once are meant
                self.model.pipe.load_lora_weights(str(path.parent), weight_name=path.name, adapter_name=adapter, local_files_only=True,
                                                  use_safetensors=True)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            raise EngineError(f"LoRA '{name}' ({path}) cannot be used with this model: {type(error).__name__}: {str(error)[:300]}") from error
        self._loaded[path] = adapter
        return adapter

    def _make_room(self) -> None:
        while len(self._loaded) >= _KEPT:
            oldest = next(iter(self._loaded))
            self.model.pipe.delete_adapters([self._loaded.pop(oldest)])

    def _find(self, name: str) -> Path:
        if not self.folders:
            raise EngineError(f"LoRA '{name}' is asked for, but no folder of LoRAs is known; name it with --lora-folder")
        wanted = name.replace("\\", "/").removesuffix(".safetensors")
        found: dict[str, Path] = {}
        for folder in self.folders:
            for path in sorted(folder.rglob("*.safetensors")):
                found.setdefault(path.stem, path)
                found.setdefault(path.relative_to(folder).with_suffix("").as_posix(), path)
        if wanted not in found:
            where = ", ".join(str(folder) for folder in self.folders)
            raise EngineError(f"LoRA '{name}' not found in {where}{nearest(wanted, tuple(found))}; only .safetensors files are read")
        return found[wanted]

    def _check(self, name: str, path: Path) -> None:
        """Nothing, if every layer that the file changes is there and takes as many numbers. Raises: EngineError."""
        try:
            state = self._state(path)
        except Exception as error:  # the file's own troubles, in whatever words
            raise EngineError(f"LoRA '{name}' ({path}) cannot be read as one for {self.model.family.title}: {str(error)[:300]}") from error
        wrong = [(key, reason) for key, tensor in state.items() if (reason := self._misfit(key, tensor))]
        fitting = sum(key.endswith(_DOWN) for key in state) - len(wrong)
        if wrong or not fitting:
            detail = f": {wrong[0][0]} {wrong[0][1]}" if wrong else ": no layer of the model is named in it"
            raise EngineError(f"LoRA '{name}' ({path}) is for another kind of model than {self.model.family.title}{detail}; choose one made for it")

    def _state(self, path: Path) -> dict[str, Tensor]:
        options: dict[str, Any] = {} if self.model.family.flow else {"unet_config": self.model.denoiser.config}
        state = self.model.pipe.lora_state_dict(str(path.parent), weight_name=path.name, local_files_only=True, use_safetensors=True, **options)
        return state[0] if isinstance(state, tuple) else state

    def _misfit(self, key: str, tensor: Tensor) -> str:
        """Why a layer's change cannot be applied, or nothing."""
        ending = next((ending for ending in _DOWN if key.endswith(ending)), None)
        if ending is None:
            return ""
        part, _, layer = key.removesuffix(ending).partition(".")
        if ending == "_lora.down.weight":  # the oldest notation names an attention's layers apart from the model's own names
            layer = _ATTENTION.sub(r".\1_proj" if part.startswith("text_encoder") else r".to_\1", layer)
            layer = f"{layer}.0" if layer.endswith(".to_out") else layer
        module = getattr(self.model.pipe, part, None)
        if not isinstance(module, torch.nn.Module):
            return f"is of a part '{part}' that the model does not have"
        try:
            weight: Any = module.get_submodule(layer).weight
        except AttributeError:
            return "is a layer that the model does not have"
        return "" if weight.shape[1] == tensor.shape[1] else f"takes {tensor.shape[1]} numbers there, the model's {weight.shape[1]}"


def _weights(parts: dict[str, list[str]], adapter: str, denoiser: float, text: float) -> dict[str, float]:
    """The weight of each part that a LoRA changes."""
    return {part: text if part.startswith("text_encoder") else denoiser for part, adapters in parts.items() if adapter in adapters}
