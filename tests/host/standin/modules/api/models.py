"""Plays `modules.api.models`: how the API describes scripts; works with pydantic 1 and 2."""

from typing import Any, Optional

from pydantic import BaseModel, Field


class ScriptArg(BaseModel):
    """One argument of a script."""

    label: Optional[str] = Field(default=None, title="Label")  # noqa: UP045  # pydantic 1 on Python 3.10
    value: Optional[Any] = Field(default=None, title="Value")  # noqa: UP045
    minimum: Optional[Any] = Field(default=None, title="Minimum")  # noqa: UP045
    maximum: Optional[Any] = Field(default=None, title="Maximum")  # noqa: UP045
    step: Optional[Any] = Field(default=None, title="Step")  # noqa: UP045
    choices: Optional[list[Any]] = Field(default=None, title="Choices")  # noqa: UP045


class ScriptInfo(BaseModel):
    """One script."""

    name: Optional[str] = Field(default=None, title="Name")  # noqa: UP045
    is_alwayson: Optional[bool] = Field(default=None, title="IsAlwayson")  # noqa: UP045
    is_img2img: Optional[bool] = Field(default=None, title="IsImg2img")  # noqa: UP045
    args: list[ScriptArg] = Field(title="Arguments")
