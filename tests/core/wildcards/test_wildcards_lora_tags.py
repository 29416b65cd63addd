"""Lora tags."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detailer_core.wildcards import LoraTag, add_networks, extract_lora_tags, remove_lora_tags, without_networks


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


@pytest.mark.parametrize(("text", "source", "both"), [
    ("red", "a <lora:x:0.5> b <lyco:y>", "red <lora:x:0.5> <lyco:y>"), ("red <lora:x:1>", "a <lora:x:0.5>", "red <lora:x:1>"),
    ("", "<lora:x>", "<lora:x>"), (" red ", "a <hypernet:z:1>", " red "),
    ("<lyco:x>", "<lora:x:1>", "<lyco:x>"), ("red", "<lora:x:1><lora:x:2>", "red <lora:x:1>"),
])
def test_networks_are_added(text: str, source: str, both: str) -> None:
    """Those that the text does not name come behind it, once each; other text of the source does not, and adding again changes nothing."""
    assert add_networks(text, source) == both == add_networks(both, source)


@given(st.text("<lora:yc>x1. ", max_size=60))
def test_no_network_is_left(text: str) -> None:
    """Any text can be read; without its tags it has none to add."""
    rest = without_networks(text)
    assert (add_networks("a", rest) == "a") or without_networks(rest) != rest  # what is left may join to a new tag
