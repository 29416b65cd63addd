"""Makes the README's pictures of the page, in a running WebUI with Detailer in it.

Usage: python docs/screenshots.py http://127.0.0.1:7860 [--out docs/pictures] [--detector face_haar]

Needs Chromium with chromedriver, and scikit-image for the photograph. Nothing is generated.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image, ImageOps
from skimage import data

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "tests" / place) for place in ("host/browser", "")]

from chromium import Browser, find_programs  # noqa: E402  # after its path
from live.live_page import LivePage  # noqa: E402

WIDTH = 1240
"""Of the window in pixels: the panel takes half of it."""
MOST_BYTES = 150_000


def photograph_of_two() -> Image.Image:
    """A photograph, and a part of it mirrored beside: two faces, so that there is something to choose."""
    astronaut = Image.fromarray(data.astronaut())
    picture = Image.new("RGB", (812, 512))
    picture.paste(astronaut, (0, 0))
    picture.paste(ImageOps.mirror(astronaut.crop((40, 0, 340, 512))), (512, 0))
    return picture


def with_palette(picture: Image.Image) -> Image.Image:
    """The picture in 256 colours: those of its large areas, as of a photograph, and some that are far from each other, as of small marks."""
    ways = ((216, Image.Quantize.MEDIANCUT), (40, Image.Quantize.MAXCOVERAGE))
    colours = [value for count, method in ways for value in (picture.quantize(count, method=method).getpalette() or [])[: 3 * count]]
    palette = Image.new("P", (1, 1))
    palette.putpalette(colours)
    return picture.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG)


def main() -> None:
    """Make all pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("pictures"))
    parser.add_argument("--detector", default="face_haar")
    args = parser.parse_args()
    programs = find_programs()
    if programs is None:
        raise SystemExit("needs Chromium and chromedriver")
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        browser = Browser(programs, Path(folder), size=(WIDTH, 1900))
        browser.patience = 300
        try:
            Photographer(browser, args).all(Path(folder))
        finally:
            browser.quit()


class Photographer:
    """Works on the page, and takes pictures of it."""

    def __init__(self, browser: Browser, args: argparse.Namespace) -> None:
        self.browser, self.args = browser, args

    def all(self, folder: Path) -> None:
        """All pictures, one after another."""
        photograph_of_two().save(folder / "two.png")
        self.panel_and_preview(folder / "two.png")
        self.script()

    def panel_and_preview(self, photograph: Path) -> None:
        """The panel with a unit and one group open; then what a detector finds in a photograph, with one face clicked away."""
        page = self._page("txt2img").open()
        page.choose(1, "detector", self.args.detector)
        page.write(1, "prompt", "[PROMPT], detailed face")
        page.choose_unit(2)
        page.check(2, "enable")
        page.choose_unit(1)
        page.unfold(page.part(1, "group_mask"))
        self._take("panel", f"{page.prefix}enabled")
        page.unfold(page.part(1, "preview"))
        page.look(1, photograph)
        self.browser.click(f"{page.part(1, 'preview')} li:nth-of-type(2) [type=checkbox]")
        self._take("preview", page.part(1, "preview"))

    def script(self) -> None:
        """The entry in the list of scripts, with the panel folded."""
        page = self._page("img2img").open()
        self.browser.click(f"{page.prefix}enabled > .label-wrap")
        page.choose_script("Detailer")
        self._take("script", "#tab_img2img #img2img_script_container")

    def _page(self, tab: str) -> LivePage:
        return LivePage(self.browser, self.args.out, tab, url=self.args.url.rstrip("/"))

    def _take(self, name: str, css: str) -> None:
        time.sleep(1)  # what was opened slides
        path = self.args.out / f"{name}.png"
        self.browser.screenshot(path, css)
        with Image.open(path) as taken:
            small = with_palette(taken.convert("RGB"))
        small.save(path, optimize=True)
        if path.stat().st_size > MOST_BYTES:
            raise SystemExit(f"{path} has {path.stat().st_size} bytes, more than {MOST_BYTES}")


if __name__ == "__main__":
    main()
