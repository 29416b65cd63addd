"""Played hosts with Detailer in them: one for each module and host, as new for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import scenes
import standin
import torch

DEFAULT = "a1111-1.10.1"


@pytest.fixture(scope="package", autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny tensors are faster in one thread, far more so on a machine that has other work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def played(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[scenes.Stage]:
    """A host with Detailer loaded; A1111 unless the test asks for others."""
    with standin.install(host=getattr(request, "param", DEFAULT), tmp_path=tmp_path_factory.mktemp("host")) as world:
        yield scenes.load(world)


@pytest.fixture
def stage(played: scenes.Stage) -> scenes.Stage:
    """The host of this module without what earlier tests left."""
    played.reset()
    return played
