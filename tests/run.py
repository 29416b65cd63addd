"""Run all tests: with the oldest versions that a supported host pins, and with current ones. Needs nothing but Python.

Usage: python3 tests/run.py [oldest] [current] [lint]        (default: all three)

Each set of versions gets a virtual environment of its own in `.venvs/`, made on the first run. The tests of the page need Chromium and
chromedriver and are skipped without; where the environment says CI=true, both are installed with apt-get.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PINS = ROOT / "requirements"


def environment(name: str) -> str:
    """The Python of the environment with these pins, made if it is not there or its pins have changed."""
    folder = ROOT / ".venvs" / name
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    pins = PINS / f"dev-{name}.txt"
    wanted = pins.read_text(encoding="utf-8")
    stamp = folder / "installed.txt"
    if not stamp.is_file() or stamp.read_text(encoding="utf-8") != wanted:
        venv.create(folder, with_pip=True, clear=True)
        run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "-r", str(pins)])
        stamp.write_text(wanted, encoding="utf-8")
    return str(python)


def run(command: list[str]) -> None:
    """Run a command in the project's folder; a failure ends the whole run."""
    print("$", " ".join(command), flush=True)
    done = subprocess.run(command, cwd=ROOT, check=False)
    if done.returncode:
        sys.exit(done.returncode)


def provide_browser() -> None:
    """Install Chromium where everything is to be tested and this can be done."""
    there = shutil.which("chromium") and shutil.which("chromedriver")
    can = os.environ.get("CI") == "true" and shutil.which("apt-get") and hasattr(os, "geteuid") and os.geteuid() == 0
    if can and not there:
        run(["apt-get", "update", "-qq"])
        run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium", "chromium-driver"])


def main(parts: list[str]) -> None:
    """Run the named parts."""
    if {"oldest", "current"} & set(parts):
        provide_browser()
    for name in ("oldest", "current"):
        if name in parts:
            run([environment(name), "-m", "pytest"])
    if "lint" in parts:
        python = environment("current")
        run([python, "-m", "ruff", "check", "."])
        run([python, "-m", "pyright", "--project", str(ROOT / "pyproject.toml"), "--pythonpath", python])


if __name__ == "__main__":
    asked = sys.argv[1:] or ["oldest", "current", "lint"]
    if set(asked) - {"oldest", "current", "lint"}:
        sys.exit(__doc__)
    main(asked)
