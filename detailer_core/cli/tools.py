"""What several commands need: settings, detector and engine from the arguments, and words for errors."""

from __future__ import annotations

import argparse
import logging
from dataclasses import replace
from pathlib import Path

from ..detectors.assembly import check_detectors, detector_names, unit_detector
from ..detectors.base import Detector
from ..detectors.registry import SUFFIXES, DetectorFolders, DetectorShelf, list_detectors
from ..engines.base import Engine, check_supported
from ..engines.diffusers.options import ModelOptions
from ..engines.registry import make_engine
from ..errors import DetailerError, EngineError, EngineUnsupportedError, PromptError, SettingsError
from ..hook_files import load_hook, parse_arguments
from ..hook_library import parse_hooks
from ..hooks import DetailerHook, combine
from ..plan import resolve_sampling
from ..sampling import MainGeneration
from ..segments import parse_picks
from ..settings import UnitSettings, make_settings, parse_assignments
from ..wildcards import WildcardLibrary
from ..wildcards.check import check_unit_text

logger = logging.getLogger(__name__)

_NO_MEMORY = ("allocate memory", "failed to allocate", "insufficient memory", "out of memory")


def settings_of(args: argparse.Namespace) -> UnitSettings:
    """The settings that `--set`, `--detector` and `--mask` ask for, sound in themselves.

    Raises: SettingsError for a setting that cannot be used or words that contradict each other; PromptError for a prompt that cannot be read;
    HookError for hooks that cannot be had.
    """
    values = parse_assignments(args.assignments)
    asked = [name for name in (args.detector, values.get("detector")) if name is not None]
    if args.mask and values.get("second_detector") != "mask":
        asked.append("mask")
    if len(set(asked)) > 1:
        raise SettingsError(f"several detectors are asked for: {', '.join(repr(a) for a in dict.fromkeys(asked))}; choose one "
                            f"(--mask stands for the detector 'mask')", field="detector")
    settings = make_settings(values | {"detector": asked[0]} if asked else values)
    if "mask" in detector_names(settings) and not args.mask:
        raise SettingsError("the detector 'mask' needs a picture that is white where to redraw; add --mask FILE", field="detector")
    # Here, and not when the first picture is worked on: then every picture of a folder would fail with the same words.
    parse_picks(settings.pick)
    parse_hooks(settings.hooks)
    for text in (settings.prompt, settings.negative_prompt):
        check_unit_text(text, wildcards_of(args))
    return settings


def wildcards_of(args: argparse.Namespace) -> WildcardLibrary:
    """The wildcards of the `--wildcards` folders; what is wrong in them is logged. Raises: PromptError for a folder that is not there."""
    folders: list[Path] = getattr(args, "wildcards", [])
    for folder in folders:
        if not folder.is_dir():
            raise PromptError(f"the folder of wildcards {folder} is not there; check --wildcards")
    library = WildcardLibrary.from_folders(folders)
    for problem in library.problems:
        logger.warning("%s", problem)
    return library


def load_detector(args: argparse.Namespace, settings: UnitSettings) -> Detector:
    """The detector, or both, by name or by the path of a file, loaded once to see that they can be.

    Raises: DetectorError; SettingsError for classes that it does not know.
    """
    files = [Path(name) for name in detector_names(settings) if _is_path(name)]
    folders = DetectorFolders(models_root=args.models, extra=tuple(dict.fromkeys([*args.folders, *(f.resolve().parent for f in files)])))
    shelf = DetectorShelf(folders, cache_folder=files[0].resolve().parent / ".cache" if files else None,
                          trusted=lambda: args.trusted)
    names = {field: _shelf_name(getattr(settings, field), shelf) for field in ("detector", "second_detector")}
    settings = replace(settings, **names)
    check_detectors(shelf, settings, mask=args.mask)
    return unit_detector(shelf, settings, mask=args.mask)


def _is_path(name: str) -> bool:
    file = Path(name)
    return file.suffix.lower() in SUFFIXES and file.parent != Path() and file.is_file()


def _shelf_name(name: str, shelf: DetectorShelf) -> str:
    """The name by which the shelf knows a detector that is given by the path of its file."""
    if not _is_path(name):
        return name
    path = Path(name).resolve()
    return next((info.name for info in list_detectors(shelf.folders) if info.path is not None and info.path.resolve() == path), name)


def load_hooks(args: argparse.Namespace, settings: UnitSettings, engine: Engine) -> DetailerHook:
    """The hooks of `--hook`, each with the `--hook-arguments` behind it; warns of hooks that mean nothing to the engine.

    Raises: HookError if a file cannot be used; SettingsError for arguments that cannot be read.
    """
    files: list[tuple[Path, str]] = []
    for word in args.hooks:  # a path for --hook, text for --hook-arguments, in the order of the command line
        if isinstance(word, Path):
            files.append((word, ""))
        elif not files or files[-1][1]:
            raise SettingsError(f"--hook-arguments {word[:80]}: it belongs behind the --hook that it is for, once", field="hook")
        else:
            files[-1] = files[-1][0], word
    hook = combine([load_hook(path, parse_arguments(text)) for path, text in files])
    for one in (parse_hooks(settings.hooks), hook):
        if one.needs_latents and not engine.capabilities.diffusion:
            logger.warning("the engine '%s' samples nothing: what %s would do to the sampling is left out", engine.name, one.name)
    return hook


def load_engine(args: argparse.Namespace) -> Engine:
    """The engine by its name, with its model. Raises: SettingsError for a name, or a model, that cannot be had."""
    model = None
    if args.model:
        model = ModelOptions(model=args.model, config=args.model_config, precision=args.dtype, device=args.device, offload=args.offload,
                             vae_tiling=args.vae_tiling, lora_folders=tuple(args.lora_folder), control_folders=tuple(args.control_folder),
                             model_folders=tuple(args.model_folder))
    for folder in (*args.lora_folder, *args.control_folder, *args.model_folder):
        if not folder.is_dir():
            raise SettingsError(f"the folder {folder} is not there; check --lora-folder, --control-folder and --model-folder; nothing was done",
                                field="engine")
    try:
        return make_engine(args.engine or ("diffusers" if args.model else "filter"), model)
    except EngineError as error:
        raise SettingsError(f"{error}; nothing was done", field="engine") from error


def check_engine(engine: Engine, settings: UnitSettings, main: MainGeneration, hook: DetailerHook) -> None:
    """Nothing, if the engine can do what the settings ask for; else every picture of a folder would fail with the same words.

    Raises: SettingsError.
    """
    try:
        check_supported(engine, resolve_sampling(settings, main), combine([parse_hooks(settings.hooks), hook]))
    except EngineUnsupportedError as error:
        raise SettingsError(f"{error}; nothing was done", field="engine") from error


def reason_of(error: Exception) -> str:
    """What to tell people about an error."""
    if isinstance(error, DetailerError):
        return str(error)
    # torch and OpenCV have no error of their own for memory of the CPU.
    if isinstance(error, MemoryError) or any(words in str(error).lower() for words in _NO_MEMORY):
        return "out of memory; the picture is too large for this machine, make it smaller or cut it into parts"
    return f"unexpected {type(error).__name__}: {error}; please report this as a bug"
