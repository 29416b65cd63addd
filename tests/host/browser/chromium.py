"""A headless Chromium, driven through chromedriver's own HTTP protocol (W3C WebDriver): no package is needed for that."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
"""The protocol's key for an element."""

_ARGUMENTS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
              "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars",
              # Nothing outside this machine is looked for, and what a page wants from there fails at once.
              "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1")


def find_programs() -> tuple[str, str] | None:
    """Chromium and its driver; None if one of them is not installed."""
    browser = next((path for name in NAMES if (path := shutil.which(name))), None)
    driver = shutil.which("chromedriver")
    return (browser, driver) if browser and driver else None


class BrowserError(Exception):
    """The browser could not do what was asked for."""


class Browser:
    """One page in a browser of its own. All that waits gives up after `patience` seconds."""

    def __init__(self, programs: tuple[str, str], folder: Path, *, dark: bool = False, size: tuple[int, int] = (1400, 1800)) -> None:
        """folder: for the profile and the driver's log."""
        self.patience = 60.0
        self._log = (folder / "chromedriver.log").open("w+", encoding="utf-8")
        self._driver = subprocess.Popen([programs[1], "--port=0"], stdout=self._log, stderr=subprocess.STDOUT)
        self._root = f"http://127.0.0.1:{self._port()}"
        arguments = [*_ARGUMENTS, f"--user-data-dir={folder / 'profile'}", f"--window-size={size[0]},{size[1]}"]
        if dark:
            arguments.append("--force-dark-mode")
        options = {"binary": programs[0], "args": arguments, "prefs": {"download.default_directory": str(folder)}}
        wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        made = self._ask("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self._session = f"/session/{made['sessionId']}"

    def _port(self) -> int:
        """The port that the driver has chosen and says in its log."""
        end = time.monotonic() + 60
        while time.monotonic() < end and self._driver.poll() is None:
            text = Path(self._log.name).read_text(encoding="utf-8")
            if "successfully on port " in text:
                return int(text.split("successfully on port ")[1].split(".")[0])
            time.sleep(0.05)
        raise BrowserError(f"chromedriver did not start: {Path(self._log.name).read_text(encoding='utf-8')}")

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._root + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            with error:
                value = json.load(error)["value"]
            raise BrowserError(f"{path}: {value['error']}: {value['message'].splitlines()[0]}") from None

    def open(self, address: str) -> None:
        """Load a page."""
        self._ask("POST", f"{self._session}/url", {"url": address})

    def run(self, script: str, *args: Any) -> Any:
        """What the body of a function returns in the page."""
        return self._ask("POST", f"{self._session}/execute/sync", {"script": script, "args": list(args)})

    def wait(self, expression: str, *args: Any) -> Any:
        """The first value of a JavaScript expression that counts as true. Raises: BrowserError if there is none in time."""
        end = time.monotonic() + self.patience
        while True:
            found = self.run(f"return ({expression})", *args)
            if found:
                return found
            if time.monotonic() > end:
                raise BrowserError(f"waited {self.patience:g} s for: {expression} {args or ''}")
            time.sleep(0.1)

    def _find(self, css: str) -> str:
        self.wait("document.querySelector(arguments[0])", css)
        found = self._ask("POST", f"{self._session}/element", {"using": "css selector", "value": css})[ELEMENT]
        return f"{self._session}/element/{found}"

    def click(self, css: str, *, at: tuple[int, int] | None = None) -> None:
        """Click an element as a user does: it must be seen, and nothing may lie over it. at: pixels from its centre."""
        if at is not None:
            self._click_at(css, at)
            return
        end = time.monotonic() + self.patience
        while True:
            try:
                self._ask("POST", f"{self._find(css)}/click", {})
                return
            except BrowserError:  # it moves, or is being made anew
                if time.monotonic() > end:
                    raise
                time.sleep(0.2)

    def _click_at(self, css: str, at: tuple[int, int]) -> None:
        element = self._find(css).rpartition("/")[2]
        self.run("document.querySelector(arguments[0]).scrollIntoView({block: 'center'})", css)
        move = {"type": "pointerMove", "duration": 0, "origin": {ELEMENT: element}, "x": at[0], "y": at[1]}
        steps = [move, {"type": "pointerDown", "button": 0}, {"type": "pointerUp", "button": 0}]
        self._ask("POST", f"{self._session}/actions", {"actions": [{"type": "pointer", "id": "mouse", "actions": steps}]})

    def type(self, css: str, text: str) -> None:
        """Type into an element, after what is there; also the path into a field for files."""
        self._ask("POST", f"{self._find(css)}/value", {"text": text})

    def replace(self, css: str, text: str) -> None:
        """Type into an element instead of what is there, and leave it with the tabulator."""
        self.click(css)
        self.run("document.querySelector(arguments[0]).select()", css)
        self.type(css, text + "\ue004")

    def press(self, *keys: str) -> None:
        """Press keys where the keyboard is."""
        steps = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self._ask("POST", f"{self._session}/actions", {"actions": [{"type": "key", "id": "keys", "actions": steps}]})

    def accept(self) -> None:
        """Say yes to the question that the page asks."""
        end = time.monotonic() + self.patience
        while True:
            try:
                self._ask("POST", f"{self._session}/alert/accept", {})
                return
            except BrowserError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.1)

    def screenshot(self, path: Path, css: str = "") -> None:
        """Write what is seen, or one element, as PNG."""
        place = self._session
        if css:
            place = self._find(css)
            self.run("document.querySelector(arguments[0]).scrollIntoView()", css)
        path.write_bytes(base64.b64decode(self._ask("GET", f"{place}/screenshot")))

    def errors(self) -> list[str]:
        """What the console has said of errors since it was last asked."""
        entries: Sequence[dict[str, Any]] = self._ask("POST", f"{self._session}/se/log", {"type": "browser"})
        return [entry["message"] for entry in entries if entry["level"] == "SEVERE"]

    def quit(self) -> None:
        """End browser and driver."""
        with suppress(BrowserError, OSError):
            self._ask("DELETE", self._session)
        self._driver.terminate()
        self._driver.wait(timeout=30)
        self._log.close()
