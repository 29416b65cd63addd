"""The reference's own results: a small sample that always runs, and all rows where they can be had."""

from __future__ import annotations

import importlib.util
import json
import random
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from detailer_core.wildcards import WildcardLibrary, expand, extract_lora_tags, parse, remove_lora_tags

REPOSITORY = Path(__file__).resolve().parents[3]
GOLDEN = REPOSITORY.parent / "shared" / "golden"
needs_golden = pytest.mark.skipif(not GOLDEN.is_dir(), reason=f"no golden data of the reference at {GOLDEN}")

# Copied from golden/wildcard_text.json, made by the reference (ComfyUI-Impact-Pack V7.10.6, numpy 1.26.4).
DICTIONARY = {"color": ["red", "green", "blue"], "animal/cat": ["siamese", "persian"], "animal/dog": ["pug", "husky"],
              "size": ["{tiny|huge}", "mid"], "nest": ["__color__ __size__"], "a-b": ["dash"], "one": ["single"]}
TEXTS = [
    ("{a|b} and {c|d}", 123456789, "a and d"), ("{a|{b|c}}", 42, "a"), ("__color__", 42, "red"), ("__COLOR__", 0, "blue"),
    ("__animal/*__", 42, "siamese"), ("__*/dog__", 1, "pug"), ("__cat__", 3, "persian"), ("__missing__", 0, "__*/missing__"),
    ("__nest__", 2, "blue tiny"), ("{2$$, $$a|b|c|d}", 42, "d, b"), ("{1-3$$, $$a|b|c|d}", 123456789, "d, c, b"),
    ("{-2$$a|b|c}", 42, "b"), ("{5$$a|b}", 42, "b a"), ("{3::a|1::b}", 42, "b"), ("{0.5::a|.5::b|c}", 3, "a"),
    ("3#__color__", 42, "red|blue|green"), ("{2$$__color__}", 123456789, "red blue"), ("{2$$, $$__color__}", 0, "blue"),
    ("a\n#c1\n#c2\nb\nc", 0, "a b\nc"), ("{2$$ and $${x|y}|z|w}", 42, "z and w"), ("__animal\\cat__", 1, "siamese"),
    ("{a::b|c}", 2, "a::b"), ("no close {a|b", 1, "no close {a|b"), ("{ a | b }", 0, " b "),
]
# Copied from golden/wildcard_segs.json: what eight calls give, with random.Random(1234).
GETS = [
    ("[RND]a[SEP]b[SEP]c", ["c", "a", "b", "a", "b", "c", "b", "a"]),
    ("[ASC]a[SEP][SEP]c", ["a", "", "c", "a", "", "c", "a", ""]),
    ("[RND][ASC]a[SEP]b", ["[ASC]a", "b", "b", "[ASC]a", "[ASC]a", "b", "b", "[ASC]a"]),
    (" [ASC]a[SEP]b", [" [ASC]a[SEP]b"] * 8),
]
# Copied from golden/wildcard_segs.json: seeds of the first three items, with random.Random(1234).
SEEDS = [("[ASC]a[SEP:R]b[SEP:R]c", [None, 263124474386975, 204109762983444]),
         ("[RND]a[SEP:R]b[SEP:R]c", [263124474386975, None, 204109762983444]),
         ("[ASC]a[SEP:12_3]b[SEP:007]c", [None, 123, 7]), ("[ASC]a[SEP:0x10]b[SEP:r]c", [None, None, None])]


@pytest.mark.parametrize(("text", "seed", "result"), TEXTS)
def test_expands_as_the_reference(text: str, seed: int, result: str) -> None:
    """The same seed gives the reference's text."""
    assert expand(text, seed, WildcardLibrary.from_mapping(DICTIONARY)) == result


@pytest.mark.parametrize(("text", "texts"), GETS)
def test_chooses_as_the_reference(text: str, texts: list[str]) -> None:
    """Items come in the reference's order, and start again as there."""
    chooser = parse(text, "impact").chooser(random.Random(1234))
    assert [chooser.get("face").text for _ in texts] == texts


@pytest.mark.parametrize(("text", "seeds"), SEEDS)
def test_item_seeds_are_the_references(text: str, seeds: list[int | None]) -> None:
    """Given and random item seeds are the reference's."""
    chooser = parse(text, "impact").chooser(random.Random(1234))
    assert [chooser.get("face").seed for _ in seeds] == seeds


def test_lora_tags_are_read_as_in_the_reference() -> None:
    """A tag with block weights gives the reference's numbers (a row of golden/lora_tags.json)."""
    text = "<lora:a:0.5:LBW=B11:0,0,0;A=0;B=0.5>"
    (tag,) = extract_lora_tags(text)
    assert (tag.name, tag.model_weight, tag.clip_weight, tag.block_weights, tag.block_a, tag.block_b) == ("a", 0.5, 0.5, "0,0,0", 0.0, 0.5)
    assert remove_lora_tags(text) == ""


@needs_golden
@pytest.mark.parametrize("name", ["wildcard_text", "wildcard_segs", "lora_tags"])
def test_every_golden_row_comes_out(name: str) -> None:
    """All rows of a golden file are exact."""
    passed, total, worst = _golden_part().check(GOLDEN)[name]
    assert (passed, worst) == (total, 0.0)
    assert total > 0


@needs_golden
def test_order_seeds_and_texts_of_whole_runs() -> None:
    """Order, seeds and encoded texts of the reference's runs with wildcards and equal keys come out (`do_detail.json`)."""
    cases = json.loads((GOLDEN / "do_detail.json").read_text(encoding="utf-8"))["cases"]
    cases = [case for case in cases if case["id"].startswith(("wc", "ties"))]
    assert cases
    for case in cases:
        order, seeds, texts = _walk(case)
        assert order == [seg[0] for seg in case["new_segs"]], case["id"]
        assert seeds == [call["seed"] for call in case["sampler_calls"]], case["id"]
        assert texts == case["clip_texts"], case["id"]


def _walk(case: dict[str, Any]) -> tuple[list[int], list[int], list[str]]:
    """The segments, seeds and texts of a run in which no segment is skipped for another reason. (The reference strips what it encodes.)"""
    params, segs = case["params"], case["segs"]
    prompts = parse(params["wildcard"], "impact")
    chooser = prompts.chooser(random.Random(1234))
    order, seeds, texts = [], [], []
    for index, seg in enumerate(prompts.order([seg["bbox"] for seg in segs])):
        choice = chooser.get(segs[seg]["label"])
        if choice.action == "stop":
            break
        if choice.action == "use":
            order.append(seg)
            seeds.append(params.get("seed", 1000) + index if choice.seed is None else choice.seed)
            texts += [expand(choice.text, 0, WildcardLibrary()).strip()] if choice.text else []
    return order, seeds, texts


def _golden_part() -> ModuleType:
    spec = importlib.util.spec_from_file_location("golden_part_wildcards", REPOSITORY / "tests" / "golden_parts" / "wildcards.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
