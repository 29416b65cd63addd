"""Command `run` with a diffusion model: a small one with random weights, saved to a folder."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tiny_models
import torch
from cli_pictures import Answer, files, mask, noise, opened, report, save

pytest.importorskip("diffusers", reason="the extra 'diffusers' is not installed")

from detailer_core.image_ops import blur_mask

Call = Callable[..., Answer]
REPOSITORY = Path(__file__).resolve().parents[3]
QUICK = ("--set", "steps=3", "--set", "denoise=0.6")


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever asks for the hub fails at once."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with models and LoRAs."""
    folder = tmp_path_factory.mktemp("models")
    tiny_models.save_sd(folder / "sd")
    tiny_models.save_xl(folder / "xl")
    tiny_models.save_lora(folder / "loras" / "fine.safetensors", folder / "sd")
    tiny_models.save_lora(folder / "loras" / "xl.safetensors", folder / "xl")
    return folder


def differing(one: Path, other: Path) -> np.ndarray:
    """Where two pictures differ, `[H, W]`."""
    return (np.asarray(opened(one)).astype(int) != np.asarray(opened(other)).astype(int)).any(-1)


@pytest.mark.parametrize("family", ["sd", "xl"])
def test_a_picture_is_detailed_and_nothing_else_changes(tmp_path: Path, saved: Path, family: str) -> None:
    """As a process of its own: inside the blurred mask the picture changes, outside every bit is the input's."""
    photo = save(tmp_path / "photo.png", noise(size_wh=(160, 120)))
    area = mask(tmp_path / "mask.png", (40, 30, 90, 80), size_wh=(160, 120))
    command = [sys.executable, "-m", "detailer_core", "run", "photo.png", "--output", "out", "--engine", "diffusers", "--model", saved / family,
               "--mask", "mask.png", "--prompt", "a face", *QUICK, "--set", "guide_size=128", "--set", "feather=6", "--set", "dilation=4"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, timeout=300, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"photo.png: 1 done" in done.stdout
    white = torch.from_numpy((np.asarray(opened(area)) > 127).astype(np.float32))[None, None]
    blurred = blur_mask(torch.nn.functional.max_pool2d(white, 5, stride=1, padding=2), 6)[0, 0].numpy()
    changed = differing(photo, tmp_path / "out" / "photo.png")
    assert not changed[blurred == 0].any() and (blurred == 0).mean() > 0.5
    assert changed[35:75, 45:85].mean() > 0.9


def test_model_alone_names_the_engine(run: Call, tmp_path: Path, saved: Path) -> None:
    """--model without --engine is enough; the report names engine and prompt."""
    photo = save(tmp_path / "photo.png")
    answer = run(photo, "--output", "out", "--model", saved / "sd", "--detector", "whole", "--prompt", "a cat", *QUICK, "--report", "r.json")
    assert answer.code == 0
    told = report(tmp_path / "r.json")
    assert told["engine"] == "diffusers"
    assert told["pictures"][0]["segments"][0]["prompt"] == "a cat"


def test_seed_and_prompt_matter(run: Call, tmp_path: Path, saved: Path) -> None:
    """The same command gives the same file; another seed or prompt, or a LoRA, another."""
    photo = save(tmp_path / "photo.png")
    results: dict[str, bytes] = {}
    for name, words in {"one": ("--prompt", "a"), "same": ("--prompt", "a"), "seed": ("--prompt", "a", "--seed", "5"), "prompt": ("--prompt", "b"),
                        "lora": ("--prompt", "a<lora:fine:1>")}.items():
        answer = run(photo, "--output", name, "--model", saved / "sd", "--detector", "whole", "--lora-folder", saved / "loras", *QUICK, *words)
        assert answer.code == 0
        results[name] = (tmp_path / name / "photo.png").read_bytes()
    assert results["one"] == results["same"]
    assert len(set(results.values())) == 4


def test_pictures_share_waves(run: Call, tmp_path: Path, saved: Path) -> None:
    """Together and alone the pictures differ by at most one level."""
    for number in range(3):
        save(tmp_path / "in" / f"{number}.png", noise(size_wh=(96 + 8 * number, 64)))
    for out, words in (("alone", ()), ("together", ("--share-waves", "3"))):
        assert run("in", "--output", out, "--model", saved / "sd", "--detector", "whole", *QUICK, *words).code == 0
    for number in range(3):
        alone, together = (np.asarray(opened(tmp_path / out / f"{number}.png")).astype(int) for out in ("alone", "together"))
        assert np.abs(alone - together).max() <= 1


@pytest.mark.parametrize(("words", "message"), [
    (("--model", "empty"), "empty is not a model folder: it has no model_index.json"),
    (("--model", "nowhere"), "model 'nowhere' not found"),
    (("--model", "somebody/something"), "for a model of the hub write hub:somebody/something"),
    (("--model", "other"), "is a model of the kind 'KandinskyPipeline', which cannot be used here; choose one of these families: Stable Diffusion 1"),
    (("--model", "MODELS/sd", "--set", "sampler=Eular"), "sampler: the engine 'diffusers' does not support sampler 'Eular'; it has Euler a, Euler"),
    (("--model", "MODELS/sd", "--set", "scheduler=Karas"), "scheduler: the engine 'diffusers' does not support scheduler 'Karas'; it has Automatic"),
    (("--model", "MODELS/sd", "--set", "inpaint_model=true"), "inpaint_model: the engine 'diffusers' does not support inpainting models"),
    (("--model", "MODELS/sd", "--set", "hooks=unsample"), "hooks: the engine 'diffusers' does not support"),
    (("--model", "MODELS/sd", "--lora-folder", "nowhere"), "the folder nowhere is not there"),
    (("--model", "MODELS/sd", "--offload", "model", "--device", "cpu"), "without a GPU choose offload none"),
    (("--model", "MODELS/sd", "--engine", "filter"), "the engine 'filter' has no model"),
    (("--engine", "diffusers"), "the engine 'diffusers' needs a model"),
], ids=lambda value: " ".join(value) if isinstance(value, tuple) else "")
def test_what_cannot_be_is_told_before_work_begins(run: Call, tmp_path: Path, saved: Path, words: tuple[str, ...], message: str) -> None:
    """One message, exit code 2, and nothing is made."""
    photo = save(tmp_path / "photo.png")
    (tmp_path / "empty").mkdir()
    shutil.copytree(saved / "sd", tmp_path / "other")
    index = (tmp_path / "other" / "model_index.json").read_text(encoding="utf-8")
    (tmp_path / "other" / "model_index.json").write_text(index.replace("StableDiffusionPipeline", "KandinskyPipeline"), encoding="utf-8")
    answer = run(photo, "--output", "out", "--detector", "whole", *(word.replace("MODELS", str(saved)) for word in words))
    assert answer.code == 2
    assert message in answer.err and "nothing was done" in answer.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("prompt", "message"), [
    ("a<lora:xl:1>", r"LoRA 'xl' \(.*\) is for another kind of model than Stable Diffusion 1 or 2"),
    ("a<lora:fin:1>", "LoRA 'fin' not found in .*'fine'")])
def test_a_lora_that_cannot_be_keeps_the_picture(run: Call, tmp_path: Path, saved: Path, prompt: str, message: str) -> None:
    """The part fails with the reason, the picture is written as it was, and the exit code is 1."""
    photo = save(tmp_path / "photo.png")
    words = ("--model", saved / "sd", "--lora-folder", saved / "loras", "--detector", "whole", "--prompt", prompt)
    answer = run(photo, "--output", "out", *words, *QUICK)
    assert answer.code == 1
    assert re.search(message, answer.out)
    assert "copied as it is" in answer.out
    assert (tmp_path / "out" / "photo.png").read_bytes() == photo.read_bytes()
    assert files(tmp_path / "out") == ["photo.png"]
