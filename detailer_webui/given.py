"""Pictures that are there already, with what they tell of themselves, and where their results are written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modules import images, processing, shared
from PIL import Image, ImageOps

from detailer_core.errors import PictureError, SettingsError
from detailer_core.pictures import iter_pictures

from .dropdown_request import Request


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Given:
    """One picture, upright. name: of its file, without folder; "" if it has none. text: its generation parameters, "" if it has none.

    entries: what else its file said, as text.
    """

    image: Image.Image
    name: str = ""
    text: str = ""
    entries: Mapping[str, str] = field(default_factory=dict)


def _given(image: Image.Image, name: str = "") -> Given:
    text, entries = images.read_info_from_image(image)
    # A copy in any case: the generation parameters are written into it.
    upright = ImageOps.exif_transpose(image) or image.copy()
    if upright.mode == "RGBA" and upright.getchannel("A").getextrema()[0] == 255:
        upright = upright.convert("RGB")  # the page makes all pictures RGBA
    return Given(image=upright, name=name, text=text or "", entries={k: v for k, v in entries.items() if isinstance(v, str)})


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class GivenPictures:
    """Pictures to work on, or the files to read them from.

    repeats: how often each is to be detailed, with seeds of its own. folder: they are files, of which each is like a job of its own.
    """

    sources: Sequence[Image.Image | Path]
    repeats: int = 1
    folder: bool = False

    def __len__(self) -> int:
        return len(self.sources) * self.repeats

    def read(self, index: int) -> Given:
        """A picture by its number. Raises: PictureError if its file cannot be read."""
        source = self.sources[index % len(self.sources)]
        if isinstance(source, Image.Image):
            return _given(source)
        try:
            with Image.open(source) as image:
                image.load()
                return _given(image, source.stem)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise PictureError(f"{source.name} cannot be read: {error}") from error


def pictures_of_page(p: Any) -> GivenPictures:
    """The pictures of an img2img job; a single one as often as pictures were asked for. Raises: SettingsError if there is none."""
    pictures = [image for image in p.init_images or [] if image is not None]
    if not pictures:
        raise SettingsError("there is no picture; put one on the page, or give a folder", field="init_images")
    if len(pictures) > 1:
        p.batch_size = len(pictures)
        return GivenPictures(sources=pictures, repeats=p.n_iter)
    return GivenPictures(sources=pictures, repeats=p.batch_size * p.n_iter)


def pictures_of_folder(request: Request) -> GivenPictures:
    """The pictures of a folder, by name. Raises: SettingsError if there is none."""
    files = list(iter_pictures([request.folder]))
    if not files:
        raise SettingsError(f"folder '{request.folder}' has no pictures", field="folder")
    return GivenPictures(sources=files, folder=True)


def page_mask(p: Any) -> Image.Image | None:
    """What the user has painted on the img2img page, white = redraw, inverted if that was asked for; None if nothing."""
    mask = getattr(p, "image_mask", None)
    if mask is None:
        return None
    grey = processing.create_binary_mask(mask)
    return ImageOps.invert(grey) if getattr(p, "inpainting_mask_invert", 0) else grey


def write(p: Any, given: Given, image: Image.Image, text: str, index: int, output: str) -> None:
    """Write a result through the host; `index` of its seed and prompt. Raises: OSError if it cannot be written."""
    format_name = shared.opts.samples_format
    named: dict[str, Any] = {}
    if output:
        named = {"forced_filename": _free_name(Path(output), given.name, format_name), "save_to_dirs": False}
    images.save_image(image, output or p.outpath_samples, "", p.all_seeds[index], p.all_prompts[index], format_name, info=text, p=p,
                      existing_info=dict(given.entries), **named)


def _free_name(folder: Path, name: str, extension: str) -> str:
    """The name, or with a number where a file has it: the folder may be the one that the pictures came from."""
    candidates: Iterator[str] = (name if number == 0 else f"{name}-{number}" for number in range(10**9))
    return next(candidate for candidate in candidates if not (folder / f"{candidate}.{extension}").exists())
