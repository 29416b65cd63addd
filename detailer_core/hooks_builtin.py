"""Built-in hooks: schedules over the cycles, noise, unsampling, filters, preview; and the text that names them in the settings.

All randomness is drawn for each row of a wave from that row's own seed, and rows never meet: a wave gives what single runs give.
`parse_hooks` reads the grammar, `USAGE` lists it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor

from .errors import SettingsError
from .geometry import Box
from .hook_files import load_hook_from_folder
from .hooks import CycleInput, DetailerHook, combine
from .segments import Measure, Segments, split_labels, split_ordered, split_range
from .settings import options

Scheduled: TypeAlias = Literal["denoise", "cfg", "steps"]

NOISE_LIMIT = 10.0
"""Most that noise injection adds: latents have a standard deviation of about 1, and hardly anything of them is seen through ten times that."""

_SAME_DIRECTION = 0.9995  # above this cosine two noises differ too little for an arc, and the chord is as good


@dataclass(frozen=True, kw_only=True, slots=True)
class Ramp:
    """A number that goes linearly over the cycles from `start` (None = what it would be without the hook) to `target`, in the last cycle.

    With a single cycle there is no way to go: it is the start.
    """

    target: float
    start: float | None = None

    def at(self, cycle: int, cycles: int, own: float = 0.0) -> float:
        """The number in this cycle, 0-based of `cycles`. own: what it would be without the hook."""
        start = own if self.start is None else self.start
        if cycle <= 0 or cycles <= 1:
            return start
        return self.target if cycle >= cycles - 1 else start + (self.target - start) * cycle / (cycles - 1)

    def check(self, what: str, low: float, high: float, *, whole: bool = False) -> None:
        """Raises: SettingsError if one of its ends lies outside of `low..high`, or is no whole number where it must be."""
        for end in (self.start, self.target):
            if end is None:
                continue
            if not low <= end <= high:
                raise _wrong(f"{what} must lie in {low:g}..{high:g}, got {end:g}")
            if whole and end != int(end):
                raise _wrong(f"{what} must be a whole number, got {end:g}")


def constant(value: float) -> Ramp:
    """The same number in every cycle."""
    return Ramp(start=value, target=value)


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule(DetailerHook):
    """Denoising strength, guidance or steps, changing over the cycles. of: which. Steps are rounded to the nearest whole number.

    Raises: SettingsError if the ramp leaves the range of the setting of that name.
    """

    of: Scheduled
    ramp: Ramp

    def __post_init__(self) -> None:
        if self.of not in get_args(Scheduled):
            raise _wrong(f"there is no schedule of '{self.of}'; choose one of {', '.join(get_args(Scheduled))}")
        limits = options()[self.of]
        self.ramp.check(self.of, limits.minimum or 0.0, limits.maximum or 0.0, whole=self.of == "steps")

    @property
    def name(self) -> str:
        """How messages call it."""
        return f"{self.of} schedule"

    def before_sampling(self, given: CycleInput) -> CycleInput:
        """The cycle with its own value."""
        own = getattr(given.sampling, self.of)
        value = self.ramp.at(given.cycle, given.cycles, own)
        if self.of == "steps":
            value = max(1, int(value + 0.5))
        return given if value == own else replace(given, sampling=replace(given.sampling, **{self.of: value}))


@dataclass(frozen=True, kw_only=True, slots=True)
class NoiseInjection(DetailerHook):
    """Adds noise to the latents before each cycle, inside the noise masks, which brings detail where little is redrawn.

    strength: its standard deviation, where latents have one of about 1; 0 to `NOISE_LIMIT`. Raises: SettingsError if it lies elsewhere.
    """

    strength: Ramp

    def __post_init__(self) -> None:
        self.strength.check("the strength", 0.0, NOISE_LIMIT)

    @property
    def name(self) -> str:
        """How messages call it."""
        return "noise injection"

    def before_sampling(self, given: CycleInput) -> CycleInput:
        """The cycle with noisier latents."""
        strength = self.strength.at(given.cycle, given.cycles)
        if strength == 0:
            return given
        added = strength * row_noise(given.latents_bchw, given.seeds, "injection")
        if given.masks_b1hw is not None:
            added = added * given.masks_b1hw
        return replace(given, latents_bchw=given.latents_bchw + added)


@dataclass(frozen=True, kw_only=True, slots=True)
class NoiseVariation(DetailerHook):
    """Turns each segment's noise towards other noise, as far as it always was long: a picture like the one of its seed, and yet another.

    seed: together with the segment's own it gives the other noise. strength: share of the arc between both, 0..1.
    Raises: SettingsError if the strength lies elsewhere.
    """

    seed: int
    strength: Ramp

    def __post_init__(self) -> None:
        self.strength.check("the strength", 0.0, 1.0)

    @property
    def name(self) -> str:
        """How messages call it."""
        return "noise variation"

    def before_sampling(self, given: CycleInput) -> CycleInput:
        """The cycle with other noise."""
        strength = self.strength.at(given.cycle, given.cycles)
        if strength == 0:
            return given
        noise = given.noise_bchw
        other = row_noise(noise, given.seeds, f"variation {self.seed}")
        return replace(given, noise_bchw=_rows(lambda one, two: slerp(one, two * (one.norm() / two.norm()), strength), noise, other))


@dataclass(frozen=True, kw_only=True, slots=True)
class Unsampling(DetailerHook):
    """Takes the noise out of the latents themselves: what the model's own deterministic sampler, run backwards, makes of them.

    Keeps much of a part at a high denoising strength. strength: share of the way from the seed's noise to it, 0..1. normalise: give it mean 0
    and standard deviation 1, for each segment. Raises: SettingsError if the strength lies elsewhere.
    """

    strength: Ramp = constant(1.0)
    normalise: bool = False

    def __post_init__(self) -> None:
        self.strength.check("the strength", 0.0, 1.0)

    @property
    def name(self) -> str:
        """How messages call it."""
        return "unsampling"

    @property
    def needs_inversion(self) -> bool:
        """It does."""
        return True

    def before_sampling(self, given: CycleInput) -> CycleInput:
        """The cycle with the noise of its own latents."""
        strength = self.strength.at(given.cycle, given.cycles)
        if strength == 0:
            return given
        found = given.invert(given)
        if self.normalise:
            found = _rows(lambda row, _: _normalised(row), found, found)
        return replace(given, noise_bchw=_rows(lambda one, two: slerp(one, two, strength), given.noise_bchw, found))


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelFilter(DetailerHook):
    """Only segments with one of these labels, comma-separated; "all" and the aliases are `segments.split_labels`'."""

    labels: str

    @property
    def name(self) -> str:
        """How messages call it."""
        return f"label {self.labels}"

    def after_detection(self, segments: Segments) -> Segments:
        """Those segments, in order."""
        return split_labels(segments, self.labels)[0]


@dataclass(frozen=True, kw_only=True, slots=True)
class OrderedFilter(DetailerHook):
    """Segments sorted by a measure of their crop region, `count` of them from the one numbered `start`, counted from 0.

    Raises: SettingsError for an unknown measure or a negative number.
    """

    by: Measure
    count: int
    start: int = 0
    descending: bool = True

    def __post_init__(self) -> None:
        _check_measure(self.by)
        if self.count < 0 or self.start < 0:
            raise _wrong(f"count and start must not be negative, got {self.count} and {self.start}")

    @property
    def name(self) -> str:
        """How messages call it."""
        return f"ordered {self.by}"

    def after_detection(self, segments: Segments) -> Segments:
        """Those segments, sorted."""
        return split_ordered(segments, self.by, descending=self.descending, start=self.start, count=self.count)[0]


@dataclass(frozen=True, kw_only=True, slots=True)
class RangeFilter(DetailerHook):
    """Only segments whose crop region measures `low..high`, both included; or only the others.

    Raises: SettingsError for an unknown measure, or if low is above high.
    """

    by: Measure
    low: float = float("-inf")
    high: float = float("inf")
    inside: bool = True

    def __post_init__(self) -> None:
        _check_measure(self.by)
        if not self.low <= self.high:
            raise _wrong(f"the range goes from low to high, got {self.low:g}..{self.high:g}")

    @property
    def name(self) -> str:
        """How messages call it."""
        return f"range {self.by}"

    def after_detection(self, segments: Segments) -> Segments:
        """Those segments, in order."""
        return split_range(segments, self.by, low=self.low, high=self.high, inside=self.inside)[0]


@dataclass(frozen=True, kw_only=True, slots=True)
class Preview(DetailerHook):
    """Shows the work as it goes on and changes nothing: copies go out, so that whoever gets them may keep and change them.

    crops: gets the redrawn crops of a wave, float 0..1 `[N, 3, h, w]` at sampling size. picture: gets the picture after each pasted segment,
    as the run has it, and the box that changed.
    """

    crops: Callable[[Tensor], object] | None = None
    picture: Callable[[Tensor, Box], object] | None = None

    @property
    def name(self) -> str:
        """How messages call it."""
        return "preview"

    def uses(self, point: str) -> bool:
        """Where there is someone to show it to."""
        return (point == "after_decode" and self.crops is not None) or (point == "after_paste" and self.picture is not None)

    def after_decode(self, images_bchw: Tensor) -> Tensor:
        """The same crops."""
        if self.crops is not None:
            self.crops(images_bchw.detach().clone())
        return images_bchw

    def after_paste(self, picture_bchw: Tensor, paste_xyxy: Box) -> Tensor:
        """The same picture."""
        if self.picture is not None:
            self.picture(picture_bchw.detach().clone(), paste_xyxy)
        return picture_bchw


def row_noise(like_bchw: Tensor, seeds: Sequence[int], purpose: str) -> Tensor:
    """Normal noise of this shape, type and device, each row from its own seed; another purpose gives other noise of the same seed.

    Drawn on the CPU, so that it is the same on every device.
    """
    rows = []
    for seed in seeds:
        digest = hashlib.blake2b(f"{purpose}:{seed}".encode(), digest_size=4).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest, "little"))
        rows.append(torch.randn(1, *like_bchw.shape[1:], generator=generator))
    return torch.cat(rows).to(like_bchw)


def slerp(one: Tensor, other: Tensor, strength: float) -> Tensor:
    """The vector at `strength` (0..1) of the arc between two float tensors of one shape, taken as vectors; its length goes along linearly.

    0 and 1 give back exactly what was given. Source: Shoemake 1985, "Animating rotation with quaternion curves".
    """
    if strength in (0, 1):
        return other if strength else one
    lengths = float(one.norm()), float(other.norm())
    cosine = float((one * other).sum()) / (lengths[0] * lengths[1]) if all(lengths) else 1.0
    if abs(cosine) > _SAME_DIRECTION:
        return torch.lerp(one, other, strength)
    angle = torch.tensor(cosine, dtype=torch.float64).acos()
    shares = [float(torch.sin(part * angle) / torch.sin(angle)) for part in (1 - strength, strength)]
    length = lengths[0] + (lengths[1] - lengths[0]) * strength
    return one * (shares[0] * length / lengths[0]) + other * (shares[1] * length / lengths[1])


def _rows(act: Callable[[Tensor, Tensor], Tensor], one_bchw: Tensor, other_bchw: Tensor) -> Tensor:
    """Row by row in float32, so that a row does not depend on its neighbours by as much as rounding."""
    pairs = zip(one_bchw.float(), other_bchw.float(), strict=True)
    return torch.stack([act(one, other) for one, other in pairs]).to(one_bchw)


def _normalised(row: Tensor) -> Tensor:
    deviation = row.std(unbiased=False)
    return (row - row.mean()) / deviation if float(deviation) > 0 else row


def _check_measure(name: str) -> None:
    if name not in get_args(Measure):
        raise _wrong(f"unknown measure '{name}'; choose one of {', '.join(get_args(Measure))}")


def _wrong(message: str) -> SettingsError:
    return SettingsError(message, field="hooks")


def parse_hooks(text: str, folder: Path | None = None) -> DetailerHook:
    """The hooks that the text names, separated by ";" or line ends, in order; a hook that changes nothing if it is empty.

    folder: where hook files may come from; None = from nowhere.
    Raises: SettingsError that quotes the part, says what is allowed and how it is written; HookError if a hook file cannot be used.
    """
    parts = (part.strip() for part in re.split(r"[;\n]", text))
    return combine([_parse(part, folder) for part in parts if part])


def _parse(part: str, folder: Path | None) -> DetailerHook:
    word, rest = (part.split(maxsplit=1) + [""])[:2]
    if word not in USAGE:
        raise _wrong(f"hooks: '{part[:80]}': there is no hook '{word[:40]}'; choose one of {', '.join(USAGE)}")
    try:
        return _read_file(rest, folder) if word == "file" else _READERS[word](rest)
    except SettingsError as error:
        raise _wrong(f"hooks: '{part[:80]}': {error}; write {USAGE[word]}") from error


def _number(text: str, *, whole: bool = False) -> float:
    if not re.fullmatch(r"[+-]?[0-9]{1,20}" if whole else r"[+-]?([0-9]{1,20}(\.[0-9]*)?|\.[0-9]+)", text.strip()):
        raise _wrong(f"expected a {'whole ' if whole else ''}number, got '{text.strip()[:40]}'")
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
        raise _wrong("no label is named")
    return LabelFilter(labels=rest)


def _read_ordered(rest: str) -> DetailerHook:
    measure, *words = rest.split() or [""]
    _check_measure(measure)
    ascending = words[:1] == ["asc"]
    numbers = [int(_number(word, whole=True)) for word in words[1 if words[:1] in (["asc"], ["desc"]) else 0:]]
    if len(numbers) not in (1, 2):
        raise _wrong("expected how many, and perhaps from which on")
    return OrderedFilter(by=measure, descending=not ascending, count=numbers[0], start=numbers[1] if numbers[1:] else 0)  # type: ignore[arg-type]


def _read_range(rest: str) -> DetailerHook:
    measure, *words = rest.split() or [""]
    _check_measure(measure)
    outside = words[:1] == ["outside"]
    low, dots, high = " ".join(words[1 if outside else 0:]).partition("..")
    if not dots or not (low.strip() or high.strip()):
        raise _wrong("expected a range")
    return RangeFilter(by=measure, inside=not outside, low=_number(low) if low.strip() else float("-inf"),  # type: ignore[arg-type]
                       high=_number(high) if high.strip() else float("inf"))


def _read_file(rest: str, folder: Path | None) -> DetailerHook:
    name, *words = rest.split() or [""]
    arguments: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key.isidentifier():
            raise _wrong(f"'{word[:40]}' is not of the form name=value")
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
