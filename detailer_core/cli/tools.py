"""What several commands need: settings, detector and engine from the arguments."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from PIL import Image

from ..detectors.base import Detector
from ..detectors.registry import DetectorFolders, DetectorShelf
from ..engines.base import Engine
from ..engines.registry import make_engine
from ..errors import PictureError
from ..settings import UnitSettings, make_settings, parse_assignments


def settings_of(args: argparse.Namespace) -> UnitSettings:
    """The settings that `--set`, `--detector` and `--mask` ask for. Raises: SettingsError."""
    settings = make_settings(parse_assignments(args.assignments))
    if args.detector:
        return replace(settings, detector=args.detector)
    return replace(settings, detector="mask") if args.mask else settings


def load_detector(args: argparse.Namespace, settings: UnitSettings) -> Detector:
    """The detector by its name. Raises: DetectorError."""
    return DetectorShelf(DetectorFolders(models_root=args.models)).get(settings.detector, mask=args.mask)


def load_engine(args: argparse.Namespace) -> Engine:
    """The engine by its name. Raises: EngineError."""
    return make_engine(args.engine)


def save_png(path: Path, image: Image.Image) -> None:
    """Write a picture as PNG, folder included. Raises: PictureError if it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, format="PNG")
    except OSError as error:
        raise PictureError(f"cannot write {path}: {error.strerror or error}; choose another place") from error
