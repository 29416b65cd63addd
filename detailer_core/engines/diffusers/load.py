"""Loading a model: a folder that diffusers saved, a single file, or a model of the hub that the user named as such."""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from ...errors import DetailerError, EngineError, EngineUnsupportedError
from ..memory import is_out_of_memory
from .families import FAMILIES, PIPELINES, Family, FamilyName, family_of, read_index, titles
from .library import class_of_diffusers
from .model import Model
from .options import ModelOptions
from .samplers import nearest

logger = logging.getLogger(__name__)

HUB = "hub:"
"""What a user writes before the name of a model that may be downloaded."""

_LEFT_OUT = ("safety_checker", "feature_extractor", "image_encoder")  # parts that a picture is never shown to here


def load_model(name: str, options: ModelOptions) -> Model:
    """The model of that name or path, ready on its device.

    Raises: EngineError if it is not one, is damaged, or does not fit; EngineUnsupportedError for a family that cannot be used.
    """
    device = choose_device(options)
    dtype = choose_dtype(options, device)
    try:
        with _no_bars():
            pipe, family = _load(name, options, dtype)
        model = Model(pipe=pipe, family=family, source=name, dtype=dtype)
        _check_parts(model)
        _place(model, options, device)
    except DetailerError:
        raise
    except Exception as error:  # whatever a library finds wrong with a file is the user's to know, in one sentence
        if is_out_of_memory(error):
            raise EngineError(f"the model {name} does not fit into the memory; choose another precision, or offload parts of it") from error
        raise EngineError(f"the model {name} cannot be loaded: {type(error).__name__}: {_first_line(error)}") from error
    return model


@contextmanager
def _no_bars() -> Generator[None, None, None]:
    """Without the library's bars, which would run into our own; those of downloads stay."""
    switch: Any = import_module("diffusers.utils.logging")
    before = switch.is_progress_bar_enabled()
    switch.disable_progress_bar()
    try:
        yield
    finally:
        if before:
            switch.enable_progress_bar()


def choose_device(options: ModelOptions) -> torch.device:
    """The device that is asked for, or a GPU if there is one. Raises: EngineError if there is none of that name."""
    if not options.device:
        mps = getattr(torch.backends, "mps", None)
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if mps is not None and mps.is_available() else "cpu")
    try:
        device = torch.device(options.device)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:  # torch asserts that it was built for the device
        raise EngineError(f"the device '{options.device}' cannot be used: {_first_line(error)}") from error
    return device


def choose_dtype(options: ModelOptions, device: torch.device) -> torch.dtype:
    """The type of the model's arithmetic. Raises: EngineError for fp16 where no GPU is."""
    if options.precision == "auto":
        return torch.float16 if device.type == "cuda" else torch.float32
    if options.precision == "fp16" and device.type == "cpu":
        raise EngineError("dtype fp16 needs a GPU; choose fp32 or bf16")
    return {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}[options.precision]


def find_model(name: str, options: ModelOptions) -> str:
    """A path, a name in the model folders, or `hub:...`, as `load_model` takes it. Raises: EngineError with the nearest name."""
    if name.startswith(HUB) or Path(name).exists():
        return name
    found: dict[str, Path] = {}
    for folder in options.model_folders:
        if folder.is_dir():
            for path in sorted(folder.iterdir()):
                if (path / "model_index.json").is_file() or path.suffix == ".safetensors":
                    found.setdefault(path.name, path)
    if name in found or f"{name}.safetensors" in found:
        return str(found.get(name) or found[f"{name}.safetensors"])
    where = ", ".join(str(folder) for folder in options.model_folders)
    hub = f"; for a model of the hub write {HUB}{name}" if name.count("/") == 1 and not where else ""
    raise EngineError(f"model '{name}' not found{nearest(name, tuple(found))}" + (f" in {where}" if where else "; name a folder or a file") + hub)


def _load(name: str, options: ModelOptions, dtype: torch.dtype) -> tuple[Any, Family]:
    if name.startswith(HUB):
        return _from_hub(name.removeprefix(HUB), dtype)
    path = Path(name)
    if path.is_dir():
        return _from_folder(path, dtype)
    if path.is_file() and path.suffix.lower() == ".safetensors":
        return _from_file(path, options, dtype)
    if path.is_file():
        raise EngineError(f"{path} is not a .safetensors file; other files may hold programs and are not read. Convert it, or name a folder")
    raise EngineError(f"model {name} not found; name a folder that diffusers saved, a .safetensors file, or a model of the hub as {HUB}owner/name")


def _from_folder(folder: Path, dtype: torch.dtype) -> tuple[Any, Family]:
    index = read_index(folder)
    family = family_of(index, str(folder))
    missing = [part for part, entry in index.items() if isinstance(entry, list) and any(entry) and part not in _LEFT_OUT
               and not (folder / part).is_dir()]
    if missing:
        raise EngineError(f"{folder} is not complete: the parts {', '.join(missing)} are missing; get the model again")
    options: dict[str, Any] = {"local_files_only": True, **_arguments(index, dtype)}
    weights = sorted(file.name for file in (folder / ("transformer" if family.flow else "unet")).glob("*.safetensors"))
    if weights and all(".fp16." in file for file in weights):
        options["variant"] = "fp16"
    return _class_of(family).from_pretrained(str(folder), **options), family


def _from_hub(name: str, dtype: torch.dtype) -> tuple[Any, Family]:
    logger.warning("the model %s is taken from the hub, which downloads it if it is not there yet", name)
    index: dict[str, Any] = dict(class_of_diffusers("DiffusionPipeline").load_config(name))
    family = family_of(index, f"{HUB}{name}")
    return _class_of(family).from_pretrained(name, **_arguments(index, dtype)), family


def _arguments(index: dict[str, Any], dtype: torch.dtype) -> dict[str, Any]:
    # Pickles are programs: only safetensors are read.
    empty = [part for part, entry in index.items() if isinstance(entry, list) and not any(entry)]
    return {"torch_dtype": dtype, "use_safetensors": True, **{part: None for part in (*_LEFT_OUT, *empty) if part in index}}


def _from_file(path: Path, options: ModelOptions, dtype: torch.dtype) -> tuple[Any, Family]:
    """A single file holds no tokenizer and no configuration. Without `options.config` the library would download them, asked to or not."""
    family, config = FAMILIES[_family_in(path)], options.config
    if not config:
        raise EngineError(f"{path} holds the model only, not its tokenizer and configuration; name a folder of a model of its family with "
                          f"--model-config, or {HUB}owner/name to download them")
    if not config.startswith(HUB):
        described = family_of(read_index(Path(config)), config)
        if described != family:
            raise EngineError(f"{path} is a model of {family.title}, the configuration {config} is for {described.title}; choose another")
    more: dict[str, Any] = {"safety_checker": None, "feature_extractor": None} if family.name == "sd" else {}
    pipe = _class_of(family).from_single_file(str(path), config=config.removeprefix(HUB), torch_dtype=dtype,
                                              local_files_only=not config.startswith(HUB), **more)
    return pipe, family


def _family_in(path: Path) -> FamilyName:
    """The family of the model in a file, by the names of its tensors."""
    from safetensors import safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            names = set(file.keys())
    except Exception as error:  # its own exception is no part of what the package promises
        raise EngineError(f"{path} is damaged or no safetensors file: {_first_line(error)}") from error
    marks: tuple[tuple[str, FamilyName], ...] = (
        ("conditioner.embedders.1.model.ln_final.weight", "xl"), ("conditioner.embedders.0.model.ln_final.weight", "xl-refiner"),
        ("joint_blocks.0.x_block.attn.qkv.weight", "sd3"), ("double_blocks.0.img_attn.qkv.weight", "flux"),
        ("cond_stage_model.transformer.text_model.final_layer_norm.weight", "sd"), ("cond_stage_model.model.ln_final.weight", "sd"))
    for mark, family in marks:
        if any(name.endswith(mark) for name in names):
            return family
    raise EngineUnsupportedError(f"{path} holds no complete model of a family that can be used here: {titles()}")


def _class_of(family: Family) -> Any:
    return class_of_diffusers(PIPELINES[family.name])


def _check_parts(model: Model) -> None:
    channels = int(model.denoiser.config.in_channels)
    usual = {"flux": 4 * model.latent_channels}.get(model.family.name, model.latent_channels)
    if channels != usual and not model.shows_mask:
        raise EngineUnsupportedError(f"{model.source} is a special model of {model.family.title} (its input has {channels} channels, expected {usual}"
                                     f"{'' if model.family.flow else f' or {2 * usual + 1}'}), which cannot be used here; choose its ordinary one")


def _place(model: Model, options: ModelOptions, device: torch.device) -> None:
    pipe = model.pipe
    pipe.set_progress_bar_config(disable=True)
    if model.dtype == torch.float16 and bool(getattr(model.vae.config, "force_upcast", False)):
        model.vae.to(torch.float32)  # this VAE overflows in fp16
    if options.offload == "none":
        pipe.to(device)
    elif device.type == "cpu":
        raise EngineError(f"offload {options.offload} keeps parts in the main memory while a GPU works; without a GPU choose offload none")
    elif options.offload == "model":
        pipe.enable_model_cpu_offload(device=device)
    else:
        pipe.enable_sequential_cpu_offload(device=device)


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__
