"""The checker: what is wrong, where, and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detailer_core.errors import PromptError
from detailer_core.wildcards import WildcardLibrary, check_text, check_unit_text, expand

LIBRARY = WildcardLibrary.from_mapping({
    "color": ["red", "{dark|light} blue"], "f/cat": ["__color__ cat"], "loop": ["x", "__round__"], "round": ["y", "a __f/cat__ __loop__"],
    "self": ["__self__"], "torn": ["fine", "__nowhere__"], "empty": [],
})
PIECES = st.sampled_from(["{", "}", "|", "2$$", "0.5::", "__color__", "__cat__", "2#__color__", "a", " ", "\n"])


@pytest.mark.parametrize("text", [
    "", "plain (a:1.2) [b]", "{a|{b|c}}", r"\{ smile :\}", "__cat__ __F/*__ 2#__color__", "{2$$__color__}", "{{1|2}$$a|b}",
    "{0.5::{a|b}|c}",
    "# __nowhere__ {\nok", "a__b", "{5-{6|7}$$a|b}",
])
def test_sound_text_passes(text: str) -> None:
    """Nothing is said about text that can be expanded."""
    check_text(text, LIBRARY)
    expand(text, 0, LIBRARY)


@pytest.mark.parametrize(("text", "message"), [
    ("a {b|c", "'{' without '}' at line 1, column 3 ('{b|c'); write the '}', or '\\{' for a plain brace"),
    ("{a}\n b} c", "'}' without '{' at line 2, column 3 ('} c'); write the '{', or '\\}' for a plain brace"),
    ("\n\n# c\n{a|{b}", "'{' without '}' at line 4, column 1"),
    ("x __colour__", "wildcard '__colour__' at line 1, column 3 ('__colour__') not found among 7 wildcards; did you mean '__color__'? "
                     "Else put 'colour.txt' into a wildcard folder"),
    ("__f/zzz*__", "wildcard '__f/zzz*__' at line 1, column 1 ('__f/zzz*__') not found"),
    ("__torn__", "wildcard '__nowhere__' in line 2 of 'torn' not found among 7 wildcards; put 'nowhere.txt' into a wildcard folder"),
    ("__self__", "wildcard '__self__' in line 1 of 'self' leads back to itself (self -> self); take it out of one of these files"),
    ("__loop__", "leads back to itself (loop -> round -> loop)"),
    ("__empty__", "wildcard '__empty__' at line 1, column 1 ('__empty__') has no lines; write some into its file"),
    ("{a|{2-1$$b|c}}", "from 2 to 1 is the wrong way round"),
    ("{a$$b}", "'$$' must follow a number"),
    ("{0::a}", "weights must not be negative"),
    ("{" * 150 + "}" * 150, "braces nest deeper than 99 levels"),
])
def test_bad_text_is_refused(text: str, message: str) -> None:
    """Each mistake is a PromptError that says what, where and what to do."""
    with pytest.raises(PromptError) as caught:
        check_text(text, LIBRARY)
    assert message in str(caught.value)


def test_long_chains_are_refused() -> None:
    """More files in a row than expansion can follow are an error."""
    chain = WildcardLibrary.from_mapping({f"n{i}": [f"__n{i + 1}__"] for i in range(200)})
    with pytest.raises(PromptError, match="lies deeper than 99 files; use fewer levels"):
        check_text("__n0__", chain)


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    """A wildcard whose file cannot be used is found before the run."""
    (tmp_path / "a.txt").write_bytes(b"\0")
    with pytest.raises(PromptError, match="is not UTF-8 text"):
        check_text("__a__", WildcardLibrary.from_folders([tmp_path]))


@pytest.mark.parametrize(("text", "message"), [
    ("[ASC]fine[SEP]{a", "part 2: '{' without '}' at line 1, column 1"),
    ("[LAB][face]fine[hand]__none__", "[hand]: wildcard '__none__' at line 1"),
    ("a[SEP]b}", "part 2: '}' without '{'"),
    ("{a", "'{' without '}' at line 1"),
])
def test_the_part_of_a_unit_is_named(text: str, message: str) -> None:
    """In a text for several segments the error says which one's."""
    with pytest.raises(PromptError) as caught:
        check_unit_text(text, LIBRARY)
    assert str(caught.value).startswith(message)


def test_braces_must_close_within_a_part() -> None:
    """Each part is expanded alone, so braces over a separator are two mistakes, unless the separator is plain text."""
    with pytest.raises(PromptError, match="part 1"):
        check_unit_text("{a[SEP]b}", LIBRARY)
    check_unit_text("{a[SEP]b}", LIBRARY, "impact")


@settings(deadline=None, max_examples=300)
@given(st.lists(PIECES, max_size=15).map("".join), st.integers(0, 1000))
def test_checked_text_has_no_braces_left(text: str, seed: int) -> None:
    """What the checker lets pass expands to text without plain braces or wildcards, or to a clear error about a count."""
    try:
        check_text(text, LIBRARY)
        result = expand(text, seed, LIBRARY)
    except PromptError:
        return
    assert not {"{", "}"} & set(result)
    assert "__color__" not in result
