"""ADetailer's arguments: their names in its API, their labels in a picture's generation parameters, their defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["bool", "int", "float", "text"]
Value: TypeAlias = bool | int | float | str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Argument:
    """One argument of a tab. label: without "ADetailer " before it. older: other names and labels that earlier versions used."""

    name: str
    label: str
    default: Value
    kind: Kind
    older: tuple[str, ...] = ()


def _argument(name: str, label: str, default: Value, *older: str) -> Argument:
    kinds: dict[type, Kind] = {bool: "bool", int: "int", float: "float"}
    return Argument(name=name, label=label, default=default, kind=kinds.get(type(default), "text"), older=older)


ARGUMENTS = (
    _argument("ad_model", "model", "None"),
    _argument("ad_model_classes", "model classes", ""),
    _argument("ad_tab_enable", "tab enable", True, "ad_tap_enable", "tap enable", "ad_enable", "enable"),
    _argument("ad_prompt", "prompt", ""),
    _argument("ad_negative_prompt", "negative prompt", ""),
    _argument("ad_confidence", "confidence", 0.3),
    _argument("ad_mask_filter_method", "method to decide top k masks", "Area"),
    _argument("ad_mask_k", "mask only top k", 0, "ad_mask_k_largest", "mask only top k largest"),
    _argument("ad_mask_min_ratio", "mask min ratio", 0.0),
    _argument("ad_mask_max_ratio", "mask max ratio", 1.0),
    _argument("ad_dilate_erode", "dilate erode", 4, "dilate/erode"),
    _argument("ad_x_offset", "x offset", 0),
    _argument("ad_y_offset", "y offset", 0),
    _argument("ad_mask_merge_invert", "mask merge invert", "None", "mask merge/invert"),
    _argument("ad_mask_blur", "mask blur", 4),
    _argument("ad_denoising_strength", "denoising strength", 0.4),
    _argument("ad_inpaint_only_masked", "inpaint only masked", True, "ad_inpaint_full_res", "inpaint full"),
    _argument("ad_inpaint_only_masked_padding", "inpaint padding", 32, "ad_inpaint_full_res_padding"),
    _argument("ad_use_inpaint_width_height", "use inpaint width height", False, "use inpaint width/height"),
    _argument("ad_inpaint_width", "inpaint width", 512),
    _argument("ad_inpaint_height", "inpaint height", 512),
    _argument("ad_use_steps", "use separate steps", False),
    _argument("ad_steps", "steps", 28),
    _argument("ad_use_cfg_scale", "use separate CFG scale", False),
    _argument("ad_cfg_scale", "CFG scale", 7.0),
    _argument("ad_use_checkpoint", "use separate checkpoint", False),
    _argument("ad_checkpoint", "checkpoint", None),
    _argument("ad_use_vae", "use separate VAE", False),
    _argument("ad_vae", "VAE", None),
    _argument("ad_use_sampler", "use separate sampler", False),
    _argument("ad_sampler", "sampler", "DPM++ 2M Karras"),
    _argument("ad_scheduler", "scheduler", "Use same scheduler"),
    _argument("ad_use_noise_multiplier", "use separate noise multiplier", False),
    _argument("ad_noise_multiplier", "noise multiplier", 1.0),
    _argument("ad_use_clip_skip", "use separate CLIP skip", False),
    _argument("ad_clip_skip", "CLIP skip", 1),
    _argument("ad_restore_face", "restore face", False),
    _argument("ad_controlnet_model", "ControlNet model", "None"),
    _argument("ad_controlnet_module", "ControlNet module", "None"),
    _argument("ad_controlnet_weight", "ControlNet weight", 1.0),
    _argument("ad_controlnet_guidance_start", "ControlNet guidance start", 0.0),
    _argument("ad_controlnet_guidance_end", "ControlNet guidance end", 1.0),
    # What descendants of it have added.
    _argument("ad_model_classes_exclude", "classes exclude", False),
    _argument("ad_model_classes_excluded", "model classes excluded", ""),
    _argument("ad_classes_sequential", "classes sequential", False),
    _argument("ad_prompt_append", "prompt append", ""),
    _argument("ad_negative_prompt_append", "negative prompt append", ""),
    _argument("ad_class_prompts", "class prompts", ""),
    _argument("ad_class_guard", "class guard", False),
    _argument("ad_class_guard_weight", "class guard weight", 1.0),
    _argument("ad_use_main_loras", "use main loras", False),
    _argument("ad_use_lora_triggers", "use lora triggers", False),
    _argument("ad_strip_loras", "strip loras", False),
    _argument("ad_apply_on_hires_only", "apply on hires only", False),
    _argument("ad_use_bbox_mask", "use bbox mask", False),
    _argument("ad_detection_resolution", "detection resolution", 0),
    _argument("ad_dynamic_denoise_power", "dynamic denoise power", 0.0),
    _argument("ad_use_resolution_scale", "use resolution scale", False),
    _argument("ad_resolution_scale", "resolution scale", 1.5),
    _argument("ad_use_text_encoder", "use separate text encoder", False),
    _argument("ad_text_encoder", "text encoder", None),
    _argument("ad_inpaint_indices", "inpaint indices", ""),
)
"""Every argument of a tab that is known, in ADetailer's order."""


@lru_cache(maxsize=1)
def by_name() -> Mapping[str, Argument]:
    """Each argument by every name that it has or had in the API."""
    return MappingProxyType({name: one for one in ARGUMENTS for name in (one.name, *one.older) if name.startswith("ad_")})


@lru_cache(maxsize=1)
def by_label() -> Mapping[str, Argument]:
    """Each argument by every label that it has or had in generation parameters."""
    return MappingProxyType({label: one for one in ARGUMENTS for label in (one.label, *one.older) if not label.startswith("ad_")})
