"""The page in a real browser, served by the gradio of this environment: what is done there arrives at the server as settings."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from chromium import Browser
from detailer_page import Page
from PIL import Image
from served import Served

from detailer_core.settings import UnitSettings, options


@pytest.fixture
def page(browser: Browser, served: Served) -> Iterator[Page]:
    """The panel of txt2img, opened anew; afterwards neither the browser nor the server may have had trouble."""
    browser.errors()
    opened = Page(browser, served).open()
    yield opened
    assert browser.errors() == []
    assert "Traceback" not in served.log()


@pytest.fixture(scope="module")
def wide_picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture of 1024x512 in which the detector "tiles" finds three boxes, at 0, 256 and 512."""
    path = tmp_path_factory.mktemp("pictures") / "wide.png"
    Image.linear_gradient("L").resize((1024, 512)).convert("RGB").save(path)
    return path


def unit_of(received: dict, number: int = 1) -> UnitSettings:
    """The settings of a unit that the server got."""
    assert received["problems"] == []
    return UnitSettings(**received["units"][str(number)])


def test_untouched_panel_sends_the_defaults(page: Page) -> None:
    """Switched on and nothing else: one unit, with the table's defaults, whatever the list of detectors begins with."""
    received = page.generate()
    assert received["switch"] is True
    assert list(received["units"]) == ["1"]
    assert unit_of(received) == UnitSettings()


def test_changed_options_arrive(page: Page) -> None:
    """Detector, prompts, numbers, a list, and a value of its own where the main picture's was inherited."""
    page.choose(1, "detector", "spots")
    page.write(1, "prompt", "a face, detailed")
    page.write(1, "denoise", "0.55")
    page.unfold(page.part(1, "group_sampling"))
    page.write(1, "steps", "9")
    page.wait_for(1, "own_steps", True)
    page.choose(1, "sampler", "Euler a")
    page.unfold(page.part(1, "group_geometry"))
    page.write(1, "guide_size", "64")
    page.write(1, "max_size", "64")
    unit = unit_of(page.generate())
    assert (unit.detector, unit.prompt, unit.denoise, unit.steps, unit.sampler) == ("spots", "a face, detailed", 0.55, 9, "Euler a")
    assert (unit.guide_size, unit.max_size, unit.cfg) == (64, 64, None)


def test_badges_show_which_units_are_on(page: Page) -> None:
    """The first unit is on; switching, and choosing another tab, keeps the badges right; screen readers are told."""
    assert page.badges() == [True, False, False]
    page.choose_unit(2)
    page.check(2, "enable")
    page.browser.wait("document.querySelectorAll(arguments[0]).length == 2", f"{page.prefix}units .detailer-on")
    page.choose_unit(3)
    assert page.badges() == [True, True, False]
    spoken = "return document.querySelectorAll(arguments[0])[1].getAttribute('aria-label')"
    assert page.browser.run(spoken, f"{page.prefix}units > .tab-nav > button") == "Unit 2, on"


def test_classes_are_buttons(page: Page) -> None:
    """The chosen detector's classes can be pressed, which writes the text; typing presses them; names are never markup."""
    page.choose(1, "detector", "spots")
    buttons = f"{page.part(1, 'classes')} button"
    page.browser.wait("document.querySelectorAll(arguments[0]).length == 3", buttons)
    assert page.browser.run("return [...document.querySelectorAll(arguments[0])].map(b => b.textContent)", buttons) == ["face", "left hand", "<b>"]
    page.browser.click(f"{buttons}:nth-of-type(2)")
    page.browser.click(f"{buttons}:nth-of-type(1)")
    page.wait_for(1, "labels", "left hand, face")
    page.write(1, "labels", "face")
    pressed = "return [...document.querySelectorAll(arguments[0])].map(b => b.getAttribute('aria-pressed'))"
    assert page.browser.run(pressed, buttons) == ["true", "false", "false"]
    page.browser.click(f"{buttons}:nth-of-type(1)")
    page.wait_for(1, "labels", "")


def test_units_are_copied_moved_and_reset(page: Page) -> None:
    """A copied unit is pasted into another, moved to the next tab with its switch, and reset to the defaults."""
    page.write(1, "prompt", "first")
    page.choose(1, "detector", "whole")
    page.press("unit_1_copy")
    page.status("unit 1 is copied")
    edges = page.browser.run("return arguments[0].map(css => document.querySelector(css).disabled)",
                             [f"{page.prefix}unit_{name}" for name in ("1_left", "1_right", "2_left", "3_right")])
    assert edges == [True, False, False, True]
    page.choose_unit(2)
    page.press("unit_2_paste")
    page.wait_for(2, "prompt", "first")
    page.wait_for(2, "detector", "whole")
    assert page.value(2, "enable") is False
    page.write(2, "prompt", "second")
    page.check(2, "enable")
    page.press("unit_2_right")
    page.wait_for(3, "prompt", "second")
    page.wait_for(2, "prompt", "")
    page.browser.wait("document.querySelector(arguments[0]).offsetParent", page.part(3, "prompt"))
    page.browser.wait("document.querySelectorAll(arguments[0])[2].classList.contains('detailer-on')", f"{page.prefix}units > .tab-nav > button")
    assert page.badges() == [True, False, True]
    received = page.generate()
    assert unit_of(received) == UnitSettings(detector="whole", prompt="first")
    assert unit_of(received, 3) == UnitSettings(detector="whole", prompt="second")
    page.press("unit_3_reset")
    page.wait_for(3, "prompt", "")
    page.wait_for(3, "detector", UnitSettings().detector)
    assert page.value(3, "enable") is True


def test_presets_are_kept(page: Page, tmp_path: Path) -> None:
    """Saved, loaded after a reload of the page, renamed, read from a file, deleted when asked twice; a mistake is told."""
    page.unfold(f"{page.prefix}presets")
    page.press("preset_load")
    page.status("choose a preset")
    page.write(1, "prompt", "kept")
    page.browser.replace(f"{page.prefix}preset_name textarea", "My faces")
    page.press("preset_save")
    page.status("'My faces' is saved")
    page.open()
    page.unfold(f"{page.prefix}presets")
    page.browser.click(f"{page.prefix}preset input")
    page.browser.type(f"{page.prefix}preset input", "My faces\ue007")
    page.press("preset_load")
    page.wait_for(1, "prompt", "kept")
    page.browser.replace(f"{page.prefix}preset_name textarea", "Other")
    page.press("preset_rename")
    page.status("'My faces' is now 'Other'")
    file = tmp_path / "preset.json"
    file.write_text(json.dumps({"From a friend": [{"prompt": "given"}]}), encoding="utf-8")
    page.press("preset_import")
    page.browser.type("#detailer_preset_file", str(file))
    page.status("read: From a friend")
    page.press("preset_load")
    page.wait_for(1, "prompt", "given")
    page.press("preset_delete")
    page.browser.accept()
    page.status("'From a friend' is deleted")


def test_preview_shows_what_is_found_and_takes_picks(page: Page, wide_picture: Path) -> None:
    """Boxes on the canvas; a click leaves one out, the keyboard another; a prompt of one segment; all of it arrives at the server."""
    page.choose(1, "detector", "tiles")
    page.write(1, "prompt", "a wall")
    page.unfold(page.part(1, "preview"))
    found = page.look(1, wide_picture)
    assert [one["text"] for one in found] == ["1 tile 100 %", "2 tile 100 %", "3 tile 100 %"]
    assert all(one["picked"] for one in found)
    canvas = f"{page.part(1, 'preview')} canvas"
    size, area = page.browser.run("const c = document.querySelector(arguments[0]), b = c.getBoundingClientRect(); "
                                  "return [[c.width, c.height], [b.width, b.height]]", canvas)
    assert size == [1024, 512]
    before = page.browser.run("return document.querySelector(arguments[0]).toDataURL()", canvas)
    page.browser.click(canvas, at=(round(-area[0] * 0.45), 0))
    page.wait_for(1, "pick", "2-3")
    assert page.browser.run("return document.querySelector(arguments[0]).toDataURL()", canvas) != before
    page.browser.run("document.querySelectorAll(arguments[0])[1].focus()", f"{page.part(1, 'preview')} li [type=checkbox]")
    page.browser.press(" ")
    page.wait_for(1, "pick", "3")
    page.browser.press(" ")
    page.wait_for(1, "pick", "2-3")
    page.browser.type(f"{page.part(1, 'preview')} li:nth-of-type(3) [type=text]", "a window")
    page.wait_for(1, "prompt", "a wall [SEP] a window")
    unit = unit_of(page.generate())
    assert (unit.detector, unit.pick, unit.prompt) == ("tiles", "2-3", "a wall [SEP] a window")
    assert page.look(1) == [{"text": "1 tile 100 %", "picked": False, "prompt": ""}, {"text": "2 tile 100 %", "picked": True, "prompt": "a wall"},
                            {"text": "3 tile 100 %", "picked": True, "prompt": "a window"}]
    page.press("unit_1_right")  # what is clicked must not be written into another unit
    page.wait_for(2, "pick", "2-3")
    assert page.segments(1) == []


def test_preview_of_the_last_result_and_its_trouble(page: Page) -> None:
    """Without a picture, or with a detector that is not there, the reason is told; then the page's own result is looked at."""
    page.choose(1, "detector", "whole")
    page.unfold(page.part(1, "preview"))
    page.press("unit_1_preview_show")
    note = "document.querySelector(arguments[0]).textContent.includes(arguments[1])"
    page.browser.wait(note, f"{page.part(1, 'preview')} .detailer-note[role=status]", "there is no picture")
    page.generate()
    page.browser.wait("document.querySelector('#txt2img_gallery img')")
    assert [one["text"] for one in page.look(1)] == ["1 picture 100 %"]
    page.choose(1, "detector", "gone.pt")
    page.press("unit_1_preview_show")
    page.browser.wait(note, f"{page.part(1, 'preview')} .detailer-note[role=status]", "detector 'gone.pt' not found")
    assert page.segments(1) == []  # they were found by another detector
    page.browser.wait("document.querySelector(arguments[0])", f"{page.part(1, 'classes')} .detailer-problem")
    colours = page.browser.run("return [...document.querySelectorAll(arguments[0])].map(one => getComputedStyle(one).color)",
                               f"{page.part(1, 'preview')} .detailer-problem, {page.part(1, 'classes')} .detailer-problem")
    assert colours in (["rgb(185, 28, 28)"] * 2, ["rgb(248, 113, 113)"] * 2)  # red, whatever a theme has for text


def test_before_and_after(page: Page) -> None:
    """The last run's pictures lie over each other, with a slider that the keyboard moves."""
    page.choose(1, "detector", "spots")
    page.unfold(page.part(1, "group_geometry"))
    page.write(1, "guide_size", "64")
    page.write(1, "max_size", "64")
    page.generate()
    page.unfold(f"{page.prefix}comparison")
    page.press("comparison_show")
    loaded = "(found => found.length == 2 && found.every(image => image.naturalWidth))([...document.querySelectorAll(arguments[0])])"
    page.browser.wait(loaded, f"{page.prefix}comparison figure:last-of-type img")
    clip = "return document.querySelector(arguments[0]).style.clipPath"
    before = page.browser.run(clip, f"{page.prefix}comparison .detailer-before")
    page.browser.run("document.querySelector(arguments[0]).focus()", f"{page.prefix}comparison input[type=range]")
    page.browser.press("\ue014")
    assert page.browser.run(clip, f"{page.prefix}comparison .detailer-before") != before


def test_pasted_parameters_set_the_page(page: Page) -> None:
    """What was generated, pasted into a page that was opened anew, sets fields, own boxes and badges to the same."""
    page.choose(1, "detector", "spots")
    page.unfold(page.part(1, "group_sampling"))
    page.write(1, "cfg", "4.5")
    page.choose_unit(2)
    page.check(2, "enable")
    page.choose(2, "detector", "whole")  # the default cannot be had with every OpenCV, and would not be named in the parameters
    page.write(2, "prompt", "second")
    made = page.generate()
    page.open()
    page.browser.replace("#txt2img_parameters textarea", made["infotext"])
    page.browser.click("#txt2img_paste")
    page.wait_for(1, "detector", "spots")
    page.wait_for(2, "prompt", "second")
    page.browser.wait("document.querySelectorAll(arguments[0]).length == 2", f"{page.prefix}units .detailer-on")
    assert page.generate()["units"] == made["units"]


def test_img2img_has_a_panel_of_its_own(page: Page) -> None:
    """What is set on the one page does not show on the other; the clipboard is one for both."""
    page.write(1, "prompt", "from txt2img")
    page.press("unit_1_copy")
    page.status("unit 1 is copied")
    other = Page(page.browser, page.served, "img2img").open()
    assert other.value(1, "prompt") == ""
    other.press("unit_1_paste")
    other.wait_for(1, "prompt", "from txt2img")
    received = other.generate()
    assert received["tab"] == "img2img" and unit_of(received).prompt == "from txt2img"


def test_fields_say_what_they_are(page: Page) -> None:
    """Each field has a label for screen readers and its help as a title; what is not ours has neither changed."""
    for unit in (1, 3):
        for name, option in options().items():
            field = f"{page.part(unit, name)} :is(textarea, input)"
            assert page.browser.run("return document.querySelector(arguments[0]).title", field) == option.help, name
            spoken = page.browser.run("const f = document.querySelector(arguments[0]); return f.getAttribute('aria-label') || "
                                      "(f.labels.length ? f.labels[0].textContent : '')", field)
            assert option.label in spoken, name
    assert page.browser.run("return document.querySelector('#txt2img_denoising_strength input').title") == ""
    assert page.browser.run("return document.querySelectorAll('#tab_txt2img [class*=detailer-]').length > 10")
    assert page.browser.run("return document.querySelectorAll('[id=other_prompt] [class*=detailer-]').length") == 0
