"""The engine contract: what an engine lacks is told by the name of the setting to change."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from stub_engine import StubEngine

from detailer_core.engines import registry
from detailer_core.engines.base import Capabilities, Control, Redrawn, check_supported
from detailer_core.engines.diffusers.options import ModelOptions
from detailer_core.engines.filter import FilterEngine
from detailer_core.engines.registry import NAMES, main_defaults, make_engine
from detailer_core.errors import EngineError, EngineUnsupportedError
from detailer_core.hooks import DetailerHook
from detailer_core.sampling import MainGeneration, Refiner, Sampling

EVERYTHING = Capabilities(inpaint_model=True, refiner=True, checkpoint=True, vae=True, modules=True, clip_skip=True, noise_multiplier=True,
                          distilled_cfg=True, restore_face=True)
DEMANDING = Sampling(cycles=2, differential=True, inpaint_model=True, checkpoint="other", refiner=Refiner(checkpoint="fine", ratio=0.2),
                     sampler="Euler", scheduler="Karras", vae="a.pt", modules=("b.pt",), clip_skip=2, noise_multiplier=0.0, distilled_cfg=0.0,
                     restore_face=True)


class LatentHook(DetailerHook):
    """Works on latents."""

    def before_decode(self, latents_bchw: torch.Tensor) -> torch.Tensor:
        """As they are."""
        return latents_bchw


class InvertingHook(LatentHook):
    """Runs the sampler backwards."""

    needs_inversion = True


def engine(can: Capabilities) -> StubEngine:
    """An engine that can do this."""
    return type("Engine", (StubEngine,), {"capabilities": can})()


def test_an_engine_that_can_do_all_is_asked_anything() -> None:
    """Nothing is refused, whatever the sampler is called where the engine does not care."""
    check_supported(engine(EVERYTHING), DEMANDING, LatentHook())
    check_supported(engine(replace(EVERYTHING, samplers=("Euler",), schedulers=("Karras", "Simple"))), DEMANDING, LatentHook())


@pytest.mark.parametrize(("missing", "text"), [
    ({"cycles": False}, "cycle: the engine 'stub' does not support more than one cycle"),
    ({"noise_mask": False}, "noise_mask: the engine 'stub' does not support a noise mask"),
    ({"differential": False}, r"noise_mask_feather: the engine 'stub' does not support differential diffusion \(set it to 0\)"),
    ({"inpaint_model": False}, "inpaint_model: the engine 'stub' does not support inpainting models"),
    ({"refiner": False}, "refiner: the engine 'stub' does not support a refiner"),
    ({"checkpoint": False}, "checkpoint: the engine 'stub' does not support another checkpoint"),
    ({"vae": False}, "vae: the engine 'stub' does not support another VAE; leave it open, in Forge name the VAE in modules"),
    ({"modules": False}, "modules: the engine 'stub' does not support other modules, which only Forge has; leave it empty, elsewhere choose a vae"),
    ({"clip_skip": False}, "clip_skip: the engine 'stub' does not support another clip skip; leave it open"),
    ({"noise_multiplier": False}, "noise_multiplier: the engine 'stub' does not support a noise multiplier; leave it open"),
    ({"distilled_cfg": False}, "distilled_cfg: the engine 'stub' does not support a distilled CFG scale, which only Forge has; leave it open"),
    ({"restore_face": False}, "restore_face: the engine 'stub' does not support face restoration here; install a model for it, or switch it off"),
    ({"latents": False}, "hook: the engine 'stub' does not support hook 'LatentHook', which works on latents"),
    ({"samplers": ("DDIM", "LMS")}, "sampler: the engine 'stub' does not support sampler 'Euler'; it has DDIM, LMS"),
    ({"schedulers": ("Simple",)}, "scheduler: the engine 'stub' does not support scheduler 'Karras'; it has Simple"),
])
def test_what_is_missing_is_refused(missing: dict[str, object], text: str) -> None:
    """Each lack stops a run that needs it, and only such a run."""
    lacking = engine(replace(EVERYTHING, **missing))  # type: ignore[arg-type]
    with pytest.raises(EngineUnsupportedError, match=f"^{text}$"):
        check_supported(lacking, DEMANDING, LatentHook())
    modest = Sampling(noise_mask="noise_mask" not in missing, sampler="LMS" if "samplers" in missing else "Euler",
                      scheduler="Simple" if "schedulers" in missing else "Karras")
    check_supported(lacking, modest, DetailerHook())


def test_masked_content_of_latents_needs_latents() -> None:
    """An engine without them refuses noise and nothing, and takes what is made of pixels."""
    pixels_only = engine(replace(EVERYTHING, latents=False))
    for content in ("latent-noise", "latent-nothing"):
        with pytest.raises(EngineUnsupportedError, match=r"^masked_content: .* does not support masked content in latent"):
            check_supported(pixels_only, Sampling(masked_content=content), DetailerHook())  # type: ignore[arg-type]
    check_supported(pixels_only, Sampling(masked_content="fill"), DetailerHook())


def test_inversion_is_asked_for_by_the_hook() -> None:
    """An engine without it refuses such a hook, and one with it does not."""
    with pytest.raises(EngineUnsupportedError, match=r"^hooks: .* does not support hook 'InvertingHook', which runs the sampler backwards"):
        check_supported(engine(EVERYTHING), Sampling(), InvertingHook())
    check_supported(engine(replace(EVERYTHING, inversion=True)), Sampling(), InvertingHook())


def test_an_engine_without_a_model_ignores_sampling() -> None:
    """Steps and samplers mean nothing to it, so the same settings can be previewed."""
    check_supported(engine(Capabilities(diffusion=False, cycles=False, noise_mask=False, samplers=("none",))), DEMANDING, DetailerHook())


def test_defaults_of_the_contract() -> None:
    """A wave is finished unless it says otherwise, and nobody stops a run unless asked to."""
    assert Redrawn(images_bchw=torch.zeros(1, 3, 8, 8)).finished
    assert Control().stopped() is False


def test_engines_by_name() -> None:
    """The filter is made anew each time; another name is refused with the known ones."""
    assert isinstance(make_engine("filter"), FilterEngine)
    assert make_engine("filter") is not make_engine("filter")
    with pytest.raises(EngineError, match=f"^unknown engine 'nonsense'; choose one of {', '.join(NAMES)}$"):
        make_engine("nonsense")


def test_engines_and_models_belong_together() -> None:
    """The engine `diffusers` needs a model, and says how one is named; the filter has none, and says which engine has."""
    with pytest.raises(EngineError, match=r"needs a model; name a folder, a \.safetensors file, or a model of the hub as hub:owner/name"):
        make_engine("diffusers")
    with pytest.raises(EngineError, match="'filter' has no model, got m; choose the engine 'diffusers'"):
        make_engine("filter", ModelOptions(model="m"))


def test_missing_packages_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the optional packages the engine `diffusers` says how to get them."""
    monkeypatch.setattr(registry, "find_spec", lambda name: None)
    with pytest.raises(EngineError, match="pip install diffusers transformers accelerate peft"):
        make_engine("diffusers", ModelOptions(model="m"))


def test_what_settings_mean_that_are_left_open() -> None:
    """An engine without a model has the defaults of every main generation."""
    assert main_defaults(make_engine("filter")) == MainGeneration()
