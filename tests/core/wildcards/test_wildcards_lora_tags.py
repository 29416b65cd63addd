"""Lora tags."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detailer_core.wildcards import LoraTag, extract_lora_tags, remove_lora_tags


@pytest.mark.parametrize(("text", "tag"), [
    ("<lora:a>", LoraTag(name="a")),
    ("<lora:a:.5>", LoraTag(name="a", model_weight=0.5, clip_weight=0.5)),
    ("<lora:a:1:2:3>", LoraTag(name="a", model_weight=1.0, clip_weight=2.0)),
    ("<lora:a:x>", LoraTag(name="a")),
    ("<lora:a:LBW=;A=x;B=2>", LoraTag(name="a", block_a=1.0, block_b=2.0)),
])
def test_one_tag(text: str, tag: LoraTag) -> None:
    """Weights are read where they are numbers."""
    assert extract_lora_tags(text) == (tag,)


def test_the_first_of_a_name_counts() -> None:
    """A second tag of the same name is ignored, the order stays."""
    assert [(tag.name, tag.model_weight) for tag in extract_lora_tags("<lora:b:2><lora:a:1><lora:b:3>")] == [("b", 2.0), ("a", 1.0)]


@given(st.text("<lora:>a1.;=LBW", max_size=60))
def test_no_tag_is_left(text: str) -> None:
    """Any text can be read, and text without tags is not changed."""
    tags, rest = extract_lora_tags(text), remove_lora_tags(text)
    assert (rest == text) == (not tags)
