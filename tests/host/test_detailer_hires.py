"""Units before hires fix, after it, or both; whatever happens there, the picture is made."""

from __future__ import annotations

import copy
from importlib import import_module
from typing import Any

import numpy as np
import pytest
import standin
import torch
from scenes import SIDE, Stage, cells, difference, inside, notes, overlapping, pixels
from test_detailer_state import snapshot

every_host = pytest.mark.parametrize("played", list(standin.HOSTS), indirect=True, scope="module")
pixel_upscaler: dict[str, Any] = {"enable_hr": True, "hr_scale": 2, "hr_upscaler": "Nearest", "denoising_strength": 0.5}
latent_upscaler = {**pixel_upscaler, "hr_upscaler": "Latent (nearest-exact)"}


def sides(stage: Stage) -> list[int]:
    """The width of each picture that the detector saw."""
    return [picture.shape[1] for picture in stage.spots.pictures]


def twice(where: np.ndarray) -> np.ndarray:
    """The places after enlarging."""
    return where.repeat(2, axis=0).repeat(2, axis=1)


@every_host
class TestEveryHost:
    """What must hold on all five hosts."""

    @pytest.mark.parametrize(("hires", "seen"), [("after", [256]), ("before", [128]), ("both", [128, 256])])
    def test_where_units_work(self, stage: Stage, hires: str, seen: list[int]) -> None:
        """"before" sees the first pass's picture and samples before hires fix does; "after" the enlarged one; the infotext says which."""
        result = stage.txt2img({"hires": hires}, **pixel_upscaler)
        assert sides(stage) == seen and result.images[0].size == (256, 256) and notes(result) == ""
        kinds = ["hires" if call.size_wh == (256, 256) else "detail" if call.size_wh == (64, 64) else "first" for call in stage.world.sampler_log]
        assert kinds == ["first", *(["detail"] if 128 in seen else []), "hires", *(["detail"] if 256 in seen else [])]
        assert ("Detailer with hires fix" in result.infotexts[0]) == (hires != "after") and stage.world.reports == []

    def test_without_hires_fix_it_does_nothing(self, stage: Stage) -> None:
        """A unit for the first pass works on the finished picture where there is only one pass."""
        plain, before = stage.txt2img({}), stage.txt2img({"hires": "before"})
        assert np.array_equal(pixels(plain.images[0]), pixels(before.images[0])) and sides(stage) == [SIDE, SIDE]

    def test_only_the_spots_change(self, stage: Stage) -> None:
        """Outside of the spots, which hires fix enlarges, each pixel is as without Detailer; inside it is not."""
        plain = stage.txt2img(**pixel_upscaler, batch_size=2, n_iter=2)
        stage.reset()
        result = stage.txt2img({"hires": "before", "denoise": 0.8}, **pixel_upscaler, batch_size=2, n_iter=2)
        assert [call.batch for call in stage.detail_calls] == [4, 4]
        for one, other in zip(plain.images, result.images, strict=True):
            changed = difference(one, other) > 0
            assert changed[twice(inside(cells(2)))].any()
            assert not changed[~twice(inside(cells(2), grow=8))].any()

    def test_nothing_leaks(self, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
        """Networks, options, progress and the job's fields are as before when hires fix goes on."""
        first_pass, leaks = import_module("detailer_webui.first_pass"), []
        detail = first_pass.detail_first_pass

        def watched(p: Any, *args: Any) -> Any:
            (stage.world.folder / "params.txt").touch()
            before = snapshot(stage, p)
            done = detail(p, *args)
            after = snapshot(stage, p)
            leaks.extend(key for key in {*before, *after} if before.get(key) != after.get(key))
            return done

        monkeypatch.setattr(first_pass, "detail_first_pass", watched)
        stage.txt2img({"hires": "both", "prompt": "red <lora:other:1>", "checkpoint": "fake"}, **pixel_upscaler, prompt="a face <lora:main:0.5>")
        assert leaks == [] and len(stage.detail_calls) == 2 and stage.world.network_log[-1] == (("main", 0.5),)

    def test_the_main_model_is_back_for_hires_fix(self, stage: Stage) -> None:
        """A unit with another checkpoint leaves hires fix the main one: outside of the spots nothing changes."""
        plain = stage.txt2img(**pixel_upscaler)
        stage.reset()
        result = stage.txt2img({"hires": "before", "checkpoint": "other"}, **pixel_upscaler)
        assert len(stage.detail_calls) == 1 and not (difference(plain.images[0], result.images[0]) > 0)[~twice(inside(cells(2), grow=8))].any()

    def test_an_error_does_not_cost_the_picture(self, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
        """A detector that fails, or our own code, leaves the picture as without Detailer, and the infotext says why."""
        plain = stage.txt2img(**pixel_upscaler, batch_size=2)
        stage.spots.error = RuntimeError("no model")
        told = stage.txt2img({"hires": "before"}, **pixel_upscaler, batch_size=2)
        assert np.array_equal(pixels(plain.images[0]), pixels(told.images[0])) and "first pass" in notes(told) and "no model" in notes(told)

        def fail(*_: Any) -> Any:
            raise ZeroDivisionError("oops")

        monkeypatch.setattr(import_module("detailer_webui.first_pass"), "detail_first_pass", fail)
        told = stage.txt2img({"hires": "before"}, **pixel_upscaler, batch_size=2)
        assert np.array_equal(pixels(plain.images[0]), pixels(told.images[0]))
        assert all("the first pass failed: ZeroDivisionError: oops" in notes(told, index) for index in (0, 1))

    def test_an_interrupt_keeps_what_is_finished(self, stage: Stage) -> None:
        """Interrupted in the second of two waves, the picture of the first pass comes back with the first spot redrawn."""
        plain = stage.txt2img()
        stage.reset()
        stage.spots.boxes = overlapping(2)
        stage.world.faults.stops = {(2, 0): "interrupted"}
        result = stage.txt2img({"hires": "before"}, **pixel_upscaler)
        changed = difference(plain.images[0], result.images[0]) > 0
        assert result.images[0].size == (SIDE, SIDE) and changed.any() and not changed[~inside(overlapping(1), grow=2)].any()
        assert "segment 2 interrupted" in notes(result) and stage.world.reports == []

    def test_an_interrupted_first_pass_is_left_alone(self, stage: Stage) -> None:
        """What was interrupted before is not worked on."""
        stage.world.faults.stops = {(0, 2): "interrupted"}
        result = stage.txt2img({"hires": "both"}, **pixel_upscaler)
        assert sides(stage) == [] and "first pass: not run" in notes(result) and len(result.images) == 1

    def test_a_checkpoint_of_hires_fix(self, stage: Stage) -> None:
        """With another checkpoint for hires fix parts are redrawn after it, and the user is told why; with the same one before it."""
        told = stage.txt2img({"hires": "before"}, **pixel_upscaler, hr_checkpoint_name="other")
        assert sides(stage) == [256] and "after hires fix" in notes(told) and "other" in notes(told)
        stage.reset()
        stage.txt2img({"hires": "before"}, **pixel_upscaler, hr_checkpoint_name="Use same checkpoint")
        assert sides(stage) == [128]


@every_host
def test_latents_that_are_enlarged(stage: Stage) -> None:
    """Where hires fix enlarges latents, those of the spots are encoded anew and all others stay as they are, bit for bit."""
    if not stage.world.shared.latent_upscale_modes:
        pytest.skip("this host enlarges pictures only")
    plain = stage.txt2img(**latent_upscaler)
    stage.reset()
    result = stage.txt2img({"hires": "before", "denoise": 0.8}, **latent_upscaler)
    changed = difference(plain.images[0], result.images[0]) > 0
    assert sides(stage) == [128] and changed[twice(inside(cells(2)))].any() and not changed[~twice(inside(cells(2), grow=16))].any()
    stage.reset()
    again = stage.txt2img({"hires": "before", "denoise": 0.8}, **latent_upscaler)
    assert np.array_equal(pixels(result.images[0]), pixels(again.images[0]))
    stage.reset()
    stage.spots.boxes = []
    nothing = stage.txt2img({"hires": "before"}, **latent_upscaler)
    assert np.array_equal(pixels(plain.images[0]), pixels(nothing.images[0])) and stage.world.counters.encodes == 0


def test_a_host_without_the_method(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the host has no place for it, parts are redrawn afterwards, and the user is told."""
    why_not = import_module("detailer_webui.first_pass_check").why_not
    assert "no access" in why_not(object())
    assert "no access" not in why_not(stage.world.module("processing").StableDiffusionProcessingTxt2Img())


def test_a_job_that_is_started_again(stage: Stage) -> None:
    """A second `process`, and a copy of the job, are watched once and not twice; what another extension put there stays."""
    first_pass, job_class = import_module("detailer_webui.first_pass"), import_module("detailer_webui.job").Job
    settings = import_module("detailer_core.settings").make_settings({"hires": "before"})
    job, p = job_class(units={1: settings}, composed=False, first_pass=True), stage.world.module("processing").StableDiffusionProcessingTxt2Img()
    own = p.sample_hr_pass
    first_pass.watch(p, job, None)
    first_pass.watch(p, job, None)
    assert p.sample_hr_pass.inner == own
    twin = copy.copy(p)
    first_pass.watch(twin, job, None)
    assert twin.sample_hr_pass.p is twin and twin.sample_hr_pass.inner.__self__ is twin
    first_pass.watch(p, None, None)
    assert p.sample_hr_pass == own

    def other(*_: Any) -> Any:
        return torch.zeros(1)

    p.sample_hr_pass = other
    first_pass.watch(p, job, None)
    first_pass.watch(p, job, None)
    assert p.sample_hr_pass.inner is other
