"""Samplers and noise levels of the engine `diffusers`: a wave is what single runs are, for every one of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from conformance import hard_mask, largest, pictures, soft_mask

from detailer_core.engines.base import Control, WaveRequest, check_supported
from detailer_core.engines.diffusers.engine import DiffusersEngine
from detailer_core.engines.diffusers.families import FAMILIES
from detailer_core.engines.diffusers.levels import SCHEDULES, trained_levels
from detailer_core.engines.diffusers.samplers import FLOW_SAMPLERS, SAMPLERS, find_sampler, make_scheduler
from detailer_core.engines.diffusers.schedule import make_schedule, steps_to_do
from detailer_core.errors import EngineUnsupportedError
from detailer_core.hooks import DetailerHook
from detailer_core.sampling import Sampling

LEVEL = 1 / 255
CONFIG = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000}
Make = Callable[..., DiffusersEngine]


def request(count: int, masks: tuple[torch.Tensor | None, ...], **changes: Any) -> WaveRequest:
    """A wave with everything of its own in each row."""
    sampling = Sampling(**{"sampler": "Euler", "steps": 5, "cfg": 4.0, "denoise": 0.7, "noise_mask": any(m is not None for m in masks), **changes})
    return WaveRequest(images_bchw=pictures(count), noise_masks=masks, prompts=tuple(f"hue {n}" for n in range(count)),
                       negative_prompts=tuple(f"not {n}" for n in range(count)), seeds=tuple(range(31, 31 + count)),
                       subseeds=tuple(range(50, 50 + count)), sampling=sampling, hook=DetailerHook())


def single(whole: WaveRequest, row: int) -> WaveRequest:
    """One row of a wave by itself."""
    part = slice(row, row + 1)
    return replace(whole, images_bchw=whole.images_bchw[part], noise_masks=whole.noise_masks[part], prompts=whole.prompts[part],
                   negative_prompts=whole.negative_prompts[part], seeds=whole.seeds[part], subseeds=whole.subseeds[part])


def together_and_alone(engine: DiffusersEngine, whole: WaveRequest) -> float:
    """The largest difference of a wave and its rows by themselves."""
    together = engine.redraw(whole, Control()).images_bchw
    assert largest(together, whole.images_bchw) > 0.01
    return max(largest(engine.redraw(single(whole, row), Control()).images_bchw, together[row : row + 1]) for row in range(len(whole.seeds)))


CASES = [("sd", name, "Automatic") for name in SAMPLERS] + [("xl", name, "Automatic") for name in SAMPLERS] + \
    [("sd", name, schedule) for name in ("Euler a", "Heun", "DPM++ 2M SDE") for schedule in SCHEDULES] + \
    [(family, name, "Automatic") for family in ("sd3", "flux") for name in FLOW_SAMPLERS]


@pytest.mark.parametrize("kind", ["none", "hard", "differential"])
@pytest.mark.parametrize(("family", "sampler", "scheduler"), CASES)
def test_waves_equal_single_runs(engine: Make, family: str, sampler: str, scheduler: str, kind: str) -> None:
    """Batched and one by one differ by less than one level of 8 bit, with and without masks, also where the sampler draws noise at each step."""
    masks = {"none": (None,) * 3, "hard": (hard_mask(), None, hard_mask(48)), "differential": (soft_mask(), hard_mask(), None)}[kind]
    asked = request(3, masks, sampler=sampler, scheduler=scheduler, differential=kind == "differential", cycles=2)
    assert together_and_alone(engine(family), asked) < LEVEL / 4


@pytest.mark.parametrize(("family", "sampler"), [("sd", name) for name in SAMPLERS] + [("sd3", name) for name in FLOW_SAMPLERS])
def test_a_mask_of_nothing_keeps_the_picture(engine: Make, family: str, sampler: str) -> None:
    """Where nothing is to be redrawn, each sampler comes back to the latents that it began with."""
    zero = torch.zeros(1, 1, 32, 32)
    kept = engine(family).redraw(request(1, (zero,), sampler=sampler), Control()).images_bchw
    unsampled = engine(family).redraw(request(1, (zero,), sampler=sampler, denoise=0.0), Control()).images_bchw
    assert torch.equal(kept, unsampled)


@pytest.mark.parametrize(("family", "sampler"), [("sd", name) for name in SAMPLERS] + [("sd3", name) for name in FLOW_SAMPLERS])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_a_model_that_knows_the_picture_draws_it(family: str, sampler: str, prediction: str) -> None:
    """Told at each step what is right, every sampler ends at the picture, whatever the model predicts: mixing, levels and targets agree."""
    flow = FAMILIES[family].flow  # type: ignore[index]
    if prediction == "sample" and sampler == "Euler a":
        pytest.skip("the library's class does not know it")
    if flow and prediction != "epsilon":
        pytest.skip("flow models predict one thing")
    config = {"num_train_timesteps": 1000, "shift": 3.0} if flow else {**CONFIG, "prediction_type": prediction}
    generator = torch.Generator().manual_seed(1)
    clean, noise = torch.randn(2, 4, 8, 8, generator=generator), torch.randn(2, 4, 8, 8, generator=generator)
    schedule = make_schedule(Sampling(sampler=sampler, steps=20, denoise=0.6), config, FAMILIES[family], 16)  # type: ignore[index]
    x = schedule.noised(clean, noise)
    for place in range(schedule.begin, len(schedule.times)):
        schedule.model_input(x, place)
        x = schedule.step(schedule.keeping(x, clean, place), x, place, [generator, generator])
    # Some samplers end at the lowest level that the model was trained with, and not at none.
    assert float((x - clean).abs().mean()) < 0.03


def test_how_many_steps_are_done() -> None:
    """The last share of the schedule, rounded down but for rounding errors; at least one, unless nothing is to be redrawn."""
    counts = {(20, 0.4): 8, (20, 1.0): 20, (20, 0.01): 1, (20, 0.0): 0, (100, 0.29): 29, (10, 0.35): 3}
    assert {key: steps_to_do(Sampling(steps=key[0], denoise=key[1])) for key in counts} == counts


@pytest.mark.parametrize("sampler", ["Euler", "Heun", "DPM++ 2M"])
def test_steps_that_are_done(sampler: str) -> None:
    """Of 10 steps with denoise 0.4 the last 4 are done, also where a sampler looks twice in a step."""
    schedule = make_schedule(Sampling(sampler=sampler, steps=10, denoise=0.4), CONFIG, FAMILIES["sd"], 64)
    moments = [schedule.moment(place) for place in range(schedule.begin, len(schedule.times))]
    assert sorted({moment.step for moment in moments}) == [0, 1, 2, 3]
    assert {moment.steps for moment in moments} == {4}
    assert float(schedule.times[-1]) < float(schedule.times[schedule.begin]) < 600


def test_levels_of_the_schedules() -> None:
    """Falling, within what the model was trained with; Karras' from its formula, worked out by hand."""
    trained = trained_levels(make_scheduler(find_sampler("Euler", False), CONFIG))
    assert trained[0] == pytest.approx(0.02917, abs=1e-4) and trained[-1] == pytest.approx(14.6146, abs=1e-3)
    for name, make in SCHEDULES.items():
        levels = make(7, trained)
        assert len(levels) == 7 and bool((np.diff(levels) < 0).all()), name
        assert trained[0] - 1e-9 <= levels[-1] <= levels[0] <= trained[-1] + 1e-9, name
    middle = ((14.6146 ** (1 / 7) + 0.02917 ** (1 / 7)) / 2) ** 7
    assert SCHEDULES["Karras"](3, trained)[1] == pytest.approx(middle, rel=1e-3)
    assert SCHEDULES["Exponential"](3, trained)[1] == pytest.approx((14.6146 * 0.02917) ** 0.5, rel=1e-3)


@pytest.mark.parametrize(("sampler", "family"), [("Euler", "sd"), ("Heun", "xl"), ("DPM++ 2M", "sd"), ("Euler", "sd3"), ("Heun", "flux")])
def test_own_noise_levels(engine: Make, sampler: str, family: str) -> None:
    """Levels made by a function take the place of the schedule's; the schedule's own levels given so change nothing."""
    asked = request(1, (None,), sampler=sampler, denoise=0.8)
    plain = engine(family).redraw(asked, Control()).images_bchw
    high = 1.0 if FAMILIES[family].flow else 10.0  # type: ignore[index]
    bent = replace(asked, sampling=replace(asked.sampling, sigmas=lambda steps: torch.linspace(high, 0, steps + 1)))
    assert largest(engine(family).redraw(bent, Control()).images_bchw, plain) > 0.001
    schedule = make_schedule(asked.sampling, engine(family)._main.model.scheduler_config, FAMILIES[family], 16)  # type: ignore[index]
    own = torch.cat([schedule.scheduler.sigmas[:-1].unique().flip(0), torch.zeros(1)])
    same = replace(asked, sampling=replace(asked.sampling, sigmas=lambda steps: own))
    assert largest(engine(family).redraw(same, Control()).images_bchw, plain) < LEVEL / 4


@pytest.mark.parametrize(("family", "changes", "message"), [
    ("sd", {"sampler": "Eular a"}, "^sampler: .*'Eular a'.*Euler a, Euler, Heun"),
    ("flux", {"sampler": "DDIM"}, "^sampler: .*'DDIM'; it has Euler, Heun$"),
    ("sd", {"scheduler": "Karas"}, "^scheduler: .*'Karas'; it has Automatic, Normal, Karras"),
    ("sd3", {"scheduler": "Karras"}, "^scheduler: .*'Karras'; it has Automatic"),
])
def test_unknown_names_are_refused_before_anything_is_drawn(engine: Make, family: str, changes: dict[str, Any], message: str) -> None:
    """A name that is not known, or not for this family, is refused with those that are."""
    with pytest.raises(EngineUnsupportedError, match=message):
        check_supported(engine(family), Sampling(**{"sampler": "Euler", **changes}), DetailerHook())


@pytest.mark.parametrize(("changes", "message"), [
    ({"sampler": "Eular a"}, "there is no sampler 'Eular a'; did you mean 'Euler a'?"),
    ({"scheduler": "karas"}, "there is no scheduler 'karas' for this model; did you mean 'Karras'?"),
    ({"sampler": "DDIM", "scheduler": "Karras"}, "'DDIM' counts in training steps and takes no other noise levels"),
    ({"sampler": "LCM", "sigmas": lambda steps: torch.linspace(1, 0, steps + 1)}, "'LCM' counts in training steps"),
    ({"sigmas": lambda steps: torch.linspace(1, 0, steps)}, "sigmas: expected 6 falling noise levels"),
    ({"sigmas": lambda steps: torch.linspace(0, 1, steps + 1)}, "sigmas: expected 6 falling noise levels"),
])
def test_what_a_sampler_cannot_do(engine: Make, changes: dict[str, Any], message: str) -> None:
    """It is refused in one sentence that says what to choose instead."""
    with pytest.raises(EngineUnsupportedError) as error:
        engine("sd").redraw(request(1, (None,), **changes), Control())
    assert message in str(error.value)


def test_levels_above_a_flow_model_s(engine: Make) -> None:
    """A flow model's levels end at 1."""
    with pytest.raises(EngineUnsupportedError, match=r"noise levels lie in 0\.\.1, got 10"):
        engine("sd3").redraw(request(1, (None,), sigmas=lambda steps: torch.linspace(10, 0, steps + 1)), Control())


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
def test_subseeds(engine: Make, strength: float) -> None:
    """The noise goes from the seed's to the subseed's; at the end it is the subseed's alone."""
    asked = request(1, (None,), subseed_strength=strength)
    drawn = engine("sd").redraw(asked, Control()).images_bchw
    plain = engine("sd").redraw(replace(asked, sampling=replace(asked.sampling, subseed_strength=0.0)), Control()).images_bchw
    other = engine("sd").redraw(replace(asked, seeds=asked.subseeds, sampling=replace(asked.sampling, subseed_strength=0.0)), Control()).images_bchw
    assert (largest(drawn, plain) < LEVEL) == (strength == 0) and (largest(drawn, other) < LEVEL) == (strength == 1)


def test_the_library_s_own_loop_gives_the_same(engine: Make) -> None:
    """Without masks a wave of one is what diffusers' own img2img pipeline draws with the same latents, noise, prompts and levels."""
    from diffusers import StableDiffusionImg2ImgPipeline

    made = engine("sd")
    asked = request(1, (None,), sampler="DDIM", steps=10, denoise=0.5)
    ours = made.redraw(asked, Control()).images_bchw
    model = made._main.model
    pipe = StableDiffusionImg2ImgPipeline(**{name: part for name, part in model.pipe.components.items() if name != "scheduler"},
                                          scheduler=make_scheduler(SAMPLERS["DDIM"], model.scheduler_config), requires_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)
    latents = made._main.vae.encode(asked.images_bchw)
    theirs = pipe(prompt=list(asked.prompts), negative_prompt=list(asked.negative_prompts), image=latents, strength=0.5,
                  num_inference_steps=10, guidance_scale=4.0, generator=torch.Generator().manual_seed(31), output_type="pt").images
    assert largest(ours, theirs) < LEVEL / 4
