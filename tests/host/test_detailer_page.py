"""The panel, with both versions of gradio: what it shows, and that building it does nothing else."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest
import scenes
import standin
from scenes import Stage
from standin.quiet_gradio import gr, quiet

from detailer_core.settings import UnitSettings, options

every_host = pytest.mark.parametrize("played", list(standin.HOSTS), indirect=True, scope="module")


def build(stage: Stage, tab: str = "txt2img") -> list[Any]:
    """The panel's components, built once more."""
    with quiet(), gr.Blocks():
        return stage.script(tab).ui(tab == "img2img")


@every_host
class TestEveryHost:
    """What must hold on all five hosts."""

    def test_components_fit_the_fields(self, stage: Stage) -> None:
        """There is one component for the switch and one for each field of two units; each has a value, its default."""
        fields = import_module("detailer_webui.fields")
        expected = [False, *(fields.default_of(field) for unit in range(2) for field in fields.unit_fields(unit))]
        components, script = build(stage), stage.script()
        assert len(components) == len(expected) == script.args_to - script.args_from
        assert all(component.value is not None for component in components)
        values = [component.value for component in components]
        # "face_haar" cannot be had everywhere, but is what the settings name
        assert values == expected

    def test_default_arguments_are_off_and_valid(self, stage: Stage) -> None:
        """What the API takes as default switches nothing on; with the switch alone, unit 1 has the table's defaults."""
        loaded, script = stage.world.extension, stage.script()
        assert loaded is not None
        defaults = loaded.default_args["txt2img"][script.args_from:script.args_to]
        units_from_args = import_module("detailer_webui.fields").units_from_args
        assert units_from_args(defaults).units == {}
        assert units_from_args([True, *defaults[1:]]).units == {1: UnitSettings()}

    def test_elem_ids_are_unique(self, stage: Stage) -> None:
        """No id stands twice in the page of both tabs, the layout's own included."""
        with quiet(), gr.Blocks() as demo:
            for tab in ("txt2img", "img2img"):
                stage.script(tab).ui(tab == "img2img")
        found = [block.elem_id for block in demo.blocks.values() if getattr(block, "elem_id", None)]
        assert len(found) == len(set(found)) > 2 * len(options())
        assert all("detailer" in one for one in found)

    def test_only_settings_are_page_defaults(self, stage: Stage) -> None:
        """Buttons, carriers and the list of presets are kept out of the host's file of defaults; no setting is."""
        with quiet(), gr.Blocks() as demo:
            arguments = stage.script().ui(False)
        saved = (gr.Button, gr.Textbox, gr.Dropdown, gr.Slider, gr.Number, gr.Checkbox)
        own = [block for block in demo.blocks.values() if isinstance(block, saved) and not any(block is one for one in arguments)]
        assert len(own) > 10
        assert all(getattr(block, "do_not_save_to_config", False) for block in own)
        assert not any(getattr(one, "do_not_save_to_config", False) for one in arguments)

    def test_groups_are_the_table_s(self, stage: Stage) -> None:
        """Every group of the table but the first is a fold of each unit, in order."""
        with quiet(), gr.Blocks() as demo:
            stage.script().ui(False)
        labels = [block.label for block in demo.blocks.values() if "_unit_1_group_" in str(getattr(block, "elem_id", ""))]
        assert labels == list(dict.fromkeys(option.group for option in options().values()))[1:]

    def test_no_event_waits_in_the_queue(self, stage: Stage) -> None:
        """What the page asks the server for goes past gradio's queue: a page that is left while it waits there keeps gradio 3 from being closed."""
        with quiet(), gr.Blocks() as demo:
            stage.script("txt2img").ui(False)
        listed = [dict(one) for one in demo.dependencies] if hasattr(demo, "dependencies") else [one.get_config() for one in demo.fns.values()]
        asking = [one for one in listed if one["backend_fn"]]
        assert len(asking) > 6 and all(one["queue"] is False for one in asking)

    def test_building_has_no_side_effects(self, stage: Stage) -> None:
        """Building the panel again and again gives the same, registers nothing, changes no option, and touches no model."""
        world = stage.world
        before = dict(world.shared.opts.data), set(world.shared.opts.data_labels), world.counters.model_loads
        first, second = ([(type(one), one.label, one.elem_id, one.value) for one in build(stage)] for _ in range(2))
        assert first == second
        assert (dict(world.shared.opts.data), set(world.shared.opts.data_labels), world.counters.model_loads) == before
        assert world.reports == []

    def test_lists_offer_what_the_host_has(self, stage: Stage) -> None:
        """Samplers, schedulers, checkpoints and detectors come from the host; any other name may be typed or pasted."""
        by_id = {component.elem_id.rpartition("unit_1_")[2]: component for component in build(stage)}
        names = {key: [choice[0] if isinstance(choice, tuple) else choice for choice in by_id[key].choices]
                 for key in ("sampler", "scheduler", "checkpoint", "detector", "mask_shape")}
        host = stage.world.host
        assert names["sampler"] == ["Same as main", *host.sampler_labels]
        assert names["scheduler"] == ["Same as main", *(label for _, label in host.scheduler_labels)]
        assert names["checkpoint"] == ["Same as main", *stage.world.module("sd_models").checkpoint_tiles()]
        assert "whole" in names["detector"] and "mask" not in names["detector"]
        assert by_id["detector"].allow_custom_value and not by_id["mask_shape"].allow_custom_value

    def test_paste_fields_are_the_components(self, stage: Stage) -> None:
        """Every component can be pasted to, in the order in which they are shown."""
        components = build(stage)
        assert [id(component) for component, _ in stage.script().infotext_fields] == [id(component) for component in components]


def test_optional_options_have_an_own_box(stage: Stage) -> None:
    """A number that may be left open has a box beside it that is off; a list has an entry for it."""
    labels = [component.label for component in build(stage)]
    assert "Own steps" in labels and "Own CFG scale" in labels and "Own seed" in labels
    assert "Own sampler" not in labels and labels.index("Own steps") + 1 == labels.index("Steps")


def test_number_of_units_is_an_option(tmp_path: Any) -> None:
    """The option says how many units the page has."""
    with standin.install(tmp_path=tmp_path) as world:
        counts = []
        for units in (1, 3):
            script = scenes.load(world, units=units).script()
            counts.append(script.args_to - script.args_from)
        assert counts[1] - 1 == 3 * (counts[0] - 1)
        info = world.shared.opts.data_labels["detailer_unit_count"]
        assert info.default == 4 and info.section[1] == "Detailer"


def test_a_new_model_file_is_offered(stage: Stage) -> None:
    """A model file that was put into the folder is in the list when the page is built again."""
    folder = stage.world.folder / "models" / "detailer"
    folder.mkdir(exist_ok=True)
    (folder / "face test.pt").write_bytes(b"x")
    detector = next(component for component in build(stage) if component.elem_id.endswith("unit_1_detector"))
    assert any("face test.pt" in choice for choice in detector.choices)
    (folder / "face test.pt").unlink()


def test_api_describes_the_arguments(stage: Stage) -> None:
    """The API's description of the script names each argument and has the limits of the table."""
    args = {arg.label: arg for arg in stage.script().api_info.args}
    assert (args["Denoising strength"].minimum, args["Denoising strength"].maximum) == (0.0, 1.0)
    assert args["Mask shape"].choices == ["pixel", "box", "rounded", "ellipse"]
