"""ADetailer's API arguments become units that do the same, as near as our settings can; what has no counterpart is named."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detailer_core.errors import SettingsError
from detailer_core.settings import UnitSettings
from detailer_webui.adetailer import is_adetailer, translate
from detailer_webui.adetailer.arguments import feather_like
from detailer_webui.adetailer.names import ARGUMENTS, by_label, by_name

FACE = {"ad_model": "face_yolov8n.pt"}

CASES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {"detector": "face_yolov8n.pt", "confidence": 0.3, "denoise": 0.4, "dilation": 4, "merge": "none", "prompt": "", "drop_size": 1,
          "noise_mask": True, "noise_mask_feather": 0, "steps": None, "cfg": None, "sampler": None, "checkpoint": None}),
    ({"ad_model": "hand_yolov8s.pt", "ad_confidence": 0.55}, {"detector": "hand_yolov8s.pt", "confidence": 0.55}),
    ({"ad_model": "mediapipe_face_mesh_eyes_only"}, {"detector": "mediapipe_face_mesh_eyes_only"}),
    ({"ad_model": "mediapipe_face_full"}, {"detector": "mediapipe_face_full"}),
    ({"ad_model": "person_yolov8s-seg.pt"}, {"detector": "person_yolov8s-seg.pt", "mask_shape": "pixel"}),
    ({"ad_model": "yolov8x-worldv2.pt", "ad_model_classes": "cat,dog"}, {"labels": "cat,dog"}),
    ({"ad_prompt": "a smile [SEP] [PROMPT], freckles [SEP] [SKIP]"}, {"prompt": "a smile [SEP] [PROMPT], freckles [SEP] [SKIP]"}),
    ({"ad_prompt": "<lora:eyes:0.7> eyes", "ad_negative_prompt": "blur[SEP]"},
     {"prompt": "<lora:eyes:0.7> eyes", "negative_prompt": "blur[SEP]"}),
    ({"ad_prompt": None, "ad_negative_prompt": None}, {"prompt": "", "negative_prompt": ""}),
    ({"ad_mask_k": 2}, {"max_count": 2}),
    ({"ad_mask_k_largest": 3}, {"max_count": 3}),
    ({"ad_mask_min_ratio": 0.01, "ad_mask_max_ratio": 0.5}, {"min_ratio": 0.01, "max_ratio": 0.5}),
    ({"ad_dilate_erode": -8}, {"dilation": -8}),
    ({"ad_x_offset": 10, "ad_y_offset": 20}, {"offset_x": 10, "offset_y": -20}),
    ({"ad_y_offset": -16}, {"offset_y": 16}),
    ({"ad_mask_merge_invert": "Merge"}, {"merge": "merge"}),
    ({"ad_mask_merge_invert": "Merge and Invert"}, {"merge": "merge-invert"}),
    ({"ad_mask_blur": 0}, {"feather": 0}),
    ({"ad_mask_blur": 4}, {"feather": 6}),
    ({"ad_denoising_strength": 0.25}, {"denoise": 0.25}),
    ({"ad_inpaint_only_masked": False}, {"crop_factor": 100.0}),
    ({"ad_inpaint_full_res": False}, {"crop_factor": 100.0}),
    ({"ad_inpaint_only_masked_padding": 0, "ad_mask_blur": 0, "ad_dilate_erode": 0}, {"crop_factor": 1.0}),
    ({"ad_use_inpaint_width_height": True, "ad_inpaint_width": 768, "ad_inpaint_height": 1024},
     {"guide_size": 768, "max_size": 1024, "guide_size_for": "crop"}),
    ({"ad_inpaint_width": 768, "ad_inpaint_height": 1024}, {"guide_size": UnitSettings().guide_size, "max_size": UnitSettings().max_size}),
    ({"ad_use_steps": True, "ad_steps": 40}, {"steps": 40}),
    ({"ad_steps": 40}, {"steps": None}),
    ({"ad_use_cfg_scale": True, "ad_cfg_scale": 4.5}, {"cfg": 4.5}),
    ({"ad_use_cfg_scale": True}, {"cfg": 7.0}),
    ({"ad_use_sampler": True, "ad_sampler": "Euler a"}, {"sampler": "Euler a", "scheduler": None}),
    ({"ad_use_sampler": True, "ad_sampler": "DPM++ 2M Karras"}, {"sampler": "DPM++ 2M", "scheduler": "Karras"}),
    ({"ad_use_sampler": True, "ad_sampler": "DPM++ SDE Karras", "ad_scheduler": "Beta"}, {"sampler": "DPM++ SDE", "scheduler": "Beta"}),
    ({"ad_use_sampler": True, "ad_sampler": "DPM++ 2M", "ad_scheduler": "Exponential"}, {"sampler": "DPM++ 2M", "scheduler": "Exponential"}),
    ({"ad_use_sampler": True, "ad_sampler": "Use same sampler", "ad_scheduler": "Use same scheduler"}, {"sampler": None, "scheduler": None}),
    ({"ad_sampler": "LMS"}, {"sampler": None}),
    ({"ad_use_checkpoint": True, "ad_checkpoint": "real.safetensors"}, {"checkpoint": "real.safetensors"}),
    ({"ad_use_checkpoint": True, "ad_checkpoint": "Use same checkpoint"}, {"checkpoint": None}),
    ({"ad_checkpoint": "real.safetensors"}, {"checkpoint": None}),
    ({"ad_conf": 30}, {"confidence": 0.3}),
    ({"ad_conf": 0.45}, {"confidence": 0.45}),
    ({"ad_use_bbox_mask": True}, {"mask_shape": "box"}),
    ({"is_api": True, "ad_tab_enable": True}, {"detector": "face_yolov8n.pt"}),
    ({"ad_use_vae": True, "ad_vae": "kl-f8.pt"}, {"vae": "kl-f8.pt"}),
    ({"ad_use_vae": True, "ad_vae": "Use same VAE"}, {"vae": None}),
    ({"ad_use_clip_skip": True, "ad_clip_skip": 2}, {"clip_skip": 2}),
    ({"ad_use_noise_multiplier": True, "ad_noise_multiplier": 1.05}, {"noise_multiplier": 1.05}),
    ({"ad_mask_k": 2, "ad_mask_filter_method": "Confidence"}, {"max_count": 2, "max_count_by": "confidence"}),
    ({"ad_mask_filter_method": "Confidence"}, {"max_count_by": "area"}),
    ({"ad_restore_face": True}, {"restore_face": True}),
    ({"ad_controlnet_model": "control_v11f1e_sd15_tile [a371b31b]", "ad_controlnet_module": "tile_colorfix", "ad_controlnet_weight": 0.5,
      "ad_controlnet_guidance_start": 0.1, "ad_controlnet_guidance_end": 0.9},
     {"control_model": "control_v11f1e_sd15_tile [a371b31b]", "control_module": "tile_colorfix", "control_weight": 0.5, "control_start": 0.1,
      "control_end": 0.9}),
    ({"ad_controlnet_module": "tile_colorfix", "ad_controlnet_weight": 0.5}, {"control_model": "None", "control_module": "none",
                                                                             "control_weight": 1.0}),
    ({"ad_controlnet_model": "control_v11p_sd15_inpaint", "ad_controlnet_module": None}, {"control_module": "inpaint_global_harmonious"}),
    ({"ad_controlnet_model": "control_v11p_sd15_Openpose"}, {"control_module": "openpose_full"}),
    ({"ad_controlnet_model": "control_sd15_inpaint_depth_hand_fp16"}, {"control_module": "depth_midas"}),
    ({"ad_controlnet_model": "xinsir_union"}, {"control_module": "none"}),
    ({"ad_model_classes_exclude": True, "ad_model_classes_excluded": "cat,dog"}, {"labels": "", "exclude_labels": "cat,dog"}),
    ({"ad_model_classes_excluded": "cat,dog"}, {"exclude_labels": ""}),
    ({"ad_use_main_loras": True}, {"main_loras": "keep"}),
    ({"ad_use_main_loras": True, "ad_strip_loras": True}, {"main_loras": "drop"}),
    ({"ad_detection_resolution": 1280}, {"image_size": 1280}),
    ({"ad_prompt_append": "freckles"}, {"prompt": "[PROMPT], freckles"}),
    ({"ad_prompt": "a smile [SEP] [SKIP] [SEP]", "ad_prompt_append": "freckles"},
     {"prompt": "a smile, freckles [SEP] [SKIP] [SEP] [PROMPT], freckles"}),
    ({"ad_negative_prompt": "blur", "ad_negative_prompt_append": "noise"}, {"negative_prompt": "blur, noise", "prompt": ""}),
    ({"ad_inpaint_indices": "#1, 3-4"}, {"pick": "1, 3-4"}),
]


@pytest.mark.parametrize(("args", "expected"), CASES)
def test_arguments_become_settings(args: dict[str, Any], expected: dict[str, Any]) -> None:
    """Each argument does here what it does there, and nothing is lost of these."""
    done = translate({**FACE, **args})
    assert done.settings is not None
    assert {name: getattr(done.settings, name) for name in expected} == expected
    assert done.lost == ()


@pytest.mark.parametrize("args", [{"ad_model": "None"}, {"ad_model": ""}, {}, {**FACE, "ad_tab_enable": False}, {**FACE, "ad_tap_enable": False},
                                  {**FACE, "ad_enable": False}])
def test_a_tab_that_is_off_is_no_unit(args: dict[str, Any]) -> None:
    """What ADetailer leaves out is left out."""
    assert translate(args).settings is None


@pytest.mark.parametrize(("args", "key"), [
    ({"ad_skip_img2img": True}, "ad_skip_img2img"),
    ({"ad_controlnet_model": "Passthrough"}, "ad_controlnet_model"), ({"ad_dynamic_denoise_power": 2.0}, "ad_dynamic_denoise_power"),
    ({"ad_class_prompts": "cat: whiskers"}, "ad_class_prompts"), ({"ad_inpaint_indices": "the left one"}, "ad_inpaint_indices"),
    ({"ad_strip_loras": True, "ad_prompt": "a smile <lora:x:1>"}, "ad_strip_loras"),
    ({"ad_dilate_erode": 300}, "ad_dilate_erode"), ({"ad_y_offset": 600}, "ad_y_offset"), ({"ad_mask_k": 500}, "ad_mask_k"),
])
def test_what_has_no_counterpart_is_named(args: dict[str, Any], key: str) -> None:
    """Nothing is lost silently, and the rest of the tab still works."""
    done = translate({**FACE, **args})
    assert done.settings is not None
    assert [one.key for one in done.lost] == [key]
    assert str(done.lost[0]).startswith(f"{key}: ")


def test_what_is_cut_is_cut_to_the_nearest() -> None:
    """A value beyond our range becomes the nearest one, in the direction that was meant."""
    done = translate({**FACE, "ad_y_offset": 600, "ad_dilate_erode": -300})
    assert done.settings is not None
    assert (done.settings.offset_y, done.settings.dilation) == (-512, -256)
    assert "600 is cut to 512" in str(done.lost[1])


@pytest.mark.parametrize(("args", "field"), [
    ({"ad_denoise_strength": 0.4}, "ad_denoise_strength"), ({"ad_confidence": "high"}, "ad_confidence"), ({"ad_confidence": 1.5}, "ad_confidence"),
    ({"ad_denoising_strength": -1}, "ad_denoising_strength"), ({"ad_mask_k": 1.5}, "ad_mask_k"), ({"ad_use_steps": "maybe"}, "ad_use_steps"),
    ({"ad_mask_merge_invert": "Split"}, "ad_mask_merge_invert"), ({"ad_mask_filter_method": "Size"}, "ad_mask_filter_method"),
    ({"ad_prompt": 3}, "ad_prompt"), ({"ad_mask_blur": -1}, "ad_mask_blur"), ({"ad_cfg_scale": float("nan")}, "ad_cfg_scale"),
    ({"ad_inpaint_only_masked_padding": -1}, "ad_inpaint_only_masked_padding"), ({"ad_confidence": True}, "ad_confidence"),
    ({"ad_mask_min_ratio": 0.5, "ad_mask_max_ratio": 0.1}, "ad_mask_min_ratio"), ({"denoise": 0.4}, "denoise"),
    ({"ad_use_inpaint_width_height": True, "ad_inpaint_width": 0}, "ad_inpaint_width"),
    ({"ad_controlnet_model": "tile", "ad_controlnet_weight": 1.5}, "ad_controlnet_weight"),
    ({"ad_controlnet_model": "tile", "ad_controlnet_guidance_start": 0.8, "ad_controlnet_guidance_end": 0.2}, "ad_controlnet_guidance_start"),
])
def test_what_adetailer_would_refuse_is_an_error(args: dict[str, Any], field: str) -> None:
    """ADetailer silently leaves such a tab out; here the client is told which argument it is."""
    with pytest.raises(SettingsError, match=field) as caught:
        translate({**FACE, **args})
    assert caught.value.field == field


def test_a_misspelt_argument_is_told_what_was_meant() -> None:
    """The nearest known name is in the message."""
    with pytest.raises(SettingsError, match="did you mean 'ad_denoising_strength'"):
        translate({**FACE, "ad_denoise_strength": 0.4})


def test_parts_are_sampled_at_the_main_pictures_size() -> None:
    """Without a size of its own a part is sampled at the main picture's, as there."""
    done = translate(FACE, main_wh=(832, 1216))
    assert done.settings is not None
    assert (done.settings.guide_size, done.settings.max_size, done.settings.guide_size_for) == (832, 1216, "crop")


def test_the_crop_factor_is_the_padding_of_a_usual_box() -> None:
    """32 pixels around a blurred and dilated box of 128 are a factor of 1.7, of a larger picture less; said as being near only."""
    small, large = translate(FACE, main_wh=(512, 768)), translate(FACE, main_wh=(1024, 1024))
    assert small.settings is not None and large.settings is not None
    assert (small.settings.crop_factor, large.settings.crop_factor) == (1.7, 1.3)
    assert {one.key for one in small.near} == {"ad_inpaint_only_masked_padding", "ad_mask_blur", "ad_use_inpaint_width_height"}


@pytest.mark.parametrize("sigma", [1, 2, 4, 6, 8])
def test_the_feather_spreads_like_the_hosts_blur(sigma: int) -> None:
    """Half a mask blurred both ways differs by at most a tenth anywhere."""
    import cv2
    import numpy as np
    import torch

    from detailer_core.image_ops import blur_mask

    mask = np.zeros((200, 200), np.float32)
    mask[:, 100:] = 1
    size = 2 * int(2.5 * sigma + 0.5) + 1
    theirs = cv2.GaussianBlur(mask, (size, size), sigma)
    ours = blur_mask(torch.from_numpy(mask)[None, None], feather_like(sigma))[0, 0].numpy()
    assert np.abs(theirs - ours).max() < 0.1


def test_the_feather_grows_with_the_blur() -> None:
    """More blur is never less feather, and a blur that we cannot reach is the most that makes a difference."""
    feathers = [feather_like(sigma) for sigma in range(40)]
    assert feathers == sorted(feathers)
    assert feathers[39] < 50


def test_a_sampler_that_the_host_has_keeps_its_name() -> None:
    """Forge Classic's samplers carry the scheduler in their names."""
    args = {**FACE, "ad_use_sampler": True, "ad_sampler": "DPM++ 2M Karras"}
    kept, split = translate(args, samplers=("DPM++ 2M Karras", "DPM++ 2M")), translate(args, samplers=("DPM++ 2M", "Euler"))
    assert kept.settings is not None and split.settings is not None
    assert (kept.settings.sampler, kept.settings.scheduler) == ("DPM++ 2M Karras", None)
    assert (split.settings.sampler, split.settings.scheduler) == ("DPM++ 2M", "Karras")


def test_all_defaults_lose_nothing() -> None:
    """A client that sends every argument with its default, descendants' arguments too, is told of nothing."""
    done = translate({one.name: one.default for one in ARGUMENTS} | FACE)
    assert done.lost == ()
    assert done.settings == translate(FACE).settings


def test_every_name_and_label_means_one_argument() -> None:
    """No name and no label stands for two arguments."""
    names = [name for one in ARGUMENTS for name in (one.name, *one.older) if name.startswith("ad_")]
    labels = [label for one in ARGUMENTS for label in (one.label, *one.older) if not label.startswith("ad_")]
    assert (len(by_name()), len(by_label())) == (len(names), len(labels))
    assert (len(set(names)), len(set(labels))) == (len(names), len(labels))


def test_adetailers_arguments_are_told_from_ours() -> None:
    """One key of ADetailer's is enough."""
    assert is_adetailer({"ad_model": "x"})
    assert not is_adetailer({"detector": "x"})
    assert not is_adetailer({})


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from([one.name for one in ARGUMENTS]),
                       st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5))))
def test_nothing_but_a_settings_error_ever_comes(args: dict[str, Any]) -> None:
    """Whatever a client sends gives settings, nothing, or an error that names an argument it sent or that depends on it."""
    try:
        done = translate({**FACE, **args})
    except SettingsError as error:
        assert error.field.startswith("ad_")
    else:
        assert done.settings is None or done.settings.guide_size_for == "crop"
