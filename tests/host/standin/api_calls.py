"""Plays the API's txt2img and img2img calls on a played host."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, Any, TypeAlias

from PIL import Image

if TYPE_CHECKING:
    from .world import World

Picture: TypeAlias = Image.Image
_DEFAULTS = {"sampler_name": "Euler", "steps": 4, "width": 64, "height": 64, "seed": 1,
             "do_not_save_samples": True, "do_not_save_grid": True}


def run_txt2img(world: World, script_args: dict[str, Any], fields: dict[str, Any]) -> Any:
    """The `Processed` of a txt2img call; small and quick unless `fields` say otherwise.

    fields: of the job; `selected` is title and arguments of a script of the list (the API's `script_name` and `script_args`).
    """
    return _on_job_thread(world, lambda: _run(world, "txt2img", script_args, fields))


def run_img2img(world: World, init_images: list[Picture], script_args: dict[str, Any], fields: dict[str, Any]) -> Any:
    """The `Processed` of an img2img call; width and height default to the first picture's."""
    width, height = init_images[0].size
    sized = {"width": width, "height": height, **fields, "init_images": init_images}
    return _on_job_thread(world, lambda: _run(world, "img2img", script_args, sized))


def _run(world: World, tab: str, script_args: dict[str, Any], fields: dict[str, Any]) -> Any:
    processing, scripts, shared = (world.module(name) for name in ("processing", "scripts", "shared"))
    fields = dict(fields)
    selected = fields.pop("selected", None)
    maker = processing.StableDiffusionProcessingTxt2Img if tab == "txt2img" else processing.StableDiffusionProcessingImg2Img
    with closing(maker(sd_model=shared.sd_model, **{**_DEFAULTS, **fields})) as p:
        p.is_api = True
        p.scripts = getattr(scripts, f"scripts_{tab}")
        p.outpath_samples = getattr(shared.opts, f"outdir_{tab}_samples")
        p.outpath_grids = getattr(shared.opts, f"outdir_{tab}_grids")
        shared.state.begin(job=f"scripts_{tab}")
        try:
            arguments = world.extension.arguments(script_args, tab, selected) if world.extension else []
            if selected is not None:
                p.script_args = arguments
                return p.scripts.run(p, *arguments)
            p.script_args = tuple(arguments)
            return processing.process_images(p)
        finally:
            shared.state.end()
            shared.total_tqdm.clear()


def _on_job_thread(world: World, job: Callable[[], Any]) -> Any:
    """The job's result; Forge and Neo run jobs on another thread than the caller's."""
    if not world.host.new_backend:
        return job()
    outcome: dict[str, Any] = {}

    def work() -> None:
        try:
            outcome["result"] = job()
        except BaseException as error:
            outcome["error"] = error

    thread = threading.Thread(target=work, name="played-host-job")
    thread.start()
    thread.join()
    if "error" in outcome:
        raise outcome["error"]
    return outcome["result"]
