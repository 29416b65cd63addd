"""The page begins with the values that were used last, where the host's settings ask for it."""

from __future__ import annotations

from chromium import Browser
from detailer_page import Page
from served import Served

REMEMBER = True
"""For the server of this file."""


def test_last_values_are_remembered(browser: Browser, served: Served) -> None:
    """What a picture was begun with is there again after a reload, on the same page only; what was changed after that is not."""
    page = Page(browser, served).open()
    page.choose(1, "detector", "whole")
    page.write(1, "prompt", "used")
    page.choose_unit(2)
    page.check(2, "enable")
    made = page.generate()
    page.write(2, "prompt", "not used")
    page.load()
    page.wait_for(1, "prompt", "used")
    page.browser.wait("document.querySelector(arguments[0]).checked", f"{page.prefix}enabled-visible-checkbox")
    page.browser.wait("document.querySelectorAll(arguments[0]).length == 2", f"{page.prefix}units .detailer-on")
    assert page.value(2, "prompt") == ""
    assert page.generate()["units"] == made["units"]
    other = Page(browser, served, "img2img")
    assert other.value(1, "prompt") == ""
    assert other.browser.run("return document.querySelector(arguments[0]).checked", f"{other.prefix}enabled-visible-checkbox") is False
    assert browser.errors() == []


def test_what_no_longer_fits_is_passed_over(browser: Browser, served: Served) -> None:
    """Kept values of an older version, or spoilt ones, leave the page as it is."""
    page = Page(browser, served)
    for kept in ('{"on": true, "units": [{"prompt": 7, "gone": 1, "denoise": 0.6}]}', "{", "[]", '{"units": 3}'):
        page.load()
        browser.run("localStorage.setItem('detailer-last-' + arguments[0].slice(1), arguments[1])", page.prefix, kept)
        page.load()
        if kept.endswith("]}"):
            page.wait_for(1, "denoise", 0.6)
        assert page.value(1, "prompt") == ""
    assert page.value(1, "denoise") == 0.4
    assert browser.errors() == []
