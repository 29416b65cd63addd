"""Text expansion: what the golden rows do not say, limits and errors."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detailer_core.errors import PromptError
from detailer_core.wildcards import WildcardLibrary, expand
from detailer_core.wildcards.text import MAX_CHARACTERS, remove_comments

LIBRARY = WildcardLibrary.from_mapping({"color": ["red", "green"], "deep": ["{__color__|x}"], "f/one": ["1"], "f/two": ["2"], "f": ["0"]})
PIECES = st.sampled_from(["{", "}", "|", "$$", "2$$", "1-2$$", "::", "0.5::", "\\", "a", " ", "\n", "#",
                          "__color__", "__deep__", "2#__color__", "__none__", "__*__"])


@settings(deadline=None, max_examples=300)
@given(st.lists(PIECES, max_size=20).map("".join), st.integers(0, 2**64 - 1))
def test_the_same_seed_gives_the_same_text_or_a_clear_error(text: str, seed: int) -> None:
    """Whatever the text: twice the same result, or a PromptError, never another error."""
    assert _outcome(text, seed) == _outcome(text, seed)


@settings(deadline=None)
@given(st.lists(st.text("abc", min_size=1), min_size=1, max_size=5), st.integers(0, 2**32))
def test_a_choice_is_one_of_its_options(options: list[str], seed: int) -> None:
    """What comes out of braces stood in them."""
    assert expand("{" + "|".join(options) + "}", seed, LIBRARY) in options


@settings(deadline=None)
@given(st.integers(1, 4), st.integers(0, 2**32))
def test_several_are_drawn_without_putting_back(count: int, seed: int) -> None:
    """`n$$` draws n different options."""
    drawn = expand(f"{{{count}$$,$$a|b|c|d}}", seed, LIBRARY).split(",")
    assert len(set(drawn)) == len(drawn) == count


@pytest.mark.parametrize("seed", range(20))
def test_all_of_a_glob_can_come(seed: int) -> None:
    """`f/*` draws from every file in the folder, and from `f` itself."""
    assert expand("__f/*__", seed, LIBRARY) in {"0", "1", "2"}


@pytest.mark.parametrize("seed", range(20))
def test_weights_in_wildcard_lines_are_obeyed(seed: int) -> None:
    """A line may carry a weight, which does not show in the text."""
    assert expand("__w__", seed, WildcardLibrary.from_mapping({"w": ["0::never", "2::often", "also"]})) in {"often", "also"}


def test_repeated_wildcards_keep_their_own_numbers() -> None:
    """`2#` and `3#` of one wildcard give two and three."""
    text = expand("2#__color__,3#__color__", 0, LIBRARY)
    assert [part.count("|") + 1 for part in text.split(",")] == [2, 3]


def test_escaped_braces_stay() -> None:
    """A backslash makes a brace plain text."""
    assert expand(r"\{a|b\}", 0, LIBRARY) == r"\{a|b\}"


def test_zero_options_give_nothing() -> None:
    """`0$$` draws nothing."""
    assert expand("x{0$$a|b}y", 0, LIBRARY) == "xy"


@pytest.mark.parametrize("seed", range(5))
def test_an_unknown_wildcard_does_not_stop_the_others(seed: int) -> None:
    """What a wildcard brought is expanded although an unknown one follows."""
    assert "{" not in expand("__deep__ __none__", seed, LIBRARY)


def test_a_first_comment_joins_the_second_line() -> None:
    """As in the reference a comment at the top joins the second kept line to the first."""
    assert remove_comments("#c\na\nb\nd") == "a b\nd"


@pytest.mark.parametrize(("text", "message"), [
    ("{a$$b|c}", "'{a$$b|c}': '$$' must follow a number"),
    ("{1$$a$$b$$c}", "'$$' must follow a number"),
    ("{3-1$$a|b}", "from 3 to 1 is the wrong way round; swap the numbers"),
    ("{99999999999$$a|b}", "more than 10000 options are asked for"),
    ("{0::a|0::b}", "weights must not be negative and at least one must be above 0"),
    ("{-1::a|b}", "weights must not be negative"),
    ("{2$$0::a|b}", "2 options are asked for, but fewer have a weight above 0"),
    ("{2$$__nowhere__}", "wildcard '__nowhere__' in '__nowhere__' not found among 5 wildcards"),
    ("99999999#__color__", "makes a text of over 50000 characters"),
    ("x" * (MAX_CHARACTERS + 1), "the expanded text has more than 50000 characters"),
])
def test_bad_text_is_refused(text: str, message: str) -> None:
    """A group that cannot be drawn from, or a text that grows too long, is a PromptError that says what to do."""
    with pytest.raises(PromptError) as caught:
        expand(text, 0, LIBRARY)
    assert message in str(caught.value)


@pytest.mark.parametrize(("lines", "text", "message"), [
    (["__a__"], "__a__", "wildcards still follow after 99 rounds"),
    (["__a__ __a__"], "__a__", "the expanded text has more than 50000 characters"),
    (["{2$$__a__}"], "{2$$__a__}", "a wildcard probably refers to itself"),
    ([], "__a__", "wildcard '__a__': the wildcard has no lines"),
    (["0::x"], "__a__", "wildcard '__a__': '{0::x}': weights must not be negative"),
])
def test_bad_wildcards_are_refused(lines: list[str], text: str, message: str) -> None:
    """A wildcard that goes round in a circle, or holds nothing to draw, ends in a PromptError and not in an endless loop."""
    with pytest.raises(PromptError) as caught:
        expand(text, 0, WildcardLibrary.from_mapping({"a": lines}))
    assert message in str(caught.value)


def test_too_many_lookups_are_refused() -> None:
    """Thousands of unknown wildcards end in a PromptError, not in minutes of work."""
    with pytest.raises(PromptError, match="more than 10000 wildcards were looked up"):
        expand(" ".join(f"__n{i}__" for i in range(3000)), 0, LIBRARY)


def test_a_negative_seed_is_refused() -> None:
    """-1 must be settled before."""
    with pytest.raises(PromptError, match="seed -1 cannot be used to expand wildcards; settle a random seed before"):
        expand("a", -1, LIBRARY)


def _outcome(text: str, seed: int) -> str:
    try:
        return expand(text, seed, LIBRARY)
    except PromptError as error:
        return f"error: {error}"
