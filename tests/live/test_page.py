"""In a running host, in a browser: the page is worked with as a user does it, and what comes out is looked at.

Needs the address of a host with Detailer in it, and Chromium: DETAILER_LIVE_URL=http://127.0.0.1:7860. Better with
DETAILER_LIVE_MODELS=.../models/detailer, where model files are put for a while, DETAILER_LIVE_LOG, the host's log, and DETAILER_LIVE_SHOTS, a folder
for pictures of what was seen.
"""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from chromium import Browser, find_programs
from core.detectors.yolo.conftest import model, pretended_ultralytics
from PIL import Image

from .live_page import LivePage, Result
from .webui import URL, Refused, ask, txt2img

pytestmark = pytest.mark.skipif(not URL, reason="needs a running host: set DETAILER_LIVE_URL")

MODELS = os.environ.get("DETAILER_LIVE_MODELS", "")
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


@pytest.fixture
def models() -> Iterator[Path]:
    """The host's folder of model files; what was put there is taken away, and what the host has made of it."""
    if not MODELS:
        pytest.skip("needs the host's folder of models: set DETAILER_LIVE_MODELS")
    folder = Path(MODELS)
    before = set(folder.rglob("*"))
    yield folder
    for file in set(folder.rglob("*")) - before:
        if file.is_file():
            file.unlink()


class Command:
    """What a pickle that runs a command holds."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (self.command,)


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
        page.browser.run("document.querySelector('#txt2img_interrupting').click()")  # with gradio 4 a message slides over it
    result = page.finish(plain.seed)
    page.shoot(f"interrupt_{clicks}_done")
    changed = difference(result, plain) > 8
    # What only the first tile reaches, only the second, only the third: each reaches 512 pixels, at 0, 256 and 512.
    parts = [changed[:, :200].mean() > 0.5, changed[:, 560:740].mean() > 0.5, changed[:, 820:].any()]
    assert parts == [True, clicks == 1, False]
    assert "segment 3 interrupted" in result.told and ("segment 2 interrupted" in result.infotext) == (clicks == 2)


def chosen_names(page: LivePage, name: str) -> list[str]:
    """What a list offers."""
    page.browser.click(f"{page.part(1, name)} input")
    page.browser.wait("document.querySelector(arguments[0])", f"{page.part(1, name)} ul.options li")
    names = page.browser.run("return [...document.querySelectorAll(arguments[0])].map(one => one.getAttribute('aria-label'))",
                             f"{page.part(1, name)} ul.options li")
    page.browser.press("\ue00c")
    return names


def class_buttons(page: LivePage, count: int) -> list[str]:
    """The names of the classes that can be pressed, as soon as there are so many."""
    buttons = f"{page.part(1, 'classes')} button"
    page.browser.wait("document.querySelectorAll(arguments[0]).length == arguments[1]", buttons, count)
    return page.browser.run("return [...document.querySelectorAll(arguments[0])].map(one => one.textContent)", buttons)


def test_each_detector_can_be_chosen(page: LivePage) -> None:
    """The list offers what the host has, and each can be chosen; the classes of a model file with several are shown."""
    known = [one for one in ask("/detailer/v1/detectors")["detectors"] if one["name"] != "mask"]
    assert chosen_names(page, "detector") == [one["name"] for one in known]
    for one in known:
        page.choose(1, "detector", one["name"])
        shown = one["classes"] if len(one["classes"]) > 1 else []
        assert class_buttons(page, len(shown)) == shown
    assert not page.browser.run("return document.querySelector(arguments[0])", f"{page.part(1, 'classes')} .detailer-problem")


def test_a_new_model_file_is_found(page: LivePage, models: Path) -> None:
    """A file that was put into the folder is in the list after "Rescan", with its classes, of which one can be pressed."""
    name = "live-test-two-classes.pt"
    assert name not in chosen_names(page, "detector")
    with pretended_ultralytics():
        torch.save({"model": model(names=("face", "hand")).half(), "ema": None, "train_args": {"imgsz": 64}}, models / name)
    page.press("unit_1_rescan")
    page.status("detectors found")
    assert name in chosen_names(page, "detector")
    page.choose(1, "detector", name)
    assert class_buttons(page, 2) == ["face", "hand"]
    page.browser.click(f"{page.part(1, 'classes')} button:nth-of-type(2)")
    page.wait_for(1, "labels", "hand")
    page.shoot("classes", f"{page.prefix}enabled")


def test_a_refused_model_file_is_told_and_costs_no_picture(page: LivePage, models: Path, tmp_path: Path) -> None:
    """A file that would run a command, and one that is not there: told when it is chosen, under the picture, and to a client; the picture is kept."""
    name, trace = "live-test-refused.pt", tmp_path / "ran"
    torch.save({"model": Command(f"touch {trace}")}, models / name)
    page.small()
    page.press("unit_1_rescan")
    page.status("detectors found")
    for chosen, words in ((name, "system"), ("live-test-gone.pt", "not found")):
        page.choose(1, "detector", chosen)
        page.browser.wait("document.querySelector(arguments[0])?.textContent.includes(arguments[1])", f"{page.part(1, 'classes')} .detailer-problem",
                          chosen)
        result = page.generate()
        page.shoot(f"refused_{chosen}")
        assert chosen in result.told and words in result.told and result.picture.size == (256, 256)
        assert "Detailer detector" not in result.infotext and "Detailer note" in result.infotext
        with pytest.raises(Refused, match=words) as caught:
            txt2img([{"detector": chosen}])
        assert caught.value.status == 422
    assert not trace.exists()


def test_previews_of_a_dropped_picture_and_of_the_last_result(page: LivePage, photograph: Path) -> None:
    """The face of a photograph that is dropped is found where it is; then what was generated is looked at. The host does not take the dropped one."""
    page.small()
    page.unfold(page.part(1, "preview"))
    page.choose(1, "detector", "face_haar")
    page.browser.run("""const bytes = Uint8Array.from(atob(arguments[1]), one => one.charCodeAt(0)), data = new DataTransfer();
        data.items.add(new File([bytes], 'dropped.png', {type: 'image/png'}));
        for (const kind of ['dragenter', 'dragover', 'drop'])
            document.querySelector(arguments[0]).dispatchEvent(new DragEvent(kind, {bubbles: true, cancelable: true, dataTransfer: data}))""",
                     f"{page.part(1, 'preview')} .detailer-note", base64.b64encode(photograph.read_bytes()).decode())
    page.browser.wait("document.querySelector(arguments[0]).textContent == 'dropped.png'", f"{page.part(1, 'preview')} .detailer-source")
    found = page.look(1)
    assert len(found) == 1 and found[0]["text"].startswith("1 face ") and found[0]["picked"]
    page.shoot("preview_face", page.part(1, "preview"))
    assert page.browser.run("return document.querySelector('#txt2img_prompt textarea').value") == "a face"
    page.generate_without()
    page.choose(1, "detector", "whole")
    page.browser.click(f"{page.part(1, 'preview')} .detailer-note span .detailer-link")
    assert [one["text"] for one in page.look(1)] == ["1 picture 100 %"]
    size = "const c = document.querySelector(arguments[0]); return [c.width, c.height]"
    assert page.browser.run(size, f"{page.part(1, 'preview')} canvas") == [256, 256]


def test_units_are_copied_moved_and_reset(page: LivePage) -> None:
    """A copied unit is pasted into another, moved to the next tab, and reset."""
    page.write(1, "prompt", "first")
    page.choose(1, "detector", "whole")
    page.press("unit_1_copy")
    page.status("unit 1 is copied")
    page.choose_unit(2)
    page.press("unit_2_paste")
    page.wait_for(2, "prompt", "first")
    page.check(2, "enable")
    page.press("unit_2_right")
    page.wait_for(3, "prompt", "first")
    page.wait_for(3, "detector", "whole")
    page.wait_for(2, "prompt", "")
    page.browser.wait("document.querySelectorAll(arguments[0])[2].classList.contains('detailer-on')", f"{page.prefix}units > .tab-nav > button")
    assert page.badges()[:3] == [True, False, True]
    page.press("unit_3_reset")
    page.wait_for(3, "prompt", "")
    page.shoot("units", f"{page.prefix}enabled")


def test_before_and_after(page: LivePage) -> None:
    """The last run's pictures lie over each other, both loaded, and differ."""
    page.small()
    page.choose(1, "detector", "whole")
    page.write(1, "denoise", "0.8")
    quick(page)
    page.generate()
    page.unfold(f"{page.prefix}comparison")
    page.press("comparison_show")
    images = f"{page.prefix}comparison figure img"
    loaded = "(found => found.length == 2 && found.every(image => image.naturalWidth))([...document.querySelectorAll(arguments[0])])"
    page.browser.wait(loaded, images)
    page.shoot("comparison", f"{page.prefix}comparison")
    sources = page.browser.run("return [...document.querySelectorAll(arguments[0])].map(image => image.src)", images)
    after, before = (Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))) for source in sources)
    assert before.size == after.size == (256, 256) and np.abs(np.asarray(before).astype(int) - np.asarray(after).astype(int)).max() > 20


def test_img2img(page: LivePage, photograph: Path) -> None:
    """The same on the other page: the face of the photograph is redrawn and not the rest."""
    other = LivePage(page.browser, page.shots, "img2img").open()
    other.upload("#img2img_image", photograph)
    other.small(width=512, height=512, steps=4)
    other.number("denoising_strength", 0.01)
    other.choose(1, "detector", "face_haar")
    quick(other, 1)
    other.write(1, "denoise", "0.9")
    result = other.generate()
    other.shoot("img2img")
    assert "Detailer detector: face_haar" in result.infotext and "Detailer note" not in result.infotext
    plain = other.generate_without()
    rows, columns = np.nonzero(difference(result, plain) > 40)
    assert len(rows) > 500 and rows.min() > 50 and rows.max() < 240 and columns.min() > 140 and columns.max() < 320


def test_a_folder_in_the_tab_batch(page: LivePage, photograph: Path, tmp_path: Path) -> None:
    """The host's own batch of a folder on img2img: each picture's face is redrawn, and each file says so."""
    (tmp_path / "in").mkdir()
    for name in ("a.png", "b.png"):
        (tmp_path / "in" / name).write_bytes(photograph.read_bytes())
    other = LivePage(page.browser, page.shots, "img2img").open()
    other.inner_tab("#mode_img2img", "Batch")
    other.inner_tab("#img2img_batch_source", "From directory")
    other.browser.replace("#img2img_batch_input_dir textarea", str(tmp_path / "in"))
    other.browser.replace("#img2img_batch_output_dir textarea", str(tmp_path / "out"))
    other.small(width=512, height=512, steps=4)
    other.number("denoising_strength", 0.01)
    other.choose(1, "detector", "face_haar")
    quick(other, 1)
    other.write(1, "denoise", "0.9")
    other.browser.click("#img2img_generate")
    other.browser.wait("document.querySelector('#html_info_img2img').textContent.includes('Detailer detector: face_haar')")
    other.browser.wait("getComputedStyle(document.querySelector('#img2img_interrupt')).display == 'none'")
    other.shoot("batch_tab")
    files = list((tmp_path / "out").glob("*.png"))  # A1111 keeps the names, behind a number; Forge gives its own
    assert len(files) == 2
    for file in files:
        with Image.open(file) as made:
            assert "Detailer detector: face_haar" in made.info["parameters"] and "Detailer note" not in made.info["parameters"]
            apart = np.abs(np.asarray(made.convert("RGB")).astype(int) - np.asarray(Image.open(photograph).convert("RGB")).astype(int))
        assert apart[90:160, 190:250].mean() > 2 * apart[300:].mean()


def test_the_entry_in_the_list_of_scripts(page: LivePage, photograph: Path) -> None:
    """On img2img, "Detailer" in the list details the picture as it is: outside the face, not a pixel changes."""
    other = LivePage(page.browser, page.shots, "img2img").open()
    other.upload("#img2img_image", photograph)
    other.small(steps=4)
    other.choose(1, "detector", "face_haar")
    quick(other, 1)
    other.choose_script("Detailer")
    other.browser.run("document.querySelector(arguments[0]).scrollIntoView({block: 'center'})", "#script_img2img_detailer_pictures_mask")
    other.shoot("script")
    other.browser.click(f"#{other.tab}_generate")
    other.browser.wait("document.querySelector(arguments[0]).textContent.includes('Detailer detector: face_haar')", "#html_info_img2img")
    picture = other.picture()
    other.shoot("script_done")
    changed = np.asarray(picture).astype(int) != np.asarray(Image.open(photograph).convert("RGB")).astype(int)
    rows, columns, _ = np.nonzero(changed)
    assert picture.size == (512, 512) and len(rows) > 500 and rows.min() > 50 and rows.max() < 240 and columns.min() > 140 and columns.max() < 320

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
    page.own_errors()  # gradio 4 complains of a server that is away for a moment
    page.show()
    page.shoot("reloaded")
    assert ask("/sdapi/v1/scripts")["txt2img"].count("detailer") == 2  # the panel, and the entry in the list of scripts
    page.small()
    page.choose(1, "detector", "whole")
    quick(page)
    assert "Detailer detector: whole" in page.generate().infotext
