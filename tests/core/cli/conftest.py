"""What all tests of the command line share: calling it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from cli_pictures import FAST, Answer

from detailer_core.cli.main import main


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """For pictures this small, threads that wait for each other on a busy machine take thirty times as long."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Answer]:
    """Calls the command line in a fresh folder."""
    monkeypatch.chdir(tmp_path)

    def call(*words: object) -> Answer:
        capsys.readouterr()
        try:
            code = main([str(word) for word in words])
        except SystemExit as stop:
            code = int(stop.code or 0)
        said = capsys.readouterr()
        return Answer(code, said.out, said.err)

    return call


@pytest.fixture
def run(cli: Callable[..., Answer]) -> Callable[..., Answer]:
    """Calls `run` with settings that are quick."""
    return lambda *words: cli("run", *words, *FAST)


@pytest.fixture
def read_only_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder that nobody can write to, not even root."""
    locked = tmp_path / "locked"
    locked.mkdir()
    locked.chmod(0o555)
    folder = locked if not os.access(locked, os.W_OK) else Path("/sys/kernel")
    if not folder.is_dir():
        pytest.skip("root can write everywhere here")
    yield folder
    locked.chmod(0o755)
