"""The stand-in behaves as the hosts do, where an extension touches them."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import standin
import torch
from PIL import Image
from standin.faults import out_of_memory_error

every_host = pytest.mark.parametrize("host", standin.HOSTS)

EXTENSION = '''
import gradio as gr
from helper_package import note
from modules import script_callbacks, scripts
from modules.ui_components import InputAccordion

class Probe(scripts.Script):
    built = 0
    fail_in = ""

    def title(self):
        return "Probe"

    def show(self, is_img2img):
        return scripts.AlwaysVisible

    def ui(self, is_img2img):
        Probe.built += 1
        with InputAccordion(False, label="Probe") as enabled:
            strength = gr.Slider(label="Strength", minimum=0, maximum=1, value=0.5)
            words = gr.Textbox(label="Words", value="abc")
        self.infotext_fields = [(enabled, lambda found: "Probe words" in found), (words, "Probe words"), (strength, "Probe strength")]
        return [enabled, strength, words]

def recorder(name):
    def record(self, p, *args, **kwargs):
        note(name, p, args, kwargs)
        if self.fail_in == name:
            raise ValueError("ordered failure")
    return record

NAMES = """setup before_process process before_process_batch after_extra_networks_activate process_batch process_before_every_sampling
on_mask_blend post_sample postprocess_batch postprocess_batch_list postprocess_image postprocess_maskoverlay
postprocess_image_after_composite postprocess before_hr""".split()
for name in NAMES:
    setattr(Probe, name, recorder(name))
script_callbacks.on_app_started(lambda demo, app: note("app_started", None, (demo, app), {}))
'''
HELPER = '''
calls = []

def note(name, p, args, kwargs):
    calls.append((name, p, args, kwargs))
'''


@pytest.fixture
def world(tmp_path: Path) -> Iterator[standin.World]:
    """A played A1111."""
    with standin.install(host="a1111-1.10.1", tmp_path=tmp_path) as played:
        yield played


@pytest.fixture
def extension(tmp_path: Path) -> Iterator[Path]:
    """The folder of a small extension that notes every callback in its package."""
    folder = tmp_path / "an extension"
    (folder / "scripts").mkdir(parents=True)
    (folder / "scripts" / "probe.py").write_text(EXTENSION, encoding="utf-8")
    (folder / "helper_package").mkdir()
    (folder / "helper_package" / "__init__.py").write_text(HELPER, encoding="utf-8")
    yield folder
    sys.modules.pop("helper_package", None)


def calls() -> list[tuple[str, Any, Any, Any]]:
    """What the small extension noted."""
    return sys.modules["helper_package"].calls


def pixels(picture: Image.Image) -> np.ndarray:
    """The picture as integers."""
    return np.asarray(picture).astype(int)


def picture(seed: int = 0, side: int = 64) -> Image.Image:
    """A picture of random 8 x 8 blocks."""
    blocks = np.random.default_rng(seed).integers(40, 215, (side // 8, side // 8, 3), dtype=np.uint8)
    return Image.fromarray(blocks.repeat(8, axis=0).repeat(8, axis=1))


def seed_encoder(world: standin.World) -> None:
    """Makes every encoding draw the same, which a host does not do."""
    world.module("processing").process_images(world.module("processing").StableDiffusionProcessingTxt2Img(
        prompt="warm up", width=16, height=16, steps=1, seed=1, sampler_name="Euler", do_not_save_samples=True))
    model, name = world.model, "encode_first_stage" if world.host.forge else "get_first_stage_encoding"
    original = getattr(model, name)
    setattr(model, name, lambda argument: (torch.manual_seed(5), original(argument))[1])


@every_host
def test_txt2img_makes_the_pictures(host: str, tmp_path: Path) -> None:
    """Every host makes a batch with infotexts, seeds and params.txt, the same again when repeated."""
    with standin.install(host=host, tmp_path=tmp_path) as world:
        result = world.run_txt2img(prompt="a face", batch_size=2, n_iter=2, seed=7, width=64, height=32)
        again = world.run_txt2img(prompt="a face", batch_size=2, n_iter=2, seed=7, width=64, height=32)
        assert [one.size for one in result.images] == [(64, 32)] * 4
        assert result.all_seeds == [7, 8, 9, 10]
        assert all("Steps: 4, Sampler: Euler" in text for text in result.infotexts)
        assert [pixels(one).tolist() for one in result.images] == [pixels(one).tolist() for one in again.images]
        assert world.counters.samples == 4 and world.counters.decodes == 8 and world.reports == []
        assert (tmp_path / "params.txt").read_text(encoding="utf8").startswith("a face")


def test_prompt_seed_checkpoint_and_scheduler_matter(world: standin.World) -> None:
    """The picture depends on prompt, seed, checkpoint, scheduler, guidance and network."""
    changes: list[dict[str, Any]] = [
        {}, {"prompt": "a hand"}, {"seed": 2}, {"override_settings": {"sd_model_checkpoint": "other"}}, {"scheduler": "Beta"},
        {"cfg_scale": 3.0}, {"prompt": "a face<lora:thin:0.7>"}, {"sampler_name": "Euler a"}, {"sampler_name": "DPM++ SDE"}]
    results = [pixels(world.run_txt2img(**{"prompt": "a face", "scheduler": "Karras", **change}).images[0]) for change in changes]
    assert all(np.abs(results[0] - other).max() > 1 for other in results[1:])
    assert world.shared.opts.sd_model_checkpoint.startswith("fake")
    assert world.counters.model_loads == 3


def test_install_leaves_nothing_behind(tmp_path: Path, extension: Path) -> None:
    """After the block `sys.modules` and `sys.path` are as before, and packages bound to the host are gone."""
    before, search_path = set(sys.modules), list(sys.path)
    with standin.install(host="forge", tmp_path=tmp_path) as world:
        world.load_extension(extension)
        sys.modules["detailer_webui_probe"] = sys.modules["detailer_webui.probe"] = sys  # type: ignore[assignment]
    assert not any(name.split(".")[0] in ("modules", "detailer_webui") for name in set(sys.modules) - before)
    del sys.modules["detailer_webui_probe"]
    assert sys.path == search_path


def test_unknown_host_is_refused(tmp_path: Path) -> None:
    """A host that cannot be played is named in the error."""
    with pytest.raises(KeyError, match="no host 'comfy'"), standin.install(host="comfy", tmp_path=tmp_path):
        pass


@pytest.mark.parametrize("sampler", ["Euler", "Euler a", "DPM++ SDE", "DDIM"])
def test_img2img_batch_equals_one_by_one(world: standin.World, sampler: str) -> None:
    """Pictures of a batch come out as they would alone, with their own prompts, seeds and variation seeds."""
    seed_encoder(world)
    pictures, prompts, seeds, subseeds = [picture(n) for n in range(3)], ["red", "green", "blue"], [5, 9, 13], [1, 2, 3]
    common = {"sampler_name": sampler, "subseed_strength": 0.3, "denoising_strength": 0.6}
    batch = world.run_img2img(pictures, prompt=prompts, seed=seeds, subseed=subseeds, batch_size=3, **common)
    for number, together in enumerate(batch.images):
        alone = world.run_img2img([pictures[number]], prompt=prompts[number], seed=seeds[number], subseed=subseeds[number], **common)
        assert np.array_equal(pixels(together), pixels(alone.images[0]))


def test_unseeded_encoder_makes_repeats_differ(world: standin.World) -> None:
    """The encoder draws from the global generator before anything is seeded, so that two runs differ a little."""
    one, two = (pixels(world.run_img2img([picture()], prompt="x", denoising_strength=0.2).images[0]) for _ in range(2))
    assert 0 < np.abs(one - two).max() < 20


@pytest.mark.parametrize(("host", "differs"), [("a1111-1.10.1", False), ("forge", True), ("forge-neo", True)])
def test_masked_batch_on_forge_differs_from_single_runs(host: str, differs: bool, tmp_path: Path) -> None:
    """Forge's new noise for the kept area comes from one generator for the whole batch; A1111 has no such noise."""
    mask = Image.new("L", (64, 64))
    mask.paste(255, (16, 16, 48, 48))
    common = {"mask": mask, "prompt": "x", "inpainting_fill": 1, "inpaint_full_res": False}
    with standin.install(host=host, tmp_path=tmp_path) as world:
        seed_encoder(world)
        seen: list[torch.Tensor] = []
        world.module("script_callbacks").on_cfg_denoiser(lambda params: seen.append(params.x[:1].clone()))
        world.run_img2img([picture(0), picture(1)], seed=[3, 4], subseed=[1, 1], batch_size=2, **common)
        world.run_img2img([picture(0)], seed=3, subseed=1, **common)
        kept = [latent[..., 0, 0] for latent in seen]
    assert (not torch.equal(torch.cat(kept[:len(kept) // 2]), torch.cat(kept[len(kept) // 2:]))) is differs


ORDER = ["setup", "before_process", "process", "before_process_batch", "after_extra_networks_activate", "process_batch",
         "process_before_every_sampling", "post_sample", "postprocess_batch", "postprocess_batch_list", "postprocess_image",
         "postprocess_maskoverlay", "postprocess_image_after_composite", "postprocess"]


@every_host
def test_callbacks_come_in_the_hosts_order(host: str, tmp_path: Path, extension: Path) -> None:
    """A txt2img job calls each callback of a script once, in order, with the script's own arguments."""
    with standin.install(host=host, tmp_path=tmp_path) as world:
        world.load_extension(extension)
        world.run_txt2img({"Probe": [True, 0.25]}, prompt="x")
        noted = [call for call in calls() if call[1] is not None]
        assert [name for name, *_ in noted] == ORDER
        assert all(args[-3:] == (True, 0.25, "abc") for _, _, args, _ in noted)
        images = [args[0] for name, _, args, _ in noted if name == "postprocess_image"]
        assert hasattr(images[0], "index") is world.host.new_backend
        assert world.reports == []


def test_error_in_a_callback_is_swallowed(world: standin.World, extension: Path) -> None:
    """A callback that raises is reported with its traceback, and the job goes on."""
    world.load_extension(extension).script("Probe").fail_in = "postprocess_batch_list"
    result = world.run_txt2img(prompt="x")
    assert len(result.images) == 1
    assert [(report.message.split(":")[0], str(report.error)) for report in world.reports] == [
        ("Error running postprocess_batch_list", "ordered failure")]
    assert "ValueError" in world.reports[0].trace


@every_host
def test_extension_is_loaded_as_by_the_host(host: str, tmp_path: Path, extension: Path) -> None:
    """Both tabs have the script, its page is built more than twice, its folder leaves `sys.path`, the web server is told."""
    with standin.install(host=host, tmp_path=tmp_path) as world:
        loaded = world.load_extension(extension)
        assert loaded.script("probe").api_info.name == "probe"
        assert [arg.label for arg in loaded.script("Probe", "img2img").api_info.args] == ["Probe", "Strength", "Words"]
        assert type(loaded.script("Probe")).built == 6
        assert loaded.default_args["txt2img"] == [0, False, 0.5, "abc"]
        assert loaded.arguments({"Probe": [True, 0.1, "x", "dropped"]}, "txt2img") == [0, True, 0.1, "x"]
        assert str(extension) not in sys.path and [name for name, *_ in calls()] == ["app_started"]
        assert world.reports == []
        with pytest.raises(KeyError, match="no script titled 'Other' is loaded"):
            loaded.script("Other")


def test_infotext_is_pasted_into_the_scripts_fields(world: standin.World, extension: Path) -> None:
    """What a script adds to the infotext comes back to its components; switches and numbers get their type."""
    loaded = world.load_extension(extension)
    result = world.run_txt2img(prompt="x, y", extra_generation_params={"Probe words": "a: b, c", "Probe strength": 0.75})
    values = {component.label: value for component, value in loaded.paste(result.infotexts[0])}
    assert values == {"Probe": True, "Words": "a: b, c", "Strength": 0.75}


def test_script_file_that_fails_is_reported(world: standin.World, extension: Path) -> None:
    """A script file that raises is reported; the host starts without it."""
    (extension / "scripts" / "broken.py").write_text("import no_such_module_at_all", encoding="utf-8")
    world.load_extension(extension)
    assert [report.message for report in world.reports] == ["Error loading script: broken.py"]


def test_setup_runs_once_when_scripts_and_arguments_are_there(world: standin.World, extension: Path) -> None:
    """Assigning a runner and arguments to a job runs every script's `setup`; empty arguments do not."""
    world.load_extension(extension)
    runner = world.module("scripts").scripts_img2img
    p = world.module("processing").StableDiffusionProcessingImg2Img()
    p.scripts, p.script_args = runner, ()
    assert [name for name, *_ in calls()] == ["app_started"]
    p.script_args = (0, True, 0.5, "abc")
    p.script_args = (0, True, 0.5, "abc")
    assert [name for name, *_ in calls()] == ["app_started", "setup"]


def test_interrupt_in_mid_sampling_returns_half_done_pictures(world: standin.World) -> None:
    """The running batch comes back unfinished, the next is not begun, and a nested job then returns nothing."""
    world.faults.stops[0, 2] = "interrupted"
    result = world.run_txt2img(prompt="x", n_iter=2, batch_size=2)
    assert len(result.images) == 2 and world.counters.steps == 2
    processing, state = world.module("processing"), world.shared.state
    state.interrupted = True
    p = processing.StableDiffusionProcessingTxt2Img(prompt="x", width=16, height=16, steps=1, sampler_name="Euler")
    assert processing.process_images(p).images == []


def test_skip_ends_one_batch(world: standin.World) -> None:
    """A skipped batch comes back unfinished and the next clears the flag."""
    world.faults.stops[0, 1] = "skipped"
    result = world.run_txt2img(prompt="x", n_iter=2)
    assert len(result.images) == 2 and world.counters.steps == 1 + 4
    assert world.shared.state.skipped is False


def test_only_masked_keeps_everything_else(world: standin.World) -> None:
    """The masked part is sampled at full size and pasted back; outside of the blurred mask nothing changes."""
    start, mask = picture(3, 128), Image.new("L", (128, 128))
    mask.paste(255, (72, 40, 88, 56))
    result = world.run_img2img([start], mask=mask, prompt="x", width=64, height=64, mask_blur=1, inpaint_full_res_padding=8,
                               inpainting_fill=1, denoising_strength=0.9)
    changed = np.abs(pixels(result.images[0]) - pixels(start)).max(axis=2)
    assert result.images[0].size == (128, 128) and world.sampler_log[0].size_wh == (64, 64)
    assert changed[44:52, 76:84].min() > 0
    changed[36:60, 68:92] = 0
    assert changed.max() == 0
    assert result.extra_generation_params["Inpaint area"] == "Only masked"


def test_mask_blend_is_called_at_each_step_and_at_the_end(world: standin.World, extension: Path) -> None:
    """`on_mask_blend` gets denoiser and noise level at each step, and neither at the end."""
    world.load_extension(extension)
    mask = Image.new("L", (64, 64), 255)
    world.run_img2img([picture()], mask=mask, prompt="x", steps=4, denoising_strength=1.0)
    blends = [args[0] for name, _, args, _ in calls() if name == "on_mask_blend"]
    assert [blend.is_final_blend for blend in blends] == [False] * 4 + [True]
    assert all(blend.sigma.shape == (1,) and blend.denoiser.p is not None for blend in blends[:-1])


@pytest.mark.parametrize(("host", "sampler", "whole"), [
    ("a1111-1.10.1", "Euler", False), ("a1111-1.10.1", "DDIM", True), ("forge", "DDIM", False)])
def test_timestep_samplers_say_timesteps(host: str, sampler: str, whole: bool, tmp_path: Path) -> None:
    """Callbacks see noise levels, except for DDIM, PLMS and UniPC of A1111: whole timesteps, and a model without `sigmas`."""
    with standin.install(host=host, tmp_path=tmp_path) as world:
        seen: list[Any] = []
        world.module("script_callbacks").on_cfg_denoiser(seen.append)
        world.run_txt2img(prompt="x", sampler_name=sampler)
    assert all(bool((one.sigma == one.sigma.round()).all()) is whole for one in seen)
    assert all(hasattr(one.denoiser.inner_model, "sigmas") is not whole for one in seen)


def test_what_jobs_look_up_in_processing_can_be_replaced(world: standin.World) -> None:
    """A function that an extension replaces in `modules.processing` is the one that jobs use."""
    processing = world.module("processing")
    processing.images_tensor_to_samples = lambda image, approximation=None, model=None: torch.zeros(len(image), 4, 8, 8)
    world.run_img2img([picture()], prompt="x")
    assert world.counters.encodes == 0


def test_inpainting_model_gets_the_masked_picture(world: standin.World) -> None:
    """A model for inpainting has mask and masked picture encoded for it, once for all pictures of the batch."""
    world.model.model.conditioning_key = "hybrid"
    result = world.run_img2img([picture()], prompt="x", mask=Image.new("L", (64, 64), 255), inpaint_full_res=False)
    assert result.is_using_inpainting_conditioning and world.counters.encodes == 2


@pytest.mark.parametrize(("lines", "error"), [({"sampling_errors": {1: ValueError("ordered")}}, ValueError), ({"memory_limit": 1}, None)])
def test_faults_come_when_ordered(world: standin.World, lines: dict[str, Any], error: type[BaseException] | None) -> None:
    """A sampler call fails by number or for too large a batch, and the others do not."""
    vars(world.faults).update(lines)
    world.run_txt2img(prompt="x")
    with pytest.raises(error or out_of_memory_error()):
        world.run_txt2img(prompt="x", batch_size=2)
    world.run_txt2img(prompt="x")
    assert [call.batch for call in world.sampler_log] == [1, 2, 1]


def test_equal_prompts_are_encoded_once(world: standin.World) -> None:
    """The class-wide cache keeps one entry, so that a different prompt in between costs two encodings more."""
    counts = []
    for prompt in ("x", "x", "y", "x"):
        world.run_txt2img(prompt=prompt)
        counts.append(world.counters.text_encodes)
    assert counts == [2, 2, 3, 4]


def test_unequal_chunks_in_a_batch(world: standin.World) -> None:
    """Prompts of unequal length silently change each other; unequal negative prompts crash."""
    long = " ".join(["word"] * 80)
    alone = pixels(world.run_txt2img(prompt="short").images[0])
    together = pixels(world.run_txt2img(prompt=["short", long], seed=[1, 2], batch_size=2, subseed=[1, 1]).images[0])
    assert np.abs(alone - together).max() > 0
    with pytest.raises(RuntimeError):
        world.run_txt2img(prompt="x", negative_prompt=["short", long], batch_size=2)


def test_tags_of_the_first_prompt_count(world: standin.World) -> None:
    """Networks are read from the first prompt of a batch only, and taken out of the model afterwards."""
    world.run_txt2img(prompt=["a", "b<lora:thin:1>"], seed=[1, 2], subseed=[1, 1], batch_size=2)
    world.run_txt2img(prompt=["a<lora:thin:0.5>", "b"], seed=[1, 2], subseed=[1, 1], batch_size=2)
    assert world.network_log == [(), (("thin", 0.5),)] and world.model.networks == {}


def test_schedules_switch_the_prompt(world: standin.World) -> None:
    """`[a:b:when]` becomes two texts, at a step or at a fraction of the steps."""
    parse = world.module("prompt_parser").get_learned_conditioning_prompt_schedules
    assert parse(["a [red:blue:0.5] hat", "plain"], 10) == [[[5, "a red hat"], [10, "a blue hat"]], [[10, "plain"]]]


def test_decoded_samples_stay_float_and_are_cut_to_8_bit(world: standin.World) -> None:
    """What `sample` decoded is not decoded again, and 0.999 of a level is cut off, not rounded."""
    processing = world.module("processing")

    class Job(processing.StableDiffusionProcessingTxt2Img):
        def sample(self, *args: Any, **kwargs: Any) -> Any:
            return processing.DecodedSamples([torch.full((3, 16, 16), 2 * 100.999 / 255 - 1)])

    result = processing.process_images(Job(prompt="x", width=16, height=16, sampler_name="Euler", do_not_save_samples=True))
    assert world.counters.decodes == 0
    assert set(pixels(result.images[0]).flat) == {100}


def test_job_numbers_and_nested_jobs(world: standin.World) -> None:
    """A job counts its batches; a nested job adds to the finished ones only."""
    processing, state = world.module("processing"), world.shared.state
    state.begin("outer")
    outer = processing.StableDiffusionProcessingTxt2Img(prompt="x", width=16, height=16, steps=1, sampler_name="Euler", n_iter=2,
                                                        do_not_save_samples=True, do_not_save_grid=True)
    processing.process_images(outer)
    assert (state.job_no, state.job_count) == (2, 2)
    outer.n_iter = 1
    processing.process_images(outer)
    assert (state.job_no, state.job_count) == (3, 2)


@every_host
def test_hires_pass_samples_twice(host: str, tmp_path: Path) -> None:
    """The hires pass enlarges, samples again and returns decoded pictures."""
    with standin.install(host=host, tmp_path=tmp_path) as world:
        result = world.run_txt2img(prompt="x", enable_hr=True, hr_scale=2.0, hr_upscaler="Lanczos", denoising_strength=0.5)
        assert result.images[0].size == (128, 128)
        assert [(call.kind, call.size_wh) for call in world.sampler_log] == [("txt2img", (64, 64)), ("img2img", (128, 128))]


def test_new_backend_starts_with_a_placeholder_model_on_another_thread(tmp_path: Path, extension: Path) -> None:
    """On Forge there is no real model before the first picture, and jobs do not run on the caller's thread."""
    with standin.install(host="forge", tmp_path=tmp_path) as world:
        assert not hasattr(world.shared.sd_model, "decode_first_stage")
        threads = []
        world.module("script_callbacks").on_cfg_denoiser(lambda params: threads.append(threading.current_thread()))
        world.run_txt2img(prompt="x")
        assert hasattr(world.shared.sd_model, "decode_first_stage")
        assert threading.current_thread() not in threads
        loaded = world.shared.sd_model
        world.shared.sd_model = None
        assert world.shared.sd_model is loaded


def test_written_pictures_have_their_infotext(world: standin.World) -> None:
    """A saved picture lies in the host's folder with its infotext, and callbacks were asked first."""
    seen = []
    world.module("script_callbacks").on_before_image_saved(lambda params: seen.append(params.filename))
    world.run_txt2img(prompt="x", do_not_save_samples=False)
    with Image.open(seen[0]) as written:
        info, _ = world.module("images").read_info_from_image(written)
    assert info.startswith("x\nSteps: 4") and world.counters.saved == 1
