"""Which model the engine loads, and how."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

Precision: TypeAlias = Literal["auto", "fp16", "bf16", "fp32"]
Offload: TypeAlias = Literal["none", "model", "sequential"]
Tiling: TypeAlias = Literal["auto", "on", "off"]

PRECISIONS: tuple[Precision, ...] = ("auto", "fp16", "bf16", "fp32")
OFFLOADS: tuple[Offload, ...] = ("none", "model", "sequential")
TILINGS: tuple[Tiling, ...] = ("auto", "on", "off")


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelOptions:
    """What `DiffusersEngine` is made of.

    model: a folder that diffusers saved, a `.safetensors` file, or `hub:owner/name`, the only form that may be downloaded.
    config: for a single file: a folder (or `hub:owner/name`) with tokenizer and configuration of a model of its family.
    precision: auto = fp16 on a GPU, else fp32. device: torch's name; "" = a GPU if there is one. offload: what waits in the main memory:
    nothing, models, or single layers. vae_tiling: auto = once the VAE ran out of memory.
    lora_folders, control_folders, model_folders: where `<lora:name:weight>`, ControlNets, and refiners or other checkpoints are looked for.
    distilled_guidance: what models with distilled guidance (Flux dev) are told; cfg is their true guidance, 1 = none.
    """

    model: str
    config: str = ""
    precision: Precision = "auto"
    device: str = ""
    offload: Offload = "none"
    vae_tiling: Tiling = "auto"
    lora_folders: tuple[Path, ...] = ()
    control_folders: tuple[Path, ...] = ()
    model_folders: tuple[Path, ...] = ()
    distilled_guidance: float = 3.5
