"""Loads an extension as the host does: its scripts, its part of the page, its default arguments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .quiet_gradio import gr, quiet

if TYPE_CHECKING:
    from .world import World


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadedExtension:
    """An extension after the host has started.

    demo: the gradio page. app: the FastAPI application that `on_app_started` callbacks got.
    default_args: per tab ("txt2img", "img2img") the arguments of all scripts; position 0 selects the selectable script.
    """

    folder: Path
    demo: gr.Blocks
    app: Any
    default_args: dict[str, list[Any]]
    _world: World

    def script(self, title: str, tab: str = "txt2img") -> Any:
        """The host's instance of the script with that title.

        Raises: KeyError if no loaded script has that title.
        """
        scripts = getattr(self._world.module("scripts"), f"scripts_{tab}").scripts
        found = next((script for script in scripts if script.title().lower() == title.lower()), None)  # as the API looks for it
        if found is None:
            raise KeyError(f"no script titled {title!r} is loaded; see world.reports for what failed")
        return found

    def arguments(self, script_args: dict[str, Any], tab: str, selected: tuple[str, list[Any]] | None = None) -> list[Any]:
        """The defaults with some scripts' first arguments replaced, as the API does: positional, unchecked, extras dropped.

        selected: title and arguments of the script that is chosen in the list.
        """
        arguments = list(self.default_args[tab])
        if selected is not None:
            titles = [script.title().lower() for script in getattr(self._world.module("scripts"), f"scripts_{tab}").selectable_scripts]
            place = titles.index(selected[0].lower())
            chosen = getattr(self._world.module("scripts"), f"scripts_{tab}").selectable_scripts[place]
            arguments[chosen.args_from:chosen.args_to] = selected[1]
            arguments[0] = place + 1
        for title, values in script_args.items():
            script = self.script(title, tab)
            for offset, value in zip(range(script.args_to - script.args_from), values, strict=False):
                arguments[script.args_from + offset] = value
        return arguments

    def paste(self, infotext: str, tab: str = "txt2img") -> list[tuple[Any, Any]]:
        """What the "paste" button puts where: (component, value) for every field of the scripts that has a value."""
        params = self._world.module("infotext_utils").parse_generation_parameters(infotext)
        self._world.module("script_callbacks").infotext_pasted_callback(infotext, params)
        fields = getattr(self._world.module("scripts"), f"scripts_{tab}").infotext_fields
        values = [(component, _pasted(component, target, params)) for component, target in fields]
        return [(component, value) for component, value in values if value is not None]


def _pasted(component: Any, target: str | Callable[[dict[str, Any]], Any], params: dict[str, Any]) -> Any:
    if callable(target):
        return target(params)
    value, current = params.get(target), getattr(component, "value", None)
    if value is None or isinstance(value, dict):
        return value
    if isinstance(current, bool) and value == "False":
        return False
    kind = float if isinstance(current, int) and not isinstance(current, bool) else type(current)
    try:
        return value if current is None else kind(value)
    except (TypeError, ValueError):
        return None


def load_extension(world: World, folder: Path) -> LoadedExtension:
    """The extension after the host's start: scripts loaded, page built for both tabs, callbacks called."""
    extensions, scripts, callbacks = (world.module(name) for name in ("extensions", "scripts", "script_callbacks"))
    callbacks.script_unloaded_callback()
    extensions.extensions[:] = [extensions.Extension(folder.name, str(folder))]
    scripts.load_scripts()
    callbacks.ui_settings_callback()
    callbacks.before_ui_callback()
    with quiet(), gr.Blocks() as demo:
        for tab in ("txt2img", "img2img"):
            _build_tab(world, tab)
        callbacks.ui_tabs_callback()
    app = _application(world)
    callbacks.app_started_callback(demo, app)
    defaults = {tab: _default_args(getattr(scripts, f"scripts_{tab}")) for tab in ("txt2img", "img2img")}
    return LoadedExtension(folder=folder, demo=demo, app=app, default_args=defaults, _world=world)


def _application(world: World) -> Any:
    """The web server's application, with the host's API if its command line asks for it."""
    from fastapi import FastAPI  # gradio brings it

    app = FastAPI()
    if world.shared.cmd_opts.api:
        world.module("api.api").Api(app, world.module("call_queue").queue_lock)
    return app


def _build_tab(world: World, tab: str) -> None:
    """The host's own few components with their callbacks, then the scripts'; the real page has many more components."""
    scripts = world.module("scripts")
    runner = getattr(scripts, f"scripts_{tab}")
    scripts.scripts_current = runner
    runner.initialize_scripts(tab == "img2img")
    with gr.Tab(tab, id=tab):
        for name, make in (("prompt", gr.Textbox), ("generate", gr.Button), ("seed", gr.Number)):
            _component(world, runner, make, f"{tab}_{name}")
        runner.prepare_ui()
        runner.setup_ui()
    scripts.scripts_current = None


def _component(world: World, runner: Any, make: Callable[..., Any], elem_id: str) -> None:
    callbacks = world.module("script_callbacks")
    callbacks.before_component_callback(None, elem_id=elem_id)
    runner.before_component(None, elem_id=elem_id)
    component = make(elem_id=elem_id)
    runner.after_component(component, elem_id=elem_id)
    callbacks.after_component_callback(component, elem_id=elem_id)


def _default_args(runner: Any) -> list[Any]:
    """The API's defaults: `ui()` is called again (twice), outside of the page, and the components' values are collected."""
    last = max([1, *(script.args_to for script in runner.scripts)])
    arguments: list[Any] = [0, *[None] * (last - 1)]
    with quiet(), gr.Blocks():
        for script in runner.scripts:
            if script.ui(script.is_img2img):
                arguments[script.args_from:script.args_to] = [part.value for part in script.ui(script.is_img2img)]
    return arguments
