"""A running host's page as a user works with it: the panel, and the few parts of the host's own page that the tests need."""

from __future__ import annotations

import io
import itertools
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from chromium import Browser
from detailer_page import Panel
from PIL import Image

from .webui import URL

TABS = ("txt2img", "img2img", "extras", "pnginfo", "modelmerger", "train", "settings", "extensions")
"""The host's main tabs that have an id of this kind."""
HOSTS_OWN = ("net::ERR_NAME_NOT_RESOLVED", "/webui-assets/css/sourcesanspro.css", "/internal/ping")
"""What the console says of a host's page without Detailer: the browser may not look for anything outside, A1111 has no such style sheet, and while
the UI is reloaded it does not answer."""
UPDATES = "TypeError: Cannot read properties of undefined (reading 'props')"
"""What A1111's console says whenever a size is changed, with and without Detailer."""

_seeds: Iterator[int] = itertools.count(int(time.time()) % 10**6 * 100)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Result:
    """What stands under the result. told: the lines that are no generation parameters."""

    seed: int
    infotext: str
    told: str
    picture: Image.Image


class LivePage(Panel):
    """The panel of one tab in a running host. shots: where pictures of what is seen are put."""

    def __init__(self, browser: Browser, shots: Path, tab: str = "txt2img", *, url: str = URL) -> None:
        super().__init__(browser, f"{url}/", tab)
        self.shots = shots
        self._heard: list[str] = []

    def main_tab(self, tab: str) -> None:
        """Show one of the host's main tabs."""
        self.browser.wait("document.querySelector(arguments[0])", f"#tab_{tab}")
        place = self.browser.run("return [...document.querySelectorAll('#tabs > .tabitem')].findIndex(tab => tab.id == arguments[0])", f"tab_{tab}")
        self.browser.click(f"#tabs > .tab-nav > button:nth-of-type({place + 1})")
        self.browser.wait("document.querySelector(arguments[0]).offsetParent", f"#tab_{tab}")

    def inner_tab(self, css: str, title: str) -> None:
        """Show one of the tabs within an element of the host."""
        self.browser.run("""[...document.querySelectorAll(arguments[0] + ' > .tab-nav > button')].find(one => one.innerText.trim() == arguments[1])
            .click()""", css, title)

    def wait_until_loaded(self) -> None:
        """Wait until the panels are set up, and for what the host asks of its server then.

        A page that is left while such a question is under way leaves gradio 3 with a connection that it never closes, and so cannot reload the UI.
        """
        super().wait_until_loaded()
        time.sleep(1.5)

    def shoot(self, name: str, css: str = "") -> None:
        """Take a picture of the page, or of an element."""
        self.browser.screenshot(self.shots / f"{name}.png", css)

    def number(self, name: str, value: float) -> None:
        """Type into one of the host's own number fields of this tab."""
        self.browser.replace(f"#{self.tab}_{name} input[type=number]", str(value))

    def small(self, *, width: int = 256, height: int = 256, steps: int = 4, prompt: str = "a face") -> None:
        """Settings of the main picture for a small model on a slow machine."""
        self.browser.replace(f"#{self.tab}_prompt textarea", prompt)
        for name, value in (("width", width), ("height", height), ("steps", steps), ("cfg_scale", 1)):
            self.number(name, value)
        self.forgive()

    def begin(self, seed: int | None = None) -> int:
        """Press "Generate" with this seed, or one of its own; which comes back."""
        seed = next(_seeds) if seed is None else seed
        self.number("seed", seed)
        # The last result may have had the same seed.
        self.browser.run("for (const css of arguments) document.querySelector(css + ' .prose').innerHTML = ''", *self._told())
        self.browser.click(f"#{self.tab}_generate")
        return seed

    def finish(self, seed: int) -> Result:
        """Wait for the result of that seed."""
        info, told = self._told()
        self.browser.wait("document.querySelector(arguments[0]).textContent.includes(arguments[1])", info, f"Seed: {seed},")
        self.browser.wait("getComputedStyle(document.querySelector(arguments[0])).display == 'none'", f"#{self.tab}_interrupt")
        return Result(seed=seed, infotext=self.text(info), told=self.text(told), picture=self.picture())

    def picture(self) -> Image.Image:
        """The picture in the gallery."""
        source = self.browser.wait("document.querySelector(arguments[0])?.src", f"#{self.tab}_gallery img[src*='file=']")  # not the live preview
        with urllib.request.urlopen(source, timeout=60) as answer:
            return Image.open(io.BytesIO(answer.read())).convert("RGB")

    def generate(self) -> Result:
        """Press "Generate", and wait."""
        return self.finish(self.begin())

    def generate_without(self) -> Result:
        """As `generate`, with Detailer off, which is on afterwards again."""
        switch = f"{self.prefix}enabled-visible-checkbox"
        self.browser.click(switch)
        result = self.generate()
        assert "Detailer" not in result.infotext
        self.browser.click(switch)
        return result

    def _told(self) -> tuple[str, str]:
        return f"#html_info_{self.tab}", f"#html_log_{self.tab}"

    def text(self, css: str) -> str:
        """The text of an element, with its lines."""
        return self.browser.run("return document.querySelector(arguments[0]).innerText", css)

    def choose_script(self, title: str) -> None:
        """Choose an entry of the host's list of scripts."""
        field = f"#tab_{self.tab} #script_list input"
        self.browser.click(field)
        self.browser.run("document.querySelector(arguments[0]).select()", field)
        self.browser.type(field, f"{title}\ue007")
        self.browser.wait("document.querySelector(arguments[0])?.offsetParent", f"#script_{self.tab}_detailer_pictures_folder")

    def upload(self, css: str, picture: Path) -> None:
        """Give a picture to one of the host's image fields."""
        self.browser.type(f"{css} input[type=file]", str(picture))
        self.browser.wait("document.querySelector(arguments[0])?.naturalWidth", f"{css} img")

    def paste(self, infotext: str) -> None:
        """Put generation parameters into the prompt, and press the arrow."""
        self.browser.replace(f"#{self.tab}_prompt textarea", "x")
        # typed, each line's end would be a key that the page listens to
        self.browser.run("""const field = document.querySelector(arguments[0]); field.value = arguments[1];
            field.dispatchEvent(new Event('input', {bubbles: true}))""", f"#{self.tab}_prompt textarea", infotext)
        self.browser.click(f"#{self.tab}_tools #paste")
        self.browser.wait("document.querySelector(arguments[0]).value != arguments[1]", f"#{self.tab}_prompt textarea", infotext)
        self.forgive()

    def forgive(self) -> None:
        """Pass over what the console has said because a size was changed."""
        self._heard += [line for line in self.browser.errors() if UPDATES not in line]

    def own_errors(self) -> list[str]:
        """The console's errors since it was last asked, without what the host wants from outside, or does not have itself."""
        heard, self._heard = [*self._heard, *self.browser.errors()], []
        return [line for line in heard if not any(words in line for words in HOSTS_OWN)]
