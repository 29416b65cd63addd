"""What the engine `diffusers` loads, and what it refuses: one clear sentence, and never a look at the network."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_models
import torch
from conformance import pictures
from safetensors.torch import save_file

from detailer_core.engines.base import Control, WaveRequest
from detailer_core.engines.diffusers import load
from detailer_core.engines.diffusers.engine import DiffusersEngine
from detailer_core.engines.diffusers.options import ModelOptions
from detailer_core.errors import EngineError, EngineUnsupportedError
from detailer_core.hooks import DetailerHook
from detailer_core.sampling import Sampling

Make = Callable[..., DiffusersEngine]
SHARED = Path(__file__).resolve().parents[5] / "shared" / "tiny-sd"


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever opens a connection fails the test."""
    def refuse(*_: Any) -> None:
        raise AssertionError("somebody asked for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def request(**changes: Any) -> WaveRequest:
    """A wave of one."""
    return WaveRequest(images_bchw=pictures(1), noise_masks=(None,), prompts=("a",), negative_prompts=("",), seeds=(1,), subseeds=(1,),
                       sampling=Sampling(**{"sampler": "Euler", "steps": 2, "noise_mask": False, **changes}), hook=DetailerHook())


def changed_index(source: Path, target: Path, **changes: Any) -> Path:
    """A copy of a model's folder with another index."""
    shutil.copytree(source, target)
    index = json.loads((target / "model_index.json").read_text(encoding="utf-8"))
    (target / "model_index.json").write_text(json.dumps(index | changes), encoding="utf-8")
    return target


@pytest.mark.parametrize(("family", "multiple", "refiner"), [("sd", 8, True), ("xl", 8, True), ("sd3", 16, False), ("flux", 16, False)])
def test_families(engine: Make, family: str, multiple: int, refiner: bool) -> None:
    """Each family says for itself what sizes it takes and what it lacks, and how a main generation is usually made."""
    made = engine(family)
    assert made.size_multiple == multiple
    assert (made.capabilities.refiner, made.capabilities.control, made.capabilities.inpaint_model) == (refiner, refiner, False)
    assert made.main.sampler in made.capabilities.samplers
    assert made.main.cfg == (1.0 if family == "flux" else 7.0)
    assert made.main.model_side == (1024 if family == "flux" else 64)  # Flux does not say it in its configuration


def test_what_is_no_model_folder(tmp_path: Path) -> None:
    """A folder without an index, a name that leads nowhere, and a file that may be a program are told apart."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "model.ckpt").write_bytes(b"pickle")
    (tmp_path / "list").mkdir()
    (tmp_path / "list" / "model_index.json").write_text("[1]")
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "model_index.json").write_text("{")
    for name, message in (("empty", "is not a model folder: it has no model_index.json"), ("nowhere", "not found; name a folder or a file"),
                          ("model.ckpt", "not a .safetensors file; other files may hold programs"), ("list", "does not describe a model"),
                          ("half", "cannot be read")):
        with pytest.raises(EngineError) as error:
            DiffusersEngine(ModelOptions(model=str(tmp_path / name)))
        assert message in str(error.value) and name in str(error.value)


def test_the_hub_has_to_be_named(tmp_path: Path) -> None:
    """What looks like a model of the hub is not taken for one; the message says how to ask for it."""
    with pytest.raises(EngineError, match="for a model of the hub write hub:somebody/something"):
        DiffusersEngine(ModelOptions(model="somebody/something"))


@pytest.mark.parametrize("kind", ["PixArtSigmaPipeline", ["pipeline", "MyPipeline"], None])
def test_families_that_are_not_known(model_folder: Callable[..., Path], tmp_path: Path, kind: object) -> None:
    """A pipeline of another kind, or one that brings its own program, is refused with the families that can be used."""
    folder = changed_index(model_folder("sd"), tmp_path / "other", _class_name=kind)
    with pytest.raises(EngineUnsupportedError, match="cannot be used here; choose one of these families: Stable Diffusion 1 or 2, "):
        DiffusersEngine(ModelOptions(model=str(folder)))


def test_folders_that_are_not_complete(model_folder: Callable[..., Path], tmp_path: Path) -> None:
    """A missing part, and one whose file is damaged, are told."""
    folder = tmp_path / "missing"
    shutil.copytree(model_folder("sd"), folder)
    shutil.rmtree(folder / "vae")
    with pytest.raises(EngineError, match="is not complete: the parts vae are missing"):
        DiffusersEngine(ModelOptions(model=str(folder)))
    folder = tmp_path / "damaged"
    shutil.copytree(model_folder("sd"), folder)
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(EngineError, match="damaged cannot be loaded: "):
        DiffusersEngine(ModelOptions(model=str(folder)))


def test_pickles_are_not_read(model_folder: Callable[..., Path], tmp_path: Path) -> None:
    """A folder whose weights are in a .bin file, which may be a program, is refused."""
    folder = tmp_path / "pickled"
    shutil.copytree(model_folder("sd"), folder)
    for part in ("unet", "vae"):
        (folder / part / "diffusion_pytorch_model.safetensors").unlink()
        torch.save({}, folder / part / "diffusion_pytorch_model.bin")
    with pytest.raises(EngineError, match="pickled cannot be loaded: "):
        DiffusersEngine(ModelOptions(model=str(folder)))


def test_weights_in_half_only(model_folder: Callable[..., Path], tmp_path: Path) -> None:
    """A folder that has only the variant fp16 loads without being told."""
    folder = tmp_path / "half"
    shutil.copytree(model_folder("sd"), folder)
    for path in [*folder.rglob("diffusion_pytorch_model.safetensors"), *folder.rglob("text_encoder/model.safetensors")]:
        path.rename(path.with_name(path.name.replace(".safetensors", ".fp16.safetensors")))
    assert DiffusersEngine(ModelOptions(model=str(folder))).redraw(request(), Control()).finished


@pytest.mark.parametrize(("options", "message"), [
    ({"precision": "fp16"}, "fp16 needs a GPU; choose fp32 or bf16"), ({"device": "nonsense"}, "the device 'nonsense' cannot be used"),
    ({"offload": "model"}, "offload model .* without a GPU choose offload none"), ({"offload": "sequential"}, "without a GPU choose offload none")])
def test_options_that_cannot_be(engine: Make, options: dict[str, str], message: str) -> None:
    """What needs a GPU is refused without one, and an unknown device by its name."""
    with pytest.raises(EngineError, match=message):
        engine("sd", **{"device": "cpu", **options})


def test_other_precisions(engine: Make) -> None:
    """In bf16 the picture is nearly that of fp32; latents, masks and mixing stay in fp32."""
    exact = engine("sd").redraw(request(), Control()).images_bchw
    rough = engine("sd", precision="bf16").redraw(request(), Control()).images_bchw
    assert rough.dtype == torch.float32
    assert 0 < float((rough - exact).abs().mean()) < 0.05


def test_special_models_are_refused(tmp_path: Path) -> None:
    """A UNet that wants neither latents alone nor latents, mask and masked picture is of another trade."""
    folder = tiny_models.save_sd(tmp_path / "edit", channels=8)
    with pytest.raises(EngineUnsupportedError, match=r"special model of Stable Diffusion 1 or 2 \(its input has 8 channels, expected 4 or 9\)"):
        DiffusersEngine(ModelOptions(model=str(folder)))


def test_a_refiner_alone_is_no_model(tmp_path: Path) -> None:
    """XL's refiner cannot begin a picture."""
    folder = tiny_models.save_xl(tmp_path / "refiner", refiner=True)
    with pytest.raises(EngineUnsupportedError, match="only finishes what another model began"):
        DiffusersEngine(ModelOptions(model=str(folder)))


def test_single_file_without_its_configuration(tmp_path: Path) -> None:
    """A file of a known family needs a folder for what it does not hold; one of an unknown family, or damaged, is told as such."""
    for name, tensors, message in (("sd", {"cond_stage_model.transformer.text_model.final_layer_norm.weight": torch.zeros(1)}, "--model-config"),
                                   ("other", {"weight": torch.zeros(1)}, "holds no complete model of a family that can be used here")):
        save_file(tensors, tmp_path / f"{name}.safetensors")
        with pytest.raises(EngineError, match=message):
            DiffusersEngine(ModelOptions(model=str(tmp_path / f"{name}.safetensors")))
    (tmp_path / "bad.safetensors").write_bytes(b"nothing")
    with pytest.raises(EngineError, match="is damaged or no safetensors file"):
        DiffusersEngine(ModelOptions(model=str(tmp_path / "bad.safetensors")))


def test_single_file_with_the_configuration_of_another_family(model_folder: Callable[..., Path], tmp_path: Path) -> None:
    """The two have to be of one family."""
    file = tmp_path / "sd.safetensors"
    save_file({"cond_stage_model.transformer.text_model.final_layer_norm.weight": torch.zeros(1)}, file)
    with pytest.raises(EngineError, match=r"is a model of Stable Diffusion 1 or 2, the configuration .* is for Stable Diffusion XL"):
        DiffusersEngine(ModelOptions(model=str(file), config=str(model_folder("xl"))))


@pytest.mark.skipif(not SHARED.is_dir(), reason="the small checkpoint is not beside this clone")
def test_single_file(tmp_path: Path) -> None:
    """A checkpoint in one file draws with the tokenizer and the configuration of a folder."""
    subprocess.run([sys.executable, SHARED / "build.py", tmp_path], check=True, capture_output=True, timeout=120)
    made = DiffusersEngine(ModelOptions(model=str(tmp_path / "tiny.safetensors"), config=str(tmp_path / "tiny-diffusers-config")))
    drawn = made.redraw(request(steps=4, denoise=0.5), Control()).images_bchw
    assert 0.01 < float((drawn - pictures(1)).abs().mean()) < 0.3


def test_names_in_the_model_folders(model_folder: Callable[..., Path], tmp_path: Path) -> None:
    """A model in one of the folders goes by its name; a misspelt one is told with the nearest."""
    shutil.copytree(model_folder("sd"), tmp_path / "portraits")
    options = ModelOptions(model="portraits", model_folders=(tmp_path / "nowhere", tmp_path))
    assert load.find_model("portraits", options) == str(tmp_path / "portraits")
    with pytest.raises(EngineError, match="'portrait' not found; did you mean 'portraits'"):
        load.find_model("portrait", options)


def test_memory_that_is_full_while_loading(engine: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says what to change."""
    def full(*_: Any) -> None:
        raise RuntimeError("CUDA out of memory.")

    monkeypatch.setattr(load, "_place", full)
    with pytest.raises(EngineError, match="does not fit into the memory; choose another precision, or offload parts of it"):
        engine("sd")


@pytest.mark.parametrize("offload", ["model", "sequential"])
def test_offload_is_the_library_s(engine: Make, monkeypatch: pytest.MonkeyPatch, offload: str) -> None:
    """With a GPU the pipeline itself is told to keep its parts elsewhere."""
    from diffusers import DiffusionPipeline

    asked: list[str] = []
    monkeypatch.setattr(load, "choose_device", lambda _: torch.device("cuda"))
    monkeypatch.setattr(DiffusionPipeline, f"enable_{offload}_cpu_offload", lambda self, device: asked.append(f"{offload} {device}"))
    engine("sd", offload=offload, precision="fp32")
    assert asked == [f"{offload} cuda"]


def test_a_vae_that_overflows_in_half(engine: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A VAE that says so is kept in fp32, whatever the rest computes in."""
    made = engine("sd", precision="bf16")._main.model
    model = type(made)(pipe=made.pipe, family=made.family, source="x", dtype=torch.float16)
    made.vae.register_to_config(force_upcast=True)
    load._place(model, ModelOptions(model="x"), torch.device("cpu"))
    assert made.vae.dtype == torch.float32 and made.denoiser.dtype == torch.bfloat16


def test_a_model_of_the_hub(model_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Only a model named as such may be downloaded: then the library gets its name, and the log says so; what may be a program stays out."""
    asked: list[tuple[str, dict[str, Any]]] = []
    real = load.class_of_diffusers

    class Asking:
        """Stands where a pipeline does, and takes the hub's model from a folder."""

        def __init__(self, name: str) -> None:
            self.name = name

        def load_config(self, name: str) -> Any:
            """What the index says."""
            return real("DiffusionPipeline").load_config(str(model_folder("sd")))

        def from_pretrained(self, name: str, **options: Any) -> Any:
            """Notes what is asked for."""
            asked.append((name, options))
            return real(self.name).from_pretrained(str(model_folder("sd")), **options)

    monkeypatch.setattr(load, "class_of_diffusers", Asking)
    assert DiffusersEngine(ModelOptions(model="hub:somebody/something")).main.model_side == 64
    (name, options), = asked
    assert name == "somebody/something" and options["use_safetensors"] is True and "local_files_only" not in options
    assert "somebody/something is taken from the hub" in caplog.text
    DiffusersEngine(ModelOptions(model=str(model_folder("sd"))))
    assert asked[1][1]["local_files_only"] is True
