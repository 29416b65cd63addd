"""Arguments that descendants of ADetailer have added, where our settings have something for them; else they are named."""

from __future__ import annotations

from detailer_core.errors import SettingsError
from detailer_core.segments import parse_picks

from .tab import Tab

_ABSENT: dict[str, str] = {
    "ad_classes_sequential": "parts are not ordered by class",
    "ad_class_prompts": "write the prompt with [LAB] and a text for each class",
    "ad_class_guard": "not there",
    "ad_use_lora_triggers": "not there",
    "ad_apply_on_hires_only": "parts are redrawn in every picture",
    "ad_dynamic_denoise_power": "all parts have the same denoising strength",
    "ad_use_resolution_scale": "the guide size is used",
    "ad_use_text_encoder": "the loaded one is used",
}
"""What our settings have nothing for, with what happens instead."""


def descendants(tab: Tab) -> None:
    """Take over what has a counterpart, and name the rest."""
    for step in (_classes, _prompts, _networks, _numbers):
        step(tab)
    tab.take_clamped("ad_detection_resolution", "image_size")
    for name, why in _ABSENT.items():
        if tab.says(name):
            tab.lose(name, why)


def _classes(tab: Tab) -> None:
    """The list of classes to leave out counts only while it is switched on."""
    if tab.values["ad_model_classes_exclude"]:
        tab.result["exclude_labels"] = tab.values["ad_model_classes_excluded"]


def _prompts(tab: Tab) -> None:
    """What is appended to the prompts, after each part of them; an empty part is the main prompt."""
    for name, ours in (("ad_prompt_append", "prompt"), ("ad_negative_prompt_append", "negative_prompt")):
        text = tab.values[name].strip()
        if not text:
            continue
        parts = (part.strip() or "[PROMPT]" for part in tab.result[ours].split("[SEP]"))
        tab.result[ours] = " [SEP] ".join(part if part == "[SKIP]" else f"{part}, {text}" for part in parts)
        tab.approximate(name, f"written into the prompt: {tab.result[ours]}")


def _networks(tab: Tab) -> None:
    """LoRAs of the main prompt; leaving all of them out goes before taking them over."""
    if tab.values["ad_strip_loras"]:
        tab.result["main_loras"] = "drop"
        if "<lora:" in tab.values["ad_prompt"]:
            tab.lose("ad_strip_loras", "those that the unit's own prompt names are used")
    elif tab.values["ad_use_main_loras"]:
        tab.result["main_loras"] = "keep"


def _numbers(tab: Tab) -> None:
    """Numbers of the parts to work on, as "1,3" or "#2"; a text without a number means all, as there."""
    text = tab.values["ad_inpaint_indices"].replace("#", "").strip()
    if not text:
        return
    try:
        parse_picks(text)
    except SettingsError:
        tab.lose("ad_inpaint_indices", "it cannot be read; all parts are redrawn")
        return
    tab.result["pick"] = text
    tab.approximate("ad_inpaint_indices", "numbers count in the order that is set here")
