"""The text of the setting `hooks`, such as "denoise 0.6->0.3; label face": `parse_hooks` reads it, `USAGE` lists all that it knows."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ..errors import SettingsError
from ..hook_files import load_hook_from_folder
from ..hooks import DetailerHook, combine
from .filters import LabelFilter, OrderedFilter, RangeFilter, check_measure
from .noise import NoiseInjection, NoiseVariation, Unsampling
from .ramp import Ramp, constant, wrong
from .schedule import Schedule


def parse_hooks(text: str, folder: Path | None = None) -> DetailerHook:
    """The hooks that the text names, separated by ";" or line ends, in order; a hook that changes nothing if it is empty.

    Schedules come first wherever they stand, since what unsampling finds depends on the steps and the denoising strength of its cycle.
    folder: where hook files may come from; None = from nowhere.
    Raises: SettingsError that quotes the part, says what is allowed and how it is written; HookError if a hook file cannot be used.
    """
    parts = (part.strip() for part in re.split(r"[;\n]", text))
    hooks = [_parse(part, folder) for part in parts if part]
    return combine(sorted(hooks, key=lambda hook: not isinstance(hook, Schedule)))


def _parse(part: str, folder: Path | None) -> DetailerHook:
    word, rest = [*part.split(maxsplit=1), ""][:2]
    if word not in USAGE:
        raise wrong(f"hooks: '{part[:80]}': there is no hook '{word[:40]}'; choose one of {', '.join(USAGE)}")
    try:
        return _read_file(rest, folder) if word == "file" else _READERS[word](rest)
    except SettingsError as error:
        raise wrong(f"hooks: '{part[:80]}': {error}; write {USAGE[word]}") from error


def _number(text: str, *, whole: bool = False) -> float:
    if not re.fullmatch(r"[+-]?[0-9]{1,20}" if whole else r"[+-]?([0-9]{1,20}(\.[0-9]*)?|\.[0-9]+)", text.strip()):
        raise wrong(f"expected a {'whole ' if whole else ''}number, got '{text.strip()[:40]}'")
    return int(text) if whole else float(text)


def _ramp(text: str) -> Ramp:
    """"0.6->0.3", "->0.3" from what it would be, or "0.3" in every cycle."""
    start, arrow, target = text.partition("->")
    if not arrow:
        return constant(_number(text))
    return Ramp(start=_number(start) if start.strip() else None, target=_number(target))


def _read_variation(rest: str) -> DetailerHook:
    seed, _, strength = rest.partition(" ")
    return NoiseVariation(seed=int(_number(seed, whole=True)), strength=_ramp(strength))


def _read_unsampling(rest: str) -> DetailerHook:
    strength = rest.removesuffix("normalise").strip()
    return Unsampling(strength=_ramp(strength) if strength else constant(1.0), normalise=rest.endswith("normalise"))


def _read_labels(rest: str) -> DetailerHook:
    if not rest.replace(",", "").strip():
        raise wrong("no label is named")
    return LabelFilter(labels=rest)


def _read_ordered(rest: str) -> DetailerHook:
    measure, *words = rest.split() or [""]
    check_measure(measure)
    ascending = words[:1] == ["asc"]
    numbers = [int(_number(word, whole=True)) for word in words[1 if words[:1] in (["asc"], ["desc"]) else 0:]]
    if len(numbers) not in (1, 2):
        raise wrong("expected how many, and perhaps from which on")
    return OrderedFilter(by=measure, descending=not ascending, count=numbers[0], start=numbers[1] if numbers[1:] else 0)  # type: ignore[arg-type]


def _read_range(rest: str) -> DetailerHook:
    measure, *words = rest.split() or [""]
    check_measure(measure)
    outside = words[:1] == ["outside"]
    low, dots, high = " ".join(words[1 if outside else 0:]).partition("..")
    if not dots or not (low.strip() or high.strip()):
        raise wrong("expected a range")
    return RangeFilter(by=measure, inside=not outside, low=_number(low) if low.strip() else float("-inf"),  # type: ignore[arg-type]
                       high=_number(high) if high.strip() else float("inf"))


def _read_file(rest: str, folder: Path | None) -> DetailerHook:
    name, *words = rest.split() or [""]
    arguments: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key.isidentifier():
            raise wrong(f"'{word[:40]}' is not of the form name=value")
        try:
            arguments[key] = json.loads(value)
        except ValueError:
            arguments[key] = value  # plain text needs no quotes
    return load_hook_from_folder(folder, name, arguments)


_READERS: Mapping[str, Callable[[str], DetailerHook]] = MappingProxyType({
    "denoise": lambda rest: Schedule(of="denoise", ramp=_ramp(rest)),
    "cfg": lambda rest: Schedule(of="cfg", ramp=_ramp(rest)),
    "steps": lambda rest: Schedule(of="steps", ramp=_ramp(rest)),
    "noise": lambda rest: NoiseInjection(strength=_ramp(rest)),
    "variation": _read_variation,
    "unsample": _read_unsampling,
    "label": _read_labels,
    "ordered": _read_ordered,
    "range": _read_range,
})

USAGE: Mapping[str, str] = MappingProxyType({
    "denoise": "denoise 0.6->0.3, denoise ->0.3 (from the unit's own) or denoise 0.3 (in every cycle)",
    "cfg": "cfg 7->5, cfg ->5 (from the unit's own) or cfg 5 (in every cycle)",
    "steps": "steps 20->30, steps ->30 (from the unit's own) or steps 30 (in every cycle)",
    "noise": "noise 0.1 or noise 0->0.2",
    "variation": "variation SEED 0.2 or variation SEED 0->0.2",
    "unsample": "unsample, unsample 0.5 or unsample 1->0.5, and perhaps normalise behind it",
    "label": "label face,eyes",
    "ordered": "ordered area desc 3 or ordered x0 asc 2 1 (two, without the first)",
    "range": "range width 64..512, range area 10000.. or range length_percent outside 90..110",
    "file": "file NAME.py or file NAME.py strength=0.5",
})
"""How each hook of the grammar is written."""
