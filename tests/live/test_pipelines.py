"""In a running host: each way to make a picture, with Detailer in it.

DETAILER_LIVE_URL is the host's address. What needs files of `model_files.py` is skipped on a host that has none.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from skimage import data

from .webui import URL, Made, Refused, ask, decoded, distance, encoded, img2img, same_model, txt2img

pytestmark = pytest.mark.skipif(not URL, reason="needs a running host: set DETAILER_LIVE_URL")

OVAL: dict[str, Any] = {"detector": "whole", "mask_shape": "ellipse", "denoise": 0.6, "guide_size": 256, "max_size": 256, "feather": 0, "dilation": 0}
"""A unit that redraws an oval as large as the picture, at the picture's size, and leaves the corners."""
FACE: dict[str, Any] = {"detector": "face_haar", "denoise": 0.5, "guide_size": 128, "crop_factor": 1.5, "dilation": 0, "feather": 0}
"""A unit that finds the face of the photograph."""
FACE_BOX = (slice(50, 190), slice(160, 290))
"""Rows and columns that hold the face, with its mask."""
FREEU = "FreeU Integrated (SD 1.x, SD 2.x, SDXL)"

PHOTO = data.astronaut() if URL else np.zeros((512, 512, 3), np.uint8)
REPEAT = 1
"""Largest difference of two equal jobs of img2img in one host, whose encoder draws without a seed."""


def corners(picture: np.ndarray) -> np.ndarray:
    """[H, W] bool: true outside of the oval that touches the picture's sides, with a margin."""
    rows, columns = np.mgrid[0:picture.shape[0], 0:picture.shape[1]]
    high, wide = picture.shape[0] / 2, picture.shape[1] / 2
    return np.asarray(((rows - high) / high) ** 2 + ((columns - wide) / wide) ** 2 > 1.05)


def box(rows: slice, columns: slice) -> np.ndarray:
    """[512, 512] bool: true in the box."""
    inside = np.zeros((512, 512), bool)
    inside[rows, columns] = True
    return inside


def main_line(text: str) -> str:
    """What the parameters say of the main picture's steps, size and so on, without Detailer's lines."""
    last = text.split("\n")[-1]
    kept = [part for part in re.findall(r'(?:[^,"]|"(?:\\.|[^"])*")+', last) if not part.strip().startswith("Detailer")]
    return ",".join(kept)


def assert_oval_redrawn(plain: Made, made: Made, count: int = 1) -> None:
    """Each picture differs in the oval only, and says so; its other parameters are the plain one's."""
    assert len(made.pictures) == len(plain.pictures)
    for one, other, text, plain_text in zip(plain.pictures[-count:], made.pictures[-count:], made.infotexts[-count:], plain.infotexts[-count:],
                                            strict=True):
        assert distance(one, other, corners(one)) == 0
        assert distance(one, other, ~corners(one)) > 10
        assert "Detailer detector: whole" in text and "Detailer note" not in text
        assert main_line(text) == main_line(plain_text)


def test_txt2img() -> None:
    """One picture: only what the mask holds is redrawn, and steps, size and seed in its parameters stay."""
    assert_oval_redrawn(txt2img(), txt2img([OVAL]))


def test_equal_jobs_give_equal_pictures() -> None:
    """The same request twice: the same picture, bit for bit."""
    assert distance(txt2img([OVAL]).picture, txt2img([OVAL]).picture) == 0


def test_batch_size_and_count() -> None:
    """Two batches of two: each picture is the one that its own seed gives alone, and says so."""
    made = txt2img([OVAL], batch_size=2, n_iter=2)
    assert len(made.infotexts) >= 4
    for number, (picture, text) in enumerate(zip(made.pictures[-4:], made.infotexts[-4:], strict=True)):
        assert f"Seed: {11 + number}," in text
        assert distance(picture, txt2img([OVAL], seed=11 + number).picture) <= REPEAT


def test_each_picture_of_a_batch_has_its_own_prompt() -> None:
    """Prompts from a list: the second picture's parts are drawn with the second prompt."""
    given = {"prompt": "", "script_name": "Prompts from file or textbox", "script_args": [False, False, "start", "a house\na red car, night", ""]}
    made = txt2img([OVAL], **given)
    assert made.infotexts[-2].startswith("a house") and made.infotexts[-1].startswith("a red car, night")
    assert distance(made.pictures[-2], txt2img([OVAL]).picture) <= REPEAT
    assert distance(made.pictures[-1], txt2img([OVAL], prompt="a red car, night").picture) <= REPEAT


@pytest.mark.parametrize("when", ["after", "before", "both"])
def test_hires(when: str) -> None:
    """Hires fix: after it, only the oval of the large picture differs; before it, the second pass has gone over all."""
    size = {"width": 192, "height": 192, "enable_hr": True, "hr_scale": 1.5, "hr_upscaler": "Lanczos", "hr_second_pass_steps": 4,
            "denoising_strength": 0.3, "hr_cfg": 1, "hr_additional_modules": ["Use same choices"]}
    plain, made = txt2img(**size), txt2img([OVAL | {"hires": when}], **size)
    assert made.picture.shape == (288, 288, 3)
    assert distance(plain.picture, made.picture, ~corners(made.picture)) > 10
    assert main_line(made.text) == main_line(plain.text) and "Detailer note" not in made.text
    if when == "after":
        assert distance(plain.picture, made.picture, corners(made.picture)) == 0
    else:
        assert f"Detailer with hires fix: {when}" in made.text


def test_img2img() -> None:
    """A photograph: its face is found and redrawn, all else is as without Detailer."""
    plain, made = img2img(PHOTO), img2img(PHOTO, [FACE])
    assert distance(plain.picture, made.picture, box(*FACE_BOX)) > 10
    assert distance(plain.picture, made.picture, ~box(*FACE_BOX)) <= REPEAT
    assert "Detailer detector: face_haar" in made.text and main_line(made.text) == main_line(plain.text)


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("only_masked", [False, True])
def test_inpaint(only_masked: bool, inverted: bool) -> None:
    """Inpainting whole and only masked: segments are cut to what the user masked, also when the mask is inverted."""
    left = box(slice(0, 512), slice(0, 220))
    mask = np.repeat((~left if inverted else left)[:, :, None], 3, 2) * 255
    rest = {"mask": encoded(mask), "mask_blur": 0, "inpainting_fill": 1, "inpaint_full_res": only_masked, "inpaint_full_res_padding": 32,
            "inpainting_mask_invert": int(inverted)}
    plain, made = img2img(PHOTO, **rest), img2img(PHOTO, [FACE], **rest)
    assert distance(plain.picture, made.picture, box(*FACE_BOX) & left) > 10
    assert distance(plain.picture, made.picture, ~(box(*FACE_BOX) & left)) <= REPEAT


def test_soft_inpainting() -> None:
    """Soft inpainting beside Detailer: the user's mask is soft, the segment stays in what it holds."""
    left = box(slice(0, 512), slice(0, 220))
    rest = {"mask": encoded(np.repeat(left[:, :, None], 3, 2) * 255), "mask_blur": 8, "inpainting_fill": 1, "inpaint_full_res": False,
            "others": {"Soft inpainting": {"args": [True, 1, 0.5, 4, 0, 0.5, 2]}}}
    plain, made = img2img(PHOTO, **rest), img2img(PHOTO, [FACE], **rest)
    right = box(slice(0, 512), slice(260, 512))
    assert distance(plain.picture, made.picture, box(*FACE_BOX) & left) > 10
    assert distance(plain.picture, made.picture, right) <= REPEAT


@pytest.mark.parametrize("content", ["original", "fill", "latent-noise", "latent-nothing"])
def test_masked_content(content: str) -> None:
    """Each kind of masked content gives a picture of its own, in the oval only."""
    plain, usual, made = txt2img(), txt2img([OVAL]), txt2img([OVAL | {"masked_content": content}])
    assert distance(plain.picture, made.picture, corners(plain.picture)) == 0
    assert (distance(usual.picture, made.picture) > 5) == (content != "original")


def test_style() -> None:
    """A style's text is in the main prompt of the parts as well."""
    if "live-style" not in [style["name"] for style in ask("/sdapi/v1/prompt-styles")]:
        pytest.skip("the host has no style 'live-style' with the prompt '{prompt}, in blue'")
    styled, written = txt2img([OVAL], styles=["live-style"]), txt2img([OVAL], prompt="a house, in blue", negative_prompt="blurry")
    assert distance(styled.picture, written.picture) == 0


def test_refiner() -> None:
    """The main picture's refiner does not stay in the parts' way, and the unit's own one changes them."""
    other = model("live-other")
    refined = {"refiner_checkpoint": other, "refiner_switch_at": 0.5}
    txt2img(**refined)  # the host knows the model's hash only afterwards, and then writes it
    assert_oval_redrawn(txt2img(**refined), txt2img([OVAL], **refined))
    own = txt2img([OVAL | {"refiner": other, "refiner_ratio": 0.9}])
    assert distance(own.picture, txt2img([OVAL]).picture) > 3
    assert "Detailer note" not in own.text and same_model("tiny", loaded())


def test_own_checkpoint() -> None:
    """The unit's checkpoint draws the parts; afterwards the main one is loaded, and draws as before."""
    plain, usual = txt2img(), txt2img([OVAL])
    made = txt2img([OVAL | {"checkpoint": model("live-other")}])
    assert distance(usual.picture, made.picture) > 3 and distance(plain.picture, made.picture, corners(plain.picture)) == 0
    assert main_line(made.text) == main_line(usual.text) and "Detailer note" not in made.text
    assert same_model("tiny", loaded()) and distance(txt2img().picture, plain.picture) == 0


def test_own_vae() -> None:
    """The unit's VAE gives the parts its colours; afterwards the main one is back. Forge has modules instead, and says so."""
    files = [vae["model_name"] for vae in ask("/sdapi/v1/sd-vae")] if not forge() else []
    plain = txt2img()
    if forge():
        made = txt2img([OVAL | {"modules": "live-vae.safetensors"}])
    elif "live-vae.safetensors" in files:
        made = txt2img([OVAL | {"vae": "live-vae.safetensors"}])
    else:
        pytest.skip("the host has no VAE 'live-vae'")
    assert "Detailer note" not in made.text
    assert distance(made.picture, txt2img([OVAL]).picture) > 10
    assert distance(txt2img().picture, plain.picture) == 0


@pytest.mark.parametrize(("name", "value"), [("clip_skip", 2), ("noise_multiplier", 0.8), ("cfg", 3.0), ("sampler", "Euler a"), ("steps", 2),
                                             ("seed", 5), ("cycle", 2), ("prompt", "a red car"), ("noise_mask_feather", 0), ("sizes", "exact")])
def test_own_values(name: str, value: Any) -> None:
    """Values of the unit bear on its parts only, are told, and the next picture is as before."""
    plain, usual, made = txt2img(), txt2img([OVAL]), txt2img([OVAL | {name: value}])
    assert distance(plain.picture, made.picture, corners(plain.picture)) == 0
    assert main_line(made.text) == main_line(usual.text) and "Detailer note" not in made.text
    if name != "sizes":  # there is one size only
        assert distance(usual.picture, made.picture) > 0
    assert distance(txt2img().picture, plain.picture) == 0


@pytest.mark.parametrize(("where", "main_loras"), [("unit", "as-prompt"), ("main", "as-prompt"), ("main", "drop"), ("main-only", "keep")])
def test_lora(where: str, main_loras: str) -> None:
    """A LoRA of the unit's prompt, of the main prompt, that one left out, and that one kept by a unit with a prompt of its own."""
    if not any(entry["name"] == "live-lora" for entry in ask("/sdapi/v1/loras")):
        pytest.skip("the host has no LoRA 'live-lora'")
    lora = " <lora:live-lora:1>"
    prompt = "a house" + (lora if where != "unit" else "")
    unit = OVAL | {"main_loras": main_loras} | {"unit": {"prompt": "a house" + lora}, "main": {}, "main-only": {"prompt": "a house"}}[where]
    before, plain, made = txt2img(), txt2img(prompt=prompt), txt2img([unit], prompt=prompt)
    assert distance(before.picture, plain.picture) == 0 if where == "unit" else distance(before.picture, plain.picture) > 3
    assert distance(plain.picture, made.picture, corners(plain.picture)) == 0 and "Detailer note" not in made.text
    without = txt2img([OVAL | {"prompt": "a house", "main_loras": "drop"}], prompt=prompt)
    assert (distance(without.picture, made.picture) > 3) == (main_loras != "drop")
    assert distance(txt2img().picture, before.picture) == 0


def controlnet() -> str:
    """The host's name of the ControlNet that the test needs."""
    if not installed("ControlNet"):
        pytest.skip("the host has no ControlNet")
    found = [name for name in ask("/controlnet/model_list")["model_list"] if name.startswith("live-control")]
    return str(found[0]) if found else pytest.skip("the host has no ControlNet 'live-control'")


@pytest.mark.parametrize("module", ["none", "canny", "inpaint_only"])
def test_control(module: str) -> None:
    """A ControlNet guides the parts only, and its weight matters; its picture is the crop, or what a preprocessor makes of it."""
    controlnet()
    unit = OVAL | {"control_model": "live-control", "control_module": module}
    plain, usual, made = txt2img(), txt2img([OVAL]), txt2img([unit])
    assert "Detailer note" not in made.text, made.text
    assert distance(plain.picture, made.picture, corners(plain.picture)) == 0
    assert distance(usual.picture, made.picture) > 10
    weak = txt2img([unit | {"control_weight": 0.05}])
    assert np.abs(weak.picture - usual.picture).mean() < np.abs(made.picture - usual.picture).mean()
    assert distance(txt2img([OVAL]).picture, usual.picture) == 0


@pytest.mark.parametrize("own", [False, True])
def test_control_of_the_main_picture(own: bool) -> None:
    """The main picture's ControlNet is not there for the parts, with or without one of their own; afterwards all is as before."""
    guide = {"enabled": True, "image": encoded(PHOTO), "module": "canny", "model": controlnet(), "weight": 1.0}
    unit = OVAL | ({"control_model": "live-control", "control_module": "none"} if own else {})
    before, plain, made = txt2img(), txt2img(others={"ControlNet": {"args": [guide]}}), txt2img([unit], {"ControlNet": {"args": [guide]}})
    assert distance(before.picture, plain.picture) > 10
    assert distance(plain.picture, made.picture, corners(made.picture)) == 0 and distance(plain.picture, made.picture) > 10
    assert "Detailer note" not in made.text, made.text
    alone = ask("/detailer/v1/detail", {"image": encoded(plain.picture), "units": [unit], "prompt": "a house", "steps": 4, "seed": 11, "cfg_scale": 1,
                                        "sampler_name": "Euler"})
    assert distance(decoded(alone["image"]), made.picture) <= REPEAT
    assert distance(txt2img().picture, before.picture) == 0


def test_scripts_inside_the_detail_pass() -> None:
    """Another script bears on the parts only if the settings name it."""
    if not installed(FREEU):
        pytest.skip("the host has no FreeU")
    freeu = {FREEU: {"args": [True, 1.8, 1.9, 0.4, 0.1, 0.0, 1.0]}}
    without = txt2img([OVAL], freeu)
    named = txt2img([OVAL], freeu, override_settings={"detailer_scripts": "forge_freeu"})
    assert distance(without.picture, named.picture, corners(named.picture)) == 0
    assert distance(without.picture, named.picture) > 3 and "Detailer note" not in named.text


def test_dropdown_entry_on_a_picture() -> None:
    """Script "Detailer" on img2img: the face is redrawn, all else is the picture that was given, bit for bit."""
    made = img2img(PHOTO, [FACE], script_name="Detailer", script_args=[{}])
    assert distance(PHOTO, made.picture, box(*FACE_BOX)) > 10
    assert distance(PHOTO, made.picture, ~box(*FACE_BOX)) == 0


def test_dropdown_entry_with_a_mask() -> None:
    """The inpaint mask as segments: what is masked is redrawn without a detector."""
    masked = box(slice(300, 420), slice(60, 180))
    made = img2img(PHOTO, [OVAL | {"mask_shape": "pixel"}], script_name="Detailer", script_args=[{"mask": True}],
                   mask=encoded(np.repeat(masked[:, :, None], 3, 2) * 255), mask_blur=0)
    assert distance(PHOTO, made.picture, masked) > 10 and distance(PHOTO, made.picture, ~masked) == 0


def test_dropdown_entry_on_a_folder(tmp_path: Any) -> None:
    """Each picture of a folder, written to another one under its own name."""
    from PIL import Image

    (tmp_path / "in").mkdir()
    for name in ("a.png", "b.png"):
        Image.fromarray(PHOTO).save(tmp_path / "in" / name)
    img2img(PHOTO, [FACE], script_name="Detailer", script_args=[{"folder": str(tmp_path / "in"), "output": str(tmp_path / "out")}])
    for name in ("a.png", "b.png"):
        with Image.open(tmp_path / "out" / name) as file:
            assert "Detailer detector: face_haar" in file.info["parameters"]
            assert distance(PHOTO, np.asarray(file.convert("RGB")), ~box(*FACE_BOX)) == 0


def test_dropdown_entry_in_txt2img() -> None:
    """Script "Detailer" on txt2img: a picture is generated first, and detailed once."""
    assert distance(txt2img([OVAL], script_name="Detailer", script_args=[{}]).picture, txt2img([OVAL]).picture) == 0


def test_xyz() -> None:
    """Two values of the plot's axis: two different pictures, each equal to the one that its value gives."""
    script = next(entry for entry in ask("/sdapi/v1/script-info") if entry["name"].lower() == "x/y/z plot" and not entry["is_img2img"])
    axes, rest = script["args"][0]["choices"], [arg["value"] for arg in script["args"][9:]]
    nothing = [axes.index("Nothing"), "", []]
    rest[[arg["label"] for arg in script["args"][9:]].index("Include Sub Images")] = True
    values = [axes.index("[Detailer] Denoising strength"), "0.3, 0.8", [], *nothing, *nothing, *rest]
    made = txt2img([OVAL], script_name="X/Y/Z plot", script_args=values)
    cells = [distance(picture, txt2img([OVAL | {"denoise": value}]).picture) for picture, value in zip(made.pictures[1:3], (0.3, 0.8), strict=True)]
    assert max(cells) <= REPEAT and distance(made.pictures[1], made.pictures[2]) > 3


def test_two_units() -> None:
    """Two units work one after the other, and both are told."""
    made = txt2img([OVAL, OVAL | {"detector": "tiles", "mask_shape": "pixel", "denoise": 0.3}])
    assert "Detailer detector: whole" in made.text and "Detailer 2 detector: tiles" in made.text
    assert distance(made.picture, txt2img([OVAL]).picture) > 3


@pytest.mark.parametrize(("unit", "field"), [({"denois": 0.3}, "denois"), ({"denoise": "much"}, "denoise"), ({"detector": "no-such.pt"}, "detector")])
def test_wrong_arguments(unit: dict[str, Any], field: str) -> None:
    """Answer 422 with the field's name, before anything is drawn."""
    with pytest.raises(Refused, match=field) as caught:
        txt2img([unit])
    assert caught.value.status == 422


def test_arguments_of_adetailer() -> None:
    """What a client sends to ADetailer is done, unless ADetailer itself is there."""
    if installed("ADetailer"):
        pytest.skip("ADetailer is installed in this host")
    tab = {"ad_model": "face_yolov8n.pt", "ad_confidence": 0.1, "ad_denoising_strength": 0.3}
    made = img2img(PHOTO, others={"ADetailer": {"args": [True, False, tab]}})
    assert "Detailer detector: face_yolov8n.pt" in made.text and "Detailer denoising strength: 0.3" in made.text


def test_beside_adetailer() -> None:
    """Both extensions at once: each does its own, and both are told."""
    if not installed("ADetailer"):
        pytest.skip("ADetailer is not installed in this host")
    tab = {"ad_model": "face_yolov8n.pt", "ad_confidence": 0.1, "ad_denoising_strength": 0.3}
    theirs = {"ADetailer": {"args": [True, False, tab]}}
    both, alone = img2img(PHOTO, [OVAL], theirs), img2img(PHOTO, others=theirs)
    assert "Detailer detector: whole" in both.text and "ADetailer model: face_yolov8n.pt" in both.text and "Detailer note" not in both.text
    assert "ADetailer model: face_yolov8n.pt" in alone.text and "Detailer detector" not in alone.text
    assert distance(both.picture, alone.picture, corners(both.picture)) <= REPEAT and distance(both.picture, alone.picture) > 10


def test_routes() -> None:
    """Version, schema, detectors; boxes of a picture; a picture in and out."""
    assert re.match(r"\d+\.\d+", ask("/detailer/v1/version")["version"])
    assert "denoise" in str(ask("/detailer/v1/schema"))
    assert "whole" in [entry["name"] for entry in ask("/detailer/v1/detectors")["detectors"]]
    found = ask("/detailer/v1/detect", {"image": encoded(PHOTO), "unit": FACE})
    assert len(found["segments"]) == 1
    made = ask("/detailer/v1/detail", {"image": encoded(PHOTO), "units": [FACE], "steps": 4, "seed": 1, "cfg_scale": 1})
    picture = decoded(made["image"])
    assert distance(PHOTO, picture, box(*FACE_BOX)) > 10 and distance(PHOTO, picture, ~box(*FACE_BOX)) == 0


def installed(title: str) -> bool:
    """Whether the host has this script."""
    return title.lower() in ask("/sdapi/v1/scripts")["txt2img"]


def forge() -> bool:
    """Whether the host keeps its VAE among modules."""
    return "forge_additional_modules" in ask("/sdapi/v1/options")


def loaded() -> str:
    """The main checkpoint."""
    return str(ask("/sdapi/v1/options")["sd_model_checkpoint"])


def model(name: str) -> str:
    """The host's title of a checkpoint that the test needs."""
    titles = [entry["title"] for entry in ask("/sdapi/v1/sd-models")]
    found = [title for title in titles if same_model(name, title)]
    if not found:
        pytest.skip(f"the host has no checkpoint '{name}'")
    return str(found[0])
