"""A user's own hook from a file: loaded, given its arguments, and every way in which it can be wrong."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from detailer_core.cli.main import main
from detailer_core.errors import HookError, SettingsError
from detailer_core.hook_files import hook_file_names, load_hook, load_hook_from_folder, parse_arguments
from detailer_core.pictures import read_picture

GOOD = '''"""Makes every redrawn crop even."""
from __future__ import annotations

from dataclasses import dataclass

import torch

from detailer_core.hooks import DetailerHook


@dataclass
class Even(DetailerHook):
    level: float = 1.0
    word: str = ""

    def after_decode(self, images_bchw: torch.Tensor) -> torch.Tensor:
        return torch.full_like(images_bchw, self.level)


def make_hook(**arguments):
    return Even(**arguments)
'''


def write(folder: Path, source: str | bytes, name: str = "mine.py") -> Path:
    """A hook file."""
    path = folder / name
    path.write_bytes(source if isinstance(source, bytes) else source.encode())
    return path


def refused(path: Path, text: str, arguments: dict[str, Any] | None = None) -> None:
    """The file is refused with this text, which names it."""
    with pytest.raises(HookError) as caught:
        load_hook(path, arguments)
    assert str(caught.value).startswith(f"hook file {path}"), caught.value
    assert text in str(caught.value)


@pytest.mark.parametrize("name", ["mine.py", "with space.py", "ümlaut-帽子.py", "no suffix"])
def test_a_good_file_is_a_hook(tmp_path: Path, name: str) -> None:
    """Its arguments reach it, dataclasses work in it, and nothing is written beside it."""
    path = write(tmp_path, GOOD, name)
    hook = load_hook(path, {"level": 0.25, "word": "é"})
    assert (hook.name, hook.level, hook.word) == ("Even", 0.25, "é")  # type: ignore[attr-defined]
    assert torch.equal(hook.after_decode(torch.zeros(1, 3, 2, 2)), torch.full((1, 3, 2, 2), 0.25))
    assert load_hook(path).level == 1.0  # type: ignore[attr-defined]
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_a_changed_file_is_read_anew(tmp_path: Path) -> None:
    """At once, also within the same second; what was loaded before stays what it was."""
    before = load_hook(write(tmp_path, GOOD))
    after = load_hook(write(tmp_path, GOOD.replace("= 1.0", "= 2.0")))
    assert (before.level, after.level) == (1.0, 2.0)  # type: ignore[attr-defined]


def test_files_of_one_name_do_not_meet(tmp_path: Path) -> None:
    """Two folders, two hooks, each with its own module."""
    (tmp_path / "other").mkdir()
    one, other = load_hook(write(tmp_path, GOOD)), load_hook(write(tmp_path / "other", GOOD))
    assert type(one) is not type(other)
    assert type(one).__module__ != type(other).__module__


@pytest.mark.parametrize("encoding", ["utf-8-sig", "latin-1"])
def test_encodings_are_those_of_python(tmp_path: Path, encoding: str) -> None:
    """A mark at the start, or a declared encoding, is understood; line ends of Windows too."""
    source = GOOD.replace("even.", "evén.").replace("\n", "\r\n")
    source = f"# -*- coding: {encoding} -*-\r\n{source}" if encoding == "latin-1" else source
    assert load_hook(write(tmp_path, source.encode(encoding))).name == "Even"


@pytest.mark.parametrize(("source", "text"), [
    ("x = 1\ndef make_hook(:\n    pass\n", ", line 2: invalid syntax; correct the file"),
    ("def make_hook():\nreturn 1\n", ", line 2: expected an indented block after function definition on line 1; correct the file"),
    ("x = 1\ny = 0\nz = x / y\n", ", line 3: it cannot be run: ZeroDivisionError: division by zero; correct the file"),
    ("import no_such_module\n", ", line 1: it cannot be run: ModuleNotFoundError: No module named 'no_such_module'; correct the file"),
    ("x = 1\nimport sys\nsys.exit(3)\n", ", line 3: it cannot be run: SystemExit: 3; correct the file"),
    ("x = 1\nexec('1 +')\n", ", line 2: it cannot be run: SyntaxError: "),
    ("def helper():\n    raise KeyError('k')\n\nhelper()\n", ", line 2: it cannot be run: KeyError: 'k'; correct the file"),
    ("", " has no function make_hook; define `def make_hook(**arguments)` that returns a DetailerHook"),
    ("make_hook = 5\n", " has no function make_hook; define "),
    ("x = 1\n\ndef make_hook():\n    raise ValueError('no')\n",
     ", line 4: make_hook failed: ValueError: no; correct it, or the arguments that it is given"),
    ("def make_hook():\n    import json\n    json.loads('{')\n", ", line 3: make_hook failed: JSONDecodeError: "),
    ("import sys\ndef make_hook():\n    sys.exit()\n", ", line 3: make_hook failed: SystemExit: ; correct it"),
    ("\ndef make_hook(strength):\n    return None\n",
     ", line 2: make_hook failed: TypeError: make_hook() missing 1 required positional argument: 'strength'"),
    ("\ndef make_hook():\n    pass\n", ", line 2: make_hook returned NoneType; define `def make_hook(**arguments)`"),
    ("def make_hook():\n    return 'hook'\n", ", line 1: make_hook returned str; define "),
    (GOOD.replace("Even(**arguments)", "Even"), ", line 20: make_hook returned the class Even, return an object of it; define "),
    (b"x = '\xff'\n", " cannot be read as text: "),
    (b"# -*- coding: klingon -*-\n", " cannot be read as text: unknown encoding"),
])
def test_wrong_files_are_refused(tmp_path: Path, source: str | bytes, text: str) -> None:
    """The message names file and line, what happened there, and what to do."""
    refused(write(tmp_path, source), text)


def test_a_file_with_a_zero_byte_is_refused(tmp_path: Path) -> None:
    """Python's versions call it different names; the file is named all the same."""
    refused(write(tmp_path, b"x = 1\x00\n"), "null bytes")


def test_wrong_arguments_are_refused(tmp_path: Path) -> None:
    """The file's own function, or what it calls, tells which one; the line is the last one in the file that it passed through."""
    path = write(tmp_path, GOOD)
    refused(path, ", line 21: make_hook failed: TypeError: ", {"strength": 1})
    refused(path, "'strength'", {"strength": 1})
    path = write(tmp_path, GOOD.replace("**arguments):", "level):").replace("**arguments)", "level)"))
    refused(path, ", line 20: make_hook failed: TypeError: ", {"x": 1})


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    """With what to give instead."""
    refused(tmp_path / "none.py", " not found; give the path of a Python file")
    refused(tmp_path, " not found; give the path of a Python file")


@pytest.mark.skipif(os.name == "nt" or not hasattr(os, "geteuid") or os.geteuid() == 0, reason="permissions do not bind here")
def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    """With the system's reason."""
    path = write(tmp_path, GOOD)
    path.chmod(0)
    refused(path, " cannot be read: Permission denied; check its permissions")


def test_a_file_that_fails_leaves_no_module(tmp_path: Path) -> None:
    """And one that was loaded before stays."""
    before = set(sys.modules)
    path = write(tmp_path, "x = 1 / 0\n")
    refused(path, "ZeroDivisionError")
    assert set(sys.modules) == before
    good = load_hook(write(tmp_path, GOOD))
    refused(write(tmp_path, "x = 1 / 0\n"), "ZeroDivisionError")
    assert sys.modules[type(good).__module__].__dict__["Even"] is type(good)


def test_an_interrupt_is_no_error_of_the_file(tmp_path: Path) -> None:
    """Ctrl+C ends the program and not only the file."""
    with pytest.raises(KeyboardInterrupt):
        load_hook(write(tmp_path, "raise KeyboardInterrupt\n"))


@pytest.mark.parametrize(("text", "wanted"), [("", {}), ("  ", {}), ("{}", {}),
                                              ('{"a": 1, "b": [true, null], "c": "é"}', {"a": 1, "b": [True, None], "c": "é"})])
def test_arguments_by_hand(text: str, wanted: dict[str, Any]) -> None:
    """A JSON object; nothing is none."""
    assert parse_arguments(text) == wanted


@pytest.mark.parametrize("text", ["5", "[]", '"a"', "null", "{", "{a: 1}", "{'a': 1}", "a=1", "[" * 100_000])
def test_arguments_that_are_no_object_are_refused(text: str) -> None:
    """With an example of one."""
    with pytest.raises(SettingsError, match=r'write a JSON object, for example \{"strength": 0\.5\}$') as caught:
        parse_arguments(text)
    assert caught.value.field == "hook"
    assert len(str(caught.value)) < 400


def test_hooks_of_the_folder(tmp_path: Path) -> None:
    """By their plain names; hidden and private files are not offered, and no folder offers nothing."""
    for name in ("b.py", "a b.py", "_helper.py", ".hidden.py", "text.txt"):
        write(tmp_path, GOOD, name)
    assert hook_file_names(tmp_path) == ("a b.py", "b.py")
    assert hook_file_names(None) == hook_file_names(tmp_path / "none") == ()
    assert load_hook_from_folder(tmp_path, "a b.py", {"level": 3}).level == 3  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", [
    "../mine.py", "sub/mine.py", "sub\\mine.py", "..\\mine.py", "/etc/mine.py", "C:mine.py", "C:\\mine.py", "mine.py:stream.py", "..", ".", "", ".py",
    "..py", ".mine.py", "mine", "mine.pyc", "mine.py\x00", "mi\x00ne.py", "mine.py/", "mine\n.py"])
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    """On any system, whether there is such a file or not."""
    write(tmp_path, GOOD)
    (tmp_path / "hooks").mkdir()
    with pytest.raises(HookError, match=r"expected the plain name of a \.py file, without folders; put the file into "):
        load_hook_from_folder(tmp_path / "hooks", name)


def link(path: Path, target: Path) -> None:
    """A symbolic link, where the system lets us make one."""
    try:
        path.symlink_to(target)
    except OSError:
        pytest.skip("no symbolic links here")


def test_links_that_leave_the_folder_are_refused(tmp_path: Path) -> None:
    """A link to a file outside is neither loaded nor offered, one to a neighbour is, and the folder itself may be one."""
    folder = tmp_path / "hooks"
    folder.mkdir()
    outside = write(tmp_path, "raise RuntimeError('it ran')\n", "outside.py")
    write(folder, GOOD, "real.py")
    link(folder / "away.py", outside)
    link(folder / "near.py", folder / "real.py")
    link(tmp_path / "alias", folder)
    with pytest.raises(HookError, match=r"^hook file 'away\.py' is a link that leads out of .*; put the file itself there$"):
        load_hook_from_folder(folder, "away.py")
    assert hook_file_names(folder) == ("near.py", "real.py")
    assert load_hook_from_folder(folder, "near.py").name == "Even"
    assert load_hook_from_folder(tmp_path / "alias", "real.py").name == "Even"


def test_files_of_the_folder_are_off_until_it_is_chosen(tmp_path: Path) -> None:
    """No folder, a folder that is not there, a file that is not there: each says what to do."""
    write(tmp_path, GOOD)
    for folder, name, text in (
            (None, "mine.py", "^hook file 'mine.py': hook files are switched off in settings; on the command line use --hook, elsewhere whoever "
                              "runs the machine has to choose a folder for them$"),
            (tmp_path / "none", "mine.py", "^hook file 'mine.py': the folder .*none for hook files does not exist; make it, or choose another$"),
            (tmp_path, "other.py", "^hook file 'other.py' not found in .*; there are: mine.py$")):
        with pytest.raises(HookError, match=text):
            load_hook_from_folder(folder, name)


def command(tmp_path: Path, *words: str) -> int:
    """The command line on a dark picture, all of which is one segment."""
    if not (tmp_path / "dark.png").exists():
        from PIL import Image

        Image.new("RGB", (96, 80), (20, 20, 20)).save(tmp_path / "dark.png")
    return main(["run", str(tmp_path / "dark.png"), "--output", str(tmp_path / "out"), "--detector", "whole", "--set", "guide_size=64", *words])


def level(tmp_path: Path) -> float:
    """What the middle of the result is."""
    return float(read_picture(tmp_path / "out" / "dark.png").image_bchw[0, 0, 40, 48])


def test_the_command_line_runs_hooks(tmp_path: Path) -> None:
    """One, one with arguments, and two in order: the last one's level is in the picture."""
    path = write(tmp_path, GOOD)
    assert command(tmp_path, "--hook", str(path)) == 0
    assert level(tmp_path) == 1
    assert command(tmp_path, "--hook", str(path), "--hook-arguments", '{"level": 0.2}') == 0
    assert level(tmp_path) == pytest.approx(0.2, abs=1e-6)
    assert command(tmp_path, "--hook", str(path), "--hook", str(path), "--hook-arguments", '{"level": 0.4}') == 0
    assert level(tmp_path) == pytest.approx(0.4, abs=1e-6)


@pytest.mark.parametrize(("words", "code", "text"), [
    (["--hook", "no-such-file.py"], 1, "error: hook file no-such-file.py not found; give the path of a Python file"),
    (["--hook-arguments", "{}"], 2, "error: --hook-arguments {}: it belongs behind the --hook that it is for, once"),
    (["--hook", "FILE", "--hook-arguments", "{}", "--hook-arguments", "{}"], 2, "error: --hook-arguments {}: it belongs behind the --hook"),
    (["--hook", "FILE", "--hook-arguments", "[]"], 2, "error: hook arguments '[]': write a JSON object"),
    (["--set", "hooks=cfg x"], 2, "error: hooks: 'cfg x': expected a number, got 'x'"),
    (["--set", "hooks=file mine.py"], 1, "error: hook file 'mine.py': hook files are switched off in settings; on the command line use --hook"),
])
def test_the_command_line_refuses_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], code: int, text: str) -> None:
    """Nothing is written, the message says why, and the exit code whether the words or the file are wrong."""
    path = write(tmp_path, GOOD)
    assert command(tmp_path, *[str(path) if word == "FILE" else word for word in words]) == code
    assert text in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_command_line_tells_what_an_engine_without_a_model_leaves_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A schedule means nothing to the filter, and a filter of segments does."""
    assert command(tmp_path, "--set", "hooks=cfg 5; label nothing") == 0
    assert "the engine 'filter' samples nothing: what cfg schedule + label nothing would do to the sampling is left out" in caplog.text
    caplog.clear()
    assert command(tmp_path, "--set", "hooks=label nothing") == 0
    assert caplog.text == ""
    assert (tmp_path / "out" / "dark.png").read_bytes() == (tmp_path / "dark.png").read_bytes()
