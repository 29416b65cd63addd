"""Generation parameters of real-looking pictures that ADetailer has worked on, through the host's own reading, as units."""

from __future__ import annotations

from typing import Any

import pytest
from scenes import Stage

from detailer_core.settings import UnitSettings
from detailer_webui.adetailer import Units, has_adetailer, units_from_lines

MAIN = "Steps: 25, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: 1234, Size: 512x768, Model hash: abcdef1234, Model: fake"
USUAL = ("ADetailer model: face_yolov8n.pt, ADetailer confidence: 0.3, ADetailer dilate erode: 4, ADetailer mask blur: 4, "
         "ADetailer denoising strength: 0.4, ADetailer inpaint only masked: True, ADetailer inpaint padding: 32")
SECOND = ("ADetailer model 2nd: hand_yolov8n.pt, ADetailer confidence 2nd: 0.5, ADetailer dilate erode 2nd: 8, ADetailer mask blur 2nd: 0, "
          "ADetailer denoising strength 2nd: 0.25, ADetailer inpaint only masked 2nd: True, ADetailer inpaint padding 2nd: 16")
OLD = ("ADetailer model: mediapipe_face_full, ADetailer conf: 45, ADetailer dilate/erode: 32, ADetailer mask blur: 4, "
       "ADetailer denoising strength: 0.4, ADetailer inpaint full: True, ADetailer inpaint padding: 0")
VERSION = "ADetailer version: 25.3.0, Version: v1.10.1"


def read(stage: Stage, *parts: str, prompt: str = "a face") -> Units:
    """The units of an infotext made of these parts, read as the host reads it."""
    text = f"{prompt}\nNegative prompt: bad\n{', '.join(part for part in parts if part)}"
    return units_from_lines(stage.world.module("infotext_utils").parse_generation_parameters(text), samplers=("DPM++ 2M", "Euler a", "Euler"))


CASES: list[tuple[str, dict[str, Any]]] = [
    (USUAL, {"detector": "face_yolov8n.pt", "confidence": 0.3, "dilation": 4, "denoise": 0.4, "guide_size": 512, "max_size": 768,
             "guide_size_for": "crop", "feather": 6}),
    (f'{USUAL}, ADetailer prompt: "a smile, freckles"', {"prompt": "a smile, freckles"}),
    (f'{USUAL}, ADetailer prompt: "a smile [SEP] [PROMPT], 1girl"', {"prompt": "a smile [SEP] [PROMPT], 1girl"}),
    (f"{USUAL}, ADetailer negative prompt: blurry", {"negative_prompt": "blurry"}),
    (f'{USUAL}, ADetailer prompt: "<lora:face:0.8>, face"', {"prompt": "<lora:face:0.8>, face"}),
    (f"{USUAL}, ADetailer x offset: 8, ADetailer y offset: 12", {"offset_x": 8, "offset_y": -12}),
    (f"{USUAL}, ADetailer mask merge invert: Merge", {"merge": "merge"}),
    (f"{USUAL}, ADetailer mask merge/invert: Merge and Invert", {"merge": "merge-invert"}),
    (f"{USUAL}, ADetailer mask only top k: 1, ADetailer method to decide top k masks: Area", {"max_count": 1}),
    (f"{USUAL}, ADetailer mask only top k largest: 2", {"max_count": 2}),
    (f"{USUAL}, ADetailer mask min ratio: 0.01, ADetailer mask max ratio: 0.3", {"min_ratio": 0.01, "max_ratio": 0.3}),
    (f"{USUAL}, ADetailer use inpaint width height: True, ADetailer inpaint width: 640, ADetailer inpaint height: 960",
     {"guide_size": 640, "max_size": 960}),
    (f"{USUAL}, ADetailer use inpaint width/height: True, ADetailer inpaint width: 640, ADetailer inpaint height: 640",
     {"guide_size": 640, "max_size": 640}),
    (f"{USUAL}, ADetailer use separate steps: True, ADetailer steps: 40", {"steps": 40}),
    (f"{USUAL}, ADetailer use separate CFG scale: True, ADetailer CFG scale: 5.5", {"cfg": 5.5}),
    (f"{USUAL}, ADetailer use separate sampler: True, ADetailer sampler: DPM++ 2M Karras", {"sampler": "DPM++ 2M", "scheduler": "Karras"}),
    (f"{USUAL}, ADetailer use separate sampler: True, ADetailer sampler: Euler a, ADetailer scheduler: Beta",
     {"sampler": "Euler a", "scheduler": "Beta"}),
    (f"{USUAL}, ADetailer use separate checkpoint: True, ADetailer checkpoint: other.safetensors", {"checkpoint": "other.safetensors"}),
    (f"{USUAL}, ADetailer model classes: cat", {"labels": "cat"}),
    (OLD, {"detector": "mediapipe_face_full", "confidence": 0.45, "dilation": 32}),
    (USUAL.replace("inpaint only masked: True, ADetailer inpaint padding: 32", "inpaint only masked: False"), {"crop_factor": 100.0}),
    (USUAL.replace("n.pt", "s.pt").replace("0.4", "0.35"), {"detector": "face_yolov8s.pt", "denoise": 0.35}),
    (USUAL.replace("face_yolov8n.pt", "Anzhc Face seg 640 v2 y8n.pt"), {"detector": "Anzhc Face seg 640 v2 y8n.pt"}),
    (USUAL.replace("dilate erode: 4", "dilate erode: -10"), {"dilation": -10}),
    (f"{USUAL}, ADetailer use bbox mask: True", {"mask_shape": "box"}),
]


@pytest.mark.parametrize(("lines", "expected"), CASES)
def test_a_picture_of_adetailers_gives_the_same_settings(stage: Stage, lines: str, expected: dict[str, Any]) -> None:
    """One tab is one unit, and nothing of these pictures is lost."""
    done = read(stage, MAIN, lines, VERSION)
    (unit,) = done.units
    assert {name: getattr(unit, name) for name in expected} == expected
    assert done.lost == ()


def test_two_tabs_are_two_units(stage: Stage) -> None:
    """The second tab's labels end in "2nd"; it keeps what is its own."""
    first, second = read(stage, MAIN, USUAL, SECOND, VERSION).units
    assert (first.detector, second.detector) == ("face_yolov8n.pt", "hand_yolov8n.pt")
    assert (second.confidence, second.dilation, second.feather, second.denoise) == (0.5, 8, 0, 0.25)


def test_tabs_keep_their_order_and_numbers(stage: Stage) -> None:
    """Tabs 1 and 3, and an 11th and 22nd, are units in this order; one that was off leaves no hole."""
    def tab(ending: str, name: str) -> str:
        return f"ADetailer model {ending}: {name}, ADetailer confidence {ending}: 0.5"

    units = read(stage, MAIN, tab("22nd", "d"), USUAL, tab("11th", "c"), tab("3rd", "b"), VERSION).units
    assert [unit.detector for unit in units] == ["face_yolov8n.pt", "b", "c", "d"]


@pytest.mark.parametrize(("lines", "label"), [
    ("ADetailer ControlNet model: Passthrough", "ADetailer ControlNet model"),
    ("ADetailer ControlNet model: control_v11p_sd15_inpaint, ADetailer ControlNet guidance start: 0.9, ADetailer ControlNet guidance end: 0.5",
     "ADetailer ControlNet guidance start"),
    ("ADetailer sparkle: 3", "ADetailer sparkle"),
    ("ADetailer mask blur: much", "ADetailer mask blur"),
    ("ADetailer mask merge invert: Split", "ADetailer mask merge invert"),
    ("ADetailer skip img2img: True", "ADetailer skip img2img"),
    ("ADetailer dynamic denoise power: 2.0", "ADetailer dynamic denoise power"),
])
def test_what_cannot_be_taken_over_is_named(stage: Stage, lines: str, label: str) -> None:
    """Whatever stands in the picture, the rest is taken over, and this label is told."""
    done = read(stage, MAIN, USUAL, lines, VERSION)
    assert len(done.units) == 1
    assert [one.key for one in done.lost] == [label]


def test_a_tabs_controlnet(stage: Stage) -> None:
    """Model, preprocessor, weight and shares of the steps are those of the picture, each of its own tab."""
    lines = ("ADetailer ControlNet model: control_v11p_sd15_inpaint [ebff9138], ADetailer ControlNet module: inpaint_only, "
             "ADetailer ControlNet weight: 0.8, ADetailer ControlNet guidance start: 0.1, ADetailer ControlNet guidance end: 0.9")
    first, second = read(stage, MAIN, USUAL, lines, SECOND, "ADetailer ControlNet model 2nd: control_v11f1e_sd15_tile [a371b31b]", VERSION).units
    assert (first.control_model, first.control_module) == ("control_v11p_sd15_inpaint [ebff9138]", "inpaint_only")
    assert (first.control_weight, first.control_start, first.control_end) == (0.8, 0.1, 0.9)
    assert (second.control_model, second.control_module, second.control_weight) == ("control_v11f1e_sd15_tile [a371b31b]", "tile_resample", 1.0)


def test_what_is_lost_of_a_later_tab_is_named_with_its_number(stage: Stage) -> None:
    """Labels are told as they stand in the picture."""
    done = read(stage, MAIN, USUAL, SECOND, "ADetailer dynamic denoise power 2nd: 2, ADetailer sparkle 2nd: 1", VERSION)
    assert {one.key for one in done.lost} == {"ADetailer dynamic denoise power 2nd", "ADetailer sparkle 2nd"}


def test_a_contradiction_costs_one_value(stage: Stage) -> None:
    """Shares that leave no part over cannot both be meant."""
    done = read(stage, MAIN, USUAL, "ADetailer mask min ratio: 0.5, ADetailer mask max ratio: 0.1", VERSION)
    assert [one.key for one in done.lost] == ["ADetailer mask min ratio"]
    assert done.units[0].max_ratio == 0.1


@pytest.mark.parametrize("lines", ["", VERSION, "Detailer: 0.1.0, Detailer detector: face_haar"])
def test_other_pictures_have_no_such_units(stage: Stage, lines: str) -> None:
    """Pictures without ADetailer, or in which it had nothing to do, give nothing."""
    done = read(stage, MAIN, lines)
    assert done == Units(units=())
    assert not has_adetailer(stage.world.module("infotext_utils").parse_generation_parameters(f"a\n{MAIN}, {lines}"))


def test_without_a_size_the_tables_own_is_kept() -> None:
    """A picture that does not tell its size, or tells nonsense, gives our default sizes."""
    for lines in ({}, {"Size-1": "x", "Size-2": "1"}, {"Size-1": "0", "Size-2": "64"}):
        (unit,) = units_from_lines({"ADetailer model": "face_yolov8n.pt", **lines}).units
        assert (unit.guide_size, unit.max_size) == (UnitSettings().guide_size, UnitSettings().max_size)
