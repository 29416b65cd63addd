"""What users have reported against ADetailer, each by its name, in a whole job of the host."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import scenes
import standin
from PIL import Image
from scenes import REPOSITORY, SIDE, UNIT, Stage, cells, difference, inside, notes, pixels
from test_adetailer_host import NEIGHBOUR
from test_detailer_api_check import ask, first

every_host = pytest.mark.parametrize("played", list(standin.HOSTS), indirect=True, scope="module")

DYNAMIC = '''
from modules import scripts

class Dynamic(scripts.Script):
    """Gives each picture of a job a prompt of its own, as Dynamic Prompts does."""

    def title(self):
        return "Dynamic"

    def show(self, is_img2img):
        return scripts.AlwaysVisible

    def process(self, p, *args):
        p.all_prompts = [f"{text} in colour {number}" for number, text in enumerate(p.all_prompts)]
        p.all_negative_prompts = [f"{text} not {number}" for number, text in enumerate(p.all_negative_prompts)]
'''

REGIONAL = '''
from modules import scripts

class Regional(scripts.Script):
    """Divides the picture into regions from `process` to `postprocess`, as Regional Prompter does; notes what it was called for."""

    calls = []
    regions = None

    def title(self):
        return "Regional"

    def show(self, is_img2img):
        return scripts.AlwaysVisible

    def process(self, p, *args):
        Regional.calls.append("process")
        Regional.regions = {"prompts": list(p.all_prompts), "size": (p.width, p.height)}

    def process_batch(self, p, *args, **kwargs):
        Regional.calls.append(("batch", kwargs["batch_number"], p.width, dict(Regional.regions)))

    def postprocess(self, p, processed, *args):
        Regional.calls.append(("postprocess", len(processed.images)))
        Regional.regions = None
'''


def with_script(tmp_path: Path, name: str, source: str, host: str = "a1111-1.10.1") -> Iterator[Stage]:
    """Detailer beside another script."""
    folder = tmp_path / "extension"
    (folder / "scripts").mkdir(parents=True)
    shutil.copy(REPOSITORY / "scripts" / "detailer.py", folder / "scripts")
    (folder / "scripts" / f"{name}.py").write_text(source, encoding="utf-8")
    with standin.install(host=host, tmp_path=tmp_path / "host") as world:
        yield scenes.load(world, folder=folder)


@pytest.fixture(params=["a_dynamic", "z_dynamic"])
def dynamic(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    """Beside a script that changes prompts, before Detailer or after it."""
    yield from with_script(tmp_path, request.param, DYNAMIC)


@pytest.fixture(params=["a1111-1.10.1", "forge"])
def regional(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    """Beside a script with regions."""
    yield from with_script(tmp_path, "regional", REGIONAL, request.param)


@pytest.fixture(params=["!adetailer", "z_adetailer"])
def both(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    """Beside ADetailer's name, loaded before Detailer or after it."""
    yield from with_script(tmp_path, request.param, NEIGHBOUR)


@every_host
def test_interrupt_keeps_finished_faces(stage: Stage) -> None:
    """Interrupted while the second face is redrawn: the first stays redrawn, the second is as it was, and the picture says so."""
    unit = {"wave_pixels": 0}
    plain, whole = stage.txt2img().images[0], stage.txt2img(unit).images[0]
    stage.reset()
    stage.world.faults.stops[(2, 1)] = "interrupted"
    result = stage.txt2img(unit)
    stage.world.shared.state.interrupted = False
    one, other = (inside([box], grow=2) for box in cells(2))
    assert np.array_equal(pixels(result.images[0])[one], pixels(whole)[one])
    assert np.array_equal(pixels(result.images[0])[other], pixels(plain)[other])
    assert "segment 2 interrupted" in notes(result)


@every_host
def test_a_misspelt_option_is_an_error_and_not_off(stage: Stage) -> None:
    """A client of the API is told with the field; on the page, where it cannot happen, the picture would say it."""
    assert first(ask(stage, [True, {**UNIT, "denoising_strength": 0.3}]))["loc"][-2:] == [1, "denoising_strength"]
    assert stage.world.sampler_log == []
    assert "unknown setting 'denoising_strength'" in notes(stage.txt2img({"denoising_strength": 0.3}))


@every_host
def test_an_unknown_detector_is_not_claimed_in_the_infotext(stage: Stage) -> None:
    """The picture says what was not there, and not that it was detailed with it."""
    result = stage.txt2img({"detector": "face_yolov9000.pt"})
    assert "Detailer detector" not in result.infotexts[0] and "detector 'face_yolov9000.pt' not found" in notes(result)
    partly = stage.txt2img({"detector": "face_yolov9000.pt"}, {})
    assert "Detailer detector: spots" in partly.infotexts[0] and partly.infotexts[0].count("Detailer detector:") == 1


def test_dynamic_prompts_differ_per_picture_of_a_batch(dynamic: Stage) -> None:
    """Each face is redrawn with the prompt that its own picture got, also through [PROMPT]."""
    dynamic.txt2img({"prompt": "[PROMPT], face"}, batch_size=2, n_iter=2, negative_prompt="bad")
    prompts = {text for call in dynamic.detail_calls for text in call.prompts}
    negatives = {text for call in dynamic.detail_calls for text in call.negative_prompts}
    assert prompts == {f"a face in colour {number}, face" for number in range(4)}
    assert negatives == {f"bad not {number}" for number in range(4)}


@every_host
def test_the_second_picture_of_a_batch_gets_its_own_prompt(stage: Stage) -> None:
    """Prompts and seeds are those of the face's own picture, whatever the batch size and count."""
    stage.spots.boxes = cells(1)
    for sizes in ({"batch_size": 2}, {"n_iter": 2}, {"batch_size": 2, "n_iter": 2}):
        stage.world.sampler_log.clear()
        count = sizes.get("batch_size", 1) * sizes.get("n_iter", 1)
        stage.txt2img({}, prompt=[f"face {number}" for number in range(count)], seed=5, **sizes)
        done = [pair for call in stage.detail_calls for pair in zip(call.prompts, call.seeds, strict=True)]
        assert sorted(done) == [(f"face {number}", 5 + number) for number in range(count)]


def test_a_random_choice_is_the_same_in_each_unit(stage: Stage) -> None:
    """A face that two units redraw with the same wildcard gets the same text from both, and the next seed another."""
    text = f"{{{'|'.join(f'colour {number}' for number in range(50))}}}"
    stage.txt2img({"prompt": text}, {"prompt": text}, seed=7)
    first, second = (call.prompts for call in stage.detail_calls)
    assert first == second and len(set(first)) == 2


@every_host
@pytest.mark.parametrize("only_masked", [False, True])
def test_an_inverted_inpaint_mask(stage: Stage, only_masked: bool) -> None:
    """With "inpaint not masked", faces under the painted mask are left alone and the others redrawn."""
    mask = Image.new("L", (SIDE, SIDE))
    mask.paste(255, (0, 0, SIDE // 2, SIDE))
    stage.spots.boxes = cells(4)
    fields = {"mask": mask, "mask_blur": 0, "inpainting_fill": 1, "inpainting_mask_invert": 1, "inpaint_full_res": only_masked}
    changed = difference(stage.img2img(**fields).images[0], stage.img2img({}, **fields).images[0])
    assert not changed[inside(cells(4)[:2], grow=2)].any() and changed[inside(cells(4)[2:])].any()


@every_host
@pytest.mark.parametrize(("box", "offset"), [((0, 40, 16, 56), {"offset_x": -8}), ((112, 40, 128, 56), {"offset_x": 8}),
                                             ((40, 0, 56, 16), {"offset_y": -8}), ((40, 112, 56, 128), {"offset_y": 8})])
def test_an_offset_at_the_border_does_not_wrap(stage: Stage, box: tuple[int, int, int, int], offset: dict[str, int]) -> None:
    """A mask that is moved out of the picture is cut there and does not come in again on the other side."""
    stage.spots.boxes = [box]
    changed = difference(stage.txt2img().images[0], stage.txt2img({**offset, "denoise": 0.8}).images[0])
    assert changed.any() and not changed[~inside([box], grow=2)].any()


@every_host
@pytest.mark.parametrize(("prompt", "kept"), [("", True), ("[PROMPT], smile", True), ("a smile", False), ("a smile <lora:thick:1>", False)])
def test_a_lora_of_the_main_prompt_can_be_kept_or_dropped(stage: Stage, prompt: str, kept: bool) -> None:
    """It is active for the face where the unit's prompt is the main one, or has it inside; a prompt of its own leaves it out."""
    plain = stage.txt2img(prompt="a face <lora:thin:1>")
    stage.reset()
    stage.txt2img({"prompt": prompt}, prompt="a face <lora:thin:1>")
    active = [dict(entry) for entry in stage.world.network_log]
    assert active[0] == {"thin": 1.0} and len(plain.images) == 1
    assert ("thin" in active[1]) == kept and ("thick" in active[1]) == ("thick" in prompt)


def test_regional_prompter_like_scripts_keep_their_state(regional: Stage) -> None:
    """Such a script is called for the job and for each batch, as without Detailer; what it remembers is there for the second batch."""
    script = type(regional.world.extension.script("Regional"))  # type: ignore[union-attr]
    regional.txt2img(n_iter=2)
    without = list(script.calls)
    script.calls.clear()
    regional.txt2img({}, n_iter=2)
    assert script.calls == without and len(regional.detail_calls) == 2
    assert without[2] == ("batch", 1, 128, {"prompts": ["a face", "a face"], "size": (128, 128)})


def test_two_extensions_at_once(both: Stage) -> None:
    """Installed together, each keeps its name, its arguments and its own labels; a request for one does not switch on the other."""
    answer = ask(both, [True, UNIT])
    assert answer.status_code == 200 and len(both.detail_calls) == 1
    both.reset()
    assert ask(both, [True, False, {"ad_model": "spots"}], title="ADetailer").status_code == 200
    assert both.detail_calls == [] and both.world.reports == []


@every_host
def test_params_txt_is_unchanged(stage: Stage) -> None:
    """The file that "read the last parameters" uses holds the main picture's own, and nothing of the passes inside."""
    stage.txt2img({"prompt": "only the part", "steps": 17}, steps=3, seed=42)
    text = (stage.world.folder / "params.txt").read_text(encoding="utf-8")
    assert text.startswith("a face") and "Steps: 3" in text and "Seed: 42" in text and f"Size: {SIDE}x{SIDE}" in text
    assert "Detailer prompt: only the part" in text and "Size: 64x64" not in text
