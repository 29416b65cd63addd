"""The API arguments of one of ADetailer's tabs as settings of one unit."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from typing import Any

from detailer_core.errors import SettingsError
from detailer_core.geometry import SizeWH
from detailer_core.image_ops import BLUR_SIGMA
from detailer_core.settings import Value, make_settings, options

from .control import control
from .descendants import descendants
from .names import ARGUMENTS, Argument, by_name
from .tab import NOTHING, Tab, Translation

_IGNORED = frozenset(("is_api",))
"""What its page adds to the arguments, and means nothing to others."""

OLD_CONFIDENCE = "ad_conf"
"""The confidence of its first versions: whole numbers are percent."""

SKIP_IMG2IMG = "ad_skip_img2img"
"""Stands for the second value of ADetailer's list of arguments, which is no tab's: only detail the img2img picture."""

_SCHEDULERS = ("Karras", "Exponential", "Polyexponential", "SGM Uniform")
"""What hosts had in a sampler's name before they kept schedulers apart."""

_MERGE = {"None": "none", "Merge": "merge", "Merge and Invert": "merge-invert"}
_BOX_SHARE = 4
"""A padding in pixels is a factor only for a box of known size: a face of a quarter of the picture's short side is taken."""
_USUAL_SIDE = 512
_A1111_RADIUS = 2.5
"""The host's blur reaches so many sigma far."""


def is_adetailer(args: Mapping[str, Any]) -> bool:
    """Whether a mapping of arguments is one of ADetailer's."""
    return any(str(key).startswith("ad_") for key in args)


def skips_img2img(args: Mapping[str, Any]) -> bool:
    """Whether the img2img picture is to be detailed as it is."""
    return str(args.get(SKIP_IMG2IMG)).strip().lower() not in ("false", "none", "0", "")


def translate(args: Mapping[str, Any], *, main_wh: SizeWH | None = None, samplers: Sequence[str] = ()) -> Translation:
    """The unit that does what ADetailer does with these arguments of one tab; what is not given has ADetailer's default.

    main_wh: size of the main picture, at which ADetailer samples each part; None = not known. samplers: names that the host has, to tell
    "DPM++ 2M Karras" from a sampler and its scheduler; empty = not known.
    Raises: SettingsError, with the argument's name in `field`, for an unknown argument or a value that ADetailer would not take either.
    """
    tab = Tab(values={one.name: one.default for one in ARGUMENTS}, main_wh=main_wh, samplers=samplers)
    _read(args, tab)
    if tab.values["ad_model"] in ("None", "") or not tab.values["ad_tab_enable"]:
        return Translation(settings=None, lost=tuple(tab.lost))
    for step in (_detection, _mask, _geometry, _sampling, control, descendants):
        step(tab)
    return Translation(settings=make_settings(tab.result), lost=tuple(tab.lost), near=tuple(tab.near))


def _read(args: Mapping[str, Any], tab: Tab) -> None:
    known = by_name()
    for key, value in args.items():
        if key in _IGNORED:
            continue
        if key == SKIP_IMG2IMG:
            if skips_img2img(args):
                tab.lose(key, "the picture is generated before it is detailed; choose Detailer in the list of scripts to detail it as it is")
        elif key == OLD_CONFIDENCE:
            number = _number(key, value)
            tab.values["ad_confidence"] = number / 100 if float(number).is_integer() and number != 0 else number
        elif key in known:
            argument = known[key]
            tab.values[argument.name] = check_argument(argument, value, key)
        else:
            near = difflib.get_close_matches(str(key), known, n=1)
            raise SettingsError(f"{key}: unknown argument of ADetailer" + (f"; did you mean '{near[0]}'?" if near else ""), field=str(key))


def check_argument(argument: Argument, value: Any, key: str) -> Value:
    """The value in the argument's own type. Raises: SettingsError with `key` as its field."""
    if value is None and argument.kind != "text":
        return argument.default
    if argument.kind == "text":
        if value is None or isinstance(value, str):
            return value if value is not None else argument.default
        raise SettingsError(f"{key}: it must be text, got {value!r}", field=key)
    if argument.kind == "bool":
        words = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
        word = str(value).strip().lower()
        if isinstance(value, (bool, int, str)) and word in words:
            return words[word]
        raise SettingsError(f"{key}: it must be true or false, got {value!r}", field=key)
    number = _number(key, value)
    if argument.kind == "int":
        if not float(number).is_integer():
            raise SettingsError(f"{key}: it must be a whole number, got {value!r}", field=key)
        return int(number)
    return number


def _number(key: str, value: Any) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise SettingsError(f"{key}: it must be a number, got {value!r}", field=key)
    return number


def _detection(tab: Tab) -> None:
    values, result = tab.values, tab.result
    result["detector"] = values["ad_model"]
    result["prompt"], result["negative_prompt"] = values["ad_prompt"], values["ad_negative_prompt"]
    result["labels"] = values["ad_model_classes"]
    for name, ours in (("ad_confidence", "confidence"), ("ad_mask_min_ratio", "min_ratio"), ("ad_mask_max_ratio", "max_ratio")):
        result[ours] = tab.share(name)
    if result["min_ratio"] > result["max_ratio"]:
        raise SettingsError(f"ad_mask_min_ratio: {result['min_ratio']:g} is above ad_mask_max_ratio {result['max_ratio']:g}; no part could remain",
                            field="ad_mask_min_ratio")
    result["drop_size"] = 1  # ADetailer leaves no box out for its size
    tab.take_clamped("ad_mask_k", "max_count")
    method = values["ad_mask_filter_method"]
    if method not in ("Area", "Confidence"):
        raise SettingsError(f"ad_mask_filter_method: choose one of Area, Confidence, got {method!r}", field="ad_mask_filter_method")
    if method == "Confidence" and values["ad_mask_k"]:
        result["max_count_by"] = "confidence"


def _mask(tab: Tab) -> None:
    values, result = tab.values, tab.result
    tab.take_clamped("ad_dilate_erode", "dilation")
    tab.take_clamped("ad_x_offset", "offset_x")
    tab.take_clamped("ad_y_offset", "offset_y", sign=-1)  # its y axis points up
    merge = values["ad_mask_merge_invert"]
    if merge not in _MERGE:
        raise SettingsError(f"ad_mask_merge_invert: choose one of {', '.join(_MERGE)}, got {merge!r}", field="ad_mask_merge_invert")
    result["merge"] = _MERGE[merge]
    if values["ad_use_bbox_mask"]:
        result["mask_shape"] = "box"
    blur = values["ad_mask_blur"]
    if blur < 0:
        raise SettingsError(f"ad_mask_blur: it must be 0 or more, got {blur}", field="ad_mask_blur")
    result["feather"] = feather_like(blur)
    # The host rounds the mask for the latents: no soft edge in what is redrawn.
    result["noise_mask"], result["noise_mask_feather"] = True, 0
    if blur:
        tab.approximate("ad_mask_blur", f"a Gaussian of sigma {blur} there, a feather of {result['feather']} with the same spread here")


def feather_like(sigma: float) -> int:
    """The feather whose blur spreads a mask as far as the host's Gaussian of this sigma does, 0..100 pixels."""
    if sigma <= 0:
        return 0
    sigma = min(sigma, 4 * BLUR_SIGMA)  # beyond what any feather spreads; a client's number must not cost time
    wanted = min(_spread(int(_A1111_RADIUS * sigma + 0.5), sigma), _spread(100, BLUR_SIGMA))
    return min(range(101), key=lambda feather: (round(abs(_spread(feather, BLUR_SIGMA) - wanted), 1), feather))


def _spread(radius: int, sigma: float) -> float:
    """Standard deviation, in pixels, of a Gaussian that is cut at a radius."""
    weights = [(x, math.exp(-x * x / (2 * sigma * sigma))) for x in range(-radius, radius + 1)]
    return math.sqrt(sum(x * x * w for x, w in weights) / sum(w for _, w in weights))


def _geometry(tab: Tab) -> None:
    values, result = tab.values, tab.result
    own = values["ad_use_inpaint_width_height"]
    size = (values["ad_inpaint_width"], values["ad_inpaint_height"]) if own else tab.main_wh
    if own and min(size or (0,)) < 1:
        raise SettingsError(f"ad_inpaint_width, ad_inpaint_height: they must be 1 or more, got {size}", field="ad_inpaint_width")
    result["guide_size_for"] = "crop"
    if size is not None:
        table = options()
        for name, side in (("guide_size", min(size)), ("max_size", max(size))):
            result[name] = int(min(max(side, table[name].minimum or 0), table[name].maximum or side))
        tab.approximate("ad_inpaint_width" if own else "ad_use_inpaint_width_height",
                        f"the crop keeps its own shape, its short side becomes {result['guide_size']} and none exceeds {result['max_size']}")
    if not values["ad_inpaint_only_masked"]:
        result["crop_factor"] = options()["crop_factor"].maximum
        return
    padding = values["ad_inpaint_only_masked_padding"]
    if padding < 0:
        raise SettingsError(f"ad_inpaint_only_masked_padding: it must be 0 or more, got {padding}", field="ad_inpaint_only_masked_padding")
    side = min(tab.main_wh or (_USUAL_SIDE,)) / _BOX_SHARE
    reach = max(0, values["ad_dilate_erode"]) + 2 * (padding + int(_A1111_RADIUS * values["ad_mask_blur"] + 0.5))
    result["crop_factor"] = round(min(1 + reach / side, float(options()["crop_factor"].maximum or 100)), 1)
    tab.approximate("ad_inpaint_only_masked_padding", f"{padding} pixels around the mask there, a crop factor of {result['crop_factor']:g} here, "
                                                      f"which is the same for a box of {side:.0f} pixels")


def _sampling(tab: Tab) -> None:
    values, result = tab.values, tab.result
    result["denoise"] = tab.share("ad_denoising_strength")
    result["restore_face"] = values["ad_restore_face"]
    if values["ad_use_steps"]:
        tab.take_clamped("ad_steps", "steps")
    if values["ad_use_cfg_scale"]:
        tab.take_clamped("ad_cfg_scale", "cfg")
    if values["ad_use_sampler"]:
        sampler, scheduler = _sampler(values["ad_sampler"], values["ad_scheduler"], tab.samplers)
        result["sampler"], result["scheduler"] = sampler, scheduler
    if values["ad_use_checkpoint"] and values["ad_checkpoint"] not in (*NOTHING, "Use same checkpoint"):
        result["checkpoint"] = values["ad_checkpoint"]
    for name, ours, switch, same in (("ad_vae", "vae", "ad_use_vae", "Use same VAE"),
                                     ("ad_noise_multiplier", "noise_multiplier", "ad_use_noise_multiplier", ""),
                                     ("ad_clip_skip", "clip_skip", "ad_use_clip_skip", "")):
        if values[switch] and values[name] not in (*NOTHING, same):
            result[ours] = values[name]


def _sampler(sampler: str | None, scheduler: str | None, samplers: Sequence[str]) -> tuple[str | None, str | None]:
    """Sampler and scheduler, None = the main generation's. A scheduler in the sampler's name is one, unless the host has that sampler."""
    named = None if sampler in (*NOTHING, "Use same sampler") else sampler
    own = None if scheduler in (*NOTHING, "Use same scheduler") else scheduler
    if named is None or named in samplers:
        return named, own
    for label in _SCHEDULERS:
        rest = named.removesuffix(f" {label}")
        if rest != named and (not samplers or rest in samplers):
            return rest, own or label
    return named, own
