"""Puts back what a nested run of the host writes beside its pictures."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modules import paths, shared


@contextmanager
def kept_state(waves: int) -> Iterator[None]:
    """The host's options, job counters, `params.txt` and patched model are afterwards what they were; `waves` jobs are announced."""
    state, opts = shared.state, shared.opts
    job = (state.job, state.job_no, state.job_count, state.sampling_step, state.sampling_steps)
    options = dict(opts.data)
    params = _read(_params_file())
    model = shared.sd_model
    patched = getattr(model, "forge_objects", None)
    comments = getattr(model, "comments", None)
    # A nested run only counts up what is done: without its jobs in the total, the progress bar would be full too early.
    state.job_count = max(state.job_count, state.job_no + 1) + waves
    try:
        yield
    finally:
        state.job, state.job_no, state.job_count, state.sampling_step, state.sampling_steps = job
        if dict(opts.data) != options:
            opts.data.clear()
            opts.data.update(options)
        if patched is not None:
            model.forge_objects = patched
        if comments is not None:
            model.comments = comments
        _write(_params_file(), params)


def _params_file() -> Path:
    return Path(paths.data_path) / "params.txt"


def _read(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return None


def _write(file: Path, content: bytes | None) -> None:
    if _read(file) == content:
        return
    if content is None:
        file.unlink(missing_ok=True)
        return
    temporary = file.with_name(f"{file.name}.{os.getpid()}.part")
    temporary.write_bytes(content)
    os.replace(temporary, file)
