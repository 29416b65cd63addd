"""The command line as a process of its own: signals, pipes, names that are no text."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cli_pictures import FAST, files, noise, opened, report, save

REPOSITORY = Path(__file__).resolve().parents[3]
COMMAND = [sys.executable, "-u", "-m", "detailer_core"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}


def call(folder: Path, *words: str | bytes, **settings: str) -> subprocess.CompletedProcess[bytes]:
    """The finished process."""
    return subprocess.run([*COMMAND, *words], cwd=folder, env=ENVIRONMENT | settings, capture_output=True, timeout=120, check=False)


def test_exit_code_and_names_that_cannot_be_shown(tmp_path: Path) -> None:
    """Names that are no UTF-8, or that the terminal has no letters for, are worked on and reported; the exit code is the command's."""
    try:
        odd = Path(os.fsdecode(b"f\xe9e.png"))
        save(tmp_path / odd)
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    save(tmp_path / "顔 one.png")
    (tmp_path / "bad.png").write_bytes(b"bad")
    done = call(tmp_path, "run", os.fsencode(odd), "顔 one.png", "bad.png", "--output", "out", "--detector", "whole", "--report", "r.json", *FAST,
                PYTHONIOENCODING="ascii")
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
    assert b"bad.png is not a picture" in done.stderr
    assert files(tmp_path / "out") == sorted([str(odd), "顔 one.png"])
    assert [entry["input"] for entry in report(tmp_path / "r.json")["pictures"]] == [str(odd), "顔 one.png", "bad.png"]


@pytest.mark.skipif(os.name == "nt", reason="Ctrl+C reaches other processes too on Windows")
def test_ctrl_c(tmp_path: Path) -> None:
    """Finished pictures are whole, the report tells of all, no other file is left, and the exit code is 130."""
    first = save(tmp_path / "in" / "000.png", noise(size_wh=(300, 300)))
    for number in range(1, 300):
        shutil.copy(first, tmp_path / "in" / f"{number:03}.png")
    process = subprocess.Popen([*COMMAND, "run", "in", "--output", "out", "--detector", "whole", "--report", "r.json", *FAST], cwd=tmp_path,
                               env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert b"000.png: 1 done" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"interrupted; finished pictures are kept" in errors
    assert b"Traceback" not in errors
    entries = report(tmp_path / "r.json")["pictures"]
    done = [entry["output"] for entry in entries if entry["state"] == "done"]
    assert 1 <= len(done) < len(entries) == 300
    # A picture that was moved into its place in the moment of the signal may be one more than the report knows.
    assert len(done) <= len(files(tmp_path / "out")) <= len(done) + 1
    for name in files(tmp_path / "out"):
        assert opened(tmp_path / "out" / name).size == (300, 300)


def test_reader_that_has_seen_enough(tmp_path: Path) -> None:
    """A pipe that is closed early, as by `head`, brings no traceback."""
    process = subprocess.Popen([*COMMAND, "settings", "--json-schema"], cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(timeout=60) == 1


def test_help_and_settings_answer_at_once(tmp_path: Path) -> None:
    """They load neither torch nor OpenCV, which takes seconds."""
    code = ("import sys; from detailer_core.cli.main import main; assert main(['settings']) == 0; "
            "sys.exit(str([m for m in ('torch', 'cv2', 'numpy', 'kornia') if m in sys.modules]) if 'torch' in sys.modules else 0)")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
