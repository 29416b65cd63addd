"""Command `run`: pictures in, pictures with redrawn parts out. A picture that fails does not stop the others."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace

from ..engines.registry import main_defaults
from ..errors import PictureError
from ..pictures import EXTENSIONS, iter_pictures
from ..plan import PromptRules
from ..run import RunOptions
from ..settings import changed_values
from ..unit import UnitTools
from ..version import VERSION
from .files import Inputs, Place, check_file, check_folder, plan_places, write_json
from .fingerprint import fingerprint
from .journal import Journal
from .progress import RunBar
from .run_pictures import Entry, Job, Task, detail_together, waiting
from .sheet import check_sheet, write_sheets
from .tools import check_engine, load_detector, load_engine, load_hooks, settings_of, wildcards_of


def run_command(args: argparse.Namespace) -> int:
    """Exit code 0 if all was done, 1 if a picture or a segment failed, 130 after Ctrl+C."""
    settings = settings_of(args)
    engine = load_engine(args)
    main = replace(main_defaults(engine), prompt=args.prompt, negative_prompt=args.negative_prompt, seed=args.seed)
    hook = load_hooks(args, settings, engine)
    check_engine(engine, settings, main, hook)
    tools = UnitTools(detector=load_detector(args, settings), engine=engine, options=RunOptions(hook=hook),
                      rules=PromptRules(library=wildcards_of(args)))
    job = Job(settings=settings, tools=tools, main=main, preview=args.preview)
    places = _places(args)
    check_folder(args.output, "--output")
    started, interrupted = time.perf_counter(), False
    with Journal(args.output, fingerprint(args, settings, engine)) as journal:
        tasks = [_task(place, job, journal, args) for place in places]
        try:
            _work(tasks, job, journal, args.share_waves)
        except KeyboardInterrupt:
            interrupted = True
        finally:
            # Also after Ctrl+C: what was done is on disk, and the report has to say so.
            entries = [task.entry for task in tasks]
            if args.report:
                write_json(args.report, {"version": VERSION, "engine": engine.name, "detector": settings.detector, "seed": args.seed,
                                         "settings": changed_values(settings), "interrupted": interrupted, "pictures": entries})
        complete = not interrupted and all(_whole(entry) for entry in entries)
        journal.finish(keep=not complete and any(map(_whole, entries)))
    sheets = write_sheets(args.contact_sheet, entries) if args.contact_sheet and not interrupted else []
    _sum_up(tasks, args, [str(path) for path in sheets], time.perf_counter() - started)
    if interrupted:
        raise KeyboardInterrupt
    return 0 if complete else 1


def _task(place: Place, job: Job, journal: Journal, args: argparse.Namespace) -> Task:
    outputs = [place.picture, place.preview] if args.preview else [place.picture]
    before = None if args.again else journal.entry(place, outputs)
    return Task(place=place, outputs=outputs, entry=before or waiting(place, job), before=before is not None)


def _work(tasks: Sequence[Task], job: Job, journal: Journal, together: int) -> None:
    """Picture by picture, or so many together. Which go together is settled by all pictures, done or not, so that a run that goes on where it was
    gives the same as one that was never stopped, to the last bit of the model's arithmetic."""
    with RunBar(len(tasks)) as bar:
        for start in range(0, len(tasks), together):
            group = tasks[start : start + together]
            if all(task.before for task in group):
                bar.skip(len(group))
            else:
                detail_together(group, job, journal, bar)


def _places(args: argparse.Namespace) -> list[Place]:
    """Every input with its output. Raises: PictureError, SettingsError for inputs or places that cannot be."""
    inputs = list(iter_pictures(args.input))
    if not inputs:
        raise PictureError(f"no pictures in {', '.join(str(p) for p in args.input)}; taken are {' '.join(EXTENSIONS)}, not from folders inside of it")
    keep = Inputs([*inputs, *([args.mask] if args.mask else [])])
    places = plan_places(inputs, args.output, preview=args.preview, keep=keep)
    results = {path.absolute() for place in places for path in (place.picture, place.preview)}
    for path, option, what in ((args.report, "--report", "report"), (args.contact_sheet, "--contact-sheet", "contact sheet")):
        if path:
            keep.refuse(path, option)
            if path.absolute() in results:
                raise PictureError(f"the {what} {path} would overwrite a result; choose another place with {option}; nothing was done")
            check_file(path, option)
    if args.contact_sheet:
        check_sheet(args.contact_sheet)
    return places


def _whole(entry: Entry) -> bool:
    """Whether the picture is done, with all of its segments: only then it is not done again."""
    return entry["output"] is not None and all(segment["state"] not in ("failed", "interrupted") for segment in entry["segments"])


def _sum_up(tasks: Sequence[Task], args: argparse.Namespace, sheets: Sequence[str], seconds: float) -> None:
    entries = [task.entry for task in tasks]
    written, before = sum(entry["output"] is not None for entry in entries), sum(task.before for task in tasks)
    states = [segment["state"] for entry in entries for segment in entry["segments"]]
    parts = [f"{written} of {len(entries)} pictures written to {args.output}" + (f", {before} of them by an earlier run" if before else "")]
    parts += [f"segments: {', '.join(f'{states.count(state)} {state}' for state in dict.fromkeys(states))}"] if states else []
    parts += [f"{states.count('failed')} segments failed, see above"] if "failed" in states else []
    parts += [f"report: {args.report}"] if args.report else []
    parts += [f"contact sheet: {', '.join(sheets)}"] if sheets else []
    print("; ".join([*parts, f"{seconds:.1f} s"]))
