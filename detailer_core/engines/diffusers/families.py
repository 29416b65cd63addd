"""The families of models that the engine knows, and how one is told from its files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

from ...errors import EngineError, EngineUnsupportedError
from ...sampling import MainGeneration

FamilyName: TypeAlias = Literal["sd", "xl", "xl-refiner", "sd3", "flux"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Family:
    """One family.

    flow: noise is mixed in along a straight line (flow matching) and not added. patch: latent pixels in one token; sampling sizes are multiples of
    it times the VAE's factor. main: how a main generation of this family is usually made.
    """

    name: FamilyName
    title: str
    flow: bool = False
    patch: int = 1
    main: MainGeneration


FAMILIES: dict[FamilyName, Family] = {
    "sd": Family(name="sd", title="Stable Diffusion 1 or 2", main=MainGeneration()),
    "xl": Family(name="xl", title="Stable Diffusion XL", main=MainGeneration(model_side=1024)),
    "xl-refiner": Family(name="xl-refiner", title="the refiner of Stable Diffusion XL", main=MainGeneration()),
    "sd3": Family(name="sd3", title="Stable Diffusion 3", flow=True, patch=2,
                  main=MainGeneration(sampler="Euler", steps=28, model_side=1024)),
    "flux": Family(name="flux", title="Flux", flow=True, patch=2,
                   main=MainGeneration(sampler="Euler", steps=28, cfg=1.0, model_side=1024)),
}

_CLASSES: dict[str, FamilyName] = {
    "StableDiffusionPipeline": "sd", "StableDiffusionImg2ImgPipeline": "sd", "StableDiffusionInpaintPipeline": "sd",
    "StableDiffusionXLPipeline": "xl", "StableDiffusionXLImg2ImgPipeline": "xl", "StableDiffusionXLInpaintPipeline": "xl",
    "StableDiffusion3Pipeline": "sd3", "StableDiffusion3Img2ImgPipeline": "sd3", "StableDiffusion3InpaintPipeline": "sd3",
    "FluxPipeline": "flux", "FluxImg2ImgPipeline": "flux", "FluxInpaintPipeline": "flux",
}
"""Pipelines by the name that stands in a folder's `model_index.json`. Each loads as its family's img2img pipeline, whose parts we drive."""

PIPELINES: dict[FamilyName, str] = {"sd": "StableDiffusionImg2ImgPipeline", "xl": "StableDiffusionXLImg2ImgPipeline",
                                    "xl-refiner": "StableDiffusionXLImg2ImgPipeline", "sd3": "StableDiffusion3Img2ImgPipeline",
                                    "flux": "FluxImg2ImgPipeline"}
"""The class that loads a family."""


def titles() -> str:
    """The families in words, for messages."""
    return ", ".join(family.title for family in FAMILIES.values())


def read_index(folder: Path) -> dict[str, Any]:
    """What `model_index.json` says. Raises: EngineError if the folder is not one that diffusers saved."""
    path = folder / "model_index.json"
    if not path.is_file():
        raise EngineError(f"{folder} is not a model folder: it has no model_index.json; name a folder that diffusers saved, or a .safetensors file")
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EngineError(f"{path} cannot be read ({error}); get the model again") from error
    if not isinstance(index, dict):
        raise EngineError(f"{path} does not describe a model; get the model again")
    return cast("dict[str, Any]", index)


def family_of(index: dict[str, Any], where: str) -> Family:
    """The family of a pipeline. Raises: EngineUnsupportedError for one that is not known, with those that are."""
    kind = index.get("_class_name")
    name = _CLASSES.get(kind) if isinstance(kind, str) else None
    if name is None:
        raise EngineUnsupportedError(f"{where} is a model of the kind {kind!r}, which cannot be used here; choose one of these families: {titles()}")
    if name == "xl" and not _present(index, "text_encoder"):
        name = "xl-refiner"
    return FAMILIES[name]


def _present(index: dict[str, Any], part: str) -> bool:
    entry = index.get(part)
    return isinstance(entry, list) and any(cast("list[Any]", entry))
