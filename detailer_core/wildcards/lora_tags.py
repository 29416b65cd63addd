"""`<lora:name:weight>` tags in a prompt, with the reference's second weight and block weights."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_TAG = re.compile(r"<lora:([^>]+)>")
_NETWORK = re.compile(r"<(?:lora|lyco):([^:>]+)[^>]*>")
_PRESET = re.compile(r"LBW=[A-Za-z][A-Za-z0-9_-]*:")
_NUMBER = re.compile(r"-?(?:\d+\.?\d*|\.\d+)")


@dataclass(frozen=True, kw_only=True, slots=True)
class LoraTag:
    """One tag.

    name: as written, may hold a folder or a suffix.
    model_weight, clip_weight: factors; 1 and the model's weight if not given.
    block_weights, block_a, block_b: what `LBW=...;A=...;B=...` says, None where it does not.
    """

    name: str
    model_weight: float = 1.0
    clip_weight: float = 1.0
    block_weights: str | None = None
    block_a: float | None = None
    block_b: float | None = None


def extract_lora_tags(text: str) -> tuple[LoraTag, ...]:
    """The tags in their order; of several with one name only the first."""
    tags: dict[str, LoraTag] = {}
    for inside in _TAG.findall(text):
        name, *fields = _PRESET.sub("LBW=", inside.strip(":")).split(":")
        tags.setdefault(name, _tag(name, fields))
    return tuple(tags.values())


def remove_lora_tags(text: str) -> str:
    """The text without the tags; spaces around them stay."""
    return _TAG.sub("", text)


def without_networks(text: str) -> str:
    """The text without `<lora:...>` and `<lyco:...>` tags; spaces around them stay."""
    return _NETWORK.sub("", text)


def add_networks(text: str, source: str) -> str:
    """The text with those `<lora:...>` and `<lyco:...>` tags of `source` behind it whose names it does not have; one tag a name."""
    tags: dict[str, str] = {}
    for tag in _NETWORK.finditer(source):
        tags.setdefault(tag[1].strip(), tag[0])
    named = {tag[1].strip() for tag in _NETWORK.finditer(text)}
    return " ".join([*([text] if text else []), *(tag for name, tag in tags.items() if name not in named)])


def _tag(name: str, fields: Sequence[str]) -> LoraTag:
    weights = [float(field) for field in fields if _NUMBER.fullmatch(field)]
    model_weight = weights[0] if weights else 1.0
    clip_weight = weights[1] if len(weights) > 1 else model_weight
    blocks = [part for field in fields if field.startswith("LBW=") for part in field.removeprefix("LBW=").split(";")]
    plain = [part for part in blocks if part.strip() and not part.startswith(("A=", "B="))]
    return LoraTag(name=name, model_weight=model_weight, clip_weight=clip_weight, block_weights=plain[-1] if plain else None,
                   block_a=_block_factor(blocks, "A="), block_b=_block_factor(blocks, "B="))


def _block_factor(blocks: Sequence[str], key: str) -> float | None:
    """The number after the last `A=` or `B=`; 1 if it is not a number, None if there is no such part."""
    values = [part.removeprefix(key).strip() for part in blocks if part.startswith(key)]
    if not values:
        return None
    return float(values[-1]) if _NUMBER.fullmatch(values[-1]) else 1.0
