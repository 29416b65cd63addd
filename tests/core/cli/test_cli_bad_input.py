"""Command `run` on what it cannot do: a clear message, a telling exit code, and nothing lost."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_pictures import Answer, files, mask, noise, opened, report, save
from PIL import Image

from detailer_core.cli import run_pictures
from detailer_core.engines.filter import FilterEngine

Call = Callable[..., Answer]


@pytest.mark.parametrize(
    ("words", "code", "parts"),
    [
        (("--detector", "face_har"), 2, ("'face_har' not found", "did you mean 'face_haar'?")),
        (("--detector", "whole", "--set", "guide_sise=512"), 2, ("unknown setting 'guide_sise'", "did you mean 'guide_size'?")),
        (("--detector", "whole", "--set", "denoise=1.5"), 2, ("denoise", "it must lie in 0..1, got '1.5'")),
        (("--detector", "whole", "--set", "steps=many"), 2, ("steps", "it must be a whole number, got 'many'")),
        (("--detector", "whole", "--set", "mask_shape=star"), 2, ("choose one of pixel, box, rounded, ellipse, got 'star'",)),
        (("--detector", "whole", "--set", "guide_size"), 2, ("'guide_size' is not of the form key=value",)),
        (("--detector", "whole", "--set", "min_ratio=0.5", "--set", "max_ratio=0.1"), 2, ("min_ratio 0.5 is above max_ratio 0.1",)),
        (("--detector", "whole", "--set", "pick=first"), 2, ("cannot read 'first'", "1,3-5")),
        (("--detector", "whole", "--set", "prompt={a|b"), 2, ("'{' without '}'",)),
        (("--detector", "whole", "--seed", "-1"), 2, ("--seed", "from 0 to 4294967295, got '-1'")),
        (("--detector", "whole", "--engine", "magic"), 2, ("unknown engine 'magic'", "choose one of filter")),
        (("--detector", "mask"), 2, ("needs a picture", "--mask FILE")),
        (("--detector", "whole", "--mask", "photo.png"), 2, ("several detectors", "'whole', 'mask'")),
        (("--detector", "whole", "--set", "detector=tiles"), 2, ("several detectors", "'whole', 'tiles'")),
        (("--mask", "nowhere.png"), 1, ("nowhere.png not found",)),
        (("--mask", "words.txt"), 1, ("words.txt is not a picture",)),
    ], ids=lambda value: " ".join(value) if isinstance(value, tuple) else str(value))
def test_words_that_make_no_sense(cli: Call, tmp_path: Path, words: tuple[str, ...], code: int, parts: tuple[str, ...]) -> None:
    """One message says what is wrong and what to do, and nothing is made."""
    save(tmp_path / "photo.png")
    (tmp_path / "words.txt").write_text("words")
    answer = cli("run", "photo.png", "--output", "out", *words)
    assert answer.code == code
    assert "Traceback" not in answer.err
    for part in parts:
        assert part in answer.err
    assert files(tmp_path) == ["photo.png", "words.txt"]


def test_missing_input(run: Call, tmp_path: Path) -> None:
    """A name that does not exist stops the run before the first picture."""
    answer = run(save(tmp_path / "a.png"), "b.png", "--output", "out", "--detector", "whole")
    assert answer.code == 1
    assert "picture or folder b.png not found; check the name" in answer.err
    assert files(tmp_path) == ["a.png"]


def test_folder_without_pictures(run: Call, tmp_path: Path) -> None:
    """The message names the endings that are taken."""
    (tmp_path / "empty").mkdir()
    answer = run("empty", "--output", "out", "--detector", "whole")
    assert answer.code == 1
    assert "no pictures in empty; taken are .png .jpg" in answer.err


def test_unreadable_pictures_among_good_ones(run: Call, tmp_path: Path) -> None:
    """The good ones are done, each bad one is told with its reason, and the exit code says so."""
    good = save(tmp_path / "in" / "c.png")
    (tmp_path / "in" / "a.png").write_bytes(b"not a picture")
    (tmp_path / "in" / "b.png").write_bytes(good.read_bytes()[:-2000])
    (tmp_path / "in" / "d.jpg").write_bytes(b"")
    save(tmp_path / "in" / "e.png")
    answer = run("in", "--output", "out", "--detector", "whole", "--report", "r.json")
    assert answer.code == 1
    for text in ("a.png is not a picture", "b.png is damaged or cut off", "d.jpg is empty (0 bytes)"):
        assert text in answer.err
    assert "2 of 5 pictures written" in answer.out
    assert files(tmp_path / "out") == ["c.png", "e.png"]
    entries = report(tmp_path / "r.json")["pictures"]
    assert [e["state"] for e in entries] == ["failed", "failed", "done", "failed", "done"]
    assert "not a picture" in entries[0]["reason"]
    assert entries[0]["output"] is None


def test_picture_of_one_pixel(run: Call, tmp_path: Path) -> None:
    """It is too small for any part, and is copied as it is."""
    source = save(tmp_path / "dot.png", noise(size_wh=(1, 1)))
    answer = run(source, "--output", "out", "--detector", "whole", "--preview")
    assert answer.code == 0
    assert "nothing found by whole" in answer.out
    assert (tmp_path / "out" / "dot.png").read_bytes() == source.read_bytes()


def test_picture_that_is_one_pixel_high(run: Call, tmp_path: Path) -> None:
    """A line is worked on where the drop size allows it, or copied; it never fails."""
    source = save(tmp_path / "line.png", noise(size_wh=(300, 2)))
    answer = run(source, "--output", "out", "--detector", "whole", "--set", "drop_size=1")
    assert (answer.code, answer.err) == (0, "")
    assert opened(tmp_path / "out" / "line.png").size == (300, 2)


def test_large_picture_with_a_small_mask(run: Call, tmp_path: Path) -> None:
    """Only the masked part of many pixels is worked on, and all others stay."""
    source = save(tmp_path / "big.png", Image.fromarray(np.arange(3000 * 2000, dtype=np.uint32).astype(np.uint8).reshape(2000, 3000)))
    answer = run(source, "--output", "out", "--mask", mask(tmp_path / "m.png", (2000, 1000, 2050, 1040), size_wh=(3000, 2000)), "--report", "r.json")
    assert answer.code == 0
    (segment,) = report(tmp_path / "r.json")["pictures"][0]["segments"]
    assert max(segment["sampling_size_wh"]) <= 128
    rows, columns = np.nonzero(np.asarray(opened(source)) != np.asarray(opened(tmp_path / "out" / "big.png")))
    assert 1990 <= columns.min() <= columns.max() < 2060
    assert 990 <= rows.min() <= rows.max() < 1050


def test_picture_of_more_pixels_than_can_be_worked_on(run: Call, tmp_path: Path) -> None:
    """A header that promises too much is refused before memory is taken."""
    path = save(tmp_path / "huge.png")
    data = bytearray(path.read_bytes())
    data[16:24] = struct.pack(">II", 40000, 40000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    path.write_bytes(data)
    answer = run(path, "--output", "out", "--detector", "whole")
    assert answer.code == 1
    assert "40000x40000 pixels, more than 268435456; make it smaller, or cut it into parts" in answer.err


@pytest.mark.parametrize(("mode", "name"), [("L", "grey.png"), ("RGBA", "alpha.png"), ("LA", "grey-alpha.png"), ("I;16", "deep.png"),
                                            ("I;16", "deep.tif"), ("CMYK", "inks.tif"), ("CMYK", "inks.jpg"), ("P", "palette.gif"), ("1", "fax.tif")])
def test_picture_of_another_mode(run: Call, tmp_path: Path, mode: str, name: str) -> None:
    """Grey, see-through, 16 bit, CMYK and palette pictures are redrawn, and keep their kind and all pixels outside the mask."""
    source = save(tmp_path / name, noise(mode))
    answer = run(source, "--output", "out", "--mask", mask(tmp_path / "m.png"))
    assert (answer.code, answer.err) == (0, "")
    with Image.open(source) as before, Image.open(tmp_path / "out" / name) as after:
        assert (after.format, after.size) == (before.format, before.size)
        assert after.mode == ("L" if mode == "1" else before.mode)
        old, new = (np.asarray(image.convert("RGB") if mode in ("P", "1") else image).astype(int) for image in (before, after))
    changed = (old != new).reshape(64, 96, -1).any(-1)
    assert changed[20:45, 30:60].any()
    if not name.endswith("jpg"):  # which is compressed anew
        changed[12:53, 22:68] = False
        assert not changed.any()


def test_empty_mask(run: Call, tmp_path: Path) -> None:
    """A black mask finds nothing: the message tells what a mask needs, and the result is the input."""
    source = save(tmp_path / "photo.jpg")
    answer = run(source, "--output", "out", "--mask", mask(tmp_path / "m.png", (0, 0, 0, 0)), "--report", "r.json")
    assert answer.code == 0
    assert "nothing found: the mask has no white area of more than 10 pixels" in answer.out
    assert (tmp_path / "out" / "photo.jpg").read_bytes() == source.read_bytes()
    (entry,) = report(tmp_path / "r.json")["pictures"]
    assert (entry["state"], entry["segments"]) == ("unchanged", [])


def test_mask_of_another_size(run: Call, tmp_path: Path) -> None:
    """The picture that it does not fit fails, with both sizes; the one that it fits is done."""
    small, right = save(tmp_path / "small.png", noise(size_wh=(80, 64))), save(tmp_path / "right.png")
    answer = run(small, right, "--output", "out", "--mask", mask(tmp_path / "m.png"), "--report", "r.json")
    assert answer.code == 1
    assert "has 96x64 pixels, the picture 80x64; scale the mask to the picture's size" in answer.err
    assert files(tmp_path / "out") == ["right.png"]
    assert report(tmp_path / "r.json")["pictures"][0]["size_wh"] == [80, 64]


def test_nothing_found(run: Call, tmp_path: Path) -> None:
    """The result is the input byte for byte, and the message says which settings decide."""
    source = save(tmp_path / "photo.jpg", quality=50)
    answer = run(source, "--output", "out", "--detector", "whole", "--set", "drop_size=4000", "--preview")
    assert answer.code == 0
    assert "nothing found by whole; more is found with a lower confidence (now 0.3) or drop_size (now 4000); copied as it is" in answer.out
    assert (tmp_path / "out" / "photo.jpg").read_bytes() == source.read_bytes()
    assert files(tmp_path / "out") == ["photo-preview.png", "photo.jpg"]


def test_output_folder_that_is_a_file(run: Call, tmp_path: Path) -> None:
    """It is told before any work, also for a folder inside of a file."""
    source, taken = save(tmp_path / "photo.png"), save(tmp_path / "taken.png")
    for output in ("taken.png", "taken.png/out"):
        answer = run(source, "--output", output, "--detector", "whole")
        assert answer.code == 1
        assert f"cannot write into the folder {output}: taken.png is a file, not a folder; choose another with --output" in answer.err
    assert taken.read_bytes() == source.read_bytes()


def test_output_folder_that_cannot_be_written(run: Call, tmp_path: Path, read_only_folder: Path) -> None:
    """It is told before any work."""
    before = files(read_only_folder)
    answer = run(save(tmp_path / "photo.png"), "--output", read_only_folder, "--detector", "whole")
    assert answer.code == 1
    assert f"cannot write into the folder {read_only_folder}: " in answer.err
    assert "choose another with --output; nothing was done" in answer.err
    assert files(read_only_folder) == before


def test_report_that_cannot_be_written(run: Call, tmp_path: Path, read_only_folder: Path) -> None:
    """It is told before any work, for a folder without leave and for a folder in place of a file."""
    source = save(tmp_path / "photo.png")
    for place, message in ((read_only_folder / "r.json", "cannot write into the folder"), (tmp_path, "is a folder; name a file in it with --report")):
        answer = run(source, "--output", "out", "--detector", "whole", "--report", place)
        assert answer.code == 1
        assert message in answer.err
        assert files(tmp_path / "out") == []


def test_report_that_can_no_longer_be_written(run: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pictures are kept, the message names the report, and no half file lies about."""
    redraw = FilterEngine.redraw

    def block_the_report(*words: object) -> object:
        (tmp_path / "r.json").mkdir()
        return redraw(*words)  # type: ignore[arg-type]

    monkeypatch.setattr(FilterEngine, "redraw", block_the_report)
    answer = run(save(tmp_path / "photo.png"), "--output", "out", "--detector", "whole", "--report", "r.json")
    assert answer.code == 1
    assert "cannot write r.json: " in answer.err
    assert files(tmp_path) == ["out", "photo.png", "r.json"]
    assert files(tmp_path / "out") == ["photo.png"]


@pytest.mark.parametrize(
    ("words", "target"),
    [
        (("in/a.png", "--output", "in", "--detector", "whole"), "in/a.png"),
        (("in", "--output", "in/../in", "--detector", "whole"), "in/a.png"),
        (("b/a.png", "in/a.png", "--output", "in", "--detector", "whole"), "in/a.png"),
        (("in/a.png", "--output", "link", "--detector", "whole"), "in/a.png"),
        (("b/a.png", "--output", "masks", "--mask", "masks/a.png"), "masks/a.png"),
        (("b/a.png", "in/a-preview.png", "--output", "in", "--detector", "whole", "--preview"), "in/a-preview.png"),
        (("b/a.png", "--output", "out", "--detector", "whole", "--report", "b/a.png"), "b/a.png"),
    ], ids=lambda value: " ".join(value) if isinstance(value, tuple) else str(value))
def test_an_input_is_never_overwritten(run: Call, tmp_path: Path, words: tuple[str, ...], target: str) -> None:
    """Not by a result, by that of another picture, by a preview, by a report, nor through a link; masks are inputs, too."""
    for name in ("in/a.png", "b/a.png", "in/a-preview.png"):
        save(tmp_path / name)
    mask(tmp_path / "masks" / "a.png")
    os.symlink(tmp_path / "in", tmp_path / "link")
    before = (tmp_path / target).read_bytes()
    answer = run(*words)
    assert answer.code == 2
    assert "inputs are never overwritten, choose another place with --" in answer.err
    assert (tmp_path / target).read_bytes() == before
    assert not (tmp_path / "out").exists()


def test_report_in_place_of_a_result(run: Call, tmp_path: Path) -> None:
    """A report does not replace the picture that it tells of."""
    answer = run(save(tmp_path / "a.png"), "--output", "out", "--detector", "whole", "--report", "out/a.png")
    assert answer.code == 1
    assert "the report out/a.png would overwrite a result" in answer.err


def test_results_of_an_earlier_run_are_replaced(run: Call, tmp_path: Path) -> None:
    """What is no input may be written again, and is not written through a link to another file."""
    (tmp_path / "out").mkdir()
    (tmp_path / "precious.png").write_bytes(b"precious")
    for settings in ((), ("--set", "drop_size=4000")):
        (tmp_path / "out" / "a.png").unlink(missing_ok=True)
        os.symlink(tmp_path / "precious.png", tmp_path / "out" / "a.png")
        assert run(save(tmp_path / "a.png"), "--output", "out", "--detector", "whole", *settings).code == 0
        assert opened(tmp_path / "out" / "a.png").size == (96, 64)
        assert (tmp_path / "precious.png").read_bytes() == b"precious"


@pytest.mark.parametrize("drop_size", [1, 4000], ids=["redrawn", "copied"])
def test_disk_error_when_writing(run: Call, tmp_path: Path, drop_size: int) -> None:
    """A picture that does not fit onto the disk fails, the small one after it is written, and no half file is left."""
    resource = pytest.importorskip("resource")
    large, small = save(tmp_path / "large.png"), save(tmp_path / "small.png", noise(size_wh=(20, 20)))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6000, limits[1]))
    try:
        answer = run(large, small, "--output", "out", "--detector", "whole", "--set", f"drop_size={drop_size}", "--report", "r.json")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert answer.code == 1
    assert "large.png" in answer.err
    assert "File too large" in answer.err
    assert files(tmp_path / "out") == ["small.png"]
    assert report(tmp_path / "r.json")["pictures"][0]["state"] == "failed"


@pytest.mark.parametrize(
    ("error", "message"),
    [(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), "out of memory; the picture is too large"),
     (MemoryError(), "out of memory; the picture is too large"),
     (KeyError("odd"), "unexpected KeyError: 'odd'; please report this as a bug")], ids=str)
def test_error_that_nobody_expected(run: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, message: str) -> None:
    """It costs one picture; the others are done and the report is written."""
    find, calls = run_pictures.find_segments, iter([True, False])

    def fail_once(*words: Any) -> object:
        if next(calls):
            raise error
        return find(*words)  # type: ignore[arg-type]

    monkeypatch.setattr(run_pictures, "find_segments", fail_once)
    answer = run(save(tmp_path / "a.png"), save(tmp_path / "b.png"), "--output", "out", "--detector", "whole", "--report", "r.json")
    assert answer.code == 1
    assert message in answer.err
    assert files(tmp_path / "out") == ["b.png"]
    assert [e["state"] for e in report(tmp_path / "r.json")["pictures"]] == ["failed", "done"]


def test_segment_that_fails(run: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The picture is written as it was, the reason is told, and the exit code is 1."""
    from detailer_core.errors import EngineError

    def fail(*_: object) -> None:
        raise EngineError("the model is gone; load it again")

    monkeypatch.setattr(FilterEngine, "redraw", fail)
    source = save(tmp_path / "a.png")
    answer = run(source, "--output", "out", "--detector", "whole")
    assert answer.code == 1
    assert "1 failed (the model is gone; load it again); copied as it is" in answer.out
    assert "1 segments failed" in answer.out
    assert (tmp_path / "out" / "a.png").read_bytes() == source.read_bytes()


def test_interrupt_while_redrawing(run: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl+C keeps the finished pictures and writes the report, in which the others are interrupted."""
    redraw, calls = FilterEngine.redraw, iter([False, True])

    def interrupt(*words: object) -> object:
        if next(calls):
            raise KeyboardInterrupt
        return redraw(*words)  # type: ignore[arg-type]

    monkeypatch.setattr(FilterEngine, "redraw", interrupt)
    sources = [save(tmp_path / f"{name}.png") for name in "abc"]
    answer = run(*sources, "--output", "out", "--detector", "whole", "--report", "r.json")
    assert answer.code == 130
    assert "interrupted; finished pictures are kept" in answer.err
    assert "1 of 3 pictures written" in answer.out
    assert files(tmp_path / "out") == ["a.png"]
    data = report(tmp_path / "r.json")
    assert data["interrupted"] is True
    assert [(e["state"], e["output"] is None) for e in data["pictures"]] == [("done", False), ("interrupted", True), ("interrupted", True)]


def test_interrupt_while_writing(run: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No half-written file is left, and the older result stays."""
    source = save(tmp_path / "a.png")
    save(tmp_path / "out" / "a.png", noise("L"))
    before = (tmp_path / "out" / "a.png").read_bytes()

    def half(self: Image.Image, file: object, **_: object) -> None:
        file.write(b"half")  # type: ignore[attr-defined]
        raise KeyboardInterrupt

    monkeypatch.setattr(Image.Image, "save", half)
    assert run(source, "--output", "out", "--detector", "whole").code == 130
    assert files(tmp_path / "out") == ["a.png"]
    assert (tmp_path / "out" / "a.png").read_bytes() == before
