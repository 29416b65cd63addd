"""Plays `modules.api.models`: how the API describes scripts; works with pydantic 1 and 2."""

from typing import Any

from pydantic import BaseModel, Field


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
