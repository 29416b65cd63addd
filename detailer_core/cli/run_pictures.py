"""Pictures that are worked on together: read, detect, redraw in shared waves, write each."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

from PIL import Image

from ..pictures import Picture, read_picture, write_picture
from ..preview import draw_preview
from ..run import Outcome
from ..sampling import MainGeneration
from ..segments import Segments
from ..settings import UnitSettings
from ..summary import told
from ..unit import UnitResult, UnitTools, find_segments, redraw_segments
from .files import Place, copy_file, save_png
from .journal import Journal
from .progress import RunBar
from .report import segment_entry
from .tools import reason_of

Entry: TypeAlias = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """What is the same for every picture."""

    settings: UnitSettings
    tools: UnitTools
    main: MainGeneration
    preview: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """One picture of a run. outputs: its files. entry: what the report says of it, filled in as it is done. before: an earlier run has done it."""

    place: Place
    outputs: Sequence[Path]
    entry: Entry
    before: bool


@dataclass(kw_only=True, slots=True)
class _Work:
    """A picture in memory."""

    task: Task
    picture: Picture
    segments: Segments
    detect_seconds: float
    seconds: float = field(default=0.0)


def waiting(place: Place, job: Job) -> Entry:
    """The report's entry of a picture whose turn has not come."""
    return {"input": str(place.input), "output": None, "state": "interrupted", "reason": "the run was interrupted before it was finished",
            "size_wh": None, "detector": job.tools.detector.name, "segments": [], "seconds": 0.0}


def detail_together(tasks: Sequence[Task], job: Job, journal: Journal, bar: RunBar) -> None:
    """Work on some pictures, whatever happens to them; their entries tell what did. What an earlier run has done is not written again."""
    bar.begin(tasks[0].place.input.name, len(tasks))
    ready = [work for work in (_look(task, job, bar) for task in tasks) if work is not None]
    if ready:
        _redraw(ready, job, journal, bar)


def _look(task: Task, job: Job, bar: RunBar) -> _Work | None:
    """Read a picture and find its segments; None if that fails."""
    started = time.perf_counter()
    try:
        picture = read_picture(task.place.input)
        task.entry["size_wh"] = [picture.image_bchw.shape[-1], picture.image_bchw.shape[-2]]
        read = time.perf_counter()
        segments = find_segments(picture.image_bchw, job.settings, job.tools.detector, job.tools.device)
    except Exception as error:  # whatever it is, the other pictures are not to be lost
        _failed(task, error, time.perf_counter() - started, bar)
        return None
    ended = time.perf_counter()
    return _Work(task=task, picture=picture, segments=segments, detect_seconds=ended - read, seconds=ended - started)


def _redraw(works: Sequence[_Work], job: Job, journal: Journal, bar: RunBar) -> None:
    started = time.perf_counter()
    tools = replace(job.tools, options=replace(job.tools.options, progress=bar.wave))
    try:
        result = redraw_segments([work.picture.image_bchw for work in works], [work.segments for work in works], [job.main] * len(works),
                                 job.settings, tools)
    except Exception as error:  # as above
        if len(works) == 1:
            _failed(works[0].task, error, works[0].seconds + time.perf_counter() - started, bar)
            return
        for work in works:  # one of them is to blame; the others are not to fail with it
            _redraw([work], job, journal, bar)
        return
    seconds = (time.perf_counter() - started) / len(works)
    for number, work in enumerate(works):
        work.seconds += seconds
        _finish(work, number, result, job, journal, bar)


def _finish(work: _Work, number: int, result: UnitResult, job: Job, journal: Journal, bar: RunBar) -> None:
    """Write a picture of the group."""
    task, started = work.task, time.perf_counter()
    if task.before:
        bar.skip(1)
        return
    try:
        text = _write(work, number, result, job)
    except Exception as error:  # as above
        _failed(task, error, work.seconds + time.perf_counter() - started, bar)
        return
    task.entry["seconds"] = round(work.seconds + time.perf_counter() - started, 4)
    if not any(segment["state"] in ("failed", "interrupted") for segment in task.entry["segments"]):
        journal.note(task.place, task.outputs, task.entry)
    bar.end(text)


def _write(work: _Work, number: int, result: UnitResult, job: Job) -> str:
    """The picture to its place; fills the entry in and gives a line for people back."""
    place, entry, outcomes = work.task.place, work.task.entry, result.run.outcomes[number]
    share = result.redraw_seconds / len(result.segments)
    entry |= {"segments": [segment_entry(o) for o in outcomes], "detect_seconds": round(work.detect_seconds, 4), "redraw_seconds": round(share, 4)}
    redrawn = any(o.state == "done" for o in outcomes)
    if redrawn:
        write_picture(place.picture, work.picture, result.run.pictures[number])
    else:
        copy_file(place.input, place.picture)  # the file itself: writing it anew would change a JPEG
    if job.preview:
        save_png(place.preview, _preview(result, number, outcomes))
        entry["preview"] = str(place.preview)
    entry |= {"output": str(place.picture), "state": "done" if redrawn else "unchanged"}
    entry.pop("reason")
    what = told(outcomes) if outcomes else _nothing(job, len(work.segments))
    if not redrawn:
        entry["reason"] = what
    return f"{place.input}: {what}" + ("" if redrawn else "; copied as it is")


def _failed(task: Task, error: Exception, seconds: float, bar: RunBar) -> None:
    entry = task.entry
    entry |= {"state": "failed", "reason": reason_of(error), "output": None, "seconds": round(seconds, 4)}
    named = str(task.place.input) in entry["reason"]
    bar.end("error: " + (entry["reason"] if named else f"{task.place.input}: {entry['reason']}"), error=True)


def _preview(result: UnitResult, number: int, outcomes: Sequence[Outcome]) -> Image.Image:
    ordered = replace(result.segments[number], items=tuple(o.segment for o in outcomes))
    return draw_preview(result.run.pictures[number], ordered, states=[o.state for o in outcomes])


def _nothing(job: Job, found: int) -> str:
    if found:
        return f"{found} found by {job.tools.detector.name}, all left out by hooks"
    if job.settings.detector == "mask":
        return f"nothing found: the mask has no white area of more than {job.settings.drop_size} pixels in width and height (drop_size)"
    return (f"nothing found by {job.tools.detector.name}; more is found with a lower confidence (now {job.settings.confidence:g}) or drop_size "
            f"(now {job.settings.drop_size})")
