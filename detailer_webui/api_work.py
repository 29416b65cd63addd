"""What Detailer's own routes do: look for parts in a picture, and redraw them without generating one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import torch
from modules import processing, shared
from modules.call_queue import queue_lock
from PIL import Image

from detailer_core.detectors.assembly import unit_detector
from detailer_core.errors import DetailerError
from detailer_core.pictures import from_pil
from detailer_core.preview import draw_preview
from detailer_core.segments import Segments
from detailer_core.settings import UnitSettings, json_schema
from detailer_core.unit import find_segments

from . import host
from .api_errors import entry, error_entry, refusal
from .api_requests import check_fields, encode, field, read_image, schema
from .batch import detail_image
from .fields import given_units
from .job import Workshop, begin_job, check_unit
from .watcher import UnitSeen, Watcher

DETECT_FIELDS = (field("preview", "bool", False, "Whether to send the picture with what was found drawn in."),)
DETAIL_FIELDS = (
    field("prompt", "text", "", "Main prompt; units without one of their own use it."),
    field("negative_prompt", "text", "", "Main negative prompt."),
    field("seed", "int", -1, "Seed of the first part; -1 = a random one.", minimum=-1, maximum=2**32 - 1),
    field("subseed", "int", -1, "Seed of the variation; -1 = a random one.", minimum=-1, maximum=2**32 - 1),
    field("subseed_strength", "float", 0.0, "How much of the variation is taken.", minimum=0.0, maximum=1.0),
    field("steps", "int", 20, "Sampling steps.", minimum=1, maximum=150),
    field("cfg_scale", "float", 7.0, "How strongly the prompt steers.", minimum=0.0, maximum=30.0),
    field("sampler_name", "text", None, "Sampling method; null = the host's first.", optional=True),
    field("scheduler", "text", None, "How noise levels are spaced; null = as the sampler has it.", optional=True),
)
_UNIT = {"type": "object", "description": "Settings of a unit, as /detailer/v1/schema tells, or ADetailer's arguments of one tab."}
_IMAGE = {"type": "string", "description": "A picture as base64."}
DETECT_SCHEMA = schema(DETECT_FIELDS, {"image": _IMAGE, "unit": _UNIT}, ("image",))
DETAIL_SCHEMA = schema(DETAIL_FIELDS, {"image": _IMAGE, "mask": {**_IMAGE, "description": "White where the picture may be changed, as base64."},
                                       "units": {"type": "array", "items": _UNIT}}, ("image", "units"))


def schemas() -> dict[str, Any]:
    """JSON schemas: of a unit, and of what the two routes take."""
    return {"unit": json_schema(), "detect": DETECT_SCHEMA, "detail": DETAIL_SCHEMA}


def detect(body: Mapping[str, Any], workshop: Workshop) -> dict[str, Any]:
    """What a unit finds in a picture. Raises: HTTPException for a request that cannot be answered."""
    values = check_fields(body, DETECT_FIELDS, ("image", "unit"))
    image = read_image(body, "image")
    unit = body.get("unit", {})
    if not isinstance(unit, Mapping):
        raise refusal([entry(("unit",), f"it must be a mapping of settings, got {type(unit).__name__}")])
    units = _units([{**unit, "enable": True}], ("unit",), image, workshop)
    if not units:
        raise refusal([entry(("unit",), "ADetailer's tab is off, so there is nothing to look for")])
    with queue_lock, torch.no_grad():
        picture, segments = _found(image, units[0], workshop)
    answer: dict[str, Any] = {"width": image.width, "height": image.height, "detector": units[0].detector, "segments": _described(segments)}
    return answer | ({"preview": encode(draw_preview(picture, segments))} if values["preview"] else {})


def _found(image: Image.Image, settings: UnitSettings, workshop: Workshop) -> tuple[torch.Tensor, Segments]:
    try:
        picture = from_pil(image).to(host.working_device(image.width * image.height))
        return picture, find_segments(picture, settings, unit_detector(workshop.shelf, settings), str(picture.device))
    except DetailerError as error:
        raise refusal([error_entry(("unit",), error)]) from error


def _described(segments: Segments) -> list[dict[str, Any]]:
    return [{"number": number, "label": s.label, "confidence": round(s.confidence, 4), "box": list(s.bbox_xyxy), "crop": list(s.crop_xyxy)}
            for number, s in enumerate(segments, start=1)]


def detail(body: Mapping[str, Any], workshop: Workshop) -> dict[str, Any]:
    """The picture after all units, and what became of each part. Raises: HTTPException for a request that cannot be answered."""
    values = check_fields(body, DETAIL_FIELDS, ("image", "mask", "units"))
    _check_names(values)
    image, mask = read_image(body, "image"), read_image(body, "mask") if body.get("mask") is not None else None
    units = body.get("units")
    if not isinstance(units, list) or not units:
        raise refusal([entry(("units",), "a list of at least one unit is needed here, such as [{\"detector\": \"face_haar\"}]")])
    _units(units, ("units",), image, workshop)
    with queue_lock:
        shared.state.begin(job="detailer_api")
        try:
            return _detailed(values, image, mask, units, workshop)
        finally:
            shared.state.end()
            shared.total_tqdm.clear()


def _check_names(values: Mapping[str, Any]) -> None:
    known = {"sampler_name": host.sampler_names(), "scheduler": ("Automatic", *host.scheduler_names())}
    problems = [entry((name,), f"'{values[name]}' is not known; there are {', '.join(names)}") for name, names in known.items()
                if values[name] is not None and values[name] not in names]
    if problems:
        raise refusal(problems)


def _units(given: Sequence[Any], loc: tuple[str, ...], image: Image.Image, workshop: Workshop) -> list[UnitSettings]:
    """The units that are on, checked. Raises: HTTPException (422) with all that is wrong with them."""
    problems = [entry((*loc, place), f"a unit is a mapping of settings, got {type(unit).__name__}") for place, unit in enumerate(given)
                if not isinstance(unit, Mapping)]
    units: list[UnitSettings] = []
    rules = workshop.prompt_rules()
    for place, one in enumerate([] if problems else given_units([True, *given], main_wh=image.size, samplers=host.sampler_names())):
        try:
            settings, _ = one.read()
            if settings is not None:
                units.append(check_unit(settings, workshop, rules))
        except DetailerError as error:
            problems.append(error_entry(loc if loc == ("unit",) else (*loc, place), error))
    if problems:
        raise refusal(problems)
    return units


class _Report(Watcher):
    """What became of each part, for the client."""

    def __init__(self) -> None:
        self.units: list[dict[str, Any]] = []

    def unit_done(self, seen: UnitSeen) -> None:
        """One entry a unit."""
        parts = [{"number": o.index + 1, "state": o.state, "reason": o.reason, "label": o.segment.label,
                  "confidence": round(o.segment.confidence, 4), "box": list(o.segment.bbox_xyxy), "crop": list(o.segment.crop_xyxy),
                  "seconds": round(o.seconds, 3), **({"seed": o.plan.seed, "prompt": o.plan.prompt, "negative_prompt": o.plan.negative_prompt,
                                                      "size": list(o.plan.size_wh)} if o.plan is not None else {})} for o in seen.outcomes]
        self.units.append({"unit": seen.unit, "detector": seen.settings.detector, "segments": parts})


def _detailed(values: Mapping[str, Any], image: Image.Image, mask: Image.Image | None, units: Sequence[Any], workshop: Workshop) -> dict[str, Any]:
    host.load_model()
    report = _Report()
    with closing(_main_job(values, image, mask)) as p, torch.no_grad():
        job = begin_job(p, [True, *units], workshop)
        result = image if job is None else detail_image(p, image, replace(job, watchers=(*job.watchers, report)), workshop, 0)
        return {"image": encode(result), "changed": result is not image, "seed": p.seed, "units": report.units,
                "parameters": {key: str(value) for key, value in p.extra_generation_params.items()},
                "messages": [str(text).removeprefix("Detailer: ") for text in p.comments]}


def _main_job(values: Mapping[str, Any], image: Image.Image, mask: Image.Image | None) -> Any:
    """The job that stands for the main generation, which there is not: units take from it what they leave open."""
    fields: dict[str, Any] = {name: values[name] for name in ("prompt", "negative_prompt", "seed", "subseed", "subseed_strength", "steps",
                                                               "cfg_scale")}
    p = processing.StableDiffusionProcessingImg2Img(
        sd_model=shared.sd_model, outpath_samples=shared.opts.outdir_img2img_samples, outpath_grids=shared.opts.outdir_img2img_grids,
        sampler_name=values["sampler_name"] or host.sampler_names()[0], width=image.width, height=image.height, init_images=[image],
        do_not_save_samples=True, do_not_save_grid=True, **fields)
    if hasattr(p, "scheduler"):
        p.scheduler = values["scheduler"] or "Automatic"
    processing.fix_seed(p)
    p.is_api = True
    p.all_prompts, p.all_negative_prompts, p.all_seeds, p.all_subseeds = [p.prompt], [p.negative_prompt], [p.seed], [p.subseed]
    p.image_mask = p.mask_for_overlay = mask
    return p
