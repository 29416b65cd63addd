"""What goes wrong in the detail pass: the picture stays, the user is told, the host sees no error."""

from __future__ import annotations

import weakref
from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np
import pytest
import standin
import torch
from PIL import Image
from scenes import Stage, cells, difference, inside, notes, overlapping, pixels
from standin.faults import out_of_memory_error

from detailer_core.engines.base import Control, WaveRequest
from detailer_core.errors import EngineUnsupportedError
from detailer_core.hooks import DetailerHook
from detailer_core.sampling import Refiner, Sampling

every_host = pytest.mark.parametrize("played", list(standin.HOSTS), indirect=True, scope="module")


def same(one: Image.Image, other: Image.Image) -> bool:
    """Whether both pictures are equal in every bit."""
    return np.array_equal(pixels(one), pixels(other))


@every_host
class TestEveryHost:
    """What must hold on all five hosts."""

    def test_an_exception_keeps_the_picture(self, stage: Stage) -> None:
        """An exception in the sampler leaves the main picture bit for bit; comment and note name it."""
        plain = stage.txt2img().images[0]
        stage.reset()
        stage.world.faults.sampling_errors[1] = ValueError("ordered failure")
        result = stage.txt2img({})
        assert same(plain, result.images[0]) and stage.world.reports == []
        assert "segments 1, 2 failed" in result.comments and "ValueError: ordered failure" in result.comments
        assert "ValueError: ordered failure" in notes(result)

    def test_out_of_memory_halves_the_wave(self, stage: Stage) -> None:
        """Where four do not fit, two and two give the very picture, and the next picture does not try four again."""
        stage.spots.boxes = cells(4)
        whole = stage.txt2img({}).images[0]
        stage.reset()
        stage.spots.boxes, stage.world.faults.memory_limit = cells(4), 2
        result = stage.txt2img({}, n_iter=2)
        assert same(whole, result.images[0]) and notes(result) == "" and stage.world.reports == []
        assert [call.batch for call in stage.detail_calls] == [4, 2, 2, 2, 2]

    @pytest.mark.parametrize("flag", ["interrupted", "skipped"])
    def test_a_stop_costs_what_is_unfinished(self, stage: Stage, flag: Any) -> None:
        """Of three waves the first stays and the second, stopped in its middle, is not pasted; only "skip" lets the third run."""
        stage.spots.boxes = overlapping(3)
        plain = stage.txt2img().images[0]
        stage.reset()
        stage.spots.boxes, stage.world.faults.stops = overlapping(3), {(2, 1): flag}
        result = stage.txt2img({"steps": 8})
        calls = len(stage.detail_calls)
        changed = difference(plain, result.images[0]) > 0
        assert calls == (3 if flag == "skipped" else 2) and stage.world.reports == []
        assert changed[inside(overlapping(1))].any() and changed[inside(overlapping(3)[2:])].any() == (flag == "skipped")
        assert "interrupted" in notes(result)
        assert not changed[~inside([overlapping(3)[0], overlapping(3)[2]], grow=2)].any()

    def test_a_skip_while_a_wave_is_encoded(self, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
        """The host forgets a skip that comes before it samples; the wave that was named is left out all the same, and only that one."""
        stage.spots.boxes = overlapping(3)
        plain = stage.txt2img().images[0]
        stage.reset()
        stage.spots.boxes, processing, encoded = overlapping(3), stage.world.module("processing"), []
        encode = processing.images_tensor_to_samples

        def skip(*args: Any) -> Any:
            encoded.append(True)
            stage.world.shared.state.skipped = len(encoded) == 2
            return encode(*args)

        monkeypatch.setattr(processing, "images_tensor_to_samples", skip)
        result = stage.txt2img({"steps": 8})
        changed = difference(plain, result.images[0]) > 0
        assert len(encoded) == 3 and len(stage.detail_calls) == 2
        assert changed[inside(overlapping(1))].any() and changed[inside(overlapping(3)[2:])].any() and "segment 2 interrupted" in notes(result)
        assert not changed[~inside([overlapping(3)[0], overlapping(3)[2]], grow=2)].any()

    def test_a_stop_after_this_picture_keeps_the_running_wave(self, stage: Stage) -> None:
        """The page's first "Interrupt" lets the host sample to the end: of three waves of two cycles, the second is pasted, the third not run."""
        stage.spots.boxes = overlapping(3)
        plain = stage.txt2img().images[0]
        stage.reset()
        stage.spots.boxes, stage.world.faults.stops = overlapping(3), {(3, 1): "stopping_generation"}
        result = stage.txt2img({"steps": 8, "cycle": 2})
        changed = difference(plain, result.images[0]) > 0
        only_second = inside(overlapping(3)[1:2]) & ~inside(overlapping(3)[:1], grow=2)
        only_third = inside(overlapping(3)[2:]) & ~inside(overlapping(3)[1:2], grow=2)
        assert changed[only_second].any() and not changed[only_third].any() and stage.world.reports == []
        assert "segment 3 interrupted" in notes(result) and "segment 2" not in notes(result)

    def test_latents_that_are_no_numbers(self, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
        """One segment of a wave overflows while it is sampled: it stays as it was, though one host would decode it to black and another give up
        the whole wave; the other segment is redrawn."""
        nested = import_module("detailer_webui.nested")
        run_cycles = nested.run_cycles

        def overflow(*given: Any) -> torch.Tensor:
            latents = run_cycles(*given).clone()
            latents[0, :, 0, 0] = torch.nan
            return latents

        plain = stage.txt2img().images[0]
        monkeypatch.setattr(nested, "run_cycles", overflow)
        result = stage.txt2img({})
        changed = difference(plain, result.images[0]) > 0
        assert not changed[inside(cells(1), grow=2)].any() and changed[inside(cells(2)[1:])].any()
        assert "segment 1 failed: the redrawn picture holds values that are not numbers" in notes(result)

    @pytest.mark.parametrize("wholly", [True, False])
    def test_nan_is_not_pasted(self, stage: Stage, monkeypatch: pytest.MonkeyPatch, wholly: bool) -> None:
        """A decoded picture that is no number keeps its wave out where the host looks at it; one with such pixels elsewhere only itself."""
        plain = stage.txt2img().images[0]
        decode = stage.world.model.decode_first_stage
        decoded: list[int] = []

        def spoil(latent: torch.Tensor) -> torch.Tensor:
            images = decode(latent).clone()
            if latent.shape[-1] == 8:  # a crop
                decoded.append(len(images))
                images[:, :, 0 if wholly else 3:] *= torch.nan if wholly or len(decoded) == 1 else 1  # the host looks at the first value
            return images

        monkeypatch.setattr(stage.world.model, "decode_first_stage", spoil)
        result = stage.txt2img({})
        changed = difference(plain, result.images[0]) > 0
        assert not changed[inside(cells(1), grow=4)].any() and changed[inside(cells(2)[1:])].any() is np.bool_(not wholly)
        by_host = wholly and not stage.world.host.forge
        assert ("NaN" if by_host else "failed: the redrawn picture holds values that are not numbers") in result.comments
        assert stage.world.reports == []


def test_memory_for_one_is_told(stage: Stage) -> None:
    """Where not even one segment fits, the picture stays and the message says what to do."""
    plain = stage.txt2img().images[0]
    stage.reset()
    stage.world.faults.sampling_errors = {call: out_of_memory_error()("CUDA out of memory") for call in range(1, 9)}
    result = stage.txt2img({})
    assert same(plain, result.images[0])
    assert "out of memory with 1 segments of 64x64; lower max_size" in result.comments


OUT_OF_MEMORY = [MemoryError(), RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"),
                 RuntimeError("[enforce fail at alloc_cpu.cpp:80] DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."),
                 RuntimeError("DefaultCPUAllocator: can't allocate memory"), RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED"),
                 RuntimeError("Could not allocate tensor with 9 bytes. There is not enough GPU video memory available!")]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=range(len(OUT_OF_MEMORY)))
def test_every_device_says_it_differently(stage: Stage, error: Exception) -> None:
    """Whatever a device says when it is full, the wave is tried again in halves."""
    stage.world.faults.sampling_errors[1] = error
    result = stage.txt2img({})
    assert [call.batch for call in stage.detail_calls] == [2, 1, 1] and result.comments == ""


def test_a_failed_wave_lets_go_of_its_tensors(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the halves are tried, nothing holds the job that did not fit: its memory is free at once."""
    job = import_module("detailer_webui.nested").WaveJob
    prepare, made, alive = job.prepare, [], []

    def note(self: Any, *args: Any) -> None:
        alive.append(sum(one() is not None for one in made))
        made.append(weakref.ref(self))
        prepare(self, *args)

    monkeypatch.setattr(job, "prepare", note)
    stage.world.faults.memory_limit = 1
    stage.txt2img({})
    assert len(made) == 3 and alive[1] == 0


def test_a_unit_that_fails_leaves_the_next_its_turn(stage: Stage) -> None:
    """The unit after one that failed works on the picture as it was."""
    stage.world.faults.sampling_errors[1] = ValueError("ordered")
    result = stage.txt2img({}, {"seed": 5})
    assert [call.seeds for call in stage.detail_calls] == [(1, 2), (5, 6)]
    assert "unit 1, segments 1, 2 failed" in notes(result) and "unit 2" not in notes(result)


@pytest.mark.parametrize("error", [ValueError("no idea"), MemoryError("full")])
def test_a_detector_that_raises_is_told(stage: Stage, error: Exception) -> None:
    """Whatever a detector raises costs its unit and nothing else."""
    stage.spots.error = error
    result = stage.txt2img({})
    assert f"unit 1 failed: {type(error).__name__}: {error}" in notes(result) and stage.world.reports == []


def test_a_picture_that_cannot_be_taken_is_told(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure before the first unit, such as a full device, keeps the picture and is told, too."""
    plain = stage.txt2img().images[0]

    def fail(*_: Any) -> Any:
        raise RuntimeError("device is full")

    monkeypatch.setattr(import_module("detailer_webui.work"), "from_pil", fail)
    result = stage.txt2img({})
    assert same(plain, result.images[0]) and "the picture failed: RuntimeError: device is full" in notes(result) and stage.world.reports == []


def test_a_vae_that_cannot_take_the_whole_works_in_tiles(stage: Stage) -> None:
    """Where decoding runs out of memory, tiles give the picture; the next one begins with them, and nothing is noted."""
    unit = {"guide_size": 384, "max_size": 384}
    whole = stage.txt2img(unit).images[0]
    stage.reset()
    stage.world.faults.decode_limit = 32 * 32
    result = stage.txt2img(unit)
    assert difference(whole, result.images[0]).max() <= 1 and notes(result) == "" and stage.world.reports == []
    decoded = stage.world.counters.decodes
    assert decoded > 2 * 4 and [call.batch for call in stage.world.sampler_log] == [1, 2]
    stage.world.faults.decode_limit = None
    stage.txt2img(unit)
    assert stage.world.counters.decodes - decoded == decoded


def test_a_vae_that_cannot_take_anything_is_told(stage: Stage) -> None:
    """Where the smallest tiles do not fit either, the picture stays and the note says what to do."""
    plain = stage.txt2img().images[0]
    stage.reset()
    stage.world.faults.decode_limit = 16 * 16
    result = stage.txt2img({"guide_size": 384, "max_size": 384})
    assert same(plain, result.images[0]) and "lower max_size" in notes(result) and stage.world.reports == []


def test_what_cannot_be_sampled_together_is_logged_once(stage: Stage, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Video models, and samplers that look at the whole batch, get waves of one; the log says so once."""
    caplog.set_level("INFO", logger="detailer_webui")
    monkeypatch.setattr(stage.world.model, "is_wan", True, raising=False)
    for _ in range(2):
        stage.txt2img({}, batch_size=2)
    assert [call.batch for call in stage.detail_calls] == [1] * 8 and caplog.text.count("one by one, because the loaded model makes videos") == 3
    assert caplog.text.count("segments are sampled one by one") == 1


@pytest.mark.parametrize("flag", ["interrupted", "skipped"])
def test_a_half_done_main_picture_is_left_alone(stage: Stage, flag: Any) -> None:
    """A main picture that was stopped in its middle is not detailed; the next of a skipped job is."""
    stage.world.faults.stops = {(0, 1): flag}
    result = stage.txt2img({}, n_iter=2, batch_size=2)
    if flag == "skipped":  # both pictures of the first batch are half-done, both of the second are not
        assert len(stage.spots.pictures) == 2 and notes(result, 3) == ""
    else:
        assert stage.spots.pictures == []
    assert "not run, because the picture was interrupted or skipped" in notes(result, 0)
    assert "interrupted or skipped" in notes(result, 1)


def test_an_unreadable_wildcard_is_told(stage: Stage) -> None:
    """A prompt that breaks the grammar costs its unit, with what is wrong."""
    result = stage.txt2img({"prompt": "a {3-1$$red|blue|green}"})
    assert "the wrong way round" in notes(result) and stage.world.reports == [] and stage.detail_calls == []


def test_a_missing_params_file_stays_missing(stage: Stage) -> None:
    """Where the host has written no history of prompts, the nested runs leave none."""
    file = stage.world.folder / "params.txt"
    file.unlink(missing_ok=True)
    with import_module("detailer_webui.keep_state").kept_state(1):
        file.write_text("nested", encoding="utf-8")
    assert not file.exists()


def test_a_params_file_that_cannot_be_written_costs_nothing(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A history of prompts on a full or locked disk is logged; the redrawn picture is kept."""
    keep_state = import_module("detailer_webui.keep_state")

    def fail(*_: Any) -> None:
        raise PermissionError("locked")

    monkeypatch.setattr(keep_state.os, "replace", fail)
    result = stage.txt2img({})
    assert len(stage.detail_calls) == 1 and notes(result) == "" and stage.world.reports == []


def test_a_picture_too_many_has_a_prompt(stage: Stage) -> None:
    """A picture that another script added to the batch is detailed with the last one's prompt and seed."""
    job = import_module("detailer_webui.work")
    p = stage.world.module("processing").StableDiffusionProcessingTxt2Img(
        prompt="x", steps=4, width=64, height=64, sampler_name="Euler", seed=1, do_not_save_samples=True)
    stage.world.module("processing").process_images(p)
    assert job.main_generation(p, 5) == replace(job.main_generation(p, 0), place=5)
    p.sampler_name = None
    assert job.main_generation(p, 0).sampler == stage.world.module("sd_samplers").all_samplers[0].name


def test_prompts_of_the_refiner_are_refused(stage: Stage) -> None:
    """The host would silently use others."""
    request = WaveRequest(images_bchw=torch.zeros(1, 3, 64, 64), noise_masks=(None,), prompts=("x",), negative_prompts=("",), seeds=(1,),
                          subseeds=(1,), sampling=Sampling(refiner=Refiner(checkpoint="other", ratio=0.2, prompt="another")), hook=DetailerHook())
    with pytest.raises(EngineUnsupportedError, match="leave refiner_prompt"):
        import_module("detailer_webui.engine").WebuiEngine(None, None).redraw(request, Control())
