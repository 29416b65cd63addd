"""Command `run` on pictures that are as they should be."""

from __future__ import annotations

import io
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from cli_pictures import Answer, files, mask, noise, opened, report, save
from PIL import Image, ImageDraw

from detailer_core.image_ops import blur_mask

Call = Callable[..., Answer]
ARTIST = 0x013B


def test_a_file_gets_a_redrawn_copy(run: Call, tmp_path: Path) -> None:
    """The result lies in the output folder under its own name, differs inside the mask, and the input stays as it was."""
    photo = save(tmp_path / "in" / "photo.png")
    before = photo.read_bytes()
    answer = run(photo, "--output", "new/out", "--mask", mask(tmp_path / "m.png"))
    assert (answer.code, answer.err) == (0, "")
    assert f"{photo}: 1 done" in answer.out
    assert "1 of 1 pictures written" in answer.out
    assert files(tmp_path / "new" / "out") == ["photo.png"]
    assert photo.read_bytes() == before != (tmp_path / "new" / "out" / "photo.png").read_bytes()


def test_folders_and_files_together(run: Call, tmp_path: Path) -> None:
    """A folder stands for the pictures in it, other files in it are passed over, and a picture that is named twice is done once."""
    for name in ("a.png", "b.JPG", "inner/c.png"):
        save(tmp_path / "in" / name)
    (tmp_path / "in" / "notes.txt").write_text("no picture")
    answer = run(tmp_path / "in", tmp_path / "in" / "a.png", save(tmp_path / "d.webp"), "--output", "out", "--detector", "whole")
    assert answer.code == 0
    assert files(tmp_path / "out") == ["a.png", "b.JPG", "d.webp"]


@pytest.mark.parametrize("name", ["photo.jpg", "photo.png", "photo.webp", "photo.tif"])
def test_format_exif_and_icc_profile_are_kept(run: Call, tmp_path: Path, name: str) -> None:
    """What a program wrote beside the pixels is in the result."""
    exif = Image.Exif()
    exif[ARTIST] = "somebody"
    profile = b"\x00\x00\x02\x0cfake profile of some length"
    source = save(tmp_path / name, exif=exif, icc_profile=profile)
    assert run(source, "--output", "out", "--detector", "whole").code == 0
    with Image.open(source) as before, Image.open(tmp_path / "out" / name) as after:
        assert (after.format, after.mode, after.size) == (before.format, before.mode, before.size)
        assert after.getexif()[ARTIST] == "somebody"
        assert after.info["icc_profile"] == profile
        assert np.any(np.asarray(before) != np.asarray(after))


def test_two_inputs_of_one_name_get_two_results(run: Call, tmp_path: Path) -> None:
    """None replaces the other, nor does a third that has the name which the second would get, nor a preview."""
    sources = [save(tmp_path / "a" / "x.png", noise(size_wh=(40, 40))), save(tmp_path / "b" / "X.png", noise(size_wh=(50, 50))),
               save(tmp_path / "c" / "X-2.png", noise(size_wh=(60, 60))), save(tmp_path / "d" / "x-preview.png", noise(size_wh=(70, 70)))]
    answer = run(*sources, "--output", "out", "--detector", "whole", "--preview", "--report", "r.json")
    assert answer.code == 0
    entries = report(tmp_path / "r.json")["pictures"]
    sizes = [opened(entry["output"]).size[0] for entry in entries]
    assert sizes == [40, 50, 60, 70]
    assert [Path(e["output"]).name for e in entries] == ["x.png", "X-2.png", "X-2-2.png", "x-preview.png"]
    assert len(files(tmp_path / "out")) == 8


def test_report_tells_everything(run: Call, tmp_path: Path) -> None:
    """Per picture: size, detector, times, and of each segment box, label, confidence, crop region, sampling size, seed and state."""
    picture_mask = mask(tmp_path / "m.png", (5, 5, 25, 30), (60, 20, 80, 50))
    answer = run(save(tmp_path / "photo.png"), "--output", "out", "--mask", picture_mask, "--report", "sub/r.json", "--seed", 41, "--set",
                 "prompt=[SKIP] [SEP] a face", "--set", "dilation=0")
    assert answer.code == 0
    assert "1 skipped (the prompt says [SKIP]), 1 done" in answer.out
    data = report(tmp_path / "sub" / "r.json")
    assert (data["engine"], data["detector"], data["seed"], data["interrupted"]) == ("filter", "mask", 41, False)
    assert data["settings"]["guide_size"] == 64
    (picture,) = data["pictures"]
    assert (picture["state"], picture["size_wh"], picture["detector"]) == ("done", [96, 64], "mask")
    assert picture["seconds"] >= picture["detect_seconds"] + picture["redraw_seconds"] > 0
    skipped, done = picture["segments"]
    assert (skipped["number"], skipped["state"], skipped["reason"], skipped["seed"]) == (1, "skipped", "the prompt says [SKIP]", None)
    assert (done["state"], done["seed"], done["box_xyxy"], done["label"], done["confidence"]) == ("done", 42, [60, 20, 80, 50], "mask", 1.0)
    x0, y0, x1, y1 = done["crop_region_xyxy"]
    assert 0 <= x0 <= 60 < 80 <= x1 <= 96
    assert 0 <= y0 <= 20 < 50 <= y1 <= 64
    assert [side % 8 for side in done["sampling_size_wh"]] == [0, 0]
    assert "reason" not in done
    assert done["seconds"] > 0


def test_report_can_be_read_by_others(run: Call, tmp_path: Path) -> None:
    """The report gets the rights that any new file gets, and nothing else lies beside it."""
    (tmp_path / "other").write_text("")
    run(save(tmp_path / "photo.png"), "--output", "out", "--detector", "whole", "--report", "r/r.json")
    assert stat.S_IMODE((tmp_path / "r" / "r.json").stat().st_mode) == stat.S_IMODE((tmp_path / "other").stat().st_mode)
    assert files(tmp_path / "r") == ["r.json"]


def test_preview_is_written_on_request(run: Call, tmp_path: Path) -> None:
    """A picture of the same size that differs from the result, for skipped and unchanged pictures as well."""
    photo = save(tmp_path / "photo.jpg")
    assert run(photo, "--output", "out", "--detector", "whole", "--preview").code == 0
    with Image.open(tmp_path / "out" / "photo-preview.png") as preview, Image.open(tmp_path / "out" / "photo.jpg") as result:
        assert preview.size == result.size
        assert np.any(np.asarray(preview) != np.asarray(result))


def test_same_seed_settings_and_picture_give_the_same_file(run: Call, tmp_path: Path) -> None:
    """Two runs write equal bytes, of several segments in several formats."""
    sources = [save(tmp_path / name) for name in ("a.png", "b.jpg", "c.webp")]
    for out in ("one", "two"):
        assert run(*sources, "--output", out, "--mask", mask(tmp_path / "m.png", (5, 5, 40, 40), (30, 42, 80, 60)), "--seed", 7).code == 0
    for source in sources:
        assert (tmp_path / "one" / source.name).read_bytes() == (tmp_path / "two" / source.name).read_bytes() != source.read_bytes()


@pytest.mark.parametrize("settings", [(), ("noise_mask=false", "feather=12"), ("sizes=exact", "resampler=pillow-8bit", "dilation=-3"),
                                      ("dilation=9", "feather=0", "denoise=1")], ids=str)
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_outside_the_blurred_mask_nothing_changes(run: Call, tmp_path: Path, mode: str, settings: tuple[str, ...]) -> None:
    """Every value outside is the input's, in each mode, whatever the settings; inside, some are not."""
    source = save(tmp_path / "photo.png", noise(mode))
    area = Image.new("L", (96, 64))
    ImageDraw.Draw(area).ellipse((25, 15, 65, 50), fill=255)
    words = [word for text in ("dilation=4", "feather=5", *settings) for word in ("--set", text)]
    assert run(source, "--output", "out", "--mask", save(tmp_path / "m.png", area), *words).code == 0
    values = dict(text.split("=") for text in ("dilation=4", "feather=5", *settings))
    white = torch.from_numpy((np.asarray(area) > 127).astype(np.float32))[None, None]
    grown = torch.nn.functional.max_pool2d(white, 11, stride=1, padding=5) if values["dilation"] == "9" else \
        torch.nn.functional.max_pool2d(white, 5, stride=1, padding=2)  # a kernel of n pixels moves an edge by n / 2
    blurred = blur_mask(grown, int(values["feather"]))[0, 0].numpy()
    before, after = (_values(path, mode) for path in (source, tmp_path / "out" / "photo.png"))
    changed = (before != after).any(-1)
    assert not changed[blurred == 0].any()
    assert changed[blurred > 0].any()
    assert (blurred == 0).sum() > 500


def _values(path: Path, mode: str) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image, dtype=np.int32)[..., None] if mode == "I;16" else np.asarray(image.convert("RGBA"))


class Terminal(io.StringIO):
    """A stand-in for a terminal."""

    def isatty(self) -> bool:
        """Say yes."""
        return True


def test_bar_over_pictures_and_segments(run: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal the bar names the picture and the segment, and ends at the end."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    overlapping = mask(tmp_path / "m.png", (20, 20, 45, 40), (50, 20, 75, 40))
    assert run(save(tmp_path / "a.png"), save(tmp_path / "b.png"), "--output", "out", "--mask", overlapping, "--set", "wave_pixels=0").code == 0
    for text in ("picture 1/2 a.png: looking", "picture 1/2 a.png: segment 2/2", " 25%", "picture 2/2 b.png: segment 1/2", "100%"):
        assert text in terminal.getvalue()


def test_no_bar_in_a_pipe(run: Call, tmp_path: Path) -> None:
    """Where nobody looks there is no bar, only lines."""
    answer = run(save(tmp_path / "a.png"), "--output", "out", "--detector", "whole")
    assert answer.err == ""
    assert answer.out.count("\n") == 2


def test_set_reaches_the_work(run: Call, tmp_path: Path) -> None:
    """With denoise 0 the picture stays, with 1 it does not."""
    source = save(tmp_path / "a.png")
    for denoise in (0, 1):
        assert run(source, "--output", f"out{denoise}", "--detector", "whole", "--set", f"denoise={denoise}", "--set", "max_size=64").code == 0
    images = [np.asarray(opened(tmp_path / folder / "a.png")).astype(int) for folder in ("out0", "out1")]
    assert np.abs(images[0] - images[1]).max() > 10


def test_detector_by_the_path_of_its_file(run: Call, tmp_path: Path) -> None:
    """A model file anywhere is found by its path; one that is no model is refused by name."""
    bad = tmp_path / "my models" / "face.pt"
    bad.parent.mkdir()
    bad.write_bytes(b"no model at all")
    answer = run(save(tmp_path / "a.png"), "--output", "out", "--detector", bad)
    assert answer.code == 1
    assert "face.pt" in answer.err
    assert "not found" not in answer.err
