"""Command `run`: pictures in, pictures with redrawn parts out. A picture that fails does not stop the others."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..detectors.base import Detector
from ..engines.base import Engine
from ..errors import DetailerError, PictureError
from ..pictures import iter_pictures, read_picture, write_picture
from ..preview import draw_preview
from ..run import Progress, RunOptions
from ..sampling import MainGeneration, wrap_seed
from ..settings import UnitSettings, changed_values
from ..unit import UnitResult, UnitTools, run_unit
from ..version import VERSION
from .report import counts, segment_entry, write_json
from .tools import load_detector, load_engine, save_png, settings_of


@dataclass(frozen=True, kw_only=True, slots=True)
class _Job:
    """What is the same for every picture."""

    settings: UnitSettings
    detector: Detector
    engine: Engine
    main: MainGeneration
    output: Path
    preview: bool


def run_command(args: argparse.Namespace) -> int:
    """Exit code 0 if every picture was written, else 1."""
    settings = settings_of(args)
    main = MainGeneration(prompt=args.prompt, negative_prompt=args.negative_prompt, seed=wrap_seed(args.seed))
    job = _Job(settings=settings, detector=load_detector(args, settings), engine=load_engine(args), main=main, output=args.output,
               preview=args.preview)
    _make_folder(args.output)
    entries: list[dict[str, Any]] = []
    names: set[str] = set()
    try:
        with tqdm(_inputs(args.input), unit="picture", disable=None) as bar:
            for path in bar:
                entries.append(_one(path, _output_for(path, args.output, names), job, bar))
    finally:
        # Also after Ctrl+C: what was done is on disk, and the report has to say so.
        if args.report:
            write_json(args.report, {"version": VERSION, "engine": job.engine.name, "detector": settings.detector,
                                     "settings": changed_values(settings), "pictures": entries})
    failed = [e for e in entries if e["state"] == "failed"]
    print(f"{len(entries) - len(failed)} of {len(entries)} pictures written to {args.output}" + (f"; report: {args.report}" if args.report else ""))
    return 1 if failed else 0


def _inputs(paths: list[Path]) -> list[Path]:
    found = list(iter_pictures(paths))
    if not found:
        raise PictureError(f"no pictures in {', '.join(str(p) for p in paths)}")
    return found


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PictureError(f"cannot make the output folder {folder}: {error.strerror or error}; choose another with --output") from error


def _output_for(path: Path, folder: Path, names: set[str]) -> Path:
    """A place of its own for each input, also for two of the same name from different folders."""
    number, name = 1, path.name
    while name.casefold() in names:
        number += 1
        name = f"{path.stem}-{number}{path.suffix}"
    names.add(name.casefold())
    return folder / name


def _one(path: Path, output: Path, job: _Job, bar: Any) -> dict[str, Any]:
    started = time.perf_counter()
    entry: dict[str, Any] = {"input": str(path), "output": str(output), "state": "done", "detector": job.detector.name}
    try:
        result, segments_entry = _detail(path, output, job, bar)
        entry |= segments_entry
        tally = counts(result.run.outcomes[0])
        bar.write(f"{path.name}: " + (", ".join(f"{n} {s}" for s, n in tally.items()) if tally else f"nothing found by {job.detector.name}"))
    except DetailerError as error:
        entry |= {"state": "failed", "reason": str(error)}
        bar.write(f"error: {path}: {error}", file=sys.stderr)
    except MemoryError:
        entry |= {"state": "failed", "reason": "out of memory"}
        bar.write(f"error: {path}: out of memory; the picture is too large for this machine", file=sys.stderr)
    return entry | {"seconds": round(time.perf_counter() - started, 4)}


def _detail(path: Path, output: Path, job: _Job, bar: Any) -> tuple[UnitResult, dict[str, Any]]:
    picture = read_picture(path)
    if output.exists() and output.samefile(path):
        raise PictureError(f"the output {output} is the input itself; choose another folder with --output")

    def show(progress: Progress) -> None:
        bar.set_postfix_str(f"{path.name}: segment {progress.segments_done + 1}/{progress.segments}")

    options = RunOptions(progress=show)
    result = run_unit([picture.image_bchw], [job.main], job.settings, UnitTools(detector=job.detector, engine=job.engine, options=options))
    outcomes = result.run.outcomes[0]
    if any(o.state == "done" for o in outcomes):
        write_picture(output, picture, result.run.pictures[0])
    else:
        _copy(path, output)
    if job.preview:
        states = [o.state for o in outcomes]
        ordered = replace(result.segments[0], items=tuple(o.segment for o in outcomes))
        save_png(output.with_name(f"{output.stem}-preview.png"), draw_preview(result.run.pictures[0], ordered, states=states))
    return result, {"size_wh": [picture.image_bchw.shape[-1], picture.image_bchw.shape[-2]], "segments": [segment_entry(o) for o in outcomes],
                    "detect_seconds": round(result.detect_seconds, 4), "redraw_seconds": round(result.redraw_seconds, 4)}


def _copy(path: Path, output: Path) -> None:
    """Nothing was redrawn: the file itself, byte for byte."""
    try:
        shutil.copyfile(path, output)
    except OSError as error:
        raise PictureError(f"cannot write {output}: {error.strerror or error}; choose another folder with --output") from error
