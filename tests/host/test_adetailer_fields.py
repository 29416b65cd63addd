"""No argument that ADetailer, or a descendant of it, knows is lost without a word: each changes a unit here, or is named."""

from __future__ import annotations

from typing import Any

import pytest

from detailer_webui.adetailer import translate
from detailer_webui.adetailer.names import ARGUMENTS, by_label, by_name

FACE: dict[str, Any] = {"ad_model": "face_yolov8n.pt"}

UPSTREAM = """
    ad_model ad_model_classes ad_tab_enable ad_prompt ad_negative_prompt ad_confidence ad_mask_filter_method ad_mask_k ad_mask_min_ratio
    ad_mask_max_ratio ad_dilate_erode ad_x_offset ad_y_offset ad_mask_merge_invert ad_mask_blur ad_denoising_strength ad_inpaint_only_masked
    ad_inpaint_only_masked_padding ad_use_inpaint_width_height ad_inpaint_width ad_inpaint_height ad_use_steps ad_steps ad_use_cfg_scale
    ad_cfg_scale ad_use_checkpoint ad_checkpoint ad_use_vae ad_vae ad_use_sampler ad_sampler ad_scheduler ad_use_noise_multiplier
    ad_noise_multiplier ad_use_clip_skip ad_clip_skip ad_restore_face ad_controlnet_model ad_controlnet_module ad_controlnet_weight
    ad_controlnet_guidance_start ad_controlnet_guidance_end is_api
"""
"""ADetailer's own, all of them, in version 25."""

ULTIMATE = """
    ad_model_classes_exclude ad_model_classes_excluded ad_classes_sequential ad_prompt_append ad_negative_prompt_append ad_class_prompts
    ad_class_guard ad_class_guard_weight ad_use_main_loras ad_use_lora_triggers ad_strip_loras ad_apply_on_hires_only ad_use_bbox_mask
    ad_detection_resolution ad_dynamic_denoise_power ad_use_resolution_scale ad_resolution_scale ad_use_text_encoder ad_text_encoder
    ad_inpaint_indices
"""
"""What its descendant "Ultimate" has added."""

_CONTROL = {"ad_controlnet_model": "control_v11f1e_sd15_tile"}
_SIZE = {"ad_use_inpaint_width_height": True}

EXAMPLES: dict[str, tuple[Any, dict[str, Any]]] = {
    "ad_model": ("hand_yolov8n.pt", {}), "ad_model_classes": ("cat", {}), "ad_tab_enable": (False, {}), "ad_prompt": ("a smile", {}),
    "ad_negative_prompt": ("blur", {}), "ad_confidence": (0.5, {}), "ad_mask_filter_method": ("Confidence", {"ad_mask_k": 1}),
    "ad_mask_k": (2, {}), "ad_mask_min_ratio": (0.1, {}), "ad_mask_max_ratio": (0.9, {}), "ad_dilate_erode": (8, {}), "ad_x_offset": (3, {}),
    "ad_y_offset": (3, {}), "ad_mask_merge_invert": ("Merge", {}), "ad_mask_blur": (8, {}), "ad_denoising_strength": (0.2, {}),
    "ad_inpaint_only_masked": (False, {}), "ad_inpaint_only_masked_padding": (64, {}), "ad_use_inpaint_width_height": (True, {}),
    "ad_inpaint_width": (256, _SIZE), "ad_inpaint_height": (768, _SIZE), "ad_use_steps": (True, {}), "ad_steps": (40, {"ad_use_steps": True}),
    "ad_use_cfg_scale": (True, {}), "ad_cfg_scale": (3.0, {"ad_use_cfg_scale": True}), "ad_use_checkpoint": (True, {"ad_checkpoint": "x"}),
    "ad_checkpoint": ("x", {"ad_use_checkpoint": True}), "ad_use_vae": (True, {"ad_vae": "x"}), "ad_vae": ("x", {"ad_use_vae": True}),
    "ad_use_sampler": (True, {}), "ad_sampler": ("Euler", {"ad_use_sampler": True}), "ad_scheduler": ("Beta", {"ad_use_sampler": True}),
    "ad_use_noise_multiplier": (True, {}), "ad_noise_multiplier": (1.1, {"ad_use_noise_multiplier": True}), "ad_use_clip_skip": (True, {}),
    "ad_clip_skip": (2, {"ad_use_clip_skip": True}), "ad_restore_face": (True, {}), "ad_controlnet_model": ("control_v11f1e_sd15_tile", {}),
    "ad_controlnet_module": ("tile_colorfix", _CONTROL), "ad_controlnet_weight": (0.5, _CONTROL),
    "ad_controlnet_guidance_start": (0.2, _CONTROL), "ad_controlnet_guidance_end": (0.8, _CONTROL),
    "ad_model_classes_exclude": (True, {"ad_model_classes_excluded": "cat"}),
    "ad_model_classes_excluded": ("cat", {"ad_model_classes_exclude": True}),
    "ad_classes_sequential": (True, {}), "ad_prompt_append": ("x", {}), "ad_negative_prompt_append": ("x", {}), "ad_class_prompts": ("cat: x", {}),
    "ad_class_guard": (True, {}), "ad_class_guard_weight": (1.5, {}), "ad_use_main_loras": (True, {}), "ad_use_lora_triggers": (True, {}),
    "ad_strip_loras": (True, {}), "ad_apply_on_hires_only": (True, {}), "ad_use_bbox_mask": (True, {}), "ad_detection_resolution": (1280, {}),
    "ad_dynamic_denoise_power": (2.0, {}), "ad_use_resolution_scale": (True, {}), "ad_resolution_scale": (2.0, {}),
    "ad_use_text_encoder": (True, {}), "ad_text_encoder": ("x", {}), "ad_inpaint_indices": ("1,3", {}),
}
"""For each argument a value that is not its default, and what else must be set for it to do something there."""

SWITCHES = {"ad_class_guard_weight": "ad_class_guard", "ad_resolution_scale": "ad_use_resolution_scale", "ad_text_encoder": "ad_use_text_encoder"}
"""Arguments that do something only with another one, which has no counterpart and is named."""


def test_every_argument_of_adetailers_is_known() -> None:
    """None of them is an unknown argument here, and nothing is known that has no example."""
    known = {one.name for one in ARGUMENTS}
    assert known == {*UPSTREAM.split(), *ULTIMATE.split()} - {"is_api"}  # which its page adds, and which means nothing to others
    assert known == set(EXAMPLES)


@pytest.mark.parametrize("name", list(EXAMPLES))
def test_every_argument_does_something_or_is_named(name: str) -> None:
    """With it, and without it, the units differ, or the user is told."""
    value, others = EXAMPLES[name]
    without, done = translate({**FACE, **others}), translate({**FACE, **others, name: value})
    told = {one.key for one in done.lost} - {one.key for one in without.lost}
    if name in SWITCHES:
        assert [one.key for one in translate({**FACE, name: value, SWITCHES[name]: True}).lost] == [SWITCHES[name]]
    else:
        assert (done.settings != without.settings) != (name in told)


@pytest.mark.parametrize("name", list(EXAMPLES))
def test_every_argument_has_a_label(name: str) -> None:
    """What a picture says of it is read as the same argument."""
    assert by_label()[by_name()[name].label] is by_name()[name]
