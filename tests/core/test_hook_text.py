"""The text of the setting `hooks`: what it reads, what it refuses, and its way through a unit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stub_engine import StubEngine
from torch import Tensor

from detailer_core.detectors.base import Detection, DetectOptions
from detailer_core.errors import HookError, SettingsError
from detailer_core.hook_library import (
    USAGE,
    LabelFilter,
    NoiseInjection,
    NoiseVariation,
    OrderedFilter,
    Ramp,
    RangeFilter,
    Schedule,
    Unsampling,
    constant,
    parse_hooks,
)
from detailer_core.hooks import CombinedHook, CycleInput, DetailerHook, GuardedHook
from detailer_core.run import RunOptions
from detailer_core.sampling import MainGeneration
from detailer_core.segments import Segments
from detailer_core.settings import make_settings
from detailer_core.unit import UnitResult, UnitTools, redraw_segments, run_unit


def inside(hook: DetailerHook) -> list[DetailerHook]:
    """The hooks that a text made, without their watchers."""
    if type(hook) is DetailerHook:
        return []
    found = list(hook.hooks) if isinstance(hook, CombinedHook) else [hook]
    return [h.hook if isinstance(h, GuardedHook) else h for h in found]


@pytest.mark.parametrize(("text", "wanted"), [
    ("denoise 0.6->0.3", Schedule(of="denoise", ramp=Ramp(start=0.6, target=0.3))),
    ("denoise .5", Schedule(of="denoise", ramp=constant(0.5))),
    ("cfg ->5", Schedule(of="cfg", ramp=Ramp(target=5))),
    ("cfg 7 -> 5.5", Schedule(of="cfg", ramp=Ramp(start=7, target=5.5))),
    ("steps ->30", Schedule(of="steps", ramp=Ramp(target=30))),
    ("noise 0.1", NoiseInjection(strength=constant(0.1))),
    ("noise ->1.5", NoiseInjection(strength=Ramp(target=1.5))),
    ("variation 1234 0.2", NoiseVariation(seed=1234, strength=constant(0.2))),
    ("variation -3 0 -> 1", NoiseVariation(seed=-3, strength=Ramp(start=0, target=1))),
    ("unsample", Unsampling()),
    ("unsample normalise", Unsampling(normalise=True)),
    ("unsample 1->0.5 normalise", Unsampling(strength=Ramp(start=1, target=0.5), normalise=True)),
    ("label face,eyes", LabelFilter(labels="face,eyes")),
    ("label left eye , hand", LabelFilter(labels="left eye , hand")),
    ("ordered area desc 3", OrderedFilter(by="area", count=3)),
    ("ordered x0 asc 2 1", OrderedFilter(by="x0", count=2, start=1, descending=False)),
    ("ordered width 1", OrderedFilter(by="width", count=1)),
    ("range width 64..512", RangeFilter(by="width", low=64, high=512)),
    ("range area 10000..", RangeFilter(by="area", low=10000)),
    ("range height ..0.5", RangeFilter(by="height", high=0.5)),
    ("range length_percent outside 90 .. 110", RangeFilter(by="length_percent", low=90, high=110, inside=False)),
])
def test_parts_by_hand(text: str, wanted: DetailerHook) -> None:
    """Every form of every word, with spaces around or not."""
    assert inside(parse_hooks(text)) == [wanted]
    assert inside(parse_hooks(f" \n;  {text}  ;")) == [wanted]


@pytest.mark.parametrize("text", ["", " ", ";", " ;\n; "])
def test_nothing_is_no_hook(text: str) -> None:
    """A run without any is the run that knows none."""
    assert type(parse_hooks(text)) is DetailerHook


def test_several_in_order_and_schedules_first() -> None:
    """Semicolons and lines divide; what unsampling finds depends on the schedules, so that they go first."""
    hooks = inside(parse_hooks("label face; unsample\nnoise 0.1; steps 30; variation 1 0.2; cfg ->5"))
    assert [h.name for h in hooks] == ["steps schedule", "cfg schedule", "label face", "unsampling", "noise injection", "noise variation"]


@pytest.mark.parametrize("word", [word for word in USAGE if word != "file"])
def test_the_usage_is_true(word: str) -> None:
    """What an error recommends first can be read as it stands."""
    example = USAGE[word].split(" or ")[0].split(", denoise")[0].split(", cfg")[0].split(", steps")[0].split(", unsample")[0].split(", range")[0]
    assert len(inside(parse_hooks(example.replace("SEED", "5")))) == 1


@pytest.mark.parametrize(("text", "part", "message"), [
    ("denoize 0.3", "denoize 0.3",
     "there is no hook 'denoize'; choose one of denoise, cfg, steps, noise, variation, unsample, label, ordered, range, file$"),
    ("noise 0.1; Cfg 3", "Cfg 3", "there is no hook 'Cfg'"),
    ("denoise", "denoise", "expected a number, got ''; write denoise 0.6->0.3"),
    ("denoise 0.3->", "denoise 0.3->", "expected a number, got ''"),
    ("denoise 1->0.5->0", "denoise 1->0.5->0", "expected a number, got '0.5->0'"),
    ("denoise 0,5", "denoise 0,5", "expected a number, got '0,5'"),
    ("denoise nan", "denoise nan", "expected a number, got 'nan'"),
    ("denoise 1e-1", "denoise 1e-1", "expected a number, got '1e-1'"),
    ("denoise 0.5->1.5", "denoise 0.5->1.5", r"denoise must lie in 0\.\.1, got 1\.5; write denoise"),
    ("cfg 99", "cfg 99", r"cfg must lie in 0\.\.30, got 99"),
    ("steps 20.5", "steps 20.5", "steps must be a whole number, got 20.5"),
    ("steps ٣", "steps ٣", "expected a number, got '٣'"),
    ("noise -0.1", "noise -0.1", r"the strength must lie in 0\.\.10, got -0\.1"),
    ("variation 0.2", "variation 0.2", "expected a whole number, got '0.2'; write variation SEED 0.2"),
    ("variation 5", "variation 5", "expected a number, got ''"),
    ("unsample yes", "unsample yes", "expected a number, got 'yes'; write unsample"),
    ("unsample 1.5", "unsample 1.5", r"the strength must lie in 0\.\.1, got 1\.5"),
    ("label", "label", "no label is named; write label face,eyes"),
    ("label ,", "label ,", "no label is named"),
    ("ordered", "ordered", "unknown measure ''; choose one of area, "),
    ("ordered big 3", "ordered big 3", "unknown measure 'big'"),
    ("ordered area desc", "ordered area desc", "expected how many, and perhaps from which on"),
    ("ordered area up 3", "ordered area up 3", "expected a whole number, got 'up'"),
    ("ordered area 1 2 3", "ordered area 1 2 3", "expected how many"),
    ("ordered area -1", "ordered area -1", "count and start must not be negative, got -1 and 0"),
    ("range width", "range width", "expected a range; write range width 64"),
    ("range width 5", "range width 5", "expected a range"),
    ("range width ..", r"range width \.\.", "expected a range"),
    ("range width 9..3", r"range width 9\.\.3", r"the range goes from low to high, got 9\.\.3"),
    ("range width 1...1", r"range width 1\.\.\.1", r"the range goes from low to high, got 1\.\.0\.1"),
    ("file x.py 5", "file x.py 5", "'5' is not of the form name=value; write file NAME.py"),
])
def test_what_cannot_be_read_is_refused(text: str, part: str, message: str) -> None:
    """The error quotes the part, says what is wrong or allowed, and names the setting."""
    with pytest.raises(SettingsError, match=f"^hooks: '{part}': {message}") as caught:
        parse_hooks(text)
    assert caught.value.field == "hooks"


@settings(deadline=None, max_examples=200)
@given(st.lists(st.sampled_from([*USAGE, "->", "0.5", "3", "area", "..", ";", "\n", "desc", "outside", "x.py", "a=1", "normalise", "é", "-"]),
                max_size=8))
def test_any_text_is_read_or_refused(words: list[str]) -> None:
    """Nothing else is ever raised."""
    try:
        assert isinstance(parse_hooks(" ".join(words)), DetailerHook)
    except SettingsError as error:
        assert str(error).startswith("hooks: '")
    except HookError as error:
        assert "hook files are switched off" in str(error)


def test_long_texts_are_quoted_in_part() -> None:
    """An error stays a line."""
    with pytest.raises(SettingsError) as caught:
        parse_hooks("x" * 5000)
    assert len(str(caught.value)) < 400


def test_files_come_from_the_folder_only(tmp_path: Path) -> None:
    """With a folder its files can be named, with arguments as JSON or plain text; without, never."""
    (tmp_path / "mine.py").write_text("from detailer_core.hooks import DetailerHook\nclass Mine(DetailerHook):\n    pass\n"
                                      "def make_hook(**given):\n    hook = Mine()\n    hook.given = given\n    return hook\n", encoding="utf-8")
    hook, = inside(parse_hooks('file mine.py strength=0.5 on=true name=soft text="a" empty=', tmp_path))
    assert hook.given == {"strength": 0.5, "on": True, "name": "soft", "text": "a", "empty": ""}  # type: ignore[attr-defined]
    with pytest.raises(HookError, match=r"^hook file 'mine\.py': hook files are switched off in settings"):
        parse_hooks("file mine.py")
    with pytest.raises(HookError, match=r"expected the plain name of a \.py file"):
        parse_hooks("file ../mine.py", tmp_path)


class Detector:
    """Finds one box in each half; counts how often it is asked."""

    name = "two"
    class_names = ("face", "hand")

    def __init__(self) -> None:
        self.asked = 0

    def detect(self, image_hwc: np.ndarray, options: DetectOptions) -> list[Detection]:
        """A face on the left and a hand on the right."""
        self.asked += 1
        return [Detection(box_xyxy=(20, 30, 40, 50), label="face", confidence=0.9),
                Detection(box_xyxy=(110, 30, 130, 50), label="hand", confidence=0.8)]


PICTURE = torch.randint(0, 256, (1, 3, 96, 160), generator=torch.Generator().manual_seed(3)).float() / 255


def unit(text: str, hook: DetailerHook | None = None, engine: StubEngine | None = None, detector: Detector | None = None,
         folder: Path | None = None, **values: Any) -> UnitResult:
    """One picture through a unit."""
    tools = UnitTools(detector=detector or Detector(), engine=engine or StubEngine(), options=RunOptions(hook=hook or DetailerHook()),
                      hook_folder=folder)
    chosen = make_settings({"guide_size": 64, "max_size": 128, "steps": 6, "crop_factor": 1.5, "dilation": 0, "hooks": text, **values})
    return run_unit([PICTURE], [MainGeneration()], chosen, tools)


def test_the_settings_hooks_reach_the_run() -> None:
    """A schedule's steps reach the engine; a filter leaves the right half alone, to the bit."""
    engine = StubEngine()
    result = unit("steps 4->9; label face", engine=engine, cycle=2)
    assert [given_input.sampling.steps for given_input, _ in engine.calls] == [4, 9]
    assert [o.segment.label for o in result.run.outcomes[0]] == ["face"]
    assert len(result.segments[0]) == 2, "what was found is told, too"
    assert torch.equal(result.run.pictures[0][..., 80:], PICTURE[..., 80:])
    assert not torch.equal(result.run.pictures[0][..., :80], PICTURE[..., :80])


def test_the_runs_own_hook_comes_after_the_settings() -> None:
    """It sees what they have made of the cycle; with none of either, the run has none."""
    seen: list[float] = []

    class Look(DetailerHook):
        def before_sampling(self, given: CycleInput) -> CycleInput:
            seen.append(given.sampling.cfg)
            return replace(given, sampling=replace(given.sampling, cfg=1.0))

    engine = StubEngine()
    unit("cfg 9->5", Look(), engine, cycle=3)
    assert seen == [9, 7, 5]
    assert [given_input.sampling.cfg for given_input, _ in engine.calls] == [1, 1, 1]
    plain = StubEngine()
    unit("", engine=plain)
    assert type(plain.calls[0][1].hook) is DetailerHook


def test_a_text_that_cannot_be_read_costs_no_detection() -> None:
    """Refused before the detector is asked, and before anything is drawn for segments that were found already."""
    detector, engine = Detector(), StubEngine()
    with pytest.raises(SettingsError, match=r"^hooks: 'cfg x': expected a number, got 'x'"):
        unit("cfg x", engine=engine, detector=detector)
    with pytest.raises(SettingsError, match=r"^hooks: 'cfg x': "):
        redraw_segments([PICTURE], [Segments(size_wh=(160, 96))], [MainGeneration()], make_settings({"hooks": "cfg x"}),
                        UnitTools(detector=detector, engine=engine))
    assert (detector.asked, engine.waves) == (0, [])


def _raise(*_: Any) -> Any:
    raise ValueError("no")


def _none(*_: Any) -> Any:
    return None


@pytest.mark.parametrize("point", ["after_detection", "crop_region", "sampling_size"])
@pytest.mark.parametrize(("act", "text"), [(_raise, "failed at {}: ValueError: no"), (_none, "returned something wrong at {}: expected ")])
def test_a_bad_hook_stops_the_planning_clearly(point: str, act: Callable[..., Any], text: str) -> None:
    """A run's own hook is watched in planning, too: a HookError that names it, nothing drawn, the picture as it was."""
    before, engine = PICTURE.clone(), StubEngine()
    with pytest.raises(HookError, match=f"^hook 'Bad' {text.format(point)}"):
        unit("cfg 5", type("Bad", (DetailerHook,), {point: act})(), engine)
    assert engine.waves == []
    assert torch.equal(PICTURE, before)


def _cut(_: Any, value: Any, *__: Any) -> Any:
    return replace(value, latents_bchw=value.latents_bchw[:, :1]) if isinstance(value, CycleInput) else value[..., :1]


@pytest.mark.parametrize("point", ["after_encode", "before_sampling", "noise", "before_decode", "after_decode", "after_paste"])
@pytest.mark.parametrize(("act", "text"), [(_raise, "failed at {}: ValueError: no"),
                                           (_cut, "returned something wrong at {}: expected a float tensor of ")])
def test_a_bad_hook_keeps_the_picture(point: str, act: Callable[..., Any], text: str) -> None:
    """Beside good ones it is still the one that is named; every segment fails, no bit changes."""
    result = unit("denoise 0.5; noise 0.1", type("Bad", (DetailerHook,), {point: act})())
    assert [o.state for o in result.run.outcomes[0]] == ["failed", "failed"]
    assert all(o.reason.startswith(f"hook 'Bad' {text.format(point)}") for o in result.run.outcomes[0])
    assert torch.equal(result.run.pictures[0], PICTURE)


@pytest.mark.parametrize(("values", "text"), [({"steps": 0}, "expected a whole number of steps from 1 on, got 0"),
                                              ({"steps": 2.5}, "expected a whole number of steps from 1 on, got 2.5"),
                                              ({"denoise": 1.5}, "expected denoise in 0..1 and a finite cfg, got 1.5 and 7.0"),
                                              ({"denoise": None}, "expected denoise in 0..1 and a finite cfg, got None and 7.0"),
                                              ({"cfg": float("inf")}, "expected denoise in 0..1 and a finite cfg, got 0.4 and inf"),
                                              ({"cfg": "7"}, "expected denoise in 0..1 and a finite cfg, got 0.4 and '7'")])
def test_a_hook_cannot_ask_for_impossible_sampling(values: dict[str, Any], text: str) -> None:
    """Told before the engine meets it; the picture is kept."""
    class Bad(DetailerHook):
        def before_sampling(self, given: CycleInput) -> CycleInput:
            return replace(given, sampling=replace(given.sampling, **values))

    engine = StubEngine()
    result = unit("", Bad(), engine)
    assert {o.reason for o in result.run.outcomes[0]} == {f"hook 'Bad' returned something wrong at before_sampling: {text}"}
    assert engine.calls == []
    assert torch.equal(result.run.pictures[0], PICTURE)


def test_hook_files_of_the_settings_run(tmp_path: Path) -> None:
    """Named in the settings, from the folder that the tools carry: the crops become white; without a folder nothing is drawn."""
    (tmp_path / "white.py").write_text("import torch\nfrom detailer_core.hooks import DetailerHook\nclass White(DetailerHook):\n"
                                       "    def after_decode(self, images_bchw):\n        return torch.full_like(images_bchw, self.level)\n"
                                       "def make_hook(level=1.0):\n    hook = White()\n    hook.level = level\n    return hook\n", encoding="utf-8")
    assert _inner(unit("file white.py", folder=tmp_path)) == pytest.approx(1)
    assert _inner(unit("file white.py level=0.25", folder=tmp_path)) == pytest.approx(0.25)
    with pytest.raises(HookError, match="hook files are switched off"):
        unit("file white.py")


def _inner(result: UnitResult) -> Tensor:
    return result.run.pictures[0][0, 0, 40, 30]
