"""Commands `detect`, `settings` and `demo`, and what the help says."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from cli_pictures import Answer, files, mask, noise, opened, report, save

from detailer_core.cli.arguments import make_parser
from detailer_core.settings import make_settings, options
from detailer_core.version import VERSION

Call = Callable[..., Answer]
HAS_CASCADES = int(cv2.__version__.split(".")[0]) < 5
COMMANDS = ("run", "detect", "settings", "download", "demo")


def test_detect_tells_what_it_found(cli: Call, tmp_path: Path) -> None:
    """Printed and as data: size, boxes, crop regions; the picture stays, and the preview shows it."""
    source = save(tmp_path / "photo.png")
    before = source.read_bytes()
    areas = mask(tmp_path / "m.png", (5, 5, 25, 30), (60, 20, 80, 50))
    answer = cli("detect", source, "--mask", areas, "--report", "new/r.json", "--preview", "new/p.png", "--set", "dilation=0")
    assert (answer.code, answer.err) == (0, "")
    assert "96x64 pixels, 2 found by mask" in answer.out
    assert "2: mask 1.00 box [60, 20, 80, 50] crop" in answer.out
    data = report(tmp_path / "new" / "r.json")
    assert (data["size_wh"], data["detector"], data["settings"]) == ([96, 64], "mask", {"detector": "mask", "dilation": 0})
    assert [s["box_xyxy"] for s in data["segments"]] == [[5, 5, 25, 30], [60, 20, 80, 50]]
    assert np.any(np.asarray(opened(tmp_path / "new" / "p.png")) != np.asarray(opened(source)))
    assert source.read_bytes() == before


def test_detect_that_finds_nothing(cli: Call, tmp_path: Path) -> None:
    """It says so, and that is no error."""
    answer = cli("detect", save(tmp_path / "photo.png"), "--mask", mask(tmp_path / "m.png", (0, 0, 0, 0)))
    assert answer.code == 0
    assert "nothing found by mask" in answer.out


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("gone.png", "--detector", "whole"), 1, "picture gone.png not found; check the name"),
        ((".", "--detector", "whole"), 1, ". is a folder, not a picture; name the pictures inside of it"),
        (("photo.png", "--detector", "hole"), 2, "detector 'hole' not found; did you mean 'whole'?"),
        (("photo.png", "--detector", "whole", "--preview", "photo.png"), 2, "photo.png would overwrite the input photo.png"),
        (("photo.png", "--detector", "whole", "--report", "photo.png"), 2, "photo.png would overwrite the input photo.png"),
        (("photo.png", "--mask", "m.png", "--preview", "m.png"), 2, "m.png would overwrite the input m.png"),
        (("photo.png", "--detector", "whole", "--preview", "p.jpg"), 2, "the preview is a PNG file, got the name p.jpg"),
        (("photo.png", "--detector", "whole", "--report", "photo.png/r.json"), 1, "photo.png is a file, not a folder"),
        (("photo.png", "--mask", "small.png"), 1, "small.png has 20x20 pixels, the picture 96x64"),
    ], ids=lambda value: " ".join(value) if isinstance(value, tuple) else "")
def test_detect_refuses(cli: Call, tmp_path: Path, words: tuple[str, ...], code: int, message: str) -> None:
    """A clear message, and all files stay as they were."""
    before = {path: path.read_bytes() for path in (save(tmp_path / "photo.png"), mask(tmp_path / "m.png"),
                                                   save(tmp_path / "small.png", noise("L", (20, 20))))}
    answer = cli("detect", *words)
    assert answer.code == code
    assert message in answer.err
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_settings_lists_every_option(cli: Call) -> None:
    """Each with its default, its range or choices, and its help; and how to use one."""
    answer = cli("settings")
    assert answer.code == 0
    assert "--set guide_size=768" in answer.out
    text = " ".join(answer.out.split())
    for option in options().values():
        default = option.unset if option.default is None else str(option.default) or "(empty)"
        assert f" {option.name} = {default} (" in text
        assert " ".join(option.help.split()) in text
        assert all(choice in text for choice in option.choices)
    assert "guide_size = by model (64 to 4096)" in text
    assert "force_inpaint = True (True or False)" in text


def test_json_schema_describes_every_option(cli: Call) -> None:
    """It is valid, and its defaults are what the core takes."""
    answer = cli("settings", "--json-schema")
    assert answer.code == 0
    schema = json.loads(answer.out)
    assert set(schema["properties"]) == set(options())
    assert schema["additionalProperties"] is False
    make_settings({name: entry["default"] for name, entry in schema["properties"].items()})
    for name, entry in schema["properties"].items():
        assert entry["description"] == options()[name].help
        assert entry.get("minimum") == options()[name].minimum
        assert tuple(entry.get("enum", ())) == options()[name].choices


def test_json_schema_refuses_what_the_core_refuses(cli: Call) -> None:
    """A validator of JSON schemas agrees with the core about good and bad values."""
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads(cli("settings", "--json-schema").out)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    assert validator.is_valid({name: option.default for name, option in options().items()})
    for bad in ({"denoise": 1.5}, {"guide_size": "big"}, {"order": "random"}, {"no_such": 1}, {"steps": 0}, {"detector": None}):
        assert not validator.is_valid(bad), bad
    assert validator.is_valid({"steps": None, "denoise": 1})


@pytest.mark.skipif(not HAS_CASCADES, reason="OpenCV 5 has no Haar cascades")
def test_demo(cli: Call, tmp_path: Path) -> None:
    """The face is found and redrawn visibly, nothing outside the blurred mask changed, and four pictures lie where it says."""
    pytest.importorskip("skimage")
    answer = cli("demo", "--output", "d")
    assert (answer.code, answer.err) == (0, "")
    assert files(tmp_path / "d") == ["after.png", "before.png", "preview.png", "side-by-side.png"]
    assert all(str(Path("d", name)) in answer.out for name in files(tmp_path / "d"))
    inside, outside = (int(n) for n in re.search(r"pixels changed: (\d+) inside the blurred mask, (\d+) outside", answer.out).groups())
    before, after = (np.asarray(opened(tmp_path / "d" / f"{name}.png")).astype(int) for name in ("before", "after"))
    assert (before != after).any(-1).sum() == inside > 5000
    assert outside == 0
    x0, y0, x1, y1 = (int(n) for n in re.search(r"pasted into \((\d+), (\d+), (\d+), (\d+)\)", answer.out).groups())
    assert np.abs(before - after)[y0:y1, x0:x1].mean() > 1
    before[y0:y1, x0:x1] = after[y0:y1, x0:x1]
    assert (before == after).all()


@pytest.mark.skipif(HAS_CASCADES, reason="this OpenCV has Haar cascades")
@pytest.mark.parametrize("words", [("demo", "--output", "d"), ("run", "photo.png", "--output", "d"), ("detect", "photo.png")], ids=" ".join)
def test_face_detector_without_cascades(cli: Call, tmp_path: Path, words: tuple[str, ...]) -> None:
    """The message names what to do, and no folder is made."""
    save(tmp_path / "photo.png")
    answer = cli(*words)
    assert answer.code == 1
    assert "needs the cascades of OpenCV 4" in answer.err
    assert "choose another detector" in answer.err
    assert files(tmp_path) == ["photo.png"]


@pytest.mark.skipif(not HAS_CASCADES, reason="OpenCV 5 has no Haar cascades")
def test_demo_tells_of_a_bad_folder(cli: Call, tmp_path: Path) -> None:
    """A file in place of the output folder is told, and stays."""
    (tmp_path / "d").write_text("mine")
    answer = cli("demo", "--output", "d")
    assert answer.code == 1
    assert "d is a file, not a folder; choose another with --output" in answer.err
    assert (tmp_path / "d").read_text() == "mine"


@pytest.mark.skipif(not HAS_CASCADES, reason="OpenCV 5 has no Haar cascades")
def test_unknown_class_of_the_detector(cli: Call, tmp_path: Path) -> None:
    """A misspelt class is an error and not a run that silently finds nothing."""
    answer = cli("run", save(tmp_path / "photo.png"), "--output", "out", "--set", "labels=fce")
    assert answer.code == 2
    assert "the detector 'face_haar' has no class 'fce'; did you mean 'face'?" in answer.err


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_teaches_by_examples_that_work(cli: Call, command: str) -> None:
    """Each command's help has examples, and the parser takes every one of them."""
    answer = cli(*([command] if command else []), "--help")
    assert answer.code == 0
    examples = re.findall(r"^  python -m detailer_core (.+)$", answer.out, re.M)
    assert examples
    for example in examples:
        words = shlex.split(example.split(" > ")[0])
        if "--help" not in words:
            assert make_parser().parse_args(words).command in COMMANDS


def test_help_names_every_option_of_a_command(cli: Call) -> None:
    """No option of `run` is without a word of explanation."""
    text = " ".join(cli("run", "--help").out.split())
    for option in ("--output", "--detector", "--engine", "--mask", "--set", "--preview", "--report", "--seed", "--prompt", "--models"):
        assert re.search(rf"{option} ?\S* [a-z]\S+ \S+", text.split("options:")[1]), option
    assert "preview of the pipeline and not a diffusion model" in text


def test_no_words_at_all(cli: Call) -> None:
    """Somebody who only types the name gets the whole help."""
    answer = cli()
    assert answer.code == 2
    for command in COMMANDS:
        assert f"python -m detailer_core {command}" in answer.err


def test_version(cli: Call) -> None:
    """It is the package's."""
    assert cli("--version").out.strip() == f"Detailer {VERSION}"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("paint",), "invalid choice: 'paint'"),
        (("run", "a.png"), "required: -o/--output"),
        (("run", "--output", "out"), "required: INPUT"),
        (("run", "a.png", "-o", "out", "--denoise", "0.5"), "--denoise: this is a setting; write --set denoise=0.5"),
        (("run", "a.png", "-o", "out", "--guide-size=700"), "this is a setting; write --set guide_size=700"),
        (("run", "a.png", "-o", "out", "--set", "denoise", "=", "0.5"), "without blanks around the '='"),
        (("detect", "a.png", "b.png"), "nothing is known of 'b.png'; see python -m detailer_core detect --help"),
    ], ids=str)
def test_words_that_the_parser_does_not_know(cli: Call, words: tuple[str, ...], message: str) -> None:
    """The message names what is missing or wrong, and what was probably meant."""
    answer = cli(*words)
    assert answer.code == 2
    assert message in answer.err
