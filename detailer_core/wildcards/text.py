"""Expands the text grammar: `{a|b}` (see `choices`), `__name__`, `__folder/*__`, `2#__name__`, comments.

The order of the draws is the reference's, so that the same seed gives the same text: all innermost groups from left to right, again
until there is none, then all wildcards from left to right, and all of it again while a wildcard was found.
"""

from __future__ import annotations

import re

import numpy as np

from ..errors import PromptError
from .choices import ChoiceGroup, draw, draw_line, innermost_groups, parse_group
from .library import WildcardLibrary

MAX_CHARACTERS = 50_000
MAX_ROUNDS = 99
MAX_LOOKUPS = 10_000

WILDCARD = re.compile(r"__([\w.\-+/*\\]+?)__")
_REPEATED_WILDCARD = re.compile(r"(?<!\d)(\d+)#__([\w.\-+/*\\]+?)__")


def expand(text: str, seed: int, library: WildcardLibrary) -> str:
    """The text with every choice made; the same for the same seed. Unclosed braces and unknown wildcards stay as they are.

    (An unknown bare `__name__` becomes `__*/name__`, as in the reference.) Use `check_text` first to be told of them.
    Raises: PromptError if a group or wildcard cannot be drawn from, if wildcards go round in a circle, if the text gets too long,
    or if `seed` is negative.
    """
    if seed < 0:
        raise PromptError(f"seed {seed} cannot be used to expand wildcards; settle a random seed before")
    return _Expansion(library, np.random.default_rng(seed)).run(remove_comments(text))


def remove_comments(text: str) -> str:
    """The text without lines that start with `#`; as in the reference, a line after a comment is joined to the line before it."""
    kept: list[str] = []
    joins = False
    for line in text.split("\n"):
        if line.lstrip().startswith("#"):
            joins = True
        elif kept and joins:
            kept[-1] += " " + line
            joins = False
        else:
            kept.append(line)
    return "\n".join(kept)


def _limited(text: str) -> str:
    """The text itself, if it is not too long."""
    if len(text) > MAX_CHARACTERS:
        raise PromptError(f"the expanded text has more than {MAX_CHARACTERS} characters, it begins '{text[:60]}'; "
                          "use shorter wildcards or fewer of them")
    return text


class _Expansion:
    """One text on its way: the generator moves on with every draw, the look-ups are counted."""

    def __init__(self, library: WildcardLibrary, generator: np.random.Generator) -> None:
        self._library = library
        self._generator = generator
        self._lookups = 0
        self._names: dict[str, tuple[str, ...]] = {}

    def run(self, text: str) -> str:
        """The text with all groups and wildcards resolved."""
        for _ in range(MAX_ROUNDS):
            text, found = self._draw_wildcards(self._draw_groups(self._repeat_wildcards(_limited(text))))
            if not found:
                return text
        raise PromptError(f"wildcards still follow after {MAX_ROUNDS} rounds at '{text[:60]}'; one of them probably refers to itself")

    def _repeat_wildcards(self, text: str) -> str:
        """`2#__name__` as `__name__|__name__`. Each keeps its own number, where the reference gives equal names the first one's."""
        def repeat(match: re.Match[str]) -> str:
            digits, keyword = match.groups()
            if len(digits) > 9 or int(digits) * (len(keyword) + 5) > MAX_CHARACTERS:
                raise PromptError(f"'{digits[:12]}#__{keyword}__' makes a text of over {MAX_CHARACTERS} characters; use a smaller number")
            return "|".join([f"__{keyword.lower()}__"] * int(digits)) or "____"
        return _REPEATED_WILDCARD.sub(repeat, text)

    def _draw_groups(self, text: str) -> str:
        """The text without groups, innermost first."""
        for _ in range(MAX_ROUNDS):
            groups = innermost_groups(text)
            if not groups:
                return text
            parts: list[str] = []
            position = 0
            for start, end in groups:
                parts += [text[position:start], self._draw_group(text[start + 1:end - 1])]
                position = end
            text = _limited("".join([*parts, text[position:]]))
        raise PromptError(f"braces nest deeper than {MAX_ROUNDS} levels at '{text[:60]}'; a wildcard probably refers to itself")

    def _draw_group(self, inside: str) -> str:
        """What one group becomes. A single wildcard after `2$$` lends its lines as options."""
        group = parse_group(inside)
        only = group.options[0] if len(group.options) == 1 else ""
        if group.count_range is not None and group.separator is None and WILDCARD.search(only):
            return draw(ChoiceGroup(options=self._lines_in(only), count_range=group.count_range), self._generator)
        return draw(group, self._generator)

    def _lines_in(self, text: str) -> tuple[str, ...]:
        """The lines of all wildcards that a text names, one after the other."""
        lines: list[str] = []
        for keyword in WILDCARD.findall(text):
            names = self._library.find_anywhere(keyword)
            if not names:
                raise self._library.missing(keyword, f"in '{text[:60]}'")
            lines.extend(line for name in names for line in self._library[name])
        return tuple(lines)

    def _draw_wildcards(self, text: str) -> tuple[str, bool]:
        """The text with a line in the place of each wildcard, and whether there was any.

        A bare name that is not there is looked for in all folders by going over the text once more. That the wildcards after it
        then draw twice is the reference's way and part of its sequence. (There an unknown name also ends the rounds, and leaves
        what earlier wildcards brought unexpanded; here it does not.)
        """
        found = False
        for keyword in WILDCARD.findall(text):
            names = self._find(keyword)
            if names:
                text = _limited(text.replace(f"__{keyword}__", self._draw_line_of(keyword, names), 1))
                found = True
            elif not {"*", "/", "\\"} & set(keyword):
                text, found_there = self._draw_wildcards(text.replace(f"__{keyword}__", f"__*/{keyword}__", 1))
                found = found or found_there
        return text, found

    def _find(self, keyword: str) -> tuple[str, ...]:
        """The names that a keyword stands for, looked for once."""
        self._lookups += 1
        if self._lookups > MAX_LOOKUPS:
            raise PromptError(f"more than {MAX_LOOKUPS} wildcards were looked up, now at '__{keyword}__'; use fewer of them")
        if keyword not in self._names:
            self._names[keyword] = self._library.find(keyword)
        return self._names[keyword]

    def _draw_line_of(self, keyword: str, names: tuple[str, ...]) -> str:
        """One line out of all that a keyword stands for."""
        lines = self._library[names[0]] if len(names) == 1 else [line for name in names for line in self._library[name]]
        try:
            return draw_line(lines, self._generator)
        except PromptError as error:
            raise PromptError(f"wildcard '__{keyword}__': {error}") from error
