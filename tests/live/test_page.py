"""In a running host, in a browser: the page is worked with as a user does it, and what comes out is looked at.

Needs the address of a host with Detailer in it, and Chromium: DETAILER_LIVE_URL=http://127.0.0.1:7860. Better with
DETAILER_LIVE_MODELS=.../models/detailer, where model files are put for a while, DETAILER_LIVE_LOG, the host's log, and DETAILER_LIVE_SHOTS, a folder
for pictures of what was seen.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from chromium import Browser, find_programs
from PIL import Image

from .live_page import URL, LivePage, Result, ask

pytestmark = pytest.mark.skipif(not URL, reason="needs a running host: set DETAILER_LIVE_URL")

LOG = Path(os.environ.get("DETAILER_LIVE_LOG", os.devnull))
QUICK = {"guide_size": "128", "max_size": "192"}
"""Of the group "Geometry": small crops."""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One browser for all tests of the file."""
    programs = find_programs()
    if programs is None:
        pytest.skip("needs Chromium and chromedriver (Debian: apt-get install chromium chromium-driver)")
    browser = Browser(programs, tmp_path_factory.mktemp("browser"))
    browser.patience = 120
    try:
        yield browser
    finally:
        browser.quit()


@pytest.fixture(scope="module")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pictures of the page are put."""
    folder = Path(os.environ.get("DETAILER_LIVE_SHOTS") or tmp_path_factory.mktemp("shots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def photograph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photograph of 512x512 with one face."""
    data = pytest.importorskip("skimage.data")
    path = tmp_path_factory.mktemp("pictures") / "astronaut.png"
    Image.fromarray(data.astronaut()).save(path)
    return path


@pytest.fixture(scope="module")
def wide_picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture of 1024x128 in which the detector "tiles" finds three boxes."""
    path = tmp_path_factory.mktemp("pictures") / "wide.png"
    noise = np.random.default_rng(0).integers(90, 160, (16, 128, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((1024, 128)).save(path)
    return path


@pytest.fixture
def page(browser: Browser, shots: Path) -> Iterator[LivePage]:
    """The panel of txt2img in a page opened anew; afterwards neither the browser nor the server may have had trouble."""
    logged = LOG.stat().st_size
    opened = LivePage(browser, shots)
    opened.own_errors()
    opened.open()
    yield opened
    assert opened.own_errors() == []
    with LOG.open(encoding="utf-8", errors="replace") as log:
        log.seek(logged)
        assert "Traceback" not in log.read()


def difference(one: Result, other: Result) -> np.ndarray:
    """How much each pixel differs, `[H, W]`, 0..255."""
    return np.abs(np.asarray(one.picture).astype(int) - np.asarray(other.picture).astype(int)).max(2)


def quick(page: LivePage, unit: int = 1) -> None:
    """Small crops for a slow machine."""
    page.unfold(page.part(unit, "group_geometry"))
    for name, value in QUICK.items():
        page.write(unit, name, value)


def test_a_click_and_a_prompt_reach_the_picture(page: LivePage, wide_picture: Path) -> None:
    """Switched on, a detector chosen, a picture looked at, one box clicked away, another given a prompt: the run does just that, and says so."""
    page.small(width=1024, height=128)
    page.choose(1, "detector", "tiles")
    quick(page)
    page.write(1, "prompt", "a wall")
    page.unfold(page.part(1, "preview"))
    assert [one["text"] for one in page.look(1, wide_picture)] == ["1 tile 100 %", "2 tile 100 %", "3 tile 100 %"]
    canvas = f"{page.part(1, 'preview')} canvas"
    width = page.browser.run("return document.querySelector(arguments[0]).getBoundingClientRect().width", canvas)
    page.browser.click(canvas, at=(round(-width * 0.45), 0))
    page.wait_for(1, "pick", "2-3")
    page.browser.type(f"{page.part(1, 'preview')} li:nth-of-type(3) [type=text]", "a window")
    page.wait_for(1, "prompt", "a wall [SEP] a window")
    page.shoot("preview", page.part(1, "preview"))
    result = page.generate()
    page.shoot("generated")
    for line in ("Detailer detector: tiles", "Detailer prompt: a wall [SEP] a window", "Detailer only numbers: 2-3", "Detailer guide size: 128"):
        assert line in result.infotext
    assert "Detailer note" not in result.infotext
    page.browser.click(f"{page.prefix}enabled-visible-checkbox")
    plain = page.finish(page.begin(result.seed))
    assert "Detailer" not in plain.infotext
    changed = difference(result, plain) > 8
    # the left tile is left out: what no other one reaches stays
    assert not changed[:, :230].any() and changed[:, 300:].mean() > 0.5


def test_pasted_parameters_set_units_and_main_picture(page: LivePage) -> None:
    """A picture's own parameters, pasted into a page opened anew, bring back units, badges, main steps and size."""
    page.small(width=320, height=256, steps=5)
    page.choose(1, "detector", "whole")
    quick(page)
    page.write(1, "denoise", "0.3")
    page.unfold(page.part(1, "group_sampling"))
    page.write(1, "steps", "3")
    page.choose_unit(2)
    page.check(2, "enable")
    page.choose(2, "detector", "tiles")
    quick(page, 2)
    page.write(2, "prompt", "second, with commas: \"and\" more")
    made = page.generate()
    page.open()
    assert page.value(2, "prompt") == ""
    page.paste(made.infotext)
    page.wait_for(1, "detector", "whole")
    page.wait_for(2, "prompt", "second, with commas: \"and\" more")
    page.browser.wait("document.querySelectorAll(arguments[0]).length == 2", f"{page.prefix}units .detailer-on")
    assert [page.value(1, name) for name in ("denoise", "own_steps", "steps", "guide_size")] == [0.3, True, 3, 128]
    assert page.browser.run("return document.querySelector(arguments[0]).checked", f"{page.prefix}enabled-visible-checkbox")
    main = {name: page.browser.run("return Number(document.querySelector(arguments[0]).value)", f"#txt2img_{name} input[type=number]")
            for name in ("steps", "width", "height", "seed")}
    page.shoot("pasted")
    assert (main["steps"], main["width"], main["height"]) == (5, 320, 256)
    again = page.finish(page.begin(int(main["seed"])))
    assert again.infotext == made.infotext
    assert not difference(again, made).any()


@pytest.mark.parametrize("clicks", [1, 2])
def test_an_interrupt_keeps_finished_segments(page: LivePage, clicks: int) -> None:
    """The page's own button, pressed while the second of three tiles is redrawn: once, that one is finished, too; twice, only the first is kept."""
    page.small(width=1024, height=128)
    plain = page.generate_without()
    page.choose(1, "detector", "tiles")
    quick(page)
    page.write(1, "denoise", "0.7")
    page.unfold(page.part(1, "group_sampling"))
    page.write(1, "steps", "40")
    page.unfold(page.part(1, "group_blending"))
    page.write(1, "wave_pixels", "0")
    page.begin(plain.seed)
    page.browser.wait("document.querySelector('.progress')?.innerText.includes('segment 2 of 3')")
    page.shoot(f"interrupt_{clicks}_progress")
    page.browser.click("#txt2img_interrupt")
    if clicks == 2:
        page.browser.click("#txt2img_interrupting")
    result = page.finish(plain.seed)
    page.shoot(f"interrupt_{clicks}_done")
    changed = difference(result, plain) > 8
    # What only the first tile reaches, only the second, only the third: each reaches 512 pixels, at 0, 256 and 512.
    parts = [changed[:, :200].mean() > 0.5, changed[:, 560:740].mean() > 0.5, changed[:, 820:].any()]
    assert parts == [True, clicks == 1, False]
    assert "segment 3 interrupted" in result.told and ("segment 2 interrupted" in result.infotext) == (clicks == 2)


def test_presets(page: LivePage) -> None:
    """Saved, loaded after a reload of the page, renamed, deleted."""
    first, second = "Live test, my faces", "Live test, renamed"
    page.unfold(f"{page.prefix}presets")
    page.choose(1, "detector", "whole")
    page.write(1, "prompt", "kept in a preset")
    page.browser.replace(f"{page.prefix}preset_name textarea", first)
    page.press("preset_save")
    page.status(f"'{first}' is saved")
    page.shoot("presets", f"{page.prefix}presets")
    page.open()
    page.unfold(f"{page.prefix}presets")
    page.browser.click(f"{page.prefix}preset input")
    page.browser.type(f"{page.prefix}preset input", first + "\ue007")
    page.press("preset_load")
    page.wait_for(1, "prompt", "kept in a preset")
    page.wait_for(1, "detector", "whole")
    page.browser.replace(f"{page.prefix}preset_name textarea", second)
    page.press("preset_rename")
    page.status(f"'{first}' is now '{second}'")
    page.press("preset_delete")
    page.browser.accept()
    page.status(f"'{second}' is deleted")
    page.press("preset_load")
    page.status("choose a preset")


def test_the_page_works_after_the_ui_was_reloaded(page: LivePage) -> None:
    """Settings has Detailer's section; after "Reload UI" the panel is there once, and a picture is made with it."""
    page.main_tab("settings")
    page.browser.run("[...document.querySelectorAll('#settings > .tab-nav > button')].find(one => one.innerText.trim() == 'Detailer').click()")
    page.browser.wait("document.querySelector('#setting_detailer_unit_count').offsetParent")
    page.shoot("settings")
    page.browser.run("window.beforeReload = true")
    page.browser.click("#settings_restart_gradio")
    page.browser.wait("!window.beforeReload && document.querySelector('#txt2img_generate')")
    page.wait_until_loaded()
    page.show()
    page.shoot("reloaded")
    assert ask("/sdapi/v1/scripts")["txt2img"].count("detailer") == 2  # the panel, and the entry in the list of scripts
    page.small()
    page.choose(1, "detector", "whole")
    quick(page)
    assert "Detailer detector: whole" in page.generate().infotext
