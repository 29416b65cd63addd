"""The detector that a unit's settings ask for, put together from those on a shelf."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import replace

from ..errors import SettingsError
from ..segments import LABEL_ALIASES
from ..settings import UnitSettings
from .base import DetectOptions, Detector
from .combined import CombinedDetector, Wanted
from .fixed import MaskDetector
from .registry import DetectorShelf, MaskSource
from .selection import MaskShape, SelectionOptions
from .tiling import Tiling

SMALLEST_TILE = 64
"""Smallest side of a tile in pixels: below, there would be thousands of them and nothing to see in one."""
NO_DETECTOR = "none"
"""What `second_detector` says where there is none."""


def detector_names(settings: UnitSettings) -> tuple[str, ...]:
    """The detectors that a unit needs, one or two."""
    return (settings.detector,) if settings.second_detector == NO_DETECTOR else (settings.detector, settings.second_detector)


def unit_detector(shelf: DetectorShelf, settings: UnitSettings, *, mask: MaskSource | None = None) -> Detector:
    """The unit's detector: with its tiles, its memory of pictures it has seen, and the second detector. Files are read when they are needed.

    mask: for a detector "mask".
    Raises: DetectorNotFoundError for an unknown name; DetectorError for a mask that is missing or cannot be read.
    """
    tiling = Tiling(side=max(SMALLEST_TILE, settings.tile_size), overlap=settings.tile_overlap) if settings.tile_size else None
    parts = [MaskDetector(mask) if name == "mask" and mask is not None else shelf.handle(name, tiling=tiling, keep=settings.keep_detector)
             for name in detector_names(settings)]
    if len(parts) == 1:
        return parts[0]
    return CombinedDetector(parts[0], parts[1], how=settings.combine, overlap=settings.combine_overlap, wanted=wanted_of(settings),
                            wanted_second=Wanted(confidence=settings.second_confidence, include=names_in(settings.second_labels)))


def check_detectors(shelf: DetectorShelf, settings: UnitSettings, *, mask: MaskSource | None = None) -> None:
    """Load what the unit needs, so that what cannot be had is told before anything is drawn.

    Raises: as `DetectorShelf.get`; SettingsError for a class that a detector does not know.
    """
    asked = [("labels", settings.labels), ("exclude_labels", settings.exclude_labels)]
    for name, fields in zip(detector_names(settings), (asked, [("second_labels", settings.second_labels)]), strict=False):
        detector = shelf.get(name, mask=mask)
        for field, text in fields:
            _check_labels(field, names_in(text), detector)
        if not settings.keep_detector:
            shelf.release(name)


def _check_labels(field: str, labels: Sequence[str], detector: Detector) -> None:
    known = (*detector.class_names, "all", *LABEL_ALIASES)
    for label in labels:
        if detector.class_names and label not in known:
            near = difflib.get_close_matches(label, known, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"it knows {', '.join(detector.class_names[:20])}"
            raise SettingsError(f"{field} (Classes): the detector '{detector.name}' has no class '{label}'; {hint}", field=field)


def names_in(text: str) -> tuple[str, ...]:
    """The names in a list such as "face, hand"."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def wanted_of(settings: UnitSettings) -> Wanted:
    """What counts of the first detector's detections."""
    return Wanted(confidence=settings.confidence, include=names_in(settings.labels), exclude=names_in(settings.exclude_labels))


def detect_options(settings: UnitSettings, detector: Detector, device: str = "cpu") -> DetectOptions:
    """What a unit's detector is asked for. device: where the pictures are worked on."""
    options = DetectOptions(iou=settings.iou, image_size=max(32, settings.image_size) if settings.image_size else None,
                            across_classes=settings.across_classes, device=device if settings.detector_device == "auto" else "cpu")
    return wanted_of(settings).narrowed(options, detector.class_names)


def selection_options(settings: UnitSettings, detector: Detector) -> SelectionOptions:
    """How the detections of a unit's detector become segments."""
    options = SelectionOptions(
        min_confidence=settings.confidence, include_labels=names_in(settings.labels), exclude_labels=names_in(settings.exclude_labels),
        drop_size=settings.drop_size, min_ratio=settings.min_ratio, max_ratio=settings.max_ratio, min_side=settings.min_side or None,
        max_side=settings.max_side or None, max_count=settings.max_count, max_count_by=settings.max_count_by, order=settings.order,
        mask_shape=settings.mask_shape, corner_radius=settings.corner_radius, dilation=settings.dilation, offset_x=settings.offset_x,
        offset_y=settings.offset_y, merge=settings.merge, crop_factor=settings.crop_factor, pick=settings.pick)
    if isinstance(detector, CombinedDetector):
        # It has looked through the detections of both, each by its own measure; a shape would undo what it does to masks.
        shape: MaskShape = "pixel" if settings.combine in ("masks-and", "masks-minus") else settings.mask_shape
        return replace(options, min_confidence=0.0, include_labels=(), exclude_labels=(), mask_shape=shape)
    return options
