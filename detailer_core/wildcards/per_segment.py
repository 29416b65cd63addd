"""Which prompt a segment gets: the wildcard text of one unit is parsed, orders the segments, and is asked once per segment.

Two grammars live side by side, told apart by the leading tag:

- Impact: `[ASC]`, `[DSC]` (by x0, y0), `[ASC-SIZE]`, `[DSC-SIZE]` (by area), `[RND]` begin a list of items, split at `[SEP]`;
  `[SEP:7]` gives the next item a seed, `[SEP:R]` a random one; the items start again when all were used. `[LAB]` begins
  `[label]text` pairs, `[ALL]` stands for every label. Text without a tag is one item for all, where `[SEP]` is plain text.
- ADetailer (see `adetailer`): no leading tag, but `[SEP]`, `[SKIP]` or `[PROMPT]` in it; the last part is for all further segments.

Before either, `[CONCAT]` says that the text is added to the main prompt and does not replace it. An item that is only `[SKIP]` leaves
its segment as it is, `[STOP]` this one and all that follow. An empty item means the main prompt.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol, TypeAlias

from .adetailer import has_tokens, insert_main_prompt, split_parts
from .library import WildcardLibrary
from .text import expand

Action: TypeAlias = Literal["use", "skip", "stop"]
Dialect: TypeAlias = Literal["auto", "impact", "adetailer"]
Mode: TypeAlias = Literal["plain", "ASC", "DSC", "ASC-SIZE", "DSC-SIZE", "RND", "LAB", "adetailer"]
ItemSeed: TypeAlias = int | Literal["random"] | None

MAX_RANDOM_SEED = 2**50
_CONCAT = "[CONCAT]"
_LISTS: dict[str, Mode] = {"[ASC]": "ASC", "[DSC]": "DSC", "[ASC-SIZE]": "ASC-SIZE", "[DSC-SIZE]": "DSC-SIZE", "[RND]": "RND"}
_ACTIONS: dict[str, Action] = {"[SKIP]": "skip", "[STOP]": "stop"}
_SEPARATOR = re.compile(r"\[SEP(?::(\w+))?\]")
_LABELLED = re.compile(r"\[([A-Za-z0-9_. ]+)\](\s*\[(?:SKIP|STOP)\]\s*(?=\[|\Z)|[^\[]+)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """What one segment gets.

    seed: for sampling, instead of the run's seed + index; None = that one. Not yet wrapped to 32 bits.
    text: not yet expanded; empty = the main prompt.
    action: whether to use it, to skip this segment, or to stop before it.
    takes_main_prompt: whether `[PROMPT]` in the text stands for the main prompt.
    """

    seed: int | None
    text: str
    action: Action
    takes_main_prompt: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One part of the text. seed: "random" is settled when a chooser is made. label: empty outside `[LAB]`."""

    text: str
    seed: ItemSeed = None
    label: str = ""


class Chooser(Protocol):
    """Gives one choice per segment, asked in processing order; a segment with an empty mask must not ask."""

    @property
    def concat(self) -> bool:
        """Whether the text is added to the main prompt and does not replace it."""
        ...

    def get(self, label: str) -> Choice:
        """The choice for the next segment, which has this label."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class SegmentPrompts:
    """The wildcard text of a unit, parsed. items: at least one, except under `[LAB]`, where no two have one label."""

    mode: Mode
    items: tuple[Item, ...]
    concat: bool = False

    def order(self, boxes_xyxy: Sequence[tuple[float, float, float, float]]) -> tuple[int, ...]:
        """The indices of the segments in processing order, from their boxes in pixels in the original order; stable both ways."""
        keys = [(box[0], box[1]) for box in boxes_xyxy]
        if self.mode in ("ASC-SIZE", "DSC-SIZE"):
            keys = [((box[2] - box[0]) * (box[3] - box[1]), 0) for box in boxes_xyxy]
        indices = range(len(boxes_xyxy))
        if self.mode not in ("ASC", "DSC", "ASC-SIZE", "DSC-SIZE"):
            return tuple(indices)
        return tuple(sorted(indices, key=keys.__getitem__, reverse=self.mode.startswith("DSC")))

    def chooser(self, rng: random.Random) -> Chooser:
        """A chooser at its start. `[SEP:R]` and `[RND]` draw from `rng`, now and whenever the items start again."""
        if self.mode == "LAB":
            return _ByLabel(self)
        return _OneAfterTheOther(self, rng)


def parse(text: str, dialect: Dialect = "auto") -> SegmentPrompts:
    """The wildcard text of a unit, read in one of the two grammars; `auto` goes by the leading tag."""
    if dialect == "adetailer":
        return _parse_adetailer(text)
    concat = text.startswith(_CONCAT)
    rest = text.removeprefix(_CONCAT)
    if dialect == "auto" and not _has_mode_tag(rest) and has_tokens(rest):
        return replace(_parse_adetailer(rest), concat=concat)
    return replace(_parse_impact(rest), concat=concat)


def segment_prompt(choice: Choice, *, main_prompt: str, seed: int, library: WildcardLibrary) -> str:
    """The finished text of a segment: expanded with `seed`, then the main prompt in its place. The main prompt is not expanded.

    Raises: PromptError, as `expand` does.
    """
    text = expand(choice.text, seed, library)
    if not choice.text:
        return main_prompt
    return insert_main_prompt(text, main_prompt) if choice.takes_main_prompt else text


def _has_mode_tag(text: str) -> bool:
    return text.startswith(("[LAB]", *_LISTS))


def _parse_adetailer(text: str) -> SegmentPrompts:
    return SegmentPrompts(mode="adetailer", items=tuple(Item(text=part) for part in split_parts(text)))


def _parse_impact(text: str) -> SegmentPrompts:
    if text.startswith("[LAB]"):
        texts = {label: value.strip() for label, value in _LABELLED.findall(text)}
        return SegmentPrompts(mode="LAB", items=tuple(Item(text=value, label=label) for label, value in texts.items() if value))
    for tag, mode in _LISTS.items():
        if text.startswith(tag):
            return SegmentPrompts(mode=mode, items=_split_items(text.removeprefix(tag)))
    return SegmentPrompts(mode="plain", items=(Item(text=text),))


def _split_items(text: str) -> tuple[Item, ...]:
    """The items of a list: text, seed, text, seed, ... as the separators divide them."""
    first, *others = _SEPARATOR.split(text)
    pairs = zip(others[::2], others[1::2], strict=True)
    return Item(text=first), *(Item(text=part, seed=_item_seed(written)) for written, part in pairs)


def _item_seed(written: str | None) -> ItemSeed:
    """What stands after `[SEP:`, as a seed; anything that Python does not read as a number is no seed."""
    if written == "R":
        return "random"
    try:
        return None if written is None else int(written)
    except ValueError:
        return None


def _action(text: str) -> Action:
    return _ACTIONS.get(text.strip(), "use")


class _OneAfterTheOther:
    """Items in turn. A list starts again at its end (`[RND]` in a new order), ADetailer's parts stay at the last one."""

    def __init__(self, prompts: SegmentPrompts, rng: random.Random) -> None:
        self.concat = prompts.concat
        self._mode = prompts.mode
        self._rng = rng
        self._choices = [self._settle(item) for item in prompts.items]
        self._next = 0
        if self._mode == "RND":
            rng.shuffle(self._choices)

    def get(self, label: str) -> Choice:
        """The next choice, whatever the label."""
        if self._next == len(self._choices):
            self._begin_again()
        self._next += 1
        return self._choices[self._next - 1]

    def _begin_again(self) -> None:
        self._next = self._next - 1 if self._mode == "adetailer" else 0
        if self._mode == "RND":
            self._rng.shuffle(self._choices)

    def _settle(self, item: Item) -> Choice:
        seed = self._rng.randint(0, MAX_RANDOM_SEED) if item.seed == "random" else item.seed
        return Choice(seed=seed, text=item.text, action=_action(item.text), takes_main_prompt=self._mode == "adetailer")


class _ByLabel:
    """Items by label. `[SKIP]` and `[STOP]` work here too; under `[ALL]` they are for the labels that have no text of their own."""

    def __init__(self, prompts: SegmentPrompts) -> None:
        self.concat = prompts.concat
        self._texts = {item.label: item.text for item in prompts.items}

    def get(self, label: str) -> Choice:
        """The text of `[ALL]` and the label's own, one after the other without a space."""
        own, common = self._texts.get(label, ""), self._texts.get("ALL", "")
        if _action(own) != "use" or (own and _action(common) != "use"):
            common = ""
        return Choice(seed=None, text=common + own, action=_action(common + own))
