"""A unit's own VAE, modules, clip skip, noise multiplier and distilled CFG scale: in force while its waves are sampled, and only then."""

from __future__ import annotations

import sys
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import standin
from scenes import Stage, notes, pixels
from test_detailer_state import watch

from detailer_core.errors import SettingsError
from detailer_core.settings import make_settings

every_host = pytest.mark.parametrize("played", list(standin.HOSTS), indirect=True, scope="module")
MODULES = {"ae.safetensors": "/models/VAE/ae.safetensors", "t5.gguf": "/models/text_encoder/t5.gguf"}


@pytest.fixture
def files(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """The host with two VAEs; those of Forge's new kind have modules instead."""
    shared = stage.world.shared
    if stage.world.host.new_backend:
        monkeypatch.setitem(shared.opts.data_labels, "forge_additional_modules", shared.OptionInfo([]))
        monkeypatch.setitem(shared.opts.data, "forge_additional_modules", [])
        monkeypatch.setitem(sys.modules, "modules_forge.main_entry", SimpleNamespace(module_list=MODULES))  # type: ignore[misc]
    else:
        monkeypatch.setitem(stage.world.module("sd_vae").vae_dict, "own.pt", "/models/VAE/own.pt")
    return stage


def during(stage: Stage, name: str) -> list[Any]:
    """The values that an option has at each step; filled while jobs run. The first job's steps are the main picture's."""
    seen: list[Any] = []
    stage.world.faults.before_step = lambda *_: seen.append(getattr(stage.world.shared.opts, name))  # type: ignore[method-assign]
    return seen


@every_host
class TestEveryHost:
    """What must hold on all five hosts."""

    def test_vae_or_modules(self, files: Stage) -> None:
        """The option of this host has the unit's value in its waves, and the main one's before and after."""
        new = files.world.host.new_backend
        option, unit = ("forge_additional_modules", {"modules": "ae, t5.gguf"}) if new else ("sd_vae", {"vae": "own.pt"})
        seen, before = during(files, option), files.world.shared.opts.data[option]
        result = files.txt2img(unit, n_iter=2)
        own = [*MODULES.values()] if new else "own.pt"
        assert files.world.shared.opts.data[option] == before and notes(result) == ""
        assert seen == ([before] * 4 + [own] * 2) * 2

    def test_what_this_host_does_not_have(self, files: Stage) -> None:
        """The unit is left out, and the message says what to use instead, or what there is."""
        check = import_module("detailer_webui.host").check_names
        vae, modules = ("modules", "ae.safetensors, t5.gguf") if files.world.host.new_backend else ("own.pt", "this WebUI has none")
        with pytest.raises(SettingsError, match=f"vae 'x.pt' not found.*{vae}"):
            check(make_settings({"vae": "x.pt"}))
        with pytest.raises(SettingsError, match=f"modules: 'x' not found; .*{modules}"):
            check(make_settings({"modules": "x"}))
        assert "is left out" in notes(files.txt2img({"vae": "x.pt"}))

    def test_clip_skip(self, stage: Stage) -> None:
        """Prompts are encoded anew for another clip skip, and not for the same one; the main job keeps its own."""
        stage.txt2img({})
        stage.reset()
        seen = during(stage, "CLIP_stop_at_last_layers")
        main = stage.world.shared.opts.data["CLIP_stop_at_last_layers"]
        stage.txt2img({}, {"clip_skip": 5}, {"clip_skip": 5, "seed": 3}, {"clip_skip": main}, n_iter=2)
        assert seen == ([main] * 6 + [5] * 4 + [main] * 2) * 2
        assert stage.world.counters.text_encodes == 2 + 2  # the first unit's, and those of clip skip 5, each positive and negative

    def test_a_setting_that_was_never_saved(self, stage: Stage) -> None:
        """The host puts back only what its file of settings names; what the unit changed is afterwards as it was all the same."""
        data, usual = stage.world.shared.opts.data, stage.world.shared.opts.get_default("CLIP_stop_at_last_layers")
        del data["CLIP_stop_at_last_layers"]
        seen = during(stage, "CLIP_stop_at_last_layers")
        stage.txt2img({"clip_skip": 5})
        assert 5 in seen and stage.world.shared.opts.CLIP_stop_at_last_layers == usual and "CLIP_stop_at_last_layers" not in data

    def test_noise_multiplier(self, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
        """It is that of the host's option: the same value there gives the same picture, another one another."""
        plain, own = stage.txt2img({}), stage.txt2img({"noise_multiplier": 0.5})
        monkeypatch.setitem(stage.world.shared.opts.data, "initial_noise_multiplier", 0.5)
        asked = stage.txt2img({})
        assert np.array_equal(pixels(own.images[0]), pixels(asked.images[0])) and not np.array_equal(pixels(own.images[0]), pixels(plain.images[0]))

    def test_distilled_cfg(self, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
        """A host that has it gives it to the wave, the main job's where the unit has none; another says that it lacks it."""
        job, seen = import_module("detailer_webui.nested").WaveJob, []
        prepare = job.prepare
        monkeypatch.setattr(job, "prepare", lambda self, *args: (seen.append(getattr(self, "distilled_cfg_scale", None)), prepare(self, *args)))
        fields = {"distilled_cfg_scale": 2.5} if stage.world.host.new_backend else {}
        result = stage.txt2img({}, {"distilled_cfg": 9.0}, **fields)
        assert seen == ([2.5, 9.0] if fields else [None])
        assert ("distilled_cfg: the engine 'webui' does not support" in notes(result)) == (not fields)

    @pytest.mark.parametrize("trouble", [False, True])
    def test_nothing_leaks(self, files: Stage, monkeypatch: pytest.MonkeyPatch, trouble: bool) -> None:
        """Afterwards the host is as it was, also if the wave failed."""
        unit: dict[str, Any] = {"clip_skip": 4, "noise_multiplier": 0.7}
        unit |= {"modules": "ae", "distilled_cfg": 1.0} if files.world.host.new_backend else {"vae": "own.pt"}
        files.world.faults.sampling_errors = {1: ValueError("ordered")} if trouble else {}
        leaks = watch(files, monkeypatch)
        files.txt2img(unit, unit, batch_size=2, n_iter=2)
        assert [leak for leak in leaks if not (trouble and leak.startswith("p.comments"))] == [] and files.detail_calls
