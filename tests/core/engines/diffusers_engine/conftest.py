"""What the tests of the engine `diffusers` share: small models, made once, and no way to the hub."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("diffusers", reason="the extra 'diffusers' is not installed")
pytest.importorskip("transformers", reason="the extra 'diffusers' is not installed")

import tiny_models

from detailer_core.engines.diffusers.engine import DiffusersEngine
from detailer_core.engines.diffusers.options import ModelOptions


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever asks for the hub fails at once."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Gives the folder of a small model of a family, made when it is first asked for."""
    made: dict[str, Path] = {}

    def get(family: str) -> Path:
        if family not in made:
            made[family] = tiny_models.SAVERS[family](tmp_path_factory.mktemp("models") / family)
        return made[family]

    return get


@pytest.fixture
def engine(model_folder: Callable[..., Path]) -> Callable[..., DiffusersEngine]:
    """Makes an engine with a small model of a family; other options by name."""
    def make(family: str = "sd", **options: object) -> DiffusersEngine:
        return DiffusersEngine(ModelOptions(**{"model": str(model_folder(family)), **options}))  # type: ignore[arg-type]

    return make
