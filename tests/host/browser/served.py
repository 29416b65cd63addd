"""A page that is served by a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

PATIENCE = 120.0
"""Seconds after which a page that is not served counts as failed."""


class Served:
    """The process and the folder in which it leaves what it got."""

    def __init__(self, folder: Path, *, remember: bool = False) -> None:
        """remember: the setting is on that the page begins with the values that were used last."""
        self.folder = folder
        self._log = (folder / "server.log").open("w+", encoding="utf-8")
        script = Path(__file__).with_name("page_server.py")
        self._process = subprocess.Popen([sys.executable, str(script), str(folder)], stdout=self._log, stderr=subprocess.STDOUT,
                                         env={**os.environ, "REMEMBER": "1"} if remember else None)

    @property
    def address(self) -> str:
        """Where the page is, once it can be opened."""
        end = time.monotonic() + PATIENCE
        while not (self.folder / "address.txt").is_file():
            if self._process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"the page is not served: {self.log()}")
            time.sleep(0.1)
        return (self.folder / "address.txt").read_text(encoding="utf-8")

    def log(self) -> str:
        """What the server said."""
        return (self.folder / "server.log").read_text(encoding="utf-8")

    def received(self) -> list[dict[str, Any]]:
        """What came with each press of "Generate"."""
        path = self.folder / "received.jsonl"
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []

    def end(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.wait(timeout=30)
        self._log.close()
