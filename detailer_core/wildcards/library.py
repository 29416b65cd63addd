"""The wildcards that `__name__` can stand for: a mapping from a name to its lines."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import PromptError
from .wildcard_files import Lines, normalise_name, read_text_lines, scan


@dataclass(frozen=True, kw_only=True, slots=True, eq=False, repr=False)
class WildcardLibrary(Mapping[str, Lines]):
    """Wildcards by name. A text file is read when its name is first asked for, so that a large collection costs nothing.

    sources: per normalised name, its lines or the text file that holds them.
    problems: what was left out when folders were read, one message each; a "missing" error repeats them.
    """

    sources: Mapping[str, Path | Lines] = field(default_factory=dict[str, "Path | Lines"])
    problems: tuple[str, ...] = ()
    _read: dict[Path, Lines] = field(default_factory=dict[Path, Lines], init=False)  # a memo: what was read stays the same all along

    @classmethod
    def from_mapping(cls, lines_by_name: Mapping[str, Sequence[str]]) -> WildcardLibrary:
        """A library of the given names and lines, in their order."""
        return cls(sources={normalise_name(name): tuple(lines) for name, lines in lines_by_name.items()})

    @classmethod
    def from_folders(cls, paths: Iterable[Path | str]) -> WildcardLibrary:
        """The wildcards of some folders; a name that a later folder has too is taken from there. What is wrong goes to `problems`."""
        sources: dict[str, Path | Lines] = {}
        problems: list[str] = []
        for path in paths:
            for found in scan(Path(path)):
                if isinstance(found, PromptError):
                    problems.append(str(found))
                else:
                    sources[found[0]] = found[1]
        return cls(sources=sources, problems=tuple(problems))

    def __getitem__(self, name: str) -> Lines:
        """The lines of a wildcard.

        Raises: KeyError if there is none of that name; PromptError if its file cannot be read, is too large, or is not text.
        """
        source = self.sources[normalise_name(name)]
        if isinstance(source, tuple):
            return source
        if source not in self._read:
            self._read[source] = read_text_lines(source)
        return self._read[source]

    def __contains__(self, name: object) -> bool:
        """Whether there is a wildcard of that name; no file is read."""
        return isinstance(name, str) and normalise_name(name) in self.sources

    def __iter__(self) -> Iterator[str]:
        """The names."""
        return iter(self.sources)

    def __len__(self) -> int:
        """How many wildcards there are."""
        return len(self.sources)

    def find(self, keyword: str) -> tuple[str, ...]:
        """The names that a keyword stands for: itself, or with `*` for any text all names that begin so; empty if there are none.

        As in the reference a glob need not reach a name's end (`a/*` and `a/c` both fit `a/cat`), and `a/*` fits `a` too.
        """
        keyword = normalise_name(keyword)
        if keyword in self.sources:
            return (keyword,)
        if "*" not in keyword:
            return ()
        return tuple(name for name in self.sources if _begins_like(name + "/", keyword.split("*")))

    def find_anywhere(self, keyword: str) -> tuple[str, ...]:
        """As `find`; a bare name that is not there is looked for in all folders."""
        return self.find(keyword) or (() if "/" in normalise_name(keyword) or "*" in keyword else self.find(f"*/{keyword}"))

    def missing(self, keyword: str, where: str) -> PromptError:
        """The error for a keyword that stands for nothing."""
        near = difflib.get_close_matches(normalise_name(keyword), list(self.sources)[:20_000], n=1)
        hint = f"did you mean '__{near[0]}__'? Else put" if near else "put"
        message = f"wildcard '__{keyword}__' {where} not found among {len(self)} wildcards; {hint} '{keyword}.txt' into a wildcard folder"
        return PromptError("; ".join([message, *(f"left out: {problem}" for problem in self.problems[:3])]))


def _begins_like(name: str, parts: list[str]) -> bool:
    """Whether `name` begins with the parts in their order, with anything between them."""
    if not name.startswith(parts[0]):
        return False
    position = len(parts[0])
    for part in parts[1:]:
        position = name.find(part, position)
        if position < 0:
            return False
        position += len(part)
    return True
