"""Detailer's page as a user works with it: short ways to do and to read what the tests need."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, TypeVar

from chromium import Browser
from served import Served

P = TypeVar("P", bound="Panel")

TITLE = "script_{tab}_detailer_"


class Panel:
    """The panel of one tab in a page that was opened anew, of whatever host."""

    def __init__(self, browser: Browser, address: str, tab: str = "txt2img") -> None:
        self.browser, self.address, self.tab = browser, address, tab
        self.prefix = f"#{TITLE.format(tab=tab)}"

    def open(self: P) -> P:
        """The page, with the panel open, and so switched on."""
        self.load()
        return self.show()

    def show(self: P) -> P:
        """The page that is loaded, with the panel open, and so switched on."""
        if self.tab != "txt2img":
            self.browser.click(f"#tabs > .tab-nav > button:nth-of-type({('txt2img', 'img2img').index(self.tab) + 1})")
        self.browser.click(f"{self.prefix}enabled > .label-wrap")  # a click on the box itself would only switch it on
        self.browser.wait("document.querySelector(arguments[0]).offsetParent", f"{self.prefix}units")
        return self

    def load(self) -> None:
        """Load the page, and wait until the panels of both tabs are set up."""
        self.browser.open(self.address)
        self.wait_until_loaded()

    def wait_until_loaded(self) -> None:
        """Wait until the panels of both tabs are set up."""
        self.browser.wait("document.body && !document.querySelector('.detailer-data:not([data-ready])') && "
                          "document.querySelectorAll('.detailer-data').length == 2")

    def part(self, unit: int, name: str) -> str:
        """CSS of a part of a unit."""
        return f"{self.prefix}unit_{unit}_{name}"

    def choose_unit(self, unit: int) -> None:
        """Show the tab of a unit."""
        self.browser.click(f"{self.prefix}units > .tab-nav > button:nth-of-type({unit})")
        self.browser.wait("document.querySelector(arguments[0]).offsetParent", self.part(unit, "enable"))

    def unfold(self, css: str) -> None:
        """Open a folded group."""
        self.browser.click(f"{css} > .label-wrap, {css} > button.label-wrap")
        self.browser.wait("document.querySelector(arguments[0]).classList.contains('open')", f"{css} .label-wrap")

    def value(self, unit: int, name: str) -> Any:
        """What stands in a field: text, a number, or whether a box is checked."""
        return self.browser.run("""const field = document.querySelector(arguments[0] + ' :is(textarea, input)');
            return field.type == 'checkbox' ? field.checked : field.type == 'number' ? Number(field.value) : field.value""", self.part(unit, name))

    def wait_for(self, unit: int, name: str, value: Any) -> None:
        """Wait until that stands in a field."""
        self.browser.wait("""(() => { const field = document.querySelector(arguments[0] + ' :is(textarea, input)');
            return (field.type == 'checkbox' ? field.checked : field.type == 'number' ? Number(field.value) : field.value) === arguments[1] })()""",
                          self.part(unit, name), value)

    def write(self, unit: int, name: str, text: str) -> None:
        """Type into a field instead of what is there."""
        self.browser.replace(f"{self.part(unit, name)} :is(textarea, input[type=number], input:not([type]), input[type=text])", text)

    def choose(self, unit: int, name: str, text: str) -> None:
        """Type a name into a list, and take it."""
        field = f"{self.part(unit, name)} input"
        self.browser.click(field)
        self.browser.run("document.querySelector(arguments[0]).select()", field)
        self.browser.type(field, text + "\ue007")
        self.browser.press("\ue004")
        self.wait_for(unit, name, text)

    def check(self, unit: int, name: str) -> None:
        """Click a box."""
        self.browser.click(f"{self.part(unit, name)} input")

    def press(self, name: str) -> None:
        """Press a button of the panel."""
        self.browser.click(f"{self.prefix}{name}")

    def status(self, text: str) -> None:
        """Wait until the status line says that."""
        self.browser.wait("document.querySelector(arguments[0]).textContent.includes(arguments[1])", f"{self.prefix}status", text)

    def badges(self) -> list[bool]:
        """Which tabs have a badge."""
        return self.browser.run("return [...document.querySelectorAll(arguments[0])].map(one => one.classList.contains('detailer-on'))",
                                f"{self.prefix}units > .tab-nav > button")

    def look(self, unit: int, picture: Path | None = None) -> list[dict[str, Any]]:
        """Preview what the unit finds in a picture, or in the page's last result; the segments as the list shows them."""
        if picture is not None:
            self.browser.type(f"{self.part(unit, 'preview_file')}", str(picture))
            self.browser.wait("document.querySelector(arguments[0]).textContent == arguments[1]", f"{self.part(unit, 'preview')} .detailer-source",
                              picture.name)
        self.browser.run("document.querySelector(arguments[0]).hidden = true", f"{self.part(unit, 'preview')} canvas")
        self.press(f"unit_{unit}_preview_show")
        self.browser.wait("!document.querySelector(arguments[0]).hidden", f"{self.part(unit, 'preview')} canvas")
        return self.segments(unit)

    def segments(self, unit: int) -> list[dict[str, Any]]:
        """The list of segments: text, whether it is picked, and its prompt."""
        return self.browser.run("""return [...document.querySelectorAll(arguments[0] + ' li')].map(item => ({text: item.textContent.trim(),
            picked: item.querySelector('[type=checkbox]').checked, prompt: item.querySelector('[type=text]').value}))""",
                                self.part(unit, "preview"))


class Page(Panel):
    """The panel in the page that is served for a test."""

    def __init__(self, browser: Browser, served: Served, tab: str = "txt2img") -> None:
        super().__init__(browser, served.address, tab)
        self.served = served

    def generate(self) -> dict[str, Any]:
        """Press "Generate"; what the server got."""
        before = len(self.served.received())
        self.browser.click(f"#{self.tab}_generate")
        end = time.monotonic() + self.browser.patience
        while len(self.served.received()) == before:
            assert time.monotonic() < end, self.served.log()
            time.sleep(0.05)
        number = self.served.received()[-1]["number"]
        self.browser.wait("document.querySelector(arguments[0]).textContent.includes(arguments[1])", f"#html_info_{self.tab}", f"done {number}")
        return self.served.received()[-1]
