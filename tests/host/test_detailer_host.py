"""What is read from the host: devices, memory, names, lengths of prompts, sizes of latents."""

from __future__ import annotations

from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest
import standin
import torch
from scenes import Stage

from detailer_core.errors import SettingsError
from detailer_core.settings import make_settings

every_host = pytest.mark.parametrize("played", list(standin.HOSTS), indirect=True, scope="module")


def host() -> Any:
    """The adapter's view of the played host."""
    return import_module("detailer_webui.host")


MIB = 2**20


@pytest.mark.parametrize(("device", "free", "reserved", "expected"), [
    ("cpu", 0, 0, "cpu"), (None, 0, 0, "cpu"), ("cuda", 4096, 0, "cuda"), ("cuda", 100, 0, "cpu"), ("cuda", 100, 2048, "cuda"),
    ("mps", 0, 0, "mps"), ("privateuseone", 0, 0, "cpu")])
def test_working_device(stage: Stage, monkeypatch: pytest.MonkeyPatch, device: str | None, free: int, reserved: int, expected: str) -> None:
    """Pictures are worked on where the model is, if its memory has room (what torch holds unused counts as room) and it can do it."""
    monkeypatch.setattr(stage.world.module("devices"), "device", device)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free * MIB, 8192 * MIB))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: reserved * MIB)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 0)
    assert host().working_device(1024 * 1024).type == expected


def test_large_pictures_need_more_room(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The room that is asked for grows with the picture."""
    monkeypatch.setattr(stage.world.module("devices"), "device", "cuda:0")
    for name, value in (("mem_get_info", (700 * MIB, 0)), ("memory_reserved", 0), ("memory_allocated", 0)):
        monkeypatch.setattr(torch.cuda, name, lambda _, value=value: value)
    assert [host().working_device(side * side).type for side in (1024, 4096)] == ["cuda", "cpu"]


@every_host
class TestEveryHost:
    """What must hold on all five hosts."""

    @pytest.mark.parametrize(("words", "chunks"), [(0, 1), (1, 1), (75, 1), (76, 2), (151, 3)])
    def test_token_chunks(self, stage: Stage, words: int, chunks: int) -> None:
        """The length of a prompt is told in blocks of 75 tokens, at least one; hosts without a tokenizer that we know say None."""
        stage.txt2img()
        known = stage.world.host.new_backend or hasattr(stage.world.module("sd_hijack"), "model_hijack")
        assert host().token_chunks(" ".join(["word"] * words)) == (chunks if known else None)

    def test_names(self, stage: Stage) -> None:
        """Samplers and schedulers are those of the host, none where it has no schedulers."""
        assert host().sampler_names() == stage.world.host.sampler_labels
        assert host().scheduler_names() == tuple(label for _, label in stage.world.host.scheduler_labels)
        assert host().models_root() == stage.world.folder / "models"

    def test_names_that_are_not_there(self, stage: Stage) -> None:
        """A sampler, scheduler or checkpoint that the host lacks is refused with a name that is near, a known one is not."""
        host().check_names(make_settings({"sampler": "Euler a", "checkpoint": "other", "refiner": "fake.safetensors"}))
        for name in ("sampler", "scheduler", "checkpoint", "refiner"):
            with pytest.raises(SettingsError, match=name):
                host().check_names(make_settings({name: "Eulr a"}))

    def test_checkpoint_is_found_by_each_of_its_names(self, stage: Stage) -> None:
        """The title is found by file name, short name and part of the title."""
        title = stage.world.module("sd_models").checkpoint_tiles()[1]
        assert {host().checkpoint_title(name) for name in (title, "other.safetensors", "other")} == {title}
        assert host().checkpoint_title("nowhere") is None


def test_equal_prompts_only_without_a_tokenizer(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the host does not tell lengths, segments share a wave only if their prompts are equal."""
    monkeypatch.setattr(host(), "token_chunks", lambda _: None)
    stage.txt2img({"prompt": "[ASC]red[SEP]blue"})
    stage.txt2img({})
    assert [call.batch for call in stage.detail_calls] == [1, 1, 2]


def test_a_tokenizer_that_fails(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tokenizer that raises is no reason to fail: lengths are then not known."""
    def fail(_: str) -> Any:
        raise RuntimeError("not loaded")

    monkeypatch.setattr(stage.world.model, "get_prompt_lengths_on_ui", fail, raising=False)
    assert host().token_chunks("a") is None


@pytest.mark.parametrize(("model", "channels"), [
    (SimpleNamespace(latent_channels=16), 16), (SimpleNamespace(), 4), (SimpleNamespace(latent_channels=None), 4),
    (SimpleNamespace(forge_objects=SimpleNamespace(vae=SimpleNamespace(latent_channels=16))), 16)])
def test_latent_channels(stage: Stage, monkeypatch: pytest.MonkeyPatch, model: Any, channels: int) -> None:
    """The channels of the latents come from where each family of hosts keeps them; sizes are multiples of 16 for the newer models."""
    monkeypatch.setattr(host(), "shared", SimpleNamespace(sd_model=model, opts=stage.world.shared.opts))
    assert host().latent_channels() == channels
    engine = import_module("detailer_webui.engine").WebuiEngine(None, None)
    assert engine.size_multiple == (16 if channels == 16 else 8)


@pytest.mark.parametrize(("flag", "stopped"), [("interrupted", True), ("stopping_generation", True), ("skipped", False), (None, False)])
def test_stopped(stage: Stage, monkeypatch: pytest.MonkeyPatch, flag: str | None, stopped: bool) -> None:
    """Interrupt and "stop after this" end a run; skip ends a wave only."""
    for name in ("interrupted", "stopping_generation", "skipped"):
        monkeypatch.setattr(stage.world.shared.state, name, name == flag)
    assert host().stopped() is stopped
