"""Prompt grammar: text expansion, which segment gets which text, ADetailer's tokens, lora tags."""

from .check import check_text, check_unit_text
from .library import WildcardLibrary
from .lora_tags import LoraTag, add_networks, extract_lora_tags, remove_lora_tags, without_networks
from .per_segment import Choice, Chooser, Dialect, SegmentPrompts, parse, segment_prompt
from .text import expand

__all__ = [
    "Choice",
    "Chooser",
    "Dialect",
    "LoraTag",
    "SegmentPrompts",
    "WildcardLibrary",
    "add_networks",
    "check_text",
    "check_unit_text",
    "expand",
    "extract_lora_tags",
    "parse",
    "remove_lora_tags",
    "segment_prompt",
    "without_networks",
]
