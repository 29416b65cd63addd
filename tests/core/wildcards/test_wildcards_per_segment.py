"""Which segment gets which text: both grammars, order, seeds, actions."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detailer_core.errors import PromptError
from detailer_core.wildcards import Choice, WildcardLibrary, parse, segment_prompt

EMPTY = WildcardLibrary()
BOXES = st.lists(st.tuples(*[st.integers(0, 5)] * 4), max_size=12)
TAGS = st.sampled_from(["", "[ASC]", "[DSC]", "[ASC-SIZE]", "[DSC-SIZE]", "[RND]", "[LAB]", "[CONCAT][DSC]", "[SEP]"])
PIECES = st.sampled_from(["[SEP:R]", "[SKIP]", "[face]", "x"])


def texts(text: str, labels: list[str], dialect: str = "auto") -> list[tuple[str, str]]:
    """Text and action for segments with these labels."""
    chooser = parse(text, dialect).chooser(random.Random(0))  # type: ignore[arg-type]
    return [(choice.text, choice.action) for choice in map(chooser.get, labels)]


@settings(deadline=None)
@given(TAGS, BOXES)
def test_the_order_is_a_permutation(tag: str, boxes: list[tuple[int, int, int, int]]) -> None:
    """Every segment comes once, and equal ones keep their order."""
    order = parse(f"{tag}a[SEP]b").order(boxes)
    assert sorted(order) == list(range(len(boxes)))
    assert all(i < j for i, j in pairwise(order) if boxes[i] == boxes[j])


@settings(deadline=None)
@given(st.text("[]ASCDNRLBEPSKITO:-17a{|}_ ", max_size=40) | st.lists(TAGS | PIECES).map("".join),
       st.integers(0, 2**32), st.lists(st.sampled_from(["face", "hand", "ALL", ""]), max_size=6))
def test_the_same_seed_gives_the_same_choices(text: str, seed: int, labels: list[str]) -> None:
    """Whatever the text: it can be parsed, and two choosers with one seed agree."""
    one, other = (parse(text).chooser(random.Random(seed)) for _ in range(2))
    assert [one.get(label) for label in labels] == [other.get(label) for label in labels]


@pytest.mark.parametrize(("tag", "order"), [
    ("", (0, 1, 2, 3)), ("[RND]", (0, 1, 2, 3)), ("[LAB]", (0, 1, 2, 3)),
    ("[ASC]", (1, 3, 0, 2)), ("[DSC]", (0, 2, 3, 1)), ("[ASC-SIZE]", (3, 0, 1, 2)), ("[DSC-SIZE]", (1, 2, 0, 3)),
])
def test_order_by_tag(tag: str, order: tuple[int, ...]) -> None:
    """By x0 then y0, by area, or as they came; stable both ways."""
    boxes = [(5, 1, 8, 2), (0, 0, 2, 2), (5, 1, 7, 3), (0, 5, 1, 6)]
    assert parse(f"{tag}[a]x").order(boxes) == order


@pytest.mark.parametrize(("text", "mode", "concat"), [
    ("plain", "plain", False), ("[ASC]a[SEP]b", "ASC", False), ("[CONCAT][LAB][face]a", "LAB", True), ("[CONCAT]x", "plain", True),
    ("a[SEP]b", "adetailer", False), ("[SEP]b", "adetailer", False), ("[PROMPT], x", "adetailer", False), ("[SKIP]", "adetailer", False),
    ("[CONCAT]a[SEP]b", "adetailer", True), ("[RND][PROMPT]", "RND", False), ("[STOP]", "plain", False),
    (" [ASC]a[SEP]b", "adetailer", False),
    ("[asc]a", "plain", False), ("", "plain", False),
])
def test_the_leading_tag_tells_the_grammar(text: str, mode: str, concat: bool) -> None:
    """Impact's tags lead to Impact's grammar, anything else with ADetailer's tokens to ADetailer's."""
    prompts = parse(text)
    assert (prompts.mode, prompts.concat) == (mode, concat)
    assert prompts.chooser(random.Random(0)).concat is concat


def test_a_dialect_can_be_forced() -> None:
    """Either grammar can be asked for."""
    assert [item.text for item in parse("a[SEP]b", "impact").items] == ["a[SEP]b"]
    assert [item.text for item in parse("[ASC]a[SEP]b", "adetailer").items] == ["[ASC]a", "b"]


def test_items_start_again() -> None:
    """A list that is at its end begins anew, an empty item stays empty."""
    assert texts("[ASC]a[SEP]", ["x"] * 3) == [("a", "use"), ("", "use"), ("a", "use")]


def test_actions_are_read_from_the_stripped_item() -> None:
    """Space around `[SKIP]` and `[STOP]` does not matter, other text and case do."""
    given_items = "[ASC] [SKIP] [SEP]\n[STOP][SEP]x [SKIP][SEP][skip]"
    assert [action for _, action in texts(given_items, ["x"] * 4)] == ["skip", "stop", "use", "use"]


def test_skip_and_stop_work_by_label() -> None:
    """`[SKIP]` and `[STOP]` after a label act on that label only."""
    assert texts("[LAB][face] [SKIP] [hand]h[eye][STOP]", ["face", "hand", "eye", "x"]) == [
        ("[SKIP]", "skip"), ("h", "use"), ("[STOP]", "stop"), ("", "use")]


def test_skip_for_all_spares_labels_with_text() -> None:
    """`[ALL][SKIP]` leaves only the labels that have a text of their own; `[ALL]` text does not undo a label's `[SKIP]`."""
    assert texts("[LAB][ALL][SKIP][face]f", ["face", "hand"]) == [("f", "use"), ("[SKIP]", "skip")]
    assert texts("[LAB][ALL]best [face][SKIP]", ["face", "hand"]) == [("[SKIP]", "skip"), ("best", "use")]


def test_a_seed_too_long_to_read_is_no_seed() -> None:
    """Thousands of digits are not an error."""
    assert parse(f"[ASC]a[SEP:{'9' * 5000}]b").items[1].seed is None


def test_adetailers_last_part_repeats() -> None:
    """Further segments get the last part, which may be `[SKIP]`; parts are stripped."""
    assert texts("a [SEP] b", ["x"] * 4) == [("a", "use"), ("b", "use"), ("b", "use"), ("b", "use")]
    assert texts("a[SEP][SKIP]", ["x"] * 3) == [("a", "use"), ("[SKIP]", "skip"), ("[SKIP]", "skip")]


@pytest.mark.parametrize(("text", "prompt"), [
    ("[PROMPT], smiling[SEP]x", "main {a|b}, smiling"), ("[SEP]x", "main {a|b}"), (" [SEP]x", "main {a|b}"),
    ("{[PROMPT]|[PROMPT]}[SEP]x", "main {a|b}"), ("[ASC][PROMPT]", "[PROMPT]"), ("", "main {a|b}"), ("[ASC][SEP]x", "main {a|b}"),
])
def test_the_main_prompt_takes_its_place(text: str, prompt: str) -> None:
    """`[PROMPT]` (ADetailer's grammar only) and empty parts give the main prompt, which is not expanded again."""
    choice = parse(text).chooser(random.Random(0)).get("face")
    assert segment_prompt(choice, main_prompt="main {a|b}", seed=3, library=EMPTY) == prompt


def test_bad_text_of_a_segment_is_refused() -> None:
    """Errors of the text grammar come through."""
    choice = Choice(seed=None, text="{3-1$$a}", action="use")
    with pytest.raises(PromptError, match="wrong way round"):
        segment_prompt(choice, main_prompt="", seed=0, library=EMPTY)
