"""Puts back what a nested run of the host writes beside its pictures."""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from modules import devices, extra_networks, paths, sd_models, shared

logger = logging.getLogger(__name__)

_STATE = ("job", "textinfo", "job_no", "job_count", "sampling_step", "sampling_steps", "skipped", "current_latent", "current_image_sampling_step")
_OPTIONS = ("multiple_tqdm", "save_init_img", "sd_model_checkpoint", "sd_checkpoint_hash")
"""What nested runs write. Other options may be changed by the user meanwhile, which must last."""
_OVERRIDDEN = ("CLIP_stop_at_last_layers", "sd_vae", "forge_additional_modules")
"""What nested runs set for their own time. The host puts back only what has a value: one that the user never saved would stay as it is for a unit."""
_MODEL = ("forge_objects", "comments", "extra_generation_params")


@contextmanager
def kept_state(waves: int, p: Any = None) -> Iterator[None]:
    """The host's state is afterwards what it was; `waves` jobs are announced. p: the main job, whose extra networks are activated again."""
    with ExitStack() as stack:
        for kept in (kept_generators(), _kept_progress(waves), _kept_options(), _kept_params_file(), _kept_model(p),
                     _without_main_control()):
            stack.enter_context(kept)
        yield


@contextmanager
def kept_generators() -> Iterator[None]:
    """The global random generators are afterwards as they were: what the main job draws later must be the same as without us."""
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if torch.cuda.is_initialized() else []):
        yield


@contextmanager
def _kept_progress(waves: int) -> Iterator[None]:
    state = shared.state
    before = {name: getattr(state, name) for name in _STATE}
    preview = state.current_image
    # A nested run only counts up what is done: without its jobs in the total, the progress bar would be full too early.
    state.job_count = max(state.job_count, state.job_no + 1) + waves
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(state, name, value)
        if state.current_image is not preview:
            state.assign_current_image(preview)


@contextmanager
def _kept_options() -> Iterator[None]:
    data = shared.opts.data
    before = {name: data[name] for name in _OPTIONS if name in data}
    data["multiple_tqdm"] = False  # the bar of the whole job counts the main job's steps only
    unsaved = {name: shared.opts.get_default(name) for name in _OVERRIDDEN if name not in data and name in shared.opts.data_labels}
    data.update(unsaved)
    try:
        yield
    finally:
        for name, value in unsaved.items():
            if data.get(name) == value:
                data.pop(name, None)
        for name in _OPTIONS:
            if name in before:
                data[name] = before[name]
            else:
                data.pop(name, None)


@contextmanager
def _kept_params_file() -> Iterator[None]:
    file = Path(paths.data_path) / "params.txt"
    try:
        before = _read(file)
    except OSError:  # not readable, so not to be put back
        logger.debug("%s cannot be read", file, exc_info=True)
        yield
        return
    try:
        yield
    finally:
        try:
            _write(file, before)
        except OSError as error:  # a history of prompts is not worth a picture
            logger.warning("Detailer: %s cannot be put back: %s", file, error)


@contextmanager
def _kept_model(p: Any) -> Iterator[None]:
    model = shared.sd_model
    before = {name: getattr(model, name) for name in _MODEL if hasattr(model, name)}
    merged = getattr(model, "applied_token_merged_ratio", 0)
    try:
        yield
    finally:
        if shared.sd_model is model:  # else the host loads the main job's model, and its networks, before the next batch
            if p is not None:
                _activate_networks(p)
            if merged:
                sd_models.apply_token_merging(model, merged)
        for name, value in before.items():
            setattr(model, name, value)


@contextmanager
def _without_main_control() -> Iterator[None]:
    """The model without the ControlNet of the main job, which A1111's extension leaves on it until all pictures are done: it would guide each crop
    by the control picture of the whole."""
    unet = getattr(getattr(shared.sd_model, "model", None), "diffusion_model", None)
    kept = vars(unet).get("_original_forward") if unet is not None else None
    if kept is None:
        yield
        return
    guided = unet.forward
    unet.forward = kept
    del unet._original_forward
    try:
        yield
    finally:
        unet.forward, unet._original_forward = guided, kept


def _activate_networks(p: Any) -> None:
    """The main job's networks again. On a copy: its scripts and prompts have seen them being activated, and must not a second time."""
    if p.disable_extra_networks or p.extra_network_data is None:
        return
    again = copy.copy(p)
    again.scripts = None
    again.extra_generation_params = dict(p.extra_generation_params)
    with devices.autocast():
        extra_networks.activate(again, {kind: list(params) for kind, params in p.extra_network_data.items()})


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
