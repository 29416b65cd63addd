"""Finds what is wrong in users' wildcard text before anything is drawn: unpaired braces, bad groups, missing and circular wildcards."""

from __future__ import annotations

import re

from ..errors import PromptError
from .choices import check_weights, innermost_groups, parse_group, unpaired_brace
from .library import WildcardLibrary
from .per_segment import Dialect, parse
from .text import MAX_ROUNDS, WILDCARD

_HOLE = "\0"
_COMMENT = re.compile(r"^[^\S\n]*#.*$", re.MULTILINE)


def check_text(text: str, library: WildcardLibrary) -> None:
    """Nothing, if the text and all wildcards it can lead to are sound.

    Raises: PromptError for a brace without a partner, a group that cannot be drawn from, a wildcard that is missing, empty,
    unreadable or leads back to itself.
    """
    text = _COMMENT.sub(lambda comment: " " * len(comment.group()), text)
    position = unpaired_brace(text)
    if position is not None:
        brace, other = ("{", "}") if text[position] == "{" else ("}", "{")
        raise PromptError(f"'{brace}' without '{other}' {_place(text, position)}; write the '{other}', or '\\{brace}' for a plain brace")
    _check_groups(text)
    sound: set[str] = set()
    for match in WILDCARD.finditer(text):
        _follow(match.group(1), _place(text, match.start()), library, (), sound)


def check_unit_text(text: str, library: WildcardLibrary, dialect: Dialect = "auto") -> None:
    """Nothing, if every segment's part of a unit's wildcard text is sound.

    Raises: PromptError, as `check_text`, with the number or label of the part.
    """
    items = parse(text, dialect).items
    for number, item in enumerate(items, start=1):
        try:
            check_text(item.text, library)
        except PromptError as error:
            if len(items) == 1:
                raise
            raise PromptError(f"{f'[{item.label}]' if item.label else f'part {number}'}: {error}") from error


def _check_groups(text: str) -> None:
    """Every group, from the inside out. A hole stays where a group was; a count that is itself drawn cannot be judged yet."""
    for _ in range(MAX_ROUNDS):
        groups = innermost_groups(text)
        for start, end in reversed(groups):
            inside = text[start + 1:end - 1]
            if _HOLE not in inside.partition("|")[0].rpartition("$$")[0]:
                check_weights(parse_group(inside))
            text = f"{text[:start]}{_HOLE}{text[end:]}"
        if not groups:
            return
    raise PromptError(f"braces nest deeper than {MAX_ROUNDS} levels at '{text[:60]}'; use fewer levels")


def _follow(keyword: str, where: str, library: WildcardLibrary, path: tuple[str, ...], sound: set[str]) -> None:
    """Goes through all that a keyword leads to. path: the names that led here; sound: names that need not be looked at again."""
    names = library.find_anywhere(keyword)
    if not names:
        raise library.missing(keyword, where)
    if all(not library[name] for name in names):
        raise PromptError(f"wildcard '__{keyword}__' {where} has no lines; write some into its file")
    for name in names:
        if name in path:
            circle = " -> ".join([*path[path.index(name):], name])
            raise PromptError(f"wildcard '__{keyword}__' {where} leads back to itself ({circle}); take it out of one of these files")
        if len(path) >= MAX_ROUNDS:
            raise PromptError(f"wildcard '__{keyword}__' {where} lies deeper than {MAX_ROUNDS} files; use fewer levels")
        if name not in sound:
            for number, line in enumerate(library[name], start=1):
                for inner in WILDCARD.findall(line) if "__" in line else ():
                    _follow(inner, f"in line {number} of '{name}'", library, (*path, name), sound)
            sound.add(name)


def _place(text: str, position: int) -> str:
    """A position for people: line and column, counted from 1, and what stands there."""
    line_start = text.rfind("\n", 0, position) + 1
    return f"at line {text.count(chr(10), 0, position) + 1}, column {position - line_start + 1} ('{text[position:position + 30]}')"
