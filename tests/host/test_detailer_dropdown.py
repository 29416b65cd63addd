"""The entry "Detailer" in the list of scripts: pictures that are there already, without generating."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import standin
from fastapi import HTTPException
from PIL import Image
from scenes import SIDE, UNIT, Stage, cells, difference, inside, picture

from detailer_core.errors import SettingsError
from detailer_core.version import VERSION

every_host = pytest.mark.parametrize("played", list(standin.HOSTS), indirect=True, scope="module")

ORIGINAL = ("a cat, sitting\nNegative prompt: bad\nSteps: 31, Sampler: Euler, CFG scale: 5.5, Seed: 77, Size: 640x320, Model: other, "
            'Lora hashes: "a: 1, b: 2", Version: v1')
LEFT = (0, 0, SIDE // 2, SIDE)


def known(seed: int = 0, text: str = ORIGINAL) -> Image.Image:
    """A picture with generation parameters."""
    image = picture(seed)
    image.info["parameters"] = text
    return image


def folder_of(path: Path, count: int) -> Path:
    """A folder with so many pictures, `p0.png` and on."""
    path.mkdir(exist_ok=True)
    for index in range(count):
        picture(index).save(path / f"p{index}.png")
    return path


def detail(stage: Stage, *units: dict[str, Any], image: Image.Image | None = None, args: list[Any] | None = None, **fields: Any) -> Any:
    """The result of the entry on the img2img page; the panel is off unless there are units."""
    return stage.img2img(*units, image=image, selected=("Detailer", args or []), **fields)


def refused(stage: Stage, args: list[Any], **fields: Any) -> dict[str, str]:
    """What a client of the API is told, with status 422."""
    with pytest.raises(HTTPException) as caught:
        detail(stage, {}, args=args, **fields)
    assert caught.value.status_code == 422
    problems: Any = caught.value.detail
    return {"field": problems[0]["loc"][-1], "error": problems[0]["msg"]}


@every_host
class TestEveryHost:
    """What must hold on all five hosts."""

    def test_detail_only_keeps_steps_and_size_in_the_infotext(self, stage: Stage) -> None:
        """The picture's own generation parameters stay to the letter; Detailer's lines are added, and nothing is sampled but the spots."""
        given = known()
        result = detail(stage, {"denoise": 0.5}, image=given, steps=9, width=64, height=64)
        changed = difference(given, result.images[0]) > 0
        params = stage.world.module("infotext_utils").parse_generation_parameters(result.infotexts[0])
        assert result.infotexts[0].startswith(ORIGINAL + f", Detailer: {VERSION}, Detailer detector: spots, ")
        assert (params["Steps"], params["Size-1"], params["Size-2"], params["Detailer denoising strength"]) == ("31", "640", "320", "0.5")
        assert changed[inside(cells(2))].any() and not changed[~inside(cells(2), grow=2)].any()
        assert stage.world.counters.samples == len(stage.detail_calls) == 1 and result.images[0].info["parameters"] == result.infotexts[0]
        assert stage.world.reports == []

    def test_inpaint_together_with_detail_only_works(self, stage: Stage) -> None:
        """On the inpaint page, segments are cut to the user's mask, also where it is inverted."""
        stage.spots.boxes = cells(4)
        for inverted, ours in ((0, cells(4)[:2]), (1, cells(4)[2:])):
            given = picture()
            mask = Image.new("L", (SIDE, SIDE))
            mask.paste(255, LEFT)
            result = detail(stage, {}, image=given, mask=mask, inpainting_mask_invert=inverted)
            changed = difference(given, result.images[0]) > 0
            assert changed[inside(ours)].any() and not changed[~inside(ours, grow=2)].any()
        assert stage.world.reports == [] and {call.size_wh for call in stage.world.sampler_log} == {(64, 64)}

    def test_a_picture_without_parameters_gets_the_pages(self, stage: Stage) -> None:
        """Prompt, steps and seed are the page's, the size is the picture's."""
        result = detail(stage, {}, prompt="a face", steps=9, seed=5, width=64, height=64)
        params = stage.world.module("infotext_utils").parse_generation_parameters(result.infotexts[0])
        assert (params["Prompt"], params["Steps"], params["Seed"], params["Size-1"]) == ("a face", "9", "5", str(SIDE))
        assert params["Detailer"] == VERSION and stage.detail_calls[0].steps == 4 and stage.detail_calls[0].seeds == (5, 6)
        assert result.seed == 5 and result.all_seeds == [5]

    def test_txt2img_generates_first(self, stage: Stage) -> None:
        """Without a picture one is generated, and the panel's units work on it although the panel is off."""
        plain = stage.txt2img()
        result = stage.txt2img(args=[False, UNIT], selected=("Detailer", []))
        changed = difference(plain.images[0], result.images[0]) > 0
        assert changed[inside(cells(2))].any() and not changed[~inside(cells(2), grow=2)].any()
        assert "Detailer detector: spots" in result.infotexts[0] and stage.world.reports == []

    def test_the_panel_is_found_first(self, stage: Stage) -> None:
        """A client that sends the panel's arguments reaches the panel, though the entry has the same title; no id is given twice."""
        for tab in ("txt2img", "img2img"):
            runner = getattr(stage.world.module("scripts"), f"scripts_{tab}")
            ours = [script for script in runner.scripts if script.title() == "Detailer"]
            assert [script.alwayson for script in ours] == [True, False]
            ids = [control.elem_id for script in ours for control in script.controls]
            assert len(ids) == len(set(ids)) and None not in ids
            assert all(control.value is not None for control in ours[1].controls)


class TestUnits:
    """Which units work."""

    def test_first_unit_if_none_is_on(self, stage: Stage) -> None:
        """With every unit off the first one's settings are used, and this is told, but not written into the picture."""
        result = stage.img2img(args=[False, {**UNIT, "enable": False}], image=known(), selected=("Detailer", []))
        assert "no unit of the panel is on" in result.comments and "Detailer detector: spots" in result.infotexts[0]
        assert "note" not in result.infotexts[0] and len(stage.detail_calls) == 1

    def test_first_unit_of_the_page(self, stage: Stage) -> None:
        """As above with the page's own fields: the panel's switch and the first unit's are set, and nothing else."""
        request, script = import_module("detailer_webui.dropdown_request"), stage.script("img2img")
        fields = list(stage.world.extension.default_args["img2img"][script.args_from:script.args_to])  # type: ignore[union-attr]
        assert fields[0] is False and request.panel_arguments(fields) == ([True, *fields[1:]], False)
        fields[1] = False
        assert request.panel_arguments(fields) == ([True, True, *fields[2:]], True)

    def test_unit_that_cannot_work_is_an_error(self, stage: Stage) -> None:
        """A misspelt option is told to the client as an error, since nothing else is to be done."""
        with pytest.raises(HTTPException) as caught:
            stage.img2img({"denoize": 0.5}, selected=("Detailer", []))
        assert "did you mean 'denoise'" in str(caught.value.detail) and stage.world.sampler_log == []

    def test_second_unit_still_works(self, stage: Stage) -> None:
        """Of two units, the one that cannot work is left out and noted."""
        result = detail(stage, {"detector": "no such"}, {})
        assert "unit 1 is left out" in result.infotexts[0] and len(stage.detail_calls) == 1


class TestPictures:
    """What pictures are taken, and how they come back."""

    def test_one_picture_several_times(self, stage: Stage) -> None:
        """Batch size and count make variants of the picture with the next seeds, planned together."""
        result = detail(stage, {}, batch_size=2, n_iter=2, seed=10)
        assert len(result.images) == len(result.infotexts) == 4 and result.all_seeds == [10, 11, 12, 13]
        assert [call.seeds for call in stage.detail_calls] == [(10, 11, 11, 12, 12, 13, 13, 14)]

    def test_size_alpha_and_orientation(self, stage: Stage) -> None:
        """A picture that is turned by its EXIF data is worked on upright, and transparency stays."""
        stage.spots.boxes = cells(1)
        turned = picture().crop((0, 0, SIDE, 96)).convert("RGBA")
        turned.putalpha(Image.linear_gradient("L").resize(turned.size))
        exif = turned.getexif()
        exif[0x0112] = 6  # to be turned by 90 degrees clockwise
        turned.info["exif"] = exif.tobytes()
        result = detail(stage, {}, image=turned, width=64, height=64).images[0]
        upright = turned.transpose(Image.Transpose.ROTATE_270)
        assert result.size == (96, SIDE) and result.mode == "RGBA"
        assert np.array_equal(np.asarray(result)[..., 3], np.asarray(upright)[..., 3])
        same = (np.asarray(result) == np.asarray(upright)).all(axis=2)
        assert not same[8:24, 8:24].all() and same[28:, :].all()

    def test_lines_of_an_earlier_run_are_replaced(self, stage: Stage) -> None:
        """A picture that was detailed before has only the last run's lines, and all else once."""
        earlier = ', Detailer: 0.0.1, Detailer detector: "x, y", Detailer 2 detector: whole, Detailer note: "a: b"'
        text = detail(stage, {}, image=known(text=ORIGINAL.replace(", Version", f"{earlier}, Version"))).infotexts[0]
        assert text.startswith(ORIGINAL + f", Detailer: {VERSION}, Detailer detector: spots") and "Detailer 2" not in text

    def test_no_picture_is_an_error(self, stage: Stage) -> None:
        """An img2img page without a picture is told so."""
        given: Any = import_module("detailer_webui.given")
        with pytest.raises(SettingsError, match="there is no picture; put one on the page"):
            given.pictures_of_page(SimpleNamespace(init_images=[None], batch_size=1, n_iter=1))

    def test_saved_as_the_host_saves(self, stage: Stage) -> None:
        """The result is written into the host's folder with its generation parameters, unless the client wants no files."""
        result = detail(stage, {}, image=known(), do_not_save_samples=False)
        with Image.open(result.images[0].already_saved_as) as written:
            assert written.info["parameters"] == result.infotexts[0]
        assert stage.world.counters.saved == 1
        stage.reset()
        detail(stage, {})
        assert stage.world.counters.saved == 0


class TestMask:
    """The inpaint mask as segments."""

    @pytest.mark.parametrize("inverted", [0, 1])
    def test_white_areas_are_the_segments(self, stage: Stage, inverted: int) -> None:
        """Only what is masked is redrawn, no detector runs, and the mask is scaled to the picture."""
        mask = Image.new("L", (SIDE // 2, SIDE // 2), 255 * inverted)
        mask.paste(255 - 255 * inverted, (4, 4, 12, 12))
        given = picture()
        result = detail(stage, {"labels": "face"}, image=given, mask=mask, args=["", "", True], inpainting_mask_invert=inverted)
        changed = difference(given, result.images[0]) > 0
        assert changed[inside([(8, 8, 24, 24)])].any() and not changed[~inside([(8, 8, 24, 24)], grow=4)].any()
        assert stage.spots.pictures == [] and "Detailer detector: mask" in result.infotexts[0]

    def test_no_mask_is_an_error(self, stage: Stage) -> None:
        """The client is told which argument is wrong."""
        assert refused(stage, [{"mask": True}])["field"] == "mask"


class TestFolder:
    """A folder of pictures."""

    def test_results_go_to_the_hosts_folder(self, stage: Stage, tmp_path: Path) -> None:
        """Each file is worked on with the page's seed, planned together with others, written and shown; what cannot be read is told."""
        source = folder_of(tmp_path / "in", 3)
        (source / "broken.png").write_bytes(b"nothing")
        result = detail(stage, {}, args=[str(source), ""], seed=7)
        assert len(result.images) == stage.world.counters.saved == 3 and "broken.png cannot be read" in result.comments
        assert [call.seeds for call in stage.detail_calls] == [(7, 8) * 3]
        for index, image in enumerate(result.images):
            changed = difference(picture(index), image) > 0
            assert changed[inside(cells(2))].any() and not changed[~inside(cells(2), grow=2)].any()

    def test_output_folder(self, stage: Stage, tmp_path: Path) -> None:
        """Results have their file's name; a picture that is there is never overwritten, not even in the folder itself."""
        source = folder_of(tmp_path / "in", 2)
        before = (source / "p0.png").read_bytes()
        detail(stage, {}, args=[f'"{source}"', str(source)])
        assert sorted(path.name for path in source.iterdir()) == ["p0-1.png", "p0.png", "p1-1.png", "p1.png"]
        assert (source / "p0.png").read_bytes() == before

    def test_in_txt2img(self, stage: Stage, tmp_path: Path) -> None:
        """With a folder nothing is generated on the txt2img page either."""
        source = folder_of(tmp_path / "in", 1)
        result = stage.txt2img({}, selected=("Detailer", [{"folder": str(source), "output": str(tmp_path / "out")}]))
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["p0.png"] and len(result.images) == 1
        assert {call.kind for call in stage.world.sampler_log} == {"img2img"}

    def test_hires_fix_means_nothing(self, stage: Stage, tmp_path: Path) -> None:
        """With hires fix on, a unit that works before it works on the folder's pictures as well, and they can be compared."""
        source = folder_of(tmp_path / "in", 1)
        result = stage.txt2img({"hires": "before"}, enable_hr=True, hr_scale=2.0, selected=("Detailer", [str(source), ""]))
        assert (difference(picture(0), result.images[0]) > 0).any() and "hires" not in result.comments
        assert len(stage.script().workshop.comparison.pairs()) == 1

    def test_interrupt_keeps_what_is_finished(self, stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Pictures before the interrupt are written and shown, the others are neither."""
        monkeypatch.setattr("detailer_webui.given_run._TOGETHER", 1)
        stage.world.faults.stops[1, 0] = "interrupted"
        result = detail(stage, {}, args=[str(folder_of(tmp_path / "in", 3)), str(tmp_path / "out")])
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["p0.png"] and len(result.images) == 1
        assert (difference(picture(0), result.images[0]) > 0).any()

    def test_one_bad_picture_costs_only_itself(self, stage: Stage, tmp_path: Path) -> None:
        """A picture of a kind that cannot be worked on comes back as it is, and its name is told."""
        source = folder_of(tmp_path / "in", 2)
        Image.new("F", (8, 8), float("nan")).save(source / "p2.tiff")
        result = detail(stage, {}, args=[str(source), ""])
        assert len(result.images) == 3 and "p2: the picture failed" in result.comments
        assert (difference(picture(1), result.images[1]) > 0).any()

    def test_progress(self, stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The job counts the pictures, and says which one it is at."""
        monkeypatch.setattr("detailer_webui.given_run._TOGETHER", 1)
        state, seen = stage.world.shared.state, []
        stage.spots.detect = lambda *_: seen.append((state.textinfo, state.job_no, state.job_count)) or []  # type: ignore[method-assign]
        detail(stage, {}, args=[str(folder_of(tmp_path / "in", 2)), ""])
        del stage.spots.detect
        assert seen == [("Detailer: picture 1 of 2", 0, 2), ("Detailer: picture 2 of 2", 1, 2)]

    @pytest.mark.parametrize(("args", "field"), [
        (["/no/such/folder", ""], "folder"), (["", "/somewhere"], "output"), ([3, ""], "folder"), (["", "", "yes"], "mask"),
        ([{"foldr": "x"}], "foldr")])
    def test_what_is_wrong_is_told(self, stage: Stage, args: list[Any], field: str) -> None:
        """A client gets status 422 with the argument's name."""
        assert refused(stage, args)["field"] == field

    def test_empty_folder(self, stage: Stage, tmp_path: Path) -> None:
        """A folder without pictures is an error."""
        assert "has no pictures" in refused(stage, [str(tmp_path), ""])["error"]

    def test_hosts_without_folders(self, stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A host that forbids to choose folders does so here, too."""
        monkeypatch.setattr(stage.world.shared.cmd_opts, "hide_ui_dir_config", True, raising=False)
        assert "hide-ui-dir-config" in refused(stage, [str(folder_of(tmp_path / "in", 1)), ""])["error"]


class TestMainJob:
    """What the page's job lends."""

    def test_styles(self, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
        """The page's styles are in the prompts of the parts."""
        styles = type(stage.world.shared.prompt_styles)
        monkeypatch.setattr(styles, "apply_styles_to_prompt", lambda self, prompt, chosen: f"{prompt}, {chosen[0]}" if chosen else prompt)
        detail(stage, {}, styles=["ink"])
        assert stage.detail_calls[0].prompts == ("a face, ink", "a face, ink")

    def test_overridden_settings(self, stage: Stage) -> None:
        """Settings that the job overrides are in force for the parts, and then the user's again."""
        opts, seen = stage.world.shared.opts, []
        stage.spots.detect = lambda *_: seen.append((opts.CLIP_stop_at_last_layers, opts.sd_model_checkpoint)) or []  # type: ignore[method-assign]
        before = opts.CLIP_stop_at_last_layers, opts.sd_model_checkpoint
        other = next(name for name in stage.world.module("sd_models").checkpoint_tiles() if "other" in name)
        detail(stage, {}, override_settings={"CLIP_stop_at_last_layers": 2, "sd_model_checkpoint": other})
        del stage.spots.detect
        assert seen == [(2, other)] and (opts.CLIP_stop_at_last_layers, opts.sd_model_checkpoint) == before

    def test_an_overridden_setting_that_was_never_saved(self, stage: Stage) -> None:
        """It has its default again."""
        opts = stage.world.shared.opts
        usual = opts.data.pop("CLIP_stop_at_last_layers")
        detail(stage, {}, override_settings={"CLIP_stop_at_last_layers": usual + 3})
        assert opts.CLIP_stop_at_last_layers == opts.get_default("CLIP_stop_at_last_layers")

    def test_params_txt_unchanged(self, stage: Stage) -> None:
        """The host's memory of the last generation is left alone."""
        file = stage.world.folder / "params.txt"
        file.write_text("before", encoding="utf-8")
        detail(stage, {})
        assert len(stage.detail_calls) == 1 and file.read_text(encoding="utf-8") == "before"
