"""Plays `modules.api.models`: what the API takes and gives; works with pydantic 1 and 2."""

import dataclasses
from typing import Any

from modules.processing import StableDiffusionProcessingImg2Img, StableDiffusionProcessingTxt2Img
from pydantic import BaseModel, Field, create_model


def _request_model(name, job):
    """A model with the fields of a job and what the API adds to them; of these, only what the stand-in looks at. Values are not checked."""
    fields = {one.name: (Any, None) for one in dataclasses.fields(job) if one.init and not one.name.startswith("_")}
    return create_model(name, **{**fields, "alwayson_scripts": (dict, {}), "script_name": (Any, None), "script_args": (list, [])})


StableDiffusionTxt2ImgProcessingAPI = _request_model("StableDiffusionProcessingTxt2Img", StableDiffusionProcessingTxt2Img)
StableDiffusionImg2ImgProcessingAPI = _request_model("StableDiffusionProcessingImg2Img", StableDiffusionProcessingImg2Img)


class TextToImageResponse(BaseModel):
    """Pictures as base64, and what is known of them."""

    images: list[str] | None = Field(default=None, title="Image")
    parameters: dict
    info: str


class ImageToImageResponse(BaseModel):
    """The same for img2img."""

    images: list[str] | None = Field(default=None, title="Image")
    parameters: dict
    info: str


class ScriptArg(BaseModel):
    """One argument of a script."""

    label: str | None = Field(default=None, title="Label")
    value: Any = Field(default=None, title="Value")
    minimum: Any = Field(default=None, title="Minimum")
    maximum: Any = Field(default=None, title="Maximum")
    step: Any = Field(default=None, title="Step")
    choices: list[Any] | None = Field(default=None, title="Choices")


class ScriptInfo(BaseModel):
    """One script."""

    name: str | None = Field(default=None, title="Name")
    is_alwayson: bool | None = Field(default=None, title="IsAlwayson")
    is_img2img: bool | None = Field(default=None, title="IsImg2img")
    args: list[ScriptArg] = Field(title="Arguments")
