"""A face model that stands in for `face_haar` where OpenCV has no cascades."""

from __future__ import annotations

from dataclasses import replace

from ..settings import UnitSettings
from .haar import has_cascades
from .registry import FACE_HAAR, DetectorFolders, face_models, list_detectors

_PREFERRED = "face_yolov8n.pt"
"""The one that ADetailer begins with, so that those who come from there have it and know it."""


def with_stand_in(settings: UnitSettings, folders: DetectorFolders) -> UnitSettings:
    """The same with a model file in the place of `face_haar`, if OpenCV is without cascades and it is plain which one is meant: the only face
    model, or `face_yolov8n.pt`. Else the settings as they are.
    """
    places = [name for name in ("detector", "second_detector") if getattr(settings, name) == FACE_HAAR]
    if not places or has_cascades():
        return settings
    faces = face_models(list_detectors(folders))
    chosen = faces[0] if len(faces) == 1 else _PREFERRED if _PREFERRED in faces else FACE_HAAR
    return replace(settings, **dict.fromkeys(places, chosen))
