"""Command `run` over many pictures: killed at any moment and begun again, it comes to what an undisturbed run gives.

DETAILER_PICTURES and DETAILER_KILLS in the environment make the great test greater, for example 60 and 20.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_pictures import FAST, Answer, files, noise, opened, report, save

from detailer_core.cli.journal import JOURNAL, Journal

Call = Callable[..., Answer]
REPOSITORY = Path(__file__).resolve().parents[3]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
PICTURES, KILLS = int(os.environ.get("DETAILER_PICTURES", "12")), int(os.environ.get("DETAILER_KILLS", "3"))
COMMAND = [sys.executable, "-m", "detailer_core", "run", "in", "--output", "out", "--detector", "tiles", "--preview", "--share-waves", "3", *FAST]


def pictures(folder: Path, count: int) -> None:
    """So many pictures of several formats, no two alike."""
    for number in range(count):
        image = noise(size_wh=(200 + number, 150))
        save(folder / f"{number:03}.{('png', 'jpg', 'webp')[number % 3]}", image)


def contents(folder: Path) -> dict[str, bytes]:
    """All files of a folder, hidden ones as well."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.skipif(os.name == "nt", reason="it kills as only POSIX does")
def test_killed_again_and_again(tmp_path: Path) -> None:
    """Every result is there, whole and as an undisturbed run gives it, nothing else lies beside; a killed run has never left half a picture."""
    for name in ("calm", "killed"):
        pictures(tmp_path / name / "in", PICTURES)
    started = time.perf_counter()
    calm = subprocess.run(COMMAND, cwd=tmp_path / "calm", env=ENVIRONMENT, capture_output=True, check=True, timeout=600)
    whole = time.perf_counter() - started
    expected = contents(tmp_path / "calm" / "out")
    assert len(expected) == 2 * PICTURES
    chance = random.Random(7)
    out, seen = tmp_path / "killed" / "out", [0]
    for _ in range(KILLS):
        process = subprocess.Popen(COMMAND, cwd=tmp_path / "killed", env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        # Starting takes most of a short run's time: moments before the first picture would prove little.
        _wait_for_journal(out / JOURNAL, process)
        time.sleep(chance.uniform(0.0, whole / KILLS))
        process.kill()
        process.wait(timeout=60)
        done = {name: content for name, content in (contents(out) if out.is_dir() else {}).items() if not name.startswith(".")}
        assert all(content == expected[name] for name, content in done.items())
        seen.append(len(done))
    last = subprocess.run(COMMAND, cwd=tmp_path / "killed", env=ENVIRONMENT, capture_output=True, check=True, timeout=600)
    assert contents(out) == expected
    assert seen == sorted(seen)
    told = {"pictures": PICTURES, "kills": KILLS, "files_after_each_kill": seen[1:], "last": last.stdout.decode().splitlines()[-1],
            "undisturbed": calm.stdout.decode().splitlines()[-1], "undisturbed_seconds": round(whole, 1)}
    (tmp_path / "told.json").write_text(json.dumps(told), encoding="utf-8")


def _wait_for_journal(path: Path, process: subprocess.Popen[bytes]) -> None:
    before = path.stat().st_mtime_ns if path.is_file() else 0
    limit = time.monotonic() + 60
    while time.monotonic() < limit and process.poll() is None:
        if path.is_file() and (before == 0 or path.stat().st_mtime_ns != before):
            return
        time.sleep(0.01)


def unfinished(run: Call, tmp_path: Path, *words: object) -> None:
    """A run of three pictures in which the last failed."""
    for name in ("a", "b", "c"):
        save(tmp_path / "in" / f"{name}.png")
    (tmp_path / "in" / "c.png").write_bytes(b"broken")
    assert run("in", "--output", "out", "--detector", "whole", *words).code == 1


def test_what_is_done_is_not_done_again(run: Call, tmp_path: Path) -> None:
    """The same command does only what is left; its report tells of all, and when all is done the journal is gone."""
    unfinished(run, tmp_path)
    times = {name: (tmp_path / "out" / name).stat().st_mtime_ns for name in ("a.png", "b.png")}
    save(tmp_path / "in" / "c.png")
    answer = run("in", "--output", "out", "--detector", "whole", "--report", "r.json")
    assert answer.code == 0
    assert "3 of 3 pictures written to out, 2 of them by an earlier run" in answer.out
    assert {name: (tmp_path / "out" / name).stat().st_mtime_ns for name in times} == times
    assert sorted(contents(tmp_path / "out")) == ["a.png", "b.png", "c.png"]
    entries = report(tmp_path / "r.json")["pictures"]
    assert [(entry["state"], len(entry["segments"])) for entry in entries] == [("done", 1)] * 3


@pytest.mark.parametrize("change", ["settings", "input", "output gone", "output changed", "again", "preview"])
def test_what_changed_is_done_again(run: Call, tmp_path: Path, change: str) -> None:
    """Other settings, another input, a result that is gone or not as it was written, or the wish of the user: then it is not taken for done."""
    unfinished(run, tmp_path)
    first = (tmp_path / "out" / "a.png").read_bytes()
    save(tmp_path / "in" / "c.png")
    words: tuple[str, ...] = {"settings": ("--set", "denoise=0.9"), "again": ("--again",), "preview": ("--preview",)}.get(change, ())
    if change == "input":
        save(tmp_path / "in" / "a.png", noise(size_wh=(97, 64)))
    elif change == "output gone":
        (tmp_path / "out" / "a.png").unlink()
    elif change == "output changed":
        (tmp_path / "out" / "a.png").write_bytes(first[:-1])
    answer = run("in", "--output", "out", "--detector", "whole", *words)
    assert answer.code == 0
    before = 1 if change in ("input", "output gone", "output changed") else 0
    assert ("1 of them by an earlier run" in answer.out) == bool(before)
    assert ((tmp_path / "out" / "a.png").read_bytes() == first) == (change in ("output gone", "output changed", "again", "preview"))


def test_a_finished_run_begins_anew(run: Call, tmp_path: Path) -> None:
    """When all was done, the same command does it all again, as it always did."""
    source = save(tmp_path / "a.png")
    for _ in range(2):
        answer = run(source, "--output", "out", "--detector", "whole")
        assert answer.code == 0
        assert "earlier run" not in answer.out
        assert sorted(contents(tmp_path / "out")) == ["a.png"]


def test_half_a_line_and_leftovers(run: Call, tmp_path: Path) -> None:
    """A journal whose last line is cut off counts up to there, lines that mean nothing are passed over, and temporary files of killed runs go."""
    unfinished(run, tmp_path)
    journal = tmp_path / "out" / JOURNAL
    lines = journal.read_bytes().splitlines()
    assert len(lines) == 2
    journal.write_bytes(b"[]\nnonsense\n" + lines[0] + b"\n" + lines[1][:-20])
    for name in (".0123456789abcdef.tmp", ".keep.tmp", "mine.tmp"):
        (tmp_path / "out" / name).write_bytes(b"x")
    save(tmp_path / "in" / "c.png")
    answer = run("in", "--output", "out", "--detector", "whole")
    assert "1 of them by an earlier run" in answer.out
    assert files(tmp_path / "out") == [".keep.tmp", "a.png", "b.png", "c.png", "mine.tmp"]


def test_two_runs_do_not_meet(run: Call, tmp_path: Path) -> None:
    """A second run into the same folder is refused while the first works, and nothing is touched."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".0123456789abcdef.tmp").write_bytes(b"half a picture of the other run")
    with Journal(tmp_path / "out", "other"):
        (tmp_path / "out" / ".0123456789abcdef.tmp").write_bytes(b"half a picture of the other run")
        answer = run(save(tmp_path / "a.png"), "--output", "out", "--detector", "whole")
        assert answer.code == 1
        assert "another run is working in out" in answer.err
        assert files(tmp_path / "out") == [".0123456789abcdef.tmp"]


def test_sharing_waves_gives_the_same(run: Call, tmp_path: Path) -> None:
    """Pictures that are worked on together come out as alone, each with its own seed; one that fails does not take the others with it."""
    pictures(tmp_path / "in", 5)
    (tmp_path / "in" / "002.webp").write_bytes(b"broken")
    for out, words in (("alone", ()), ("together", ("--share-waves", "4"))):
        answer = run("in", "--output", out, "--detector", "tiles", "--set", "seed=5", "--report", f"{out}.json", *words)
        assert answer.code == 1
        assert "4 of 5 pictures written" in answer.out
    assert {name: content for name, content in contents(tmp_path / "alone").items() if name != JOURNAL} == \
        {name: content for name, content in contents(tmp_path / "together").items() if name != JOURNAL}
    one, other = ([[segment["seed"] for segment in entry["segments"]] for entry in report(tmp_path / f"{out}.json")["pictures"]]
                  for out in ("alone", "together"))
    assert one == other


def test_waves_really_are_shared(run: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With --share-waves the engine gets segments of several pictures at once, without it never."""
    from detailer_core.engines.filter import FilterEngine

    sizes: list[int] = []
    redraw = FilterEngine.redraw

    def counting(self: FilterEngine, request: object, control: object) -> object:
        sizes.append(len(request.seeds))  # type: ignore[attr-defined]
        return redraw(self, request, control)  # type: ignore[arg-type]

    monkeypatch.setattr(FilterEngine, "redraw", counting)
    for name in ("a", "b", "c", "d"):
        save(tmp_path / "in" / f"{name}.png")
    for words, expected in (((), [1, 1, 1, 1]), (("--share-waves", "3"), [3, 1])):
        sizes.clear()
        assert run("in", "--output", "out", "--detector", "whole", *words).code == 0
        assert sizes == expected


def test_a_picture_that_cannot_be_planned_fails_alone(run: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If redrawing several together raises, each is tried alone, and only the one to blame fails."""
    from detailer_core.cli import run_pictures

    original = run_pictures.redraw_segments

    def picky(images: list[object], *rest: object) -> object:
        if any(image.shape[-1] == 97 for image in images):  # type: ignore[attr-defined]
            raise ValueError("odd width")
        return original(images, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(run_pictures, "redraw_segments", picky)
    for name, width in (("a", 96), ("b", 97), ("c", 96)):
        save(tmp_path / "in" / f"{name}.png", noise(size_wh=(width, 64)))
    answer = run("in", "--output", "out", "--detector", "whole", "--share-waves", "3")
    assert answer.code == 1
    assert "2 of 3 pictures written" in answer.out
    assert "odd width" in answer.err
    assert files(tmp_path / "out") == ["a.png", "c.png"]


def test_contact_sheet(run: Call, tmp_path: Path) -> None:
    """One picture shows all that were written; a second run that has nothing to do still makes it."""
    for number in range(6):
        save(tmp_path / "in" / f"{number}.png")
    answer = run("in", "--output", "out", "--detector", "whole", "--contact-sheet", "sheets/all.jpg")
    assert answer.code == 0
    assert "contact sheet: sheets/all.jpg" in answer.out
    assert opened(tmp_path / "sheets" / "all.jpg").size == (8 + 4 * (2 * 160 + 3 * 8), 8 + 2 * (160 + 22 + 8))


@pytest.mark.parametrize(("name", "part"), [("in/a.png", "would overwrite the input"), ("out/a.png", "would overwrite a result"),
                                            ("sheet.txt", "write for example sheet.jpg")])
def test_contact_sheet_in_a_bad_place(run: Call, tmp_path: Path, name: str, part: str) -> None:
    """A place that is taken, or a name that is no picture's, is refused before anything is done."""
    source = save(tmp_path / "in" / "a.png")
    before = source.read_bytes()
    answer = run("in", "--output", "out", "--detector", "whole", "--contact-sheet", name)
    assert answer.code in (1, 2)
    assert part in answer.err
    assert source.read_bytes() == before
    assert files(tmp_path / "out") == []


def test_more_pictures_than_a_sheet_holds(run: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Further pictures go to further files."""
    from detailer_core.cli import sheet

    monkeypatch.setattr(sheet, "PER_SHEET", 2)
    for number in range(3):
        save(tmp_path / "in" / f"{number}.png")
    assert run("in", "--output", "out", "--detector", "whole", "--contact-sheet", "all.png").code == 0
    assert files(tmp_path) == ["all-2.png", "all.png", "in", "out"]


def test_disk_copy_counts_as_another_input(run: Call, tmp_path: Path) -> None:
    """An input that was put there anew, even with the same bytes, is done again: its time of change tells."""
    unfinished(run, tmp_path)
    other = shutil.copy(tmp_path / "in" / "a.png", tmp_path / "other.png")
    os.utime(other, ns=(1, 1))
    os.replace(other, tmp_path / "in" / "a.png")
    assert "1 of them by an earlier run" in run("in", "--output", "out", "--detector", "whole").out
