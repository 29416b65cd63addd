"""One `{...}` of the text grammar: what is inside is parsed, and some of its options are drawn.

`{a|b}` one of them; `{3::a|1::b}` with weights; `{2$$a|b|c}` two of them; `{1-2$$...}` or `{-2$$...}` one to two of them;
`{2$$, $$a|b|c}` with a separator (else a space).
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ..errors import PromptError

MAX_COUNT = 10_000

_COUNT = re.compile(r"(\d+)(?:-(\d+))?|-(\d+)")
_NUMBER = re.compile(r"-?(?:\d+\.?\d*|\.\d+)")
_WEIGHT = re.compile(r"\s*[0-9.]+::")
_UNESCAPED_BRACE = re.compile(r"(?<!\\)[{}]")


@dataclass(frozen=True, kw_only=True, slots=True)
class ChoiceGroup:
    """What stood between two braces.

    options: at least one, weights still in front of them.
    count_range: least and most options to draw; None = one, without drawing how many.
    separator: goes between drawn options; None = none was given, a space is used.
    """

    options: tuple[str, ...]
    count_range: tuple[int, int] | None = None
    separator: str | None = None


def innermost_groups(text: str) -> list[tuple[int, int]]:
    """Start and end (exclusive) of every `{...}` without a brace inside; `\\{` and `\\}` are not braces."""
    braces = [match.start() for match in _UNESCAPED_BRACE.finditer(text)]
    return [(start, end + 1) for start, end in pairwise(braces) if text[start] == "{" and text[end] == "}"]


def unpaired_brace(text: str) -> int | None:
    """Position of the first brace without a partner, None if all have one."""
    open_braces: list[int] = []
    for match in _UNESCAPED_BRACE.finditer(text):
        if match.group() == "{":
            open_braces.append(match.start())
        elif not open_braces:
            return match.start()
        else:
            open_braces.pop()
    return open_braces[-1] if open_braces else None


def parse_group(inside: str) -> ChoiceGroup:
    """The parts of what stands between two braces.

    Raises: PromptError if `$$` comes without a number, the numbers are the wrong way round or too large, or there are too many `$$`.
    """
    first, *others = inside.split("|")
    head = first.split("$$")
    if len(head) == 1:
        return ChoiceGroup(options=(first, *others))
    match = _COUNT.match(first)
    if match is None or len(head) > 3:
        raise PromptError(f"{shown(inside)}: '$$' must follow a number, as in '{{2$$a|b|c}}' or '{{1-2$$, $$a|b|c}}'; correct it")
    low, high, most = match.groups()
    numbers = ("1", most) if low is None else (low, high or low)
    if max(map(len, numbers)) > 9 or max(map(int, numbers)) > MAX_COUNT:
        raise PromptError(f"{shown(inside)}: more than {MAX_COUNT} options are asked for; use a smaller number")
    count_range = int(numbers[0]), int(numbers[1])
    if count_range[0] > count_range[1]:
        raise PromptError(f"{shown(inside)}: from {count_range[0]} to {count_range[1]} is the wrong way round; swap the numbers")
    return ChoiceGroup(options=(head[-1], *others), count_range=count_range, separator=head[1] if len(head) == 3 else None)


def draw(group: ChoiceGroup, generator: np.random.Generator) -> str:
    """Some options, drawn without putting back, joined. If more are asked for than there are: all, in any order.

    Raises: PromptError if no option can be drawn, or fewer than asked for, because of their weights.
    """
    chances = _chances(group)
    count = 1
    if group.count_range is not None:
        low, high = group.count_range
        count = int(generator.integers(low=low, high=high + 1, size=1)[0])
    drawn = list(group.options)
    if count > len(drawn):
        generator.shuffle(drawn)
    elif count > sum(chance > 0 for chance in chances):
        raise PromptError(f"{shown('|'.join(drawn))}: {count} options are asked for, but fewer have a weight above 0; "
                          "raise a weight or ask for fewer")
    else:
        indices: NDArray[np.int64] = generator.choice(len(drawn), p=chances, size=count, replace=False)
        drawn = [group.options[int(index)] for index in indices]
    return (" " if group.separator is None else group.separator).join(without_weight(option) for option in drawn)


def draw_line(lines: Sequence[str], generator: np.random.Generator) -> str:
    """One line of a wildcard. As the reference does, all are equally likely; a weight (`3::red`) on any line makes them differ.

    Raises: PromptError if there is no line, or none with a weight above 0.
    """
    if any("::" in line and weight_of(line) is not None for line in lines):
        return draw(ChoiceGroup(options=tuple(lines)), generator)
    if not lines:
        raise PromptError("the wildcard has no lines; write some into its file")
    return lines[int(generator.integers(0, len(lines)))]


def weight_of(option: str) -> float | None:
    """The number before `::`, None if there is none."""
    number, colons, _ = option.partition("::")
    return float(number) if colons and _NUMBER.fullmatch(number.strip()) else None


def without_weight(option: str) -> str:
    """The option without the number and `::` before it."""
    return _WEIGHT.sub("", option, count=1) if _WEIGHT.match(option) else option


def shown(inside: str) -> str:
    """The group as an error message shows it."""
    return f"'{{{inside if len(inside) <= 60 else inside[:57] + '...'}}}'"


def check_weights(group: ChoiceGroup) -> None:
    """Nothing, if the group's options can be drawn.

    Raises: PromptError if a weight is negative or not finite, or all are 0.
    """
    _chances(group)


def _chances(group: ChoiceGroup) -> list[float]:
    weights = [1.0 if weight is None else weight for weight in map(weight_of, group.options)]
    total = sum(weights)
    if not math.isfinite(total) or total <= 0 or min(weights) < 0:
        raise PromptError(f"{shown('|'.join(group.options))}: weights must not be negative and at least one must be above 0; correct them")
    return [weight / total for weight in weights]
