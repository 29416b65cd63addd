"""Prompts, LoRAs, ControlNets, refiners, other checkpoints, inpainting models and the VAE in the engine `diffusers`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny_models
import torch
from conformance import hard_mask, largest, pictures
from safetensors.torch import load_file, save_file

from detailer_core.engines.base import Control, WaveRequest, check_supported
from detailer_core.engines.diffusers.engine import DiffusersEngine
from detailer_core.engines.diffusers.options import ModelOptions
from detailer_core.engines.diffusers.text import Encoded, PromptCache
from detailer_core.errors import EngineError, EngineMemoryError, EngineUnsupportedError
from detailer_core.geometry import Box
from detailer_core.hooks import DetailerHook
from detailer_core.plan import SegmentPlan
from detailer_core.sampling import Refiner, Sampling, SegmentControl
from detailer_core.segments import Segment

Make = Callable[..., DiffusersEngine]
Folders = Callable[..., Path]
SAME = 1e-5


def request(prompts: tuple[str, ...] = ("a",), negatives: tuple[str, ...] = (), masks: tuple[Any, ...] = (), **changes: Any) -> WaveRequest:
    """A wave of a segment for each prompt."""
    count = len(prompts)
    sampling = Sampling(**{"sampler": "Euler", "steps": 4, "cfg": 4.0, "denoise": 0.8, "noise_mask": bool(masks), **changes})
    return WaveRequest(images_bchw=pictures(count), noise_masks=masks or (None,) * count, prompts=prompts,
                       negative_prompts=negatives or ("",) * count, seeds=tuple(range(count)), subseeds=(0,) * count, sampling=sampling,
                       hook=DetailerHook())


def draw(engine: DiffusersEngine, *prompts: str, **changes: Any) -> torch.Tensor:
    """The pictures of a wave."""
    return engine.redraw(request(prompts or ("a",), **changes), Control()).images_bchw


def item(prompt: str, negative: str = "") -> SegmentPlan:
    """A planned segment with these prompts."""
    box: Box = (0, 0, 32, 32)
    return SegmentPlan(index=0, picture=0, segment=Segment(bbox_xyxy=box, crop_xyxy=box, mask_hw=torch.ones(32, 32), label="x"), size_wh=(64, 64),
                       mask_xyxy=box, paste_xyxy=box, prompt=prompt, negative_prompt=negative, seed=1, subseed=1, feather=0, noise_mask_feather=0,
                       sampling=Sampling(sampler="Euler"))


# prompts

@pytest.mark.parametrize("family", ["sd", "xl", "sd3", "flux"])
def test_each_segment_has_its_own_prompts(engine: Make, family: str) -> None:
    """Another prompt, or another negative one, gives another picture, in its own row only; with a guidance of 1 the negative one means nothing."""
    made = engine(family)
    plain = draw(made, "a", "b")
    assert largest(draw(made, "a", "zzz")[:1], plain[:1]) <= SAME < largest(draw(made, "a", "zzz")[1:], plain[1:])
    assert largest(draw(made, "a", "b", negatives=("q", ""))[:1], plain[:1]) > SAME
    assert largest(draw(made, "a", "b", negatives=("q", ""), cfg=1.0), draw(made, "a", "b", cfg=1.0)) == 0


@pytest.mark.parametrize("family", ["sd", "xl"])
def test_long_prompts_are_read_in_parts(engine: Make, family: str) -> None:
    """What stands behind the first 75 tokens counts too, BREAK begins a new part, and only prompts of equally many parts share a wave."""
    made = engine(family)
    long = " ".join("abcdefghij" * 8)
    assert made._main.text.length("a") == 1 and made._main.text.length(long) == 2 and made._main.text.length("a BREAK b") == 2
    assert largest(draw(made, long), draw(made, f"{long} xyz")) > SAME
    assert made.wave_key(item("a")) == made.wave_key(item("b")) != made.wave_key(item(long))
    assert made.wave_key(item("a", long)) != made.wave_key(item("a"))
    assert made._main.encoded("a BREAK b", negative=False).tokens.shape[1] == 2 * 77


@torch.no_grad()
def test_parts_are_the_parts_texts(engine: Make) -> None:
    """The tokens of `a BREAK b` are those of `a`, then those of `b`; those of a short prompt are as the library's own pipeline encodes them."""
    text = engine("sd")._main
    parts = torch.cat([text.encoded("a", negative=False).tokens, text.encoded("b", negative=False).tokens], 1)
    assert torch.equal(text.encoded("a BREAK b", negative=False).tokens, parts)
    for family in ("sd", "xl"):
        made = engine(family)._main
        theirs = made.model.pipe.encode_prompt("a cat", device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=False)
        ours = made.encoded("a cat", negative=False)
        assert largest(ours.tokens, theirs[0]) < SAME
        assert ours.pooled is None or largest(ours.pooled, theirs[2]) < SAME


def test_an_empty_negative_prompt_of_xl_is_nothing(engine: Make) -> None:
    """XL was trained with zeros for it; an empty prompt is text."""
    made = engine("xl")._main
    assert not made.encoded(" ", negative=True).tokens.any() and made.encoded("", negative=False).tokens.any()


def test_texts_that_are_cut_are_told(engine: Make, caplog: pytest.LogCaptureFixture) -> None:
    """Stable Diffusion 3 and Flux read so many tokens, and the log names the prompt that has more."""
    for family, limit in (("sd3", 77), ("flux", 512)):
        caplog.clear()
        engine(family)._main.encoded("a b " * 300, negative=False)
        assert f"this model reads the first {limit}" in caplog.text
        caplog.clear()
        engine(family)._main.encoded("a", negative=False)
        assert caplog.text == ""


def test_each_prompt_is_encoded_once(engine: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal prompts cost one encoding, also in later waves."""
    made = engine("sd")
    encode, asked = made._main.text.encode, []
    monkeypatch.setattr(made._main.text, "encode", lambda prompt, negative: asked.append(prompt) or encode(prompt, negative))
    draw(made, "a", "b", "a")
    draw(made, "b", "c")
    assert sorted(asked) == ["", "a", "b", "c"]


def test_the_cache_of_prompts_is_bounded() -> None:
    """The one that was not asked for longest goes first."""
    cache, made = PromptCache(2), []
    for key in ("a", "b", "a", "c", "a", "b"):
        cache.get(key, lambda key=key: made.append(key) or Encoded(tokens=torch.zeros(1)))
    assert made == ["a", "b", "c", "b"]


# LoRAs

@pytest.fixture
def loras(model_folder: Folders, tmp_path: Path) -> Path:
    """A folder with LoRAs for the small model of Stable Diffusion 1, and some that are not."""
    sd = model_folder("sd")
    tiny_models.save_lora(tmp_path / "loras" / "fine.safetensors", sd)
    tiny_models.save_lora(tmp_path / "loras" / "deep" / "other.safetensors", sd)
    state = load_file(tmp_path / "loras" / "deep" / "other.safetensors")
    save_file({name: tensor.flip(0).contiguous() for name, tensor in state.items()}, tmp_path / "loras" / "deep" / "other.safetensors")
    tiny_models.save_lora(tmp_path / "loras" / "wide.safetensors", sd, width=48)
    tiny_models.save_lora(tmp_path / "loras" / "xl.safetensors", model_folder("xl"))
    nowhere = {"unet.nowhere.lora_A.weight": torch.zeros(4, 8), "unet.nowhere.lora_B.weight": torch.zeros(8, 4)}
    save_file(nowhere, tmp_path / "loras" / "nowhere.safetensors")
    save_file({"weight": torch.zeros(1)}, tmp_path / "loras" / "strange.safetensors")
    (tmp_path / "loras" / "broken.safetensors").write_bytes(b"broken")
    return tmp_path / "loras"


def test_loras(engine: Make, loras: Path) -> None:
    """A tag changes the picture by its weight and no longer than its wave lasts; its text is not read as a prompt."""
    made = engine("sd", lora_folders=(loras,))
    plain = draw(made, "a")
    full, half = draw(made, "a<lora:fine:1>"), draw(made, "a<lora:fine:0.5>")
    assert largest(full, plain) > 0.001 and largest(half, plain) > 0.001 and largest(full, half) > 0.001
    assert largest(draw(made, "a"), plain) <= SAME
    assert largest(draw(made, "a<lora:fine:0>"), plain) <= SAME
    assert largest(draw(made, "a<lora:fine:1>"), full) <= SAME
    both = draw(made, "a<lora:fine:1><lora:deep/other:0.7>")
    assert largest(both, full) > 0.001
    assert largest(draw(made, "a<lora:other:0.7> <lora:fine:1>"), both) <= SAME


def test_loras_as_trainers_write_them(engine: Make, loras: Path) -> None:
    """The notation of most files on the net, with its scales and a part for the text encoder, means the same."""
    state = load_file(loras / "fine.safetensors")
    theirs: dict[str, torch.Tensor] = {}
    for name, tensor in state.items():
        layer, end = name.removeprefix("unet.").split(".lora_")
        flat = f"lora_unet_{layer.replace('.', '_')}"
        theirs[f"{flat}.{'lora_down' if end.startswith('A') else 'lora_up'}.weight"] = tensor
        theirs[f"{flat}.alpha"] = torch.tensor(4.0)
    save_file(theirs, loras / "trained.safetensors")
    made = engine("sd", lora_folders=(loras,))
    assert largest(draw(made, "a<lora:trained:1>"), draw(made, "a<lora:fine:1>")) <= SAME
    words: dict[str, torch.Tensor] = {}
    for layer in ("q_proj", "k_proj", "v_proj", "out_proj"):
        text = f"lora_te_text_model_encoder_layers_0_self_attn_{layer}"
        down, up = (torch.linspace(-1, 1, 128).sin().reshape(shape) for shape in ((4, 32), (32, 4)))
        words |= {f"{text}.lora_down.weight": down, f"{text}.lora_up.weight": up, f"{text}.alpha": torch.tensor(4.0)}
    save_file(theirs | words, loras / "words.safetensors")
    assert largest(draw(made, "a<lora:words:1:0>"), draw(made, "a<lora:fine:1>")) <= SAME
    assert largest(draw(made, "a<lora:words:1:1>"), draw(made, "a<lora:fine:1>")) > SAME
    assert largest(draw(made, "a<lora:words:0:0>"), draw(made, "a")) <= SAME


def test_loras_share_no_wave_with_others(engine: Make, loras: Path) -> None:
    """Segments with other LoRAs, or other weights, are sampled apart."""
    made = engine("sd", lora_folders=(loras,))
    keys = [made.wave_key(item(prompt)) for prompt in ("a", "a<lora:fine:1>", "b <lora:fine:1>", "a<lora:fine:0.5>", "a<lora:other:1>")]
    assert keys[1] == keys[2] and len(set(keys)) == 4


def test_few_loras_stay_loaded(engine: Make, loras: Path, model_folder: Folders) -> None:
    """The last few; what is asked for again is loaded again and does the same."""
    made = engine("sd", lora_folders=(loras,))
    first = draw(made, "a<lora:fine:1>")
    for number in range(9):
        tiny_models.save_lora(loras / f"more{number}.safetensors", model_folder("sd"))
        draw(made, f"a<lora:more{number}:1>", steps=1)
    assert len(made._main.loras._loaded) == 8
    assert largest(draw(made, "a<lora:fine:1>"), first) <= SAME


@pytest.mark.parametrize(("name", "message"), [
    ("fin", "LoRA 'fin' not found in .*did you mean 'fine'"),
    ("wide", "for another kind of model than Stable Diffusion 1 or 2: .* takes 48 numbers there, the model's 32"),
    ("xl", "for another kind of model than Stable Diffusion 1 or 2: .* takes 64 numbers there, the model's 32"),
    ("nowhere", "is a layer that the model does not have"), ("strange", "LoRA 'strange' .* (no layer of the model is named|cannot be read)"),
    ("broken", "LoRA 'broken' .* cannot be read")])
def test_loras_that_cannot_be(engine: Make, loras: Path, name: str, message: str) -> None:
    """Missing, for another architecture, or damaged: told by name; afterwards the model draws as before."""
    made = engine("sd", lora_folders=(loras,))
    plain = draw(made, "a")
    with pytest.raises(EngineError, match=message):
        draw(made, f"a<lora:{name}:1>")
    assert largest(draw(made, "a"), plain) <= SAME
    assert largest(draw(made, "a<lora:fine:1>"), plain) > 0.001


def test_loras_without_a_folder_or_with_blocks(engine: Make, loras: Path) -> None:
    """Both are told."""
    with pytest.raises(EngineError, match="no folder of LoRAs is known; name it with --lora-folder"):
        draw(engine("sd"), "a<lora:fine:1>")
    with pytest.raises(EngineUnsupportedError, match="weights per block"):
        draw(engine("sd", lora_folders=(loras,)), "a<lora:fine:1:LBW=1,0,0>")


# ControlNets

@pytest.mark.parametrize("module", ["none", "canny"])
def test_control(engine: Make, tmp_path: Path, module: str) -> None:
    """A ControlNet changes the picture by its weight, in its share of the steps; what it was shown comes back."""
    tiny_models.save_control(tmp_path / "nets" / "lines")
    made = engine("sd", control_folders=(tmp_path / "nets",))
    plain = draw(made)
    asked = request(control=SegmentControl(model="lines", module=module))
    done = made.redraw(asked, Control())
    assert done.control_bchw is not None and done.control_bchw.shape == (1, 3, 64, 64)
    assert torch.equal(done.control_bchw, asked.images_bchw) == (module == "none")
    assert largest(done.images_bchw, plain) > 0.001
    for changes in ({"weight": 0.0}, {"start": 1.0}, {"end": 0.0}):
        assert largest(draw(made, control=SegmentControl(model="lines", module=module, **changes)), plain) <= SAME
    part = draw(made, control=SegmentControl(model="lines", module=module, end=0.5))
    assert largest(part, plain) > 0.001 and largest(part, done.images_bchw) > 0.001


def test_control_that_cannot_be(engine: Make, tmp_path: Path) -> None:
    """An unknown name, preprocessor, or a ControlNet for another model is told; a family without says so before anything is drawn."""
    tiny_models.save_control(tmp_path / "nets" / "lines")
    tiny_models.save_control(tmp_path / "nets" / "wide", width=48)
    (tmp_path / "nets" / "bad").mkdir()
    (tmp_path / "nets" / "bad" / "config.json").write_text("{}")
    made = engine("sd", control_folders=(tmp_path / "nets",))
    for control, message in ((SegmentControl(model="line"), "'line' not found in .*did you mean 'lines'"),
                             (SegmentControl(model="lines", module="depth"), "no preprocessor 'depth'.* choose one of none, canny"),
                             (SegmentControl(model="wide"), "another kind of model: its text is 48 wide, the model's 32"),
                             (SegmentControl(model="bad"), "cannot be loaded as a ControlNet")):
        with pytest.raises(EngineError, match=message):
            draw(made, control=control)
    with pytest.raises(EngineUnsupportedError, match=r"^control_model: .*does not support a ControlNet"):
        check_supported(engine("flux"), Sampling(sampler="Euler", control=SegmentControl(model="lines")), DetailerHook())


# other models

def test_refiner(engine: Make, tmp_path: Path, model_folder: Folders) -> None:
    """XL's refiner, or any model of the family, does the last share of the steps, with its own prompts if it has some."""
    tiny_models.save_xl(tmp_path / "refiner", refiner=True)
    made = engine("xl", model_folders=(tmp_path,))
    plain = draw(made)
    drawn = {ratio: draw(made, refiner=Refiner(checkpoint="refiner", ratio=ratio)) for ratio in (0.0, 0.5, 1.0)}
    assert largest(drawn[0.0], plain) <= SAME
    assert min(largest(drawn[0.5], plain), largest(drawn[1.0], plain), largest(drawn[0.5], drawn[1.0])) > 0.001
    other = draw(made, refiner=Refiner(checkpoint="refiner", ratio=0.5, prompt="zzz"))
    assert largest(other, drawn[0.5]) > SAME
    itself = draw(made, refiner=Refiner(checkpoint=str(model_folder("xl")), ratio=0.5))
    assert largest(itself, plain) <= SAME
    with pytest.raises(EngineUnsupportedError, match="cannot go on with the latents"):
        draw(made, refiner=Refiner(checkpoint=str(model_folder("sd3")), ratio=0.5))


def test_waves_with_a_refiner_equal_single_runs(engine: Make, tmp_path: Path) -> None:
    """Also the refiner's scores and prompts are told row by row."""
    folder = tiny_models.save_xl(tmp_path / "refiner", refiner=True)
    made = engine("xl")
    asked = request(("a", "b", "c"), ("", "y", ""), refiner=Refiner(checkpoint=str(folder), ratio=0.5))
    together = made.redraw(asked, Control()).images_bchw
    for row in range(3):
        part = slice(row, row + 1)
        one = replace(asked, images_bchw=asked.images_bchw[part], noise_masks=(None,), prompts=asked.prompts[part],
                      negative_prompts=asked.negative_prompts[part], seeds=asked.seeds[part], subseeds=(0,))
        assert largest(made.redraw(one, Control()).images_bchw, together[part]) <= SAME


def test_another_checkpoint(engine: Make, tmp_path: Path, model_folder: Folders) -> None:
    """A wave can ask for another model of the same family; another family is refused, and so is what is not there."""
    other = tiny_models.save_sd(tmp_path / "other", width=48)
    made = engine("sd", model_folders=(tmp_path,))
    plain = draw(made)
    assert largest(draw(made, checkpoint="other"), plain) > 0.001
    assert largest(draw(made, checkpoint="other"), draw(engine("sd", model=str(other)))) <= SAME
    assert largest(draw(made, checkpoint=str(model_folder("sd"))), plain) <= SAME
    assert largest(draw(made), plain) <= SAME
    with pytest.raises(EngineUnsupportedError, match="is Stable Diffusion XL; choose one of the main model's family"):
        draw(made, checkpoint=str(model_folder("xl")))
    with pytest.raises(EngineError, match="model 'othr' not found; did you mean 'other'"):
        draw(made, checkpoint="othr")


def test_inpainting_models(tmp_path: Path) -> None:
    """A UNet with 9 channels is shown the mask and the picture without what lies in it; without a mask it is shown that all is hidden."""
    made = DiffusersEngine(ModelOptions(model=str(tiny_models.save_sd(tmp_path / "inpaint", channels=9, name="StableDiffusionInpaintPipeline"))))
    assert made.capabilities.inpaint_model
    shown = draw(made, masks=(hard_mask(),), inpaint_model=True)
    assert largest(shown, draw(made, masks=(hard_mask(),))) > 0.001
    whole = draw(made, masks=(torch.ones(1, 1, 32, 32),), inpaint_model=True)
    assert largest(whole, draw(made)) <= SAME
    asked = request(("a", "b"), masks=(hard_mask(), None), inpaint_model=True)
    together = made.redraw(asked, Control()).images_bchw
    assert largest(together[:1], shown) <= SAME


@torch.no_grad()
def test_what_an_inpainting_model_is_shown(tmp_path: Path) -> None:
    """The mask 1 where it hides, at the latents' size, and latents of mid grey there; elsewhere the picture's own."""
    made = DiffusersEngine(ModelOptions(model=str(tiny_models.save_sd(tmp_path / "inpaint", channels=9))))
    seen: list[torch.Tensor] = []
    made._main.model.denoiser.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    asked = request(masks=(hard_mask(),), inpaint_model=True, cfg=1.0)
    made.redraw(asked, Control())
    mask, latents = seen[0][:, 4:5], seen[0][:, 5:]
    assert torch.equal(mask[0, 0], torch.tensor([0.0] * 4 + [1.0] * 4).expand(8, 8))
    assert float(latents[..., 4:].abs().max()) < 0.05
    assert largest(latents[..., :4], made._main.vae.encode(asked.images_bchw)[..., :4]) < 0.05


def test_inpainting_is_refused_by_other_models(engine: Make) -> None:
    """A model that cannot be shown a mask says so before anything is drawn."""
    with pytest.raises(EngineUnsupportedError, match=r"^inpaint_model: "):
        check_supported(engine("sd"), Sampling(sampler="Euler", inpaint_model=True), DetailerHook())


# memory

@pytest.mark.parametrize("part", ["encode", "decode"])
def test_a_vae_that_runs_out_of_memory_works_in_tiles(engine: Make, monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    """Where the whole does not fit, tiles do, and the picture is nearly the same; with `off` the wave is too large instead."""
    plain = big(engine("sd"))
    for tiling in ("auto", "off"):
        made = engine("sd", vae_tiling=tiling)
        work, limit = getattr(made._main.model.vae, part), 40 * 40 * (64 if part == "encode" else 1)

        def small_only(x: torch.Tensor, *args: Any, work: Any = work, limit: int = limit, **options: Any) -> Any:
            if x.shape[-1] * x.shape[-2] > limit:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
            return work(x, *args, **options)

        monkeypatch.setattr(made._main.model.vae, part, small_only)
        if tiling == "off":
            with pytest.raises(EngineMemoryError, match="1 segments of 512x512; lower max_size"):
                big(made)
        else:
            assert float((big(made) - plain).abs().mean()) < 0.01


def big(engine: DiffusersEngine) -> torch.Tensor:
    """One segment of 512 pixels."""
    images = torch.nn.functional.interpolate(pictures(1), size=(512, 512), mode="bicubic").clamp(0, 1)
    return engine.redraw(replace(request(steps=1), images_bchw=images), Control()).images_bchw


def test_tiles_of_the_library(engine: Make) -> None:
    """With `on` the VAE itself works in tiles from the beginning."""
    assert engine("sd", vae_tiling="on")._main.model.vae.use_tiling
    assert not engine("sd")._main.model.vae.use_tiling


def test_trouble_of_the_model_is_an_engine_error(engine: Make) -> None:
    """Whatever a model raises comes out as one sentence; the engine works afterwards."""
    made = engine("sd")
    handle = made._main.model.denoiser.register_forward_pre_hook(lambda *_: 1 / 0)
    with pytest.raises(EngineError, match="the model failed: ZeroDivisionError"):
        draw(made)
    handle.remove()
    assert draw(made).shape == (1, 3, 64, 64)
