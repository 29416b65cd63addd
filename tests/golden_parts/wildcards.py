"""How many golden rows of the wildcard rooms come out exactly: per file passed, total, and the worst difference (0 or 1, rows are text).

Random choices come from the run's seed (REFERENCE items 12 and 16); here their generator is seeded as it was when the rows were made.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from detailer_core.errors import PromptError
from detailer_core.wildcards import WildcardLibrary, expand, extract_lora_tags, parse, remove_lora_tags
from detailer_core.wildcards.per_segment import SegmentPrompts

RANDOM_SEED = 1234
"""With what the reference's global generator was seeded before each row of wildcard_segs."""


# What differs on purpose: which rows, the item of REFERENCE, and why.
ON_PURPOSE = {
    "[LAB] with [SKIP] or [STOP]": (14, "they work there, too"),
    "rows that raise": (16, "a text that cannot be expanded is a PromptError with a message of our own"),
}


def load(folder: Path, name: str) -> dict[str, Any]:
    """One golden file."""
    return json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))


def expand_row(row: list[Any], library: WildcardLibrary) -> bool:
    """Whether a row of wildcard_text comes out."""
    text, seed, result, error = row
    try:
        return expand(text, seed, library) == result
    except PromptError:
        return error is not None


def segments_row(row: dict[str, Any]) -> bool:
    """Whether a row of wildcard_segs comes out: mode, concat, items and what the chooser gives."""
    if "[LAB]" in row["text"] and ("[SKIP]" in row["text"] or "[STOP]" in row["text"]):
        return parse(row["text"], "impact").mode == "LAB"
    prompts = parse(row["text"], "impact")
    head = (None if prompts.mode == "plain" else prompts.mode, prompts.concat)
    return head == (row["mode"], row["concat"]) and _items(prompts) == row["items"] and _gets(prompts, row) == row["gets"]


def lora_row(row: list[Any]) -> bool:
    """Whether a row of lora_tags comes out."""
    text, expected, rest, _ = row
    tags = [[tag.name, tag.model_weight, tag.clip_weight, tag.block_weights, tag.block_a, tag.block_b] for tag in extract_lora_tags(text)]
    return tags == expected and remove_lora_tags(text) == rest


def check(folder: Path) -> dict[str, tuple[int, int, float]]:
    """Per golden file of this room: rows that come out exactly, all rows, worst difference."""
    found: dict[str, tuple[int, int, float]] = {}
    if (folder / "wildcard_text.json").is_file():
        text = load(folder, "wildcard_text")
        library = WildcardLibrary.from_mapping(text["dictionary"])
        found["wildcard_text"] = _count(lambda row: expand_row(row, library), text["rows"])
    for name, passes in (("wildcard_segs", segments_row), ("lora_tags", lora_row)):
        if (folder / f"{name}.json").is_file():
            found[name] = _count(passes, load(folder, name)["rows"])
    return found


def _count(passes: Callable[[Any], bool], rows: list[Any]) -> tuple[int, int, float]:
    passed = sum(passes(row) for row in rows)
    return passed, len(rows), 0.0 if passed == len(rows) else 1.0


def _gets(prompts: SegmentPrompts, row: dict[str, Any]) -> Any:
    chooser = prompts.chooser(random.Random(RANDOM_SEED))
    if prompts.mode == "LAB":
        return {label: chooser.get(label).text for label in row["gets"]}
    return [[choice.seed, choice.text] for choice in (chooser.get("face") for _ in row["gets"])]


def _items(prompts: SegmentPrompts) -> Any:
    """The items as the reference holds them after `[SEP:R]` and the first shuffle."""
    if prompts.mode == "LAB":
        return {item.label: item.text for item in prompts.items}
    chooser = prompts.chooser(random.Random(RANDOM_SEED))
    return [[choice.seed, choice.text] for choice in (chooser.get("face") for _ in prompts.items)]
