"""Command `run`: pictures in, pictures with redrawn parts out. A picture that fails does not stop the others."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from ..detectors.base import Detector
from ..engines.base import Engine
from ..errors import PictureError
from ..hooks import DetailerHook
from ..pictures import EXTENSIONS, iter_pictures, read_picture, write_picture
from ..plan import PromptRules
from ..preview import draw_preview
from ..run import Progress, RunOptions
from ..sampling import MainGeneration
from ..settings import UnitSettings, changed_values
from ..unit import UnitResult, UnitTools, run_unit
from ..version import VERSION
from .files import Inputs, Place, check_file, check_folder, copy_file, plan_places, save_png, write_json
from .progress import RunBar
from .report import segment_entry, told
from .tools import load_detector, load_engine, load_hooks, reason_of, settings_of, wildcards_of

Entry = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Job:
    """What is the same for every picture."""

    settings: UnitSettings
    detector: Detector
    engine: Engine
    main: MainGeneration
    preview: bool
    hook: DetailerHook
    rules: PromptRules


def run_command(args: argparse.Namespace) -> int:
    """Exit code 0 if all was done, 1 if a picture or a segment failed, 130 after Ctrl+C."""
    settings = settings_of(args)
    main = MainGeneration(prompt=args.prompt, negative_prompt=args.negative_prompt, seed=args.seed)
    engine = load_engine(args)
    job = _Job(settings=settings, engine=engine, detector=load_detector(args, settings), main=main, preview=args.preview,
               hook=load_hooks(args, settings, engine), rules=PromptRules(library=wildcards_of(args)))
    places = _places(args)
    check_folder(args.output, "--output")
    entries = [_waiting(place, job) for place in places]
    interrupted = False
    try:
        with RunBar(len(places)) as bar:
            for place, entry in zip(places, entries, strict=True):
                _one(place, job, entry, bar)
    except KeyboardInterrupt:
        interrupted = True
    finally:
        # Also after Ctrl+C: what was done is on disk, and the report has to say so.
        if args.report:
            write_json(args.report, {"version": VERSION, "engine": job.engine.name, "detector": settings.detector, "seed": args.seed,
                                     "settings": changed_values(settings), "interrupted": interrupted, "pictures": entries})
    return _sum_up(entries, args, interrupted)


def _places(args: argparse.Namespace) -> list[Place]:
    """Every input with its output. Raises: PictureError, SettingsError for inputs or places that cannot be."""
    inputs = list(iter_pictures(args.input))
    if not inputs:
        raise PictureError(f"no pictures in {', '.join(str(p) for p in args.input)}; taken are {' '.join(EXTENSIONS)}, not from folders inside of it")
    keep = Inputs([*inputs, *([args.mask] if args.mask else [])])
    places = plan_places(inputs, args.output, preview=args.preview, keep=keep)
    if args.report:
        keep.refuse(args.report, "--report")
        if args.report.absolute() in {path.absolute() for place in places for path in (place.picture, place.preview)}:
            raise PictureError(f"the report {args.report} would overwrite a result; choose another place with --report; nothing was done")
        check_file(args.report, "--report")
    return places


def _waiting(place: Place, job: _Job) -> Entry:
    """The report's entry of a picture whose turn has not come."""
    return {"input": str(place.input), "output": None, "state": "interrupted", "reason": "the run was interrupted before it was finished",
            "size_wh": None, "detector": job.detector.name, "segments": [], "seconds": 0.0}


def _one(place: Place, job: _Job, entry: Entry, bar: RunBar) -> None:
    """Work on one picture, whatever happens to it; the entry tells what did."""
    started = time.perf_counter()
    bar.begin(place.input.name)
    try:
        text = _detail(place, job, entry, bar.wave)
    except Exception as error:  # whatever it is, the other pictures are not to be lost
        entry |= {"state": "failed", "reason": reason_of(error), "output": None}
        named = str(place.input) in entry["reason"]
        text = "error: " + (entry["reason"] if named else f"{place.input}: {entry['reason']}")
    entry["seconds"] = round(time.perf_counter() - started, 4)
    bar.end(text, error=entry["state"] == "failed")


def _detail(place: Place, job: _Job, entry: Entry, show: Callable[[Progress], None]) -> str:
    """Read, redraw, write; fills the entry in and gives a line for people back."""
    picture = read_picture(place.input)
    entry["size_wh"] = [picture.image_bchw.shape[-1], picture.image_bchw.shape[-2]]
    tools = UnitTools(detector=job.detector, engine=job.engine, options=RunOptions(progress=show, hook=job.hook),
                      rules=job.rules)
    result = run_unit([picture.image_bchw], [job.main], job.settings, tools)
    outcomes = result.run.outcomes[0]
    entry |= {"segments": [segment_entry(o) for o in outcomes], "detect_seconds": round(result.detect_seconds, 4),
              "redraw_seconds": round(result.redraw_seconds, 4)}
    redrawn = any(o.state == "done" for o in outcomes)
    if redrawn:
        write_picture(place.picture, picture, result.run.pictures[0])
    else:
        copy_file(place.input, place.picture)  # the file itself: writing it anew would change a JPEG
    entry |= {"output": str(place.picture), "state": "done" if redrawn else "unchanged"}
    entry.pop("reason")
    if job.preview:
        save_png(place.preview, _preview(result))
        entry["preview"] = str(place.preview)
    what = told(outcomes) if outcomes else _nothing(job, len(result.segments[0]))
    if not redrawn:
        entry["reason"] = what
    return f"{place.input}: {what}" + ("" if redrawn else "; copied as it is")


def _preview(result: UnitResult) -> Any:
    outcomes = result.run.outcomes[0]
    ordered = replace(result.segments[0], items=tuple(o.segment for o in outcomes))
    return draw_preview(result.run.pictures[0], ordered, states=[o.state for o in outcomes])


def _nothing(job: _Job, found: int) -> str:
    if found:
        return f"{found} found by {job.detector.name}, all left out by hooks"
    if job.settings.detector == "mask":
        return f"nothing found: the mask has no white area of more than {job.settings.drop_size} pixels in width and height (drop_size)"
    return (f"nothing found by {job.detector.name}; more is found with a lower confidence (now {job.settings.confidence:g}) or drop_size "
            f"(now {job.settings.drop_size})")


def _sum_up(entries: list[Entry], args: argparse.Namespace, interrupted: bool) -> int:
    written = sum(entry["output"] is not None for entry in entries)
    failed = sum(segment["state"] == "failed" for entry in entries for segment in entry["segments"])
    print(f"{written} of {len(entries)} pictures written to {args.output}" + (f"; {failed} segments failed, see above" if failed else "")
          + (f"; report: {args.report}" if args.report else ""))
    if interrupted:
        raise KeyboardInterrupt
    return 0 if written == len(entries) and not failed else 1
