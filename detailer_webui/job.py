"""One main job of the host: which units work on its pictures. What cannot work is left out, and the user is told."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from detailer_core.detectors.assembly import check_detectors
from detailer_core.detectors.haar_stand_in import with_stand_in
from detailer_core.detectors.registry import DetectorShelf
from detailer_core.errors import DetailerError, DetectorError, SettingsError
from detailer_core.hook_library import parse_hooks
from detailer_core.plan import PromptRules
from detailer_core.settings import UnitSettings
from detailer_core.wave_memory import WaveMemory
from detailer_core.wildcards import WildcardLibrary, check_unit_text

from . import controlnet, first_pass_check, host, infotext
from .ahead import Ahead, Remark
from .changes import changes_of
from .comparison import Comparison
from .engine_memory import EngineMemory
from .fields import Requested, units_from_args
from .limits import limited
from .saving import savers
from .watcher import Watcher

logger = logging.getLogger(__name__)

NOTE_KEY = "Detailer note"
"""Label in the generation parameters for what was left out or went wrong."""


Moment: TypeAlias = Literal["first pass", "end"]
"""When units work: before hires fix enlarges the pictures, or when the pictures are made."""


@dataclass(slots=True)
class Workshop:
    """What outlives a job: loaded detectors, encoded prompts, what fitted into memory, the last pictures before and after."""

    engine_memory: EngineMemory = field(default_factory=EngineMemory)
    memory: WaveMemory = field(default_factory=WaveMemory)
    comparison: Comparison = field(default_factory=Comparison)
    shelf: DetectorShelf = field(default_factory=lambda: DetectorShelf(host.detector_folders, trusted=host.trusted_models))

    def prompt_rules(self) -> PromptRules:
        """How prompts are read, with the wildcard files as they are now."""
        return PromptRules(library=WildcardLibrary.from_folders(host.wildcard_folders()))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Job:
    """The units for one main job, by number. composed: its pictures are worked on after the host has put them together with the original.

    note: what is to be said in the generation parameters of all its pictures. ahead: those of its pictures that are finished before their turn.
    watchers: who looks on. first_pass: hires fix follows, and units may work before it. earlier: what they had to say of each picture, by its number.
    """

    units: Mapping[int, UnitSettings]
    composed: bool
    note: str = ""
    rules: PromptRules = field(default_factory=PromptRules)
    ahead: Ahead = field(default_factory=Ahead)
    watchers: tuple[Watcher, ...] = ()
    first_pass: bool = False
    earlier: dict[int, tuple[Remark, ...]] = field(default_factory=dict)

    def units_at(self, moment: Moment) -> Mapping[int, UnitSettings]:
        """The units that work then, by number."""
        if not self.first_pass:
            return self.units if moment == "end" else {}
        wanted = ("before", "both") if moment == "first pass" else ("after", "both")
        return {number: settings for number, settings in self.units.items() if settings.hires in wanted}


def begin_job(p: Any, args: Sequence[Any], workshop: Workshop) -> Job | None:
    """The units that can work, written into the generation parameters; None if there are none. What cannot work is told."""
    try:
        requested = units_from_args(args, main_wh=(p.width, p.height), samplers=host.sampler_names(), changes=changes_of(p))
    except SettingsError as error:
        tell(p, f"switched off: {error}")
        return None
    return open_job(p, requested, workshop)


def open_job(p: Any, requested: Requested, workshop: Workshop) -> Job | None:
    """As `begin_job`, with units that were read already."""
    problems = [*requested.problems, *requested.remarks]
    rules = workshop.prompt_rules() if requested.units else PromptRules()
    units: dict[int, UnitSettings] = {}
    for number, settings in requested.units.items():
        try:
            units[number] = check_unit(settings, workshop, rules)
        except DetailerError as error:
            problems.append(f"unit {number} is left out: {error}")
            continue
        if units[number].detector != settings.detector:
            tell(p, f"unit {number}: {settings.detector} needs OpenCV 4, {units[number].detector} is used", note=False)
    first_pass = bool(getattr(p, "enable_hr", False))
    if first_pass and any(settings.hires != "after" for settings in units.values()):
        problem = first_pass_check.why_not(p)
        if problem:
            problems.append(f"parts are redrawn after hires fix and not before it, because {problem}")
            first_pass = False
    for problem in problems:
        tell(p, problem)
    if not units:
        return None
    workshop.comparison.begin()
    p.extra_generation_params.update(infotext.write(list(units.values())))
    return Job(units={number: limited(settings) for number, settings in units.items()}, composed=getattr(p, "image_mask", None) is not None,
               note="; ".join(map(_without_folders, problems)), rules=rules, watchers=savers(p), first_pass=first_pass)


def check_unit(settings: UnitSettings, workshop: Workshop, rules: PromptRules) -> UnitSettings:
    """The unit as it works in this host: its names are known, its texts can be read, its detector is there or has a stand-in.

    Raises: SettingsError, HookError, PromptError, DetectorError.
    """
    settings = with_stand_in(settings, host.detector_folders())
    host.check_names(settings)
    controlnet.check_complete(settings)
    parse_hooks(settings.hooks, host.hook_folder())
    for text in (settings.prompt, settings.negative_prompt):
        check_unit_text(text, rules.library)
    try:
        check_detectors(workshop.shelf, settings)
    except DetailerError:
        raise
    except Exception as error:  # whatever a model file makes a library do, the picture is to be made
        logger.exception("Detailer: detector '%s' failed", settings.detector)
        raise DetectorError(f"detector '{settings.detector}' failed: {type(error).__name__}: {error}") from error
    return settings


def tell(p: Any, text: str, *, note: bool = True, about: str = "") -> None:
    """Tell the user: in the log, under the picture, and, if it is to be noted, in the picture's generation parameters. about: the picture's name."""
    named = f"{about}: {text}" if about else text
    logger.warning("Detailer: %s", named)
    p.comment(f"Detailer: {named}")
    shared_text = _without_folders(text)
    notes = str(p.extra_generation_params.get(NOTE_KEY, ""))
    if note and f"; {shared_text}; " not in f"; {notes}; ":
        p.extra_generation_params[NOTE_KEY] = f"{notes}; {shared_text}" if notes else shared_text


def _without_folders(text: str) -> str:
    """The text without the folders of this machine: pictures are shown to others, and paths tell the user's name."""
    own = ((folder, folder.name) for folder in host.detector_folders().extra)
    for folder, name in (*own, (host.models_root(), "models"), (Path.home(), "~")):
        if folder.name:  # else it is "/", which stands in every path
            text = text.replace(str(folder), name).replace(folder.as_posix(), name)
    return text
