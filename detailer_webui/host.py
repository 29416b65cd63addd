"""What is read from the host: its names, folders, devices. One place for what differs between hosts."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from modules import call_queue, devices, paths, sd_models, sd_samplers, sd_vae, shared

from detailer_core.detectors.registry import DetectorFolders, trusted_hashes
from detailer_core.errors import DetailerError, SettingsError
from detailer_core.settings import UnitSettings

from . import controlnet

logger = logging.getLogger(__name__)

SPARE_BYTES = 512 * 2**20
"""Device memory that pictures leave free for the model."""


class HostBusyError(DetailerError):
    """The host makes a picture, and what was asked for has to wait."""


def sampler_names() -> tuple[str, ...]:
    """All samplers that the host has, also those hidden from its page."""
    return tuple(s.name for s in sd_samplers.all_samplers)


def visible_sampler_names() -> tuple[str, ...]:
    """The samplers that the host's page offers."""
    return tuple(sd_samplers.visible_sampler_names())


def scheduler_names() -> tuple[str, ...]:
    """Labels of the host's schedulers; empty on a host without a choice of them."""
    try:
        from modules import sd_schedulers
    except ImportError:  # Forge Classic has no separate schedulers
        return ()
    return tuple(s.label for s in sd_schedulers.schedulers)


def checkpoint_names() -> tuple[str, ...]:
    """Titles of the checkpoints that the host has found."""
    return tuple(sd_models.checkpoint_tiles())


def models_root() -> Path:
    """The host's folder of models."""
    return Path(paths.models_path)


def detector_folders() -> DetectorFolders:
    """Where detectors are looked for: the host's models, and the folders that the settings name, one a line."""
    lines = str(getattr(shared.opts, "detailer_detector_folders", "") or "").splitlines()
    # A path that is copied on Windows has quotes around it.
    names = [name for line in lines if (name := line.strip().strip('"').strip())]
    return DetectorFolders(models_root=models_root(), extra=tuple(Path(name).expanduser() for name in names))


def trusted_models() -> frozenset[str]:
    """The SHA-256 of files that the user lets the library ultralytics load."""
    return trusted_hashes(str(getattr(shared.opts, "detailer_trusted_models", "") or ""))


def presets_path() -> Path:
    """The file of named presets."""
    return Path(paths.data_path) / "detailer-presets.json"


def hook_folder() -> Path | None:
    """The folder of hook files that whoever started the host has named on its command line; None = hook files are off."""
    folder = getattr(shared.cmd_opts, "detailer_hook_folder", None)
    return Path(folder) if folder else None


def wildcard_folders() -> tuple[Path, ...]:
    """Where wildcard files are looked for: `wildcards` in the host's data folder, and of each extension, as Dynamic Prompts has it."""
    data = Path(paths.data_path)
    return tuple(f for f in (*sorted(data.glob("extensions/*/wildcards")), data / "wildcards") if f.is_dir())


def model_side() -> int:
    """Side of the square pictures that the loaded model was trained on, in pixels."""
    model = shared.sd_model
    if getattr(model, "is_sd2", False):
        return 768
    # Every supported host marks SD1; what bears no mark at all is Forge's placeholder, which no picture has been made with yet.
    return 512 if getattr(model, "is_sd1", True) else 1024


def unit_count() -> int:
    """How many units the page shows."""
    return int(getattr(shared.opts, "detailer_unit_count", 4))


def check_names(settings: UnitSettings) -> None:
    """Raises: SettingsError for a sampler, scheduler, checkpoint, VAE, module or ControlNet that this host does not have."""
    schedulers = scheduler_names()
    known = {"sampler": sampler_names(), "scheduler": ("Automatic", *schedulers) if schedulers else ()}
    for name, names in known.items():
        value = getattr(settings, name)
        if value and value not in names:
            near = difflib.get_close_matches(value, names, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(names)}" if names else "leave it open; this host has none"
            raise SettingsError(f"{name} '{value}' is not known; {hint}", field=name)
    controlnet.check_names(settings)
    for name in ("checkpoint", "refiner"):
        value = getattr(settings, name)
        if value and checkpoint_title(value) is None:
            raise SettingsError(f"{name} '{value}' not found; there are {', '.join(checkpoint_names()[:20])}", field=name)
    if settings.vae and settings.vae not in vae_names():
        there = f"there are {', '.join(vae_names()[:20])}" if vae_names() else "this WebUI takes it from modules"
        raise SettingsError(f"vae '{settings.vae}' not found; {there}", field="vae")
    module_files(tuple(name.strip() for name in settings.modules.split(",") if name.strip()))


def takes_modules() -> bool:
    """Whether VAE and text encoders are the host's "additional modules": in Forge and Forge Neo, where the option `sd_vae` has no effect."""
    return "forge_additional_modules" in shared.opts.data_labels


def vae_names() -> tuple[str, ...]:
    """The VAEs that the option `sd_vae` can name; none where it has no effect."""
    return () if takes_modules() else ("Automatic", *sd_vae.vae_dict)


def module_files(names: Sequence[str]) -> list[str]:
    """The paths of additional modules by file name, with or without its ending. Raises: SettingsError for one that is not there."""
    if not names:
        return []
    known = _known_modules()
    by_stem = {Path(name).stem: path for name, path in known.items()}
    for name in names:
        if name not in known and name not in by_stem:
            there = f"there are {', '.join([*known][:20])}" if known else "leave it empty, this WebUI has none"
            raise SettingsError(f"modules: '{name}' not found; {there}", field="modules")
    return [known.get(name) or by_stem[name] for name in names]


def _known_modules() -> Mapping[str, str]:
    if not takes_modules():
        return {}
    try:
        return dict(import_module("modules_forge.main_entry").module_list)
    except (ImportError, AttributeError):
        logger.warning("Detailer: the WebUI does not tell which VAEs and text encoders it has", exc_info=True)
        return {}


def load_main_model() -> None:
    """The model that the options ask for is loaded again, where a detail pass left another one."""
    for name in ("forge_model_reload", "reload_model_weights"):  # Forge has both, and only the first does something
        reload = getattr(sd_models, name, None)
        if reload is not None:
            reload()
            return


def checkpoint_title(name: str) -> str | None:
    """The title of the checkpoint that is meant, None if there is no such: the host would silently take the loaded one."""
    info = sd_models.get_closet_checkpoint_match(name)
    return None if info is None else str(info.title)


def load_model() -> None:
    """Load the checkpoint that is chosen: Forge has none before its first picture. Others do it when it is asked for."""
    if hasattr(sd_models, "forge_model_reload"):
        sd_models.forge_model_reload()


def model_key() -> str:
    """A name of the loaded model that changes when another is loaded."""
    info = getattr(shared.sd_model, "sd_checkpoint_info", None)
    return str(getattr(info, "title", info))


def text_key() -> str:
    """What else than the model and the prompt changes how a prompt is encoded; not every host has all of it in its own key."""
    data = shared.opts.data
    return repr([data.get(name) for name in ("CLIP_stop_at_last_layers", "forge_additional_modules")])


def working_device(pixels: int) -> torch.device:
    """Where pictures of so many pixels in all are worked on: the host's device, or the CPU if memory is short there."""
    device = torch.device(devices.device) if devices.device is not None else torch.device("cpu")
    if device.type not in ("cuda", "mps", "xpu"):  # others lack operations that pictures need
        return torch.device("cpu")
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        # What torch has set aside and does not use is free to us, too.
        free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        # float32, three channels, and as much again for crops and masks
        if free < pixels * 24 + SPARE_BYTES:
            logger.info("Detailer works on the CPU: the device has %d MiB left", free // 2**20)
            return torch.device("cpu")
    return device


@contextmanager
def while_idle() -> Iterator[None]:
    """A context in which the host makes no picture. Raises: HostBusyError if it makes one now."""
    if not call_queue.queue_lock.acquire(blocking=False):
        raise HostBusyError("a picture is being made; try again when it is finished")
    try:
        yield
    finally:
        call_queue.queue_lock.release()


def show_progress(text: str) -> None:
    """Say what is going on, to clients of the API and beside the page's progress bar, which shows only the second of the two."""
    shared.state.job = shared.state.textinfo = text


def begin_part(text: str) -> None:
    """Say what is done from now on. A skip that was asked for is used up by what was done before."""
    show_progress(text)
    shared.state.skipped = False


def stopped() -> bool:
    """Whether the user has interrupted the job, or asked to stop after this picture."""
    state = shared.state
    return bool(state.interrupted or state.stopping_generation)


def broken_off() -> bool:
    """Whether what is being sampled is left unfinished. A job that is to stop after this picture samples it to its end."""
    return bool(shared.state.interrupted or shared.state.skipped)


def token_chunks(prompt: str) -> int | None:
    """How many blocks of 75 tokens a prompt takes; None if this host does not tell."""
    try:
        model = shared.sd_model
        if hasattr(model, "get_prompt_lengths_on_ui"):  # Forge and its kin
            _, length = model.get_prompt_lengths_on_ui(prompt)
        else:
            from modules.sd_hijack import model_hijack

            _, length = model_hijack.get_prompt_lengths(prompt)
        return max(1, -(-int(length) // 75))
    except Exception:  # the host's tokenizer differs by model; without it, only equal prompts are sampled together
        logger.debug("the host does not tell how long a prompt is", exc_info=True)
        return None


def why_alone() -> str:
    """Why the loaded model cannot take several pictures at once; "" if it can."""
    # A batch of a video model is the frames of one video.
    return "the loaded model makes videos" if getattr(shared.sd_model, "is_wan", False) else ""


def latent_channels() -> int:
    """Channels of the loaded model's latents: 4, or 16 for newer families."""
    model: Any = shared.sd_model
    forge = getattr(model, "forge_objects", None)
    if forge is not None:
        return int(getattr(forge.vae, "latent_channels", 4))
    return int(getattr(model, "latent_channels", 4) or 4)
