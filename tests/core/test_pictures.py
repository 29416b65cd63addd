"""Pictures in and out: modes, metadata, untouched pixels, refusals."""

from __future__ import annotations

import io
import os
import threading
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile, PngImagePlugin

from detailer_core.errors import PictureError
from detailer_core.pictures import MAX_PIXELS, Picture, from_pil, iter_pictures, read_picture, to_pil, to_uint8_rgb, write_picture

RANDOM = np.random.default_rng(7)
ORIENTATION, ARTIST = 0x0112, 0x013B


def noise(*shape: int, dtype: type = np.uint8) -> np.ndarray:
    """Random levels of the whole range."""
    return RANDOM.integers(0, np.iinfo(dtype).max + 1, shape, dtype=dtype)


def rgb(width: int = 24, height: int = 16) -> Image.Image:
    """A colourful picture."""
    return Image.fromarray(noise(height, width, 3))


def palette_picture(**info: object) -> Image.Image:
    """A picture with a palette of 200 colours."""
    image = Image.fromarray((np.arange(24 * 16) % 200).astype(np.uint8).reshape(16, 24), mode="L")
    image.putpalette([v for i in range(200) for v in (i, 255 - i, i * 7 % 256)])
    image.info.update(info)
    return image


def sixteen_bit() -> Image.Image:
    """A grey picture of 16 bit."""
    return Image.fromarray(noise(16, 24, dtype=np.uint16))


def redraw(picture: Picture) -> tuple[torch.Tensor, np.ndarray]:
    """The picture with a block inverted, as a redrawn part would be, and where it changed `[H, W]`."""
    result = picture.image_bchw.clone()
    result[..., 4:9, 5:11] = 1 - result[..., 4:9, 5:11]
    where = np.zeros(tuple(result.shape[2:]), bool)
    where[4:9, 5:11] = True
    return result, where


def saved(folder: Path, image: Image.Image, name: str, **options: object) -> Path:
    """The file that Pillow writes."""
    path = folder / name
    image.save(path, **options)
    return path


def stored_values(path: Path) -> np.ndarray:
    """The levels in a file, as Pillow stores them."""
    with Image.open(path) as image:
        return np.array(image)


@pytest.mark.parametrize(
    ("mode", "channels"), [("1", 1), ("L", 1), ("LA", 2), ("P", 3), ("RGB", 3), ("RGBA", 4), ("CMYK", 3), ("YCbCr", 3)]
)
def test_modes_become_working_colours(mode: str, channels: int) -> None:
    """Each of Pillow's modes has 1 to 4 channels, float32 on the CPU, in 0..1."""
    image = rgb().convert(mode)
    tensor = from_pil(image)
    assert tensor.shape == (1, channels, 16, 24)
    assert tensor.dtype == torch.float32
    assert 0 <= float(tensor.min()) <= float(tensor.max()) <= 1


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_pil_to_tensor_and_back_is_exact(mode: str) -> None:
    """Eight bit pictures survive the way through floats, every level of them."""
    image = Image.fromarray(np.stack([np.arange(256, dtype=np.uint8).reshape(16, 16)] * 4, -1)).convert(mode)
    assert to_pil(from_pil(image)).tobytes() == image.tobytes()
    assert to_pil(from_pil(image)).mode == mode


def test_palette_with_transparency_has_alpha() -> None:
    """A palette with a transparent colour becomes RGBA, with alpha 0 there."""
    tensor = from_pil(palette_picture(transparency=5))
    assert tensor.shape[1] == 4
    assert float(tensor[0, 3].view(-1)[5]) == 0
    assert float(tensor[0, 3].view(-1)[6]) == 1


def test_all_16_bit_levels_survive(tmp_path: Path) -> None:
    """Every level of a 16 bit grey picture comes back from float and from the file."""
    levels = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    path = saved(tmp_path, Image.fromarray(levels), "grey.png")
    picture = read_picture(path)
    assert picture.image_bchw.shape == (1, 1, 256, 256)
    torch.testing.assert_close(picture.image_bchw[0, 0], torch.from_numpy(levels.astype(np.float32)) / 65535, rtol=0, atol=0)
    shifted = (picture.image_bchw + 300 / 65535).clamp(max=1)
    write_picture(tmp_path / "out.png", picture, shifted)
    moved = levels < 65100  # above, the eight bit value is 255 before and after
    assert (stored_values(tmp_path / "out.png").astype(np.int64)[moved] == levels[moved].astype(np.int64) + 300).all()


@pytest.mark.parametrize(
    ("name", "image"),
    [
        ("grey.png", rgb().convert("L")),
        ("grey-alpha.png", rgb().convert("LA")),
        ("colour.png", rgb()),
        ("alpha.png", Image.fromarray(noise(16, 24, 4))),
        ("deep.png", sixteen_bit()),
        ("deep.tif", sixteen_bit()),
        ("inks.tif", rgb().convert("CMYK")),
        ("colour.tif", rgb()),
        ("colour.bmp", rgb()),
        ("colour.webp", rgb()),
        ("alpha.webp", Image.fromarray(noise(16, 24, 4))),
        ("palette.gif", palette_picture()),
        ("clear.gif", palette_picture(transparency=3)),
        ("grey.gif", rgb().convert("L")),
        ("colour.tga", rgb()),
        ("colour.ppm", rgb()),
        ("deep.pgm", Image.fromarray(noise(16, 24, dtype=np.uint16).astype(np.int32))),
    ],
)
def test_pixels_that_did_not_change_keep_their_values(tmp_path: Path, name: str, image: Image.Image) -> None:
    """Outside of what was redrawn every stored value is the original's, mode and format are kept, and inside it is another."""
    path = saved(tmp_path, image, name, **({"lossless": True, "exact": True} if name.endswith("webp") else {}))
    picture = read_picture(path)
    result, where = redraw(picture)
    write_picture(tmp_path / "out" / name, picture, result)
    before, after = stored_values(path), stored_values(tmp_path / "out" / name)
    with Image.open(path) as one, Image.open(tmp_path / "out" / name) as other:
        assert (one.format, one.mode, one.size) == (other.format, other.mode, other.size)
        if name.endswith("gif"):  # Pillow may sort the palette anew: compare colours
            before, after = np.array(one.convert("RGBA")), np.array(other.convert("RGBA"))
    assert (before[~where] == after[~where]).all()
    assert (before[where] != after[where]).any()


@pytest.mark.parametrize(
    ("name", "image", "mode"),
    [
        ("bits.png", rgb().convert("1"), "L"),
        ("palette.png", palette_picture(), "RGB"),
        ("clear.png", palette_picture(transparency=3), "RGBA"),
        ("palette.bmp", palette_picture(), "RGB"),
    ],
)
def test_palettes_become_colours_when_something_changed(tmp_path: Path, name: str, image: Image.Image, mode: str) -> None:
    """A redrawn part has colours that a palette lacks: the picture is written in full colour, untouched pixels look as before."""
    path = saved(tmp_path, image, name)
    picture = read_picture(path)
    result, where = redraw(picture)
    write_picture(tmp_path / "out" / name, picture, result)
    with Image.open(path) as one, Image.open(tmp_path / "out" / name) as other:
        assert other.mode == mode
        before, after = np.array(one.convert(mode)), np.array(other)
    assert (before[~where] == after[~where]).all()
    assert (before[where] != after[where]).any()


@pytest.mark.parametrize("image", [rgb().convert("1"), palette_picture(), palette_picture(transparency=3)])
def test_nothing_changed_keeps_the_palette(tmp_path: Path, image: Image.Image) -> None:
    """An unchanged picture is written in the mode it had."""
    picture = read_picture(saved(tmp_path, image, "in.png"))
    write_picture(tmp_path / "out.png", picture, picture.image_bchw)
    with Image.open(tmp_path / "in.png") as one, Image.open(tmp_path / "out.png") as other:
        assert one.mode == other.mode == image.mode
        assert one.convert("RGBA").tobytes() == other.convert("RGBA").tobytes()


def test_ink_values_survive_where_rgb_did_not_change(tmp_path: Path) -> None:
    """CMYK to RGB and back loses the split into inks; untouched pixels keep it all the same."""
    inks = Image.frombytes("CMYK", (24, 16), noise(16, 24, 4).tobytes())
    path = saved(tmp_path, inks, "inks.tif")
    picture = read_picture(path)
    assert (np.array(inks.convert("RGB").convert("CMYK")) != np.array(inks)).any()
    result, where = redraw(picture)
    write_picture(tmp_path / "out.tif", picture, result)
    assert (stored_values(tmp_path / "out.tif")[~where] == np.array(inks)[~where]).all()


def test_alpha_may_be_left_out_of_the_result(tmp_path: Path) -> None:
    """A result of the colours alone takes the picture's own alpha."""
    picture = read_picture(saved(tmp_path, Image.fromarray(noise(16, 24, 4)), "in.png"))
    result, _ = redraw(picture)
    write_picture(tmp_path / "out.png", picture, result[:, :3])
    again = read_picture(tmp_path / "out.png")
    torch.testing.assert_close(again.image_bchw[:, :3], result[:, :3], rtol=0, atol=0.5 / 255)
    torch.testing.assert_close(again.image_bchw[:, 3:], picture.image_bchw[:, 3:], rtol=0, atol=0)


@pytest.mark.parametrize("name", ["in.png", "in.jpg", "in.webp", "in.tif"])
def test_metadata_is_kept(tmp_path: Path, name: str) -> None:
    """EXIF, ICC profile and resolution are in what is written."""
    exif = Image.Exif()
    exif[ARTIST] = "Ada"
    options = {"dpi": (300, 300)} if not name.endswith("webp") else {}
    path = saved(tmp_path, rgb(), name, exif=exif.tobytes(), icc_profile=b"not really a profile" * 10, **options)
    picture = read_picture(path)
    write_picture(tmp_path / "out" / name, picture, redraw(picture)[0])
    with Image.open(tmp_path / "out" / name) as image:
        assert image.getexif()[ARTIST] == "Ada"
        assert image.info["icc_profile"] == b"not really a profile" * 10
        if options:
            assert tuple(round(float(v)) for v in image.info["dpi"]) == (300, 300)


def test_png_text_is_kept_and_can_be_added(tmp_path: Path) -> None:
    """Text chunks of all kinds are written back, and a caller may add one."""
    chunks = PngImagePlugin.PngInfo()
    chunks.add_text("parameters", "a cat\nSteps: 20")
    chunks.add_itxt("Title", "кот 猫", "ru", "Название")
    picture = read_picture(saved(tmp_path, rgb(), "in.png", pnginfo=chunks))
    assert picture.text["parameters"] == "a cat\nSteps: 20"
    write_picture(tmp_path / "out.png", replace(picture, text={**picture.text, "detailer": "more 犬"}), redraw(picture)[0])
    with Image.open(tmp_path / "out.png") as image:
        image.load()
        assert (image.text["parameters"], image.text["Title"], image.text["detailer"]) == ("a cat\nSteps: 20", "кот 猫", "more 犬")
        assert (image.text["Title"].lang, image.text["Title"].tkey) == ("ru", "Название")


@pytest.mark.parametrize("name", ["in.jpg", "in.png", "in.webp", "in.tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_and_reset(tmp_path: Path, name: str, orientation: int) -> None:
    """A turned picture is worked on and written upright, and no viewer turns it again."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    exif[ARTIST] = "Ada"
    flat = Image.fromarray(np.kron(noise(2, 3, 3), np.ones((8, 8, 1), np.uint8)))
    path = saved(tmp_path, flat, name, exif=exif.tobytes(), **({"lossless": True} if name.endswith("webp") else {}))
    picture = read_picture(path)
    assert tuple(picture.image_bchw.shape[2:]) == ((16, 24) if orientation < 5 else (24, 16))
    result, _ = redraw(picture)
    write_picture(tmp_path / "out" / name, picture, result)
    with Image.open(tmp_path / "out" / name) as image:
        assert image.getexif().get(ORIENTATION, 1) == 1
        assert image.getexif()[ARTIST] == "Ada"
    again = read_picture(tmp_path / "out" / name)
    assert again.image_bchw.shape == result.shape
    assert float((again.image_bchw - result).abs().mean()) < (0.06 if name.endswith("jpg") else 0.002)


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("quality", [30, 88])
def test_jpeg_keeps_tables_and_subsampling(tmp_path: Path, quality: int, subsampling: int) -> None:
    """A JPEG is written with the compression it had, so that untouched parts hardly lose."""
    path = saved(tmp_path, rgb(64, 48), "in.jpg", quality=quality, subsampling=subsampling, progressive=True)
    picture = read_picture(path)
    write_picture(tmp_path / "out.jpg", picture, redraw(picture)[0])
    with Image.open(path) as one, Image.open(tmp_path / "out.jpg") as other:
        assert one.quantization == other.quantization
        assert one.layer == other.layer
        assert other.info.get("progressive")


def test_jpeg_from_another_format_has_quality_95(tmp_path: Path) -> None:
    """Without tables of its own a JPEG gets quality 95."""
    picture = read_picture(saved(tmp_path, rgb(), "in.png"))
    write_picture(tmp_path / "out.jpg", picture, picture.image_bchw)
    saved(tmp_path, rgb(), "known.jpg", quality=95)
    with Image.open(tmp_path / "out.jpg") as one, Image.open(tmp_path / "known.jpg") as other:
        assert one.quantization == other.quantization


def test_ink_jpeg_survives(tmp_path: Path) -> None:
    """A CMYK JPEG stays one, with colours in place."""
    flat = Image.fromarray(np.kron(noise(2, 3, 3), np.ones((16, 16, 1), np.uint8))).convert("CMYK")
    picture = read_picture(saved(tmp_path, flat, "in.jpg", quality=95))
    write_picture(tmp_path / "out.jpg", picture, picture.image_bchw)
    again = read_picture(tmp_path / "out.jpg")
    assert again.mode == "CMYK"
    assert float((again.image_bchw - picture.image_bchw).abs().mean()) < 0.01


def test_phone_picture_with_several_frames_gives_the_first(tmp_path: Path) -> None:
    """MPO, as phones write it, is read as the JPEG that it starts with, and written as JPEG."""
    path = tmp_path / "phone.jpg"
    first = Image.new("RGB", (32, 32), (200, 30, 30))
    first.save(path, format="MPO", save_all=True, append_images=[Image.new("RGB", (32, 32), (0, 0, 200))])
    picture = read_picture(path)
    assert picture.format == "JPEG"
    assert float(picture.image_bchw[0, 0].mean()) > 0.7
    write_picture(tmp_path / "out.jpg", picture, picture.image_bchw)
    with Image.open(tmp_path / "out.jpg") as image:
        assert (image.format, getattr(image, "n_frames", 1)) == ("JPEG", 1)


@pytest.mark.parametrize(
    ("mode", "out", "expected"),
    [
        ("RGB", "out.webp", "RGB"),
        ("CMYK", "out.png", "RGB"),
        ("LA", "out.webp", "RGBA"),
        ("RGBA", "out.tif", "RGBA"),
        ("L", "out.jpg", "L"),
        ("CMYK", "out.jpg", "RGB"),
    ],
)
def test_the_ending_chooses_the_format(tmp_path: Path, mode: str, out: str, expected: str) -> None:
    """Another ending writes another format, in a mode that it has."""
    image = rgb().convert(mode)
    if "A" in mode:
        image.putalpha(rgb().convert("L"))
    picture = read_picture(saved(tmp_path, image, "in.tif"))
    write_picture(tmp_path / out, picture, picture.image_bchw)
    with Image.open(tmp_path / out) as image:
        assert image.mode == expected


def test_unknown_ending_keeps_the_format(tmp_path: Path) -> None:
    """A name whose ending is no picture's is written in the picture's own format."""
    picture = read_picture(saved(tmp_path, rgb(), "in.png"))
    write_picture(tmp_path / "out.part", picture, picture.image_bchw)
    with Image.open(tmp_path / "out.part") as image:
        assert image.format == "PNG"


@pytest.mark.parametrize("name", ["кошка и собака.png", "写真 一.jpg", "größe & co's.webp", "🐱.tif"])
def test_any_script_and_spaces_in_paths(tmp_path: Path, name: str) -> None:
    """Names of every script are read and written, in folders that are made on the way."""
    picture = read_picture(saved(tmp_path, rgb(), name))
    target = tmp_path / "выход 出力" / "a b" / name
    write_picture(target, picture, redraw(picture)[0])
    assert read_picture(target).image_bchw.shape == (1, 3, 16, 24)
    assert [p.name for p in target.parent.iterdir()] == [name]


# ---- refusals


def animated(folder: Path, name: str) -> Path:
    """A moving picture of two frames."""
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    return saved(folder, frames[0], name, save_all=True, append_images=frames[1:])


@pytest.mark.parametrize("name", ["in.gif", "in.webp", "in.png", "in.tif"])
def test_moving_pictures_are_refused(tmp_path: Path, name: str) -> None:
    """GIF, WebP, APNG and TIFF of several frames are refused: all but one would be lost."""
    path = animated(tmp_path, name)
    with pytest.raises(PictureError, match=r"has several frames or pages .*; save the one you want as a picture of its own"):
        read_picture(path)


def test_what_is_no_picture_is_refused(tmp_path: Path) -> None:
    """Missing, empty, a folder, or text: each says what and where."""
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("hello", encoding="utf-8")
    for name, message in (
        ("none.png", "not found; check the name"),
        ("empty.png", r"is empty \(0 bytes\); save it anew"),
        ("", "is a folder, not a picture; name the pictures inside"),
        ("text.png", "is not a picture, or damaged at its start"),
    ):
        with pytest.raises(PictureError, match=message) as caught:
            read_picture(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)


@pytest.mark.parametrize("name", ["in.png", "in.jpg", "in.webp", "in.tif", "in.bmp"])
def test_cut_off_files_are_refused(tmp_path: Path, name: str) -> None:
    """Half a file is no picture, even where the process lets Pillow pass over it."""
    path = saved(tmp_path, rgb(64, 64), name)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        with pytest.raises(PictureError, match=r"is damaged or cut off|is not a picture"):
            read_picture(path)
        assert ImageFile.LOAD_TRUNCATED_IMAGES is True
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = False


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(["PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "TGA"]),
    place=st.floats(0, 1),
    values=st.binary(min_size=1, max_size=8),
    end=st.floats(0.1, 1),
)
def test_damaged_files_give_a_picture_or_an_error(tmp_path: Path, kind: str, place: float, values: bytes, end: float) -> None:
    """Whatever is overwritten or cut: a picture comes back, or a PictureError."""
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    Image.fromarray((np.arange(16 * 24 * 3) % 251).astype(np.uint8).reshape(16, 24, 3)).save(buffer, kind, exif=exif.tobytes())
    data = bytearray(buffer.getvalue())
    start = int(place * len(data))
    data[start : start + len(values)] = values
    path = tmp_path / "damaged"
    path.write_bytes(bytes(data[: max(1, int(end * len(data)))]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            picture = read_picture(path)
        except PictureError as error:
            assert str(path) in str(error)
        else:
            write_picture(tmp_path / "out", replace(picture, path=None), picture.image_bchw)


def bomb(folder: Path, width: int, height: int) -> Path:
    """A small file that claims to be a large picture."""
    buffer = io.BytesIO()
    Image.new("L", (1, 1)).save(buffer, "BMP")
    data = bytearray(buffer.getvalue())
    data[18:26] = width.to_bytes(4, "little") + height.to_bytes(4, "little")
    path = folder / "bomb.bmp"
    path.write_bytes(bytes(data))
    return path


@pytest.mark.parametrize("side", [16385, 60000])
def test_too_large_pictures_are_refused(tmp_path: Path, side: int) -> None:
    """A picture above the limit is refused before it is unpacked; Pillow's own limit, also of a caller, stays as it was."""
    path = bomb(tmp_path, side, side)
    kept = Image.MAX_IMAGE_PIXELS
    with pytest.raises(PictureError, match=f"has {side}x{side} pixels, more than {MAX_PIXELS}; make it smaller"):
        read_picture(path)
    assert kept == Image.MAX_IMAGE_PIXELS


def test_a_large_picture_is_read_and_written(tmp_path: Path) -> None:
    """Pictures that Pillow takes for a bomb (above 179 million pixels) work, and Pillow's limit stays as it was for everybody else."""
    side = 13500
    path = tmp_path / "large.png"
    Image.new("L", (side, side), 77).save(path, compress_level=1)
    kept = Image.MAX_IMAGE_PIXELS
    picture = read_picture(path)
    assert kept == Image.MAX_IMAGE_PIXELS
    assert picture.image_bchw.shape == (1, 1, side, side)
    assert float(picture.image_bchw[0, 0, -1, -1]) == np.float32(77 / 255)


def test_limits_hold_in_threads(tmp_path: Path) -> None:
    """Threads that read at once leave Pillow's limits as they found them."""
    paths = [saved(tmp_path, rgb(), f"{n}.png") for n in range(8)]
    kept = Image.MAX_IMAGE_PIXELS
    threads = [threading.Thread(target=lambda p=p: [read_picture(p) for _ in range(20)]) for p in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert kept == Image.MAX_IMAGE_PIXELS
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


def test_the_input_is_never_overwritten(tmp_path: Path) -> None:
    """Writing onto the file that was read is refused, by whatever name it is called, and the file stays."""
    path = saved(tmp_path, rgb(), "in.png")
    before = path.read_bytes()
    picture = read_picture(path)
    (tmp_path / "sub").mkdir()
    for same in (path, tmp_path / "sub" / ".." / "in.png"):
        with pytest.raises(
            PictureError, match="is the picture that was read; choose another name or folder, the original is never overwritten"
        ):
            write_picture(same, picture, picture.image_bchw)
    assert path.read_bytes() == before


def test_unwritable_places_are_an_error(tmp_path: Path) -> None:
    """A folder that is a file, an output that is a folder: an error that names the place, and nothing is left behind."""
    picture = read_picture(saved(tmp_path, rgb(), "in.png"))
    (tmp_path / "file").touch()
    (tmp_path / "folder.png").mkdir()
    for target in (tmp_path / "file" / "out.png", tmp_path / "folder.png"):
        with pytest.raises(PictureError, match=r"cannot write .* as PNG: .*; check the folder"):
            write_picture(target, picture, picture.image_bchw)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder.png", "in.png"]


def test_alpha_does_not_fit_into_jpeg(tmp_path: Path) -> None:
    """A format without alpha refuses a picture with it, and an older output stays whole."""
    picture = read_picture(saved(tmp_path, Image.fromarray(noise(16, 24, 4)), "in.png"))
    (tmp_path / "out.jpg").write_bytes(b"older")
    with pytest.raises(
        PictureError, match=r"cannot write .*out\.jpg as JPEG: cannot write mode RGBA as JPEG; .*choose another file type such as \.png"
    ):
        write_picture(tmp_path / "out.jpg", picture, picture.image_bchw)
    assert (tmp_path / "out.jpg").read_bytes() == b"older"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.png", "out.jpg"]


def test_results_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    """Another size, another number of channels, and values that are no numbers are refused by name."""
    picture = read_picture(saved(tmp_path, rgb(), "in.png"))
    for bad in (torch.zeros(1, 3, 16, 25), torch.zeros(1, 1, 16, 24), torch.zeros(2, 3, 16, 24), torch.zeros(3, 16, 24)):
        with pytest.raises(PictureError, match=r"the result has the shape .*, the picture \(1, 3, 16, 24\); they must be equal"):
            write_picture(tmp_path / "out.png", picture, bad)
    with pytest.raises(PictureError, match=r"values that are not numbers \(a model overflowed\); nothing was written"):
        write_picture(tmp_path / "out.png", picture, torch.full((1, 3, 16, 24), float("nan")))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (Image.new("F", (4, 4)), "the picture is of mode F, which cannot be worked on; save it as RGB or grey, 8 bit"),
        (Image.new("LAB", (4, 4)), "the picture is of mode LAB, which cannot be worked on"),
        (Image.fromarray(np.full((4, 4), 70000, np.int32)), "the picture has 32 bit values 70000..70000; save it with 8 or 16 bit"),
    ],
)
def test_modes_that_cannot_be_worked_on_are_refused(image: Image.Image, message: str) -> None:
    """Floats, Lab and 32 bit values are refused by name."""
    with pytest.raises(PictureError) as caught:
        from_pil(image)
    assert message in str(caught.value)


def test_16_bit_colour_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Colour of 16 bit is worked on in 8 bit, and the log says so."""
    import cv2

    path = tmp_path / "deep.png"
    path.write_bytes(cv2.imencode(".png", noise(8, 8, 3, dtype=np.uint16))[1].tobytes())
    assert read_picture(path).image_bchw.shape == (1, 3, 8, 8)
    assert "16 bit colour is read, and will be written, in 8 bit" in caplog.text


# ---- files and arrays


def test_folders_are_expanded(tmp_path: Path) -> None:
    """A folder gives its pictures, sorted, by their endings; files are taken as they are; each once."""
    for name in ("b.PNG", "a.jpg", "notes.txt", "кот.webp"):
        (tmp_path / name).touch()
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "c.png").touch()
    flat = [p.name for p in iter_pictures([tmp_path / "notes.txt", tmp_path, tmp_path / "a.jpg"])]
    assert flat == ["notes.txt", "a.jpg", "b.PNG", "кот.webp"]
    assert "c.png" in [p.name for p in iter_pictures([str(tmp_path)], recursive=True)]


def test_missing_paths_are_told_before_any_work(tmp_path: Path) -> None:
    """A path that does not exist is an error at once, not after the first pictures."""
    with pytest.raises(PictureError, match=r"picture or folder .*gone\.png not found; check the name"):
        iter_pictures([tmp_path, tmp_path / "gone.png"])


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_detectors_see_rgb(channels: int) -> None:
    """Grey is repeated, alpha dropped, every level exact."""
    levels = noise(5, 7, channels)
    seen = to_uint8_rgb(torch.from_numpy(levels).permute(2, 0, 1)[None].float() / 255)
    assert seen.shape == (5, 7, 3)
    assert seen.dtype == np.uint8
    assert (seen == (levels[..., :3] if channels > 2 else levels[..., :1])).all()


@pytest.mark.parametrize(
    "bad", [torch.zeros(3, 4, 4), torch.zeros(2, 3, 4, 4), torch.zeros(1, 5, 4, 4), torch.zeros(1, 3, 4, 4, dtype=torch.uint8)]
)
def test_wrong_tensors_are_refused(bad: torch.Tensor) -> None:
    """Anything but one float picture is refused."""
    for function in (to_uint8_rgb, to_pil):
        with pytest.raises(PictureError, match=r"expected one float picture \[1, C, H, W\] with 1 to 4 channels, got"):
            function(bad)


@given(st.lists(st.floats(-0.5, 1.5, width=32), min_size=1, max_size=20))
def test_rounding_is_to_the_nearest_level(values: list[float]) -> None:
    """Floats become the nearest level, values outside are cut."""
    seen = to_uint8_rgb(torch.tensor(values).view(1, 1, 1, -1))[0, :, 0]
    exact = np.clip(np.array(values, np.float64), 0, 1) * 255
    assert (np.abs(seen - exact) <= 0.5 + 1e-4).all()


def test_permissions_are_told(tmp_path: Path) -> None:
    """A file that may not be read says so."""
    path = saved(tmp_path, rgb(), "in.png")
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read every file")
    with pytest.raises(PictureError, match="check its permissions"):
        read_picture(path)
