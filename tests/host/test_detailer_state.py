"""After the detail step the host is as it was; what is costly happens no more often than it must."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

import pytest
import standin
import torch
from PIL import Image
from scenes import SIDE, Stage, cells, difference, inside, overlapping

every_host = pytest.mark.parametrize("played", list(standin.HOSTS), indirect=True, scope="module")

P_FIELDS = ("prompt", "prompts", "negative_prompts", "all_prompts", "all_negative_prompts", "seeds", "subseeds", "all_seeds", "all_subseeds", "steps",
            "cfg_scale", "sampler_name", "width", "height", "batch_size", "n_iter", "iteration", "override_settings", "scripts", "script_args",
            "extra_network_data", "c", "uc", "cached_c", "cached_uc", "rng", "sampler", "tiling", "denoising_strength", "styles", "comments")


def snapshot(stage: Stage, p: Any) -> dict[str, Any]:
    """Everything that a nested run could change, by name."""
    world, processing = stage.world, stage.world.module("processing")
    base, model = processing.StableDiffusionProcessing, world.model
    seen: dict[str, Any] = {f"p.{name}": _frozen(getattr(p, name)) for name in P_FIELDS}
    seen |= {f"opts.{key}": value for key, value in world.shared.opts.data.items()}
    seen |= {f"state.{name}": _frozen(getattr(world.shared.state, name)) for name in dir(world.shared.state)
             if not name.startswith("_") and not callable(getattr(world.shared.state, name)) and name != "id_live_preview"}
    seen |= {"cached_c": id(base.cached_c), "cached_uc": id(base.cached_uc), "cond cache": _frozen(base.cached_c),
             "params.txt": (world.folder / "params.txt").read_bytes(), "threads": torch.get_num_threads(), "environment": dict(os.environ),
             "sys.path": list(sys.path), "generator": torch.get_rng_state().tolist(), "encoder": processing.images_tensor_to_samples,
             "networks": dict(model.networks), "token merging": model.applied_token_merged_ratio, "model": id(model),
             "forge objects": id(getattr(model, "forge_objects", None)), "model comments": _frozen(getattr(model, "comments", None)),
             "model parameters": _frozen(getattr(model, "extra_generation_params", None)), "progress": _frozen(world.shared.total_tqdm._tqdm),
             "grad": torch.is_grad_enabled(), "inference": torch.is_inference_mode_enabled(), "dtype": torch.get_default_dtype()}
    return seen


def _frozen(value: Any) -> Any:
    """A value that later changes in place do not reach."""
    if isinstance(value, (list, tuple)):
        return type(value), [_frozen(one) for one in value]
    if isinstance(value, dict):
        return {key: _frozen(one) for key, one in value.items()}
    return value if isinstance(value, (int, float, str, bool, type(None))) else id(value)


def watch(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of what differs after each detail step from before it; filled while jobs run."""
    script, leaks = import_module("detailer_webui.script"), []

    def watch_one(name: str) -> None:
        detail = getattr(script, name)

        def watched(p: Any, *args: Any) -> Any:
            before = snapshot(stage, p)
            done = detail(p, *args)
            after = snapshot(stage, p)
            leaks.extend(f"{key}: {before.get(key)!r:.90} -> {after.get(key)!r:.90}" for key in {*before, *after}
                         if before.get(key) != after.get(key))
            return done

        monkeypatch.setattr(script, name, watched)

    watch_one("detail_batch")
    watch_one("detail_image")
    return leaks


JOB: dict[str, Any] = {"prompt": "a face <lora:main:0.5>", "negative_prompt": "bad", "batch_size": 2, "n_iter": 2, "subseed": 4,
                       "subseed_strength": 0.2}
UNITS = ({"prompt": "red <lora:other:1>", "steps": 6, "cycle": 2, "sampler": "Euler a", "negative_prompt": "[PROMPT], more"}, {"seed": 3})


@every_host
class TestEveryHost:
    """What must hold on all five hosts."""

    @pytest.mark.parametrize("trouble", ["", "error", "stop", "skip", "memory"])
    def test_nothing_leaks(self, stage: Stage, monkeypatch: pytest.MonkeyPatch, trouble: str) -> None:
        """Options, state, the job's fields, caches, files, threads, environment, generators, networks: all as before, also after trouble."""
        opts = stage.world.shared.opts
        monkeypatch.setitem(opts.data, "token_merging_ratio", 0.3)
        stage.world.shared.state.current_image = Image.new("RGB", (8, 8))
        faults = stage.world.faults
        faults.sampling_errors = {1: ValueError("ordered")} if trouble == "error" else {}
        faults.stops = {(1, 1): "interrupted"} if trouble == "stop" else {(3, 1): "skipped"} if trouble == "skip" else {}
        faults.memory_limit = 2 if trouble == "memory" else None
        stage.spots.boxes = cells(3)
        leaks = watch(stage, monkeypatch)
        stage.txt2img(*UNITS, **JOB)
        asked = ["state.interrupted: False -> True"] if trouble == "stop" else []
        expected = ["p.comments", "state.interrupted"] if trouble else []
        assert [leak for leak in leaks if leak.split(":")[0] not in expected] == [] and len(stage.detail_calls) >= 1
        assert [leak for leak in leaks if leak.startswith("state.")] == asked and stage.world.reports == []

    def test_the_main_job_goes_on_as_without(self, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
        """Later batches of the main job are the same pictures outside of the spots, networks and token merging included."""
        monkeypatch.setitem(stage.world.shared.opts.data, "token_merging_ratio", 0.3)
        plain = stage.txt2img(**JOB)
        stage.reset()
        result = stage.txt2img(*UNITS, **JOB)
        main = [call for call in stage.world.sampler_log if call.kind == "txt2img"]
        assert len(main) == 2 and {call.size_wh for call in main} == {(SIDE, SIDE)}
        for one, other in zip(plain.images, result.images, strict=True):
            assert not (difference(one, other) > 0)[~inside(cells(2), grow=2)].any()

    def test_img2img_goes_on_as_without(self, stage: Stage) -> None:
        """The same for inpainting, where Forge draws noise for the kept area from the global generator."""
        mask = Image.new("L", (SIDE, SIDE))
        mask.paste(255, (0, 0, SIDE, 64))
        fields = {"mask": mask, "mask_blur": 4, "inpaint_full_res": False, "n_iter": 2, "sampler_name": "Euler a"}
        plain, result = stage.img2img(**fields), stage.img2img({}, **fields)
        for one, other in zip(plain.images, result.images, strict=True):
            assert not (difference(one, other) > 0)[~inside(cells(2), grow=2)].any()

    def test_progress_never_runs_over(self, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
        """At no time are more jobs done than announced, nor more steps of the whole job; the job's text says what is going on, and the page's."""
        state, seen, texts = stage.world.shared.state, [], []
        original = state.nextjob

        def nextjob() -> None:
            original()
            bar = stage.world.shared.total_tqdm._tqdm
            seen.append((state.job_no, state.job_count, *bar))
            texts.append((state.job, state.textinfo))

        monkeypatch.setattr(state, "nextjob", nextjob)
        stage.spots.boxes = overlapping(3)
        stage.txt2img({}, {}, batch_size=2, n_iter=2)
        assert len(seen) == 2 + 2 * 2 * 3
        assert all(done <= count and steps <= total for done, count, total, steps in seen)
        assert (seen[0][2:], seen[-1][2:]) == ((8, 4), (8, 8)) and ("Detailer: segment 3 of 6",) * 2 in texts
        assert state.textinfo is None

    def test_text_is_encoded_once(self, stage: Stage) -> None:
        """Each distinct prompt is encoded once for all waves, units, pictures and jobs of a model, networks included."""
        stage.spots.boxes = overlapping(3)
        stage.txt2img(*JOB_UNITS, batch_size=2, n_iter=2, prompt="a face<lora:thin:1>")
        first = stage.world.counters.text_encodes
        # main: positive and negative; crops: the main prompt, "red", the empty negative
        assert first == 2 + 3 and len(stage.detail_calls) == 2 * 2 * 3
        stage.txt2img(*JOB_UNITS, seed=5, prompt="a face<lora:thin:1>")
        assert stage.world.counters.text_encodes - first <= 2

    def test_crops_of_other_sizes_share_their_prompts(self, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
        """Encoding does not depend on the crop's size with SD1: a unit of another size encodes nothing anew; with SDXL it does."""
        counts = []
        stage.txt2img()  # the host keeps the main prompts from here on
        for is_sd1 in (True, False):
            stage.reset()
            monkeypatch.setattr(stage.world.model, "is_sd1", is_sd1)
            stage.txt2img({}, {"guide_size": 96, "max_size": 96})
            counts.append(stage.world.counters.text_encodes)
        assert counts == [2, 4]

    def test_models_are_loaded_once_a_wave(self, stage: Stage) -> None:
        """Another checkpoint for the spots is loaded once for a picture's waves, and the main one comes back for the next batch."""
        stage.txt2img()
        stage.reset()
        stage.spots.boxes = overlapping(3)
        plain = stage.txt2img({}, n_iter=2)
        assert stage.world.counters.model_loads == 0
        result = stage.txt2img({"checkpoint": "other"}, n_iter=2)
        assert stage.world.counters.model_loads <= 4 and len(stage.detail_calls) == 12
        assert stage.world.shared.opts.sd_model_checkpoint.startswith("fake")
        for one, other in zip(plain.images, result.images, strict=True):
            changed = difference(one, other) > 0
            assert changed[inside(overlapping(3))].any() and not changed[~inside(overlapping(3), grow=2)].any()
        stage.txt2img()


JOB_UNITS = ({}, {"prompt": "red<lora:thin:1>"})


def test_prompts_keep_the_main_networks(stage: Stage) -> None:
    """A unit without a prompt uses the main prompt with its tags; [PROMPT] brings them, too; the networks are active while it samples."""
    stage.txt2img({}, {"prompt": "[PROMPT], red"}, prompt="a face<lora:thin:0.7>")
    assert [log for log in stage.world.network_log if log != (("thin", 0.7),)] == []
    assert [call.prompts[0] for call in stage.detail_calls] == ["a face", "a face, red"]


@every_host
def test_loras_of_the_main_prompt_can_be_kept_or_dropped(stage: Stage) -> None:
    """While the spots are sampled the main prompt's networks are active with "keep", also under another prompt, and not with "drop"."""
    for loras, prompt, active in (("keep", "red", {"thin": 0.7}), ("drop", "", {}), ("drop", "[PROMPT], <lora:own:1> red", {"own": 1.0}),
                                  ("as-prompt", "red", {})):
        stage.reset()
        seen: list[dict[str, float]] = []
        stage.world.faults.before_step = lambda call, step, state, seen=seen: seen.append(dict(stage.world.model.networks)) if call else None
        stage.txt2img({"main_loras": loras, "prompt": prompt}, prompt="a face<lora:thin:0.7>")
        assert [networks for networks in seen if networks != active] == [] and seen


def test_users_changes_of_options_last(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """An option that the user changes while a wave is sampled keeps the user's value."""
    data = stage.world.shared.opts.data
    monkeypatch.setitem(data, "jpeg_quality", 80)
    before = stage.world.faults.before_sampling

    def change(call: int, batch: int) -> None:
        data["jpeg_quality"] = 95 if call else data["jpeg_quality"]
        before(call, batch)

    stage.world.faults.before_sampling = change  # type: ignore[method-assign]
    stage.txt2img({})
    assert data["jpeg_quality"] == 95 and data["save_init_img"] is False and data["multiple_tqdm"] is True


def test_nothing_is_written_beside_the_picture(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Options that make the host write or correct more do not reach the crops."""
    for option in ("save_init_img", "img2img_color_correction", "save_images_before_color_correction", "samples_save", "grid_save"):
        monkeypatch.setitem(stage.world.shared.opts.data, option, True)
    plain = stage.txt2img(do_not_save_samples=False).images[0]
    stage.reset()
    result = stage.txt2img({}, do_not_save_samples=False)
    assert stage.world.counters.saved == 1
    assert (difference(plain, result.images[0]) > 0).any()


def test_each_crop_is_encoded_and_decoded_once(stage: Stage) -> None:
    """A wave costs one encoding and one decoding per segment, and none for cycles."""
    stage.spots.boxes = cells(4)
    stage.txt2img({"cycle": 3})
    counters = stage.world.counters
    assert (counters.encodes, counters.decodes, counters.samples) == (4, 1 + 4, 1 + 3)


@pytest.mark.parametrize("tiling", [True, False])
def test_tiling_stays_the_main_jobs(stage: Stage, monkeypatch: pytest.MonkeyPatch, tiling: bool) -> None:
    """A host switches tiling in the model itself, and not back after a nested run: so that run has the main job's."""
    job, seen = import_module("detailer_webui.nested").WaveJob, []
    prepare = job.prepare
    monkeypatch.setattr(job, "prepare", lambda self, *args: (seen.append(self.tiling), prepare(self, *args)))
    stage.txt2img({}, tiling=tiling)
    assert seen == [tiling]
