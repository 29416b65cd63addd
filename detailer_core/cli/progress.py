"""One line that tells how far a run is: pictures, and the segments of the one at hand."""

from __future__ import annotations

import logging
import sys
from types import TracebackType

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from ..run import Progress

_NAME = 32  # letters of a file name that are shown


class RunBar:
    """A bar over all pictures that moves with every segment; hidden where the output is no terminal."""

    def __init__(self, pictures: int) -> None:
        # One bar for both: several bars below each other come out as rubbish in Windows' own terminal.
        self._bar = tqdm(total=pictures, disable=None, bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}", dynamic_ncols=True)
        self._redirect = logging_redirect_tqdm([logging.getLogger()])
        self._pictures = pictures
        self._over = 0
        self._name, self._count = "", 1

    def __enter__(self) -> RunBar:
        """Let log messages pass above the bar."""
        self._redirect.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Leave the bar as it is, on a line of its own."""
        self._bar.close()
        self._redirect.__exit__(kind, error, trace)

    def begin(self, name: str, count: int = 1) -> None:
        """The next picture's turn, or that of so many, of which it is the first."""
        self._name, self._count = name if len(name) <= _NAME else f"{name[:_NAME - 1]}…", count
        self._show(0.0, "looking")

    def wave(self, progress: Progress) -> None:
        """A wave of the picture at hand begins."""
        self._show(self._count * progress.segments_done / max(1, progress.segments), f"segment {progress.segments_done + 1}/{progress.segments}")

    def end(self, text: str, *, error: bool = False) -> None:
        """The picture is over; the text stays on the screen."""
        self._over += 1
        self._bar.n = self._over
        self._bar.write(text, file=sys.stderr if error else sys.stdout)
        self._bar.refresh()

    def skip(self, count: int) -> None:
        """So many pictures were done before."""
        self._over += count
        self._bar.n = self._over
        self._bar.refresh()

    def _show(self, share: float, what: str) -> None:
        self._bar.n = self._over + share
        self._bar.set_description_str(f"picture {self._over + 1}/{self._pictures} {self._name}: {what}")
