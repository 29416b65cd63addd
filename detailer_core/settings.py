"""The settings of one unit: the single table that validation, user interface, infotext, API, XYZ axes and documentation are built from.

To add a setting, add one field to `UnitSettings`; nothing else has to be kept in step by hand.
"""

from __future__ import annotations

import difflib
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import lru_cache
from typing import Any, Literal, TypeAlias, cast

from .errors import SettingsError

Kind: TypeAlias = Literal["bool", "int", "float", "text", "choice"]
Group: TypeAlias = Literal["Main", "Detection", "Mask", "Geometry", "Sampling", "Blending", "Hooks", "Control"]
Value: TypeAlias = bool | int | float | str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Option:
    """One row of the table.

    optional: None is allowed and means what `unset` says in two words. minimum, maximum: both included. shown: what a slider of an optional
    option starts at. lines: height of a text field. source: where a host finds the choices ("detectors",
    "second_detectors", "samplers", "schedulers", "checkpoints", "vaes", "control_models", "control_modules"); any text is valid in the core.
    infotext: label in a picture's generation parameters.
    """

    name: str
    kind: Kind
    default: Value
    label: str
    help: str
    group: Group
    infotext: str
    optional: bool = False
    minimum: float | None = None
    maximum: float | None = None
    step: float | None = None
    choices: tuple[str, ...] = ()
    shown: float | None = None
    lines: int = 1
    source: str = ""
    unset: str = "as main"


def _option(default: Value, label: str, help_text: str, group: Group, **rest: Any) -> Any:
    return field(default=default, metadata={"label": label, "help": help_text, "group": group, "infotext": rest.pop("infotext", label), **rest})


@dataclass(frozen=True, kw_only=True, slots=True)
class UnitSettings:
    """What one unit does. Values are as in the table; None = as in the main generation, or as its model has it.

    Build it with `make_settings`, which validates.
    """

    detector: str = _option("face_haar", "Detector", "What finds the parts: a built-in detector or a model file from the models folders.",
                            "Main", source="detectors")
    labels: str = _option("", "Classes", "Only these classes, separated by commas; empty = all.", "Main")
    prompt: str = _option("", "Prompt", "Text for the redrawn parts; empty = the main prompt. [PROMPT] stands for the main prompt, [SEP] separates "
                          "the texts of single segments, [SKIP] leaves one out; wildcards and [ASC], [LAB] and the other tags work too.",
                          "Main", lines=2)
    negative_prompt: str = _option("", "Negative prompt", "What the redrawn parts should not show; empty = the main negative prompt. [SEP] as above.",
                                   "Main", lines=2)
    main_loras: Literal["as-prompt", "keep", "drop"] = _option(
        "as-prompt", "LoRAs of the main prompt", "'keep' adds those that the unit's own prompt does not name, 'drop' leaves out those that come from "
        "the main prompt; 'as-prompt' takes what the text says.", "Main")
    denoise: float = _option(0.4, "Denoising strength", "How much is redrawn: 0 keeps the part, 1 draws it anew.", "Main",
                             minimum=0.0, maximum=1.0, step=0.01)

    confidence: float = _option(0.3, "Confidence", "Detections below this are left out.", "Detection", minimum=0.0, maximum=1.0, step=0.01)
    iou: float = _option(0.7, "IoU", "Boxes of one class that overlap by more than this (intersection over union) are one detection.", "Detection",
                         minimum=0.0, maximum=1.0, step=0.01)
    across_classes: bool = _option(False, "NMS across classes", "Overlapping boxes of different classes are one detection as well.", "Detection")
    image_size: int = _option(0, "Detector image size", "Long side, in pixels, at which the detector looks at the picture, rounded up to a multiple "
                              "of 32; more finds smaller things and takes longer; 0 = the detector's own.", "Detection",
                              minimum=0, maximum=4096, step=32)
    tile_size: int = _option(0, "Detector tiles", "The detector looks at tiles of this side, in pixels (at least 64), and at the whole picture, "
                             "which finds small things in large pictures; 0 = at the whole picture only.", "Detection",
                             minimum=0, maximum=4096, step=64)
    tile_overlap: float = _option(0.25, "Detector tile overlap", "Share of a tile that the next one sees as well; what is smaller than that is seen "
                                  "whole by one of them.", "Detection", minimum=0.0, maximum=0.9, step=0.05)
    exclude_labels: str = _option("", "Excluded classes", "Not these classes, separated by commas; empty = none.", "Detection")
    max_count: int = _option(0, "Most segments", "At most so many segments; 0 = all.", "Detection", minimum=0, maximum=100, step=1)
    max_count_by: Literal["area", "confidence", "position"] = _option(
        "area", "Most segments by", "Which segments are taken if there are more: the largest, the surest, or the first in the chosen order.",
        "Detection")
    order: Literal["none", "left-right", "right-left", "top-bottom", "bottom-top", "centre-edge", "largest", "smallest", "confidence"] = _option(
        "none", "Order", "In which order segments are worked on and numbered.", "Detection")
    drop_size: int = _option(10, "Drop size", "Boxes that are not wider and higher than this, in pixels, are left out.", "Detection",
                             minimum=1, maximum=4096, step=1)
    min_side: int = _option(0, "Smallest side", "Boxes whose short side has fewer pixels are left out; 0 = any.", "Detection",
                            minimum=0, maximum=8192, step=1)
    max_side: int = _option(0, "Largest side", "Boxes whose long side has more pixels are left out; 0 = any.", "Detection",
                            minimum=0, maximum=8192, step=1)
    min_ratio: float = _option(0.0, "Smallest share", "Boxes with a smaller share of the picture's area are left out.", "Detection",
                               minimum=0.0, maximum=1.0, step=0.001)
    max_ratio: float = _option(1.0, "Largest share", "Boxes with a larger share of the picture's area are left out.", "Detection",
                               minimum=0.0, maximum=1.0, step=0.001)
    pick: str = _option("", "Only numbers", "Work on these segments only, for example 1,3-5; empty = all.", "Detection")
    skip_done: float = _option(0.0, "Skip redrawn parts", "Leave out boxes that overlap by this IoU or more with one that an earlier unit has "
                               "redrawn in this picture, so that a face is not done twice; 0 = redraw them again.", "Detection",
                               minimum=0.0, maximum=1.0, step=0.05)
    second_detector: str = _option("none", "Second detector", "A detector that bears on what the first one finds, see the next setting; 'none' = the "
                                   "first alone.", "Detection", source="second_detectors")
    combine: Literal["and", "minus", "union", "masks-and", "masks-minus"] = _option(
        "and", "Combine detectors", "'and' keeps what the first finds and the second confirms, 'minus' what it does not, 'union' both, each thing "
        "once; 'masks-and' and 'masks-minus' cut the first's masks to, or by, the second's, whatever the mask shape.", "Detection")
    combine_overlap: float = _option(0.5, "Combine overlap", "What counts as the same: for 'and' and 'minus' this share of the first's box or mask "
                                     "lies in what the second found; for 'union' two boxes overlap by more than this IoU.", "Detection",
                                     minimum=0.01, maximum=1.0, step=0.01)
    second_confidence: float = _option(0.3, "Second confidence", "Detections of the second detector below this do not count.", "Detection",
                                       minimum=0.0, maximum=1.0, step=0.01)
    second_labels: str = _option("", "Second classes", "Only these classes of the second detector, separated by commas; empty = all.", "Detection")
    detector_device: Literal["auto", "cpu"] = _option(
        "auto", "Detector device", "Where detectors run: 'auto' = where the pictures are worked on, 'cpu' leaves the device's memory to the model.",
        "Detection")
    keep_detector: bool = _option(True, "Keep detector", "Keep the detector in memory for the next picture; off = load it anew each time.",
                                  "Detection")

    mask_shape: Literal["pixel", "box", "rounded", "ellipse"] = _option(
        "pixel", "Mask shape", "Shape drawn into the box; 'pixel' takes the detector's own mask where it has one, else the box.", "Mask")
    corner_radius: float = _option(0.25, "Corner radius", "Of the mask shape 'rounded', as a share of the box's short side; 0.5 = as round as "
                                   "can be.", "Mask", minimum=0.0, maximum=0.5, step=0.01)
    dilation: int = _option(4, "Dilation", "Grows the mask by a kernel of so many pixels; negative shrinks it.", "Mask",
                            minimum=-256, maximum=256, step=1)
    offset_x: int = _option(0, "Offset right", "Moves the mask right by so many pixels; negative = left.", "Mask", minimum=-512, maximum=512, step=1)
    offset_y: int = _option(0, "Offset down", "Moves the mask down by so many pixels; negative = up.", "Mask", minimum=-512, maximum=512, step=1)
    merge: Literal["none", "merge", "merge-overlapping", "merge-invert"] = _option(
        "none", "Merge", "Make one segment of all, of those that overlap, or of everything else.", "Mask")

    guide_size: int | None = _option(None, "Guide size", "The short side of the box (or of the crop region) is enlarged to so many pixels; by model "
                                     "= the size it was trained at: SD1 512, SD2 768, SDXL and later 1024.", "Geometry",
                                     minimum=64, maximum=4096, step=8, shown=512, unset="by model")
    guide_size_for: Literal["bbox", "crop"] = _option("bbox", "Guide size for", "What guide size measures: the box, or the crop region.", "Geometry")
    max_size: int = _option(1024, "Max size", "No side is enlarged beyond this, in pixels; what is larger already keeps its size.", "Geometry",
                            minimum=64, maximum=8192, step=8)
    crop_factor: float = _option(3.0, "Crop factor", "How much of the surroundings the model sees: the crop's side over the box's.", "Geometry",
                                 minimum=1.0, maximum=100.0, step=0.1)
    force_inpaint: bool = _option(True, "Force inpaint", "Redraw parts that are large enough already, at their own size.", "Geometry")
    sizes: Literal["bucket", "multiple", "exact"] = _option(
        "bucket", "Sizes", "'bucket' grows crops a little so that their sampling sizes meet and they can be sampled together; 'multiple' rounds to "
        "what the model can take; 'exact' keeps the reference's sizes.", "Geometry")
    resampler: Literal["lanczos", "pillow-8bit"] = _option(
        "lanczos", "Resampler", "How crops are enlarged and shrunk; 'pillow-8bit' is the reference's way, through 8 bit.", "Geometry")

    steps: int | None = _option(None, "Steps", "Sampling steps.", "Sampling", minimum=1, maximum=150, step=1, shown=20)
    cfg: float | None = _option(None, "CFG scale", "How strongly the prompt steers.", "Sampling", minimum=0.0, maximum=30.0, step=0.1, shown=7.0)
    sampler: str | None = _option(None, "Sampler", "Sampling method.", "Sampling", source="samplers")
    scheduler: str | None = _option(None, "Scheduler", "How noise levels are spaced.", "Sampling", source="schedulers")
    seed: int | None = _option(None, "Seed", "First seed; each further segment takes the next one.", "Sampling",
                               minimum=0, maximum=2**32 - 1, step=1, shown=0)
    cycle: int = _option(1, "Cycles", "How often each part is redrawn, in latent space, before it is pasted.", "Sampling",
                         minimum=1, maximum=10, step=1)
    masked_content: Literal["original", "fill", "latent-noise", "latent-nothing"] = _option(
        "original", "Masked content", "What redrawing starts from inside the noise mask: the part, the colours around it, noise, or nothing. All but "
        "the first need a high denoising strength.", "Sampling")
    inpaint_model: bool = _option(False, "Inpaint model", "The loaded checkpoint is an inpainting model: show it the masked picture.", "Sampling")
    checkpoint: str | None = _option(None, "Checkpoint", "Model for the redrawn parts.", "Sampling", source="checkpoints")
    vae: str | None = _option(None, "VAE", "What decodes the redrawn parts; 'Automatic' is the checkpoint's own. Forge has modules instead.",
                              "Sampling", source="vaes")
    modules: str = _option("", "Modules", "VAE and text encoders of the redrawn parts in Forge, files separated by commas; empty = the main ones.",
                           "Sampling")
    clip_skip: int | None = _option(None, "Clip skip", "The text encoder stops at this layer, counted from the last.", "Sampling",
                                    minimum=1, maximum=12, step=1, shown=1)
    noise_multiplier: float | None = _option(None, "Noise multiplier", "Strength of the noise that is put on a part at first.", "Sampling",
                                             minimum=0.0, maximum=1.5, step=0.001, shown=1.0)
    distilled_cfg: float | None = _option(None, "Distilled CFG scale", "How strongly the prompt steers models of Flux's kind, in Forge.", "Sampling",
                                          minimum=0.0, maximum=30.0, step=0.1, shown=3.5)
    refiner: str | None = _option(None, "Refiner", "Second model, for the last part of the sampling.", "Sampling", source="checkpoints")
    refiner_ratio: float = _option(0.2, "Refiner share", "Share of the steps that the refiner does.", "Sampling", minimum=0.0, maximum=1.0, step=0.01)
    refiner_prompt: str = _option("", "Refiner prompt", "Text for the refiner; empty = the segment's.", "Sampling")
    refiner_negative_prompt: str = _option("", "Refiner negative prompt", "Negative text for the refiner; empty = the segment's.", "Sampling")
    restore_face: bool = _option(False, "Restore face", "The WebUI's face restoration goes over each redrawn part before it is pasted.", "Sampling")
    hires: Literal["after", "before", "both"] = _option(
        "after", "With hires fix", "Where a WebUI's hires fix enlarges the picture: redraw parts after that, before it (in the first pass's picture) "
        "or both. Without hires fix it does nothing.", "Sampling")

    feather: int = _option(5, "Feather", "Soft edge of what is pasted, in pixels.", "Blending", minimum=0, maximum=100, step=1)
    noise_mask: bool = _option(True, "Noise mask", "Redraw only inside the mask; off = the whole crop is redrawn, the mask is pasted.", "Blending")
    noise_mask_feather: int = _option(20, "Noise mask feather", "Soft edge of what is redrawn, in pixels; above 0 with differential diffusion.",
                                      "Blending", minimum=0, maximum=100, step=1)
    wave_pixels: int = _option(4 * 1024 * 1024, "Wave limit", "At most so many pixels are sampled together; 0 = one segment at a time.", "Blending",
                               minimum=0, maximum=2**28, step=1024)

    hooks: str = _option("", "Hooks", "What bends the redrawing, parts separated by ';': denoise 0.6->0.3 and steps ->30 and cfg ->5 go from the "
                         "first cycle to the last; noise 0.1 adds noise; variation 1234 0.2 varies it; unsample takes it out of the picture; "
                         "label face,eyes and ordered area desc 3 and range width 64..512 leave segments out.", "Hooks", lines=2)

    control_model: str = _option("None", "ControlNet", "ControlNet that guides the redrawing; None = no ControlNet. Its picture is the part's own "
                                 "crop. Parts with a ControlNet are redrawn one by one.", "Control", source="control_models",
                                 infotext="Control model")
    control_module: str = _option("none", "Preprocessor", "What makes the control picture of the crop; none = the crop itself. One for inpainting "
                                  "gets the part's mask, too.", "Control", source="control_modules", infotext="Control module")
    control_weight: float = _option(1.0, "Control weight", "How strongly the ControlNet guides.", "Control", minimum=0.0, maximum=2.0, step=0.05)
    control_start: float = _option(0.0, "Control start", "Share of the steps after which the ControlNet begins.", "Control",
                                   minimum=0.0, maximum=1.0, step=0.01)
    control_end: float = _option(1.0, "Control end", "Share of the steps after which the ControlNet ends.", "Control",
                                 minimum=0.0, maximum=1.0, step=0.01)
    control_mode: Literal["balanced", "prompt", "control"] = _option(
        "balanced", "Control mode", "Which of both is more important, the prompt or the ControlNet.", "Control")
    control_pixel_perfect: bool = _option(True, "Pixel perfect", "The preprocessor works at the sampling size; off = at its own usual size.",
                                          "Control", infotext="Control pixel perfect")


def _describe(name: str, annotation: Any, default: Value, metadata: Mapping[str, Any]) -> Option:
    optional = False
    if isinstance(annotation, types.UnionType):
        annotation, optional = next(a for a in typing.get_args(annotation) if a is not types.NoneType), True
    choices = tuple(typing.get_args(annotation)) if typing.get_origin(annotation) is Literal else ()
    kinds: dict[Any, Kind] = {bool: "bool", int: "int", float: "float", str: "text"}
    return Option(name=name, kind="choice" if choices else kinds[annotation], default=default, optional=optional, choices=choices, **metadata)


@lru_cache(maxsize=1)
def options() -> Mapping[str, Option]:
    """The table: every option by name, in order."""
    hints = typing.get_type_hints(UnitSettings)
    return types.MappingProxyType({f.name: _describe(f.name, hints[f.name], cast(Value, f.default), f.metadata) for f in fields(UnitSettings)})


def make_settings(values: Mapping[str, Any] | None = None) -> UnitSettings:
    """Settings from a mapping of names to values (text is read as the option's type); what is missing has its default.

    Raises: SettingsError, with the option's name in `field`, for an unknown name (with the nearest known one), a wrong type, or a value
    out of range.
    """
    table = options()
    checked: dict[str, Any] = {}
    for name, value in (values or {}).items():
        if name not in table:
            near = difflib.get_close_matches(str(name), table, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else "; `settings` lists all"
            raise SettingsError(f"unknown setting '{name}'{hint}", field=str(name))
        checked[name] = check_value(table[name], value)
    settings = UnitSettings(**checked)
    _check_together(settings)
    return settings


def _check_together(settings: UnitSettings) -> None:
    """Raises: SettingsError for values that are each in range and make no sense together."""
    if settings.min_ratio > settings.max_ratio:
        raise SettingsError(f"min_ratio {settings.min_ratio:g} is above max_ratio {settings.max_ratio:g}; no segment could remain", field="min_ratio")
    if settings.min_side > settings.max_side > 0:
        raise SettingsError(f"min_side {settings.min_side} is above max_side {settings.max_side}; no segment could remain", field="min_side")
    if settings.control_start > settings.control_end:
        raise SettingsError(f"control_start {settings.control_start:g} is above control_end {settings.control_end:g}; the ControlNet would "
                            "never guide", field="control_start")


def check_value(option: Option, value: Any) -> Value:
    """The value in the option's own type. Raises: SettingsError if it has another type or lies out of range."""
    if value is None or (option.optional and isinstance(value, str) and value.strip().lower() in ("", "none")):
        if option.optional:
            return None
        raise _wrong(option, value, "it must have a value")
    if option.kind == "bool":
        return _as_bool(option, value)
    if option.kind in ("int", "float"):
        return _as_number(option, value)
    if not isinstance(value, str):
        raise _wrong(option, value, "it must be text")
    if option.choices and value not in option.choices:
        raise _wrong(option, value, f"choose one of {', '.join(option.choices)}")
    return value


def _as_bool(option: Option, value: Any) -> bool:
    words = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in words:
        return words[value.strip().lower()]
    raise _wrong(option, value, "it must be true or false")


def _as_number(option: Option, value: Any) -> int | float:
    wanted = "a whole number" if option.kind == "int" else "a number"
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise _wrong(option, value, f"it must be {wanted}")
    try:
        number = float(value)
        exact = int(value) if option.kind == "int" and isinstance(value, (int, str)) else number
    except (ValueError, OverflowError):
        raise _wrong(option, value, f"it must be {wanted}") from None
    if not math.isfinite(number) or (option.kind == "int" and number != int(number)):
        raise _wrong(option, value, f"it must be {wanted}")
    low, high = option.minimum, option.maximum
    if (low is not None and number < low) or (high is not None and number > high):
        raise _wrong(option, value, f"it must lie in {low:g}..{high:g}" if low is not None and high is not None else "it is out of range")
    return int(exact) if option.kind == "int" else number


def _wrong(option: Option, value: Any, what: str) -> SettingsError:
    return SettingsError(f"{option.name} ({option.label}): {what}, got {value!r}", field=option.name)


def parse_assignments(texts: list[str]) -> dict[str, str]:
    """A mapping from texts such as "guide_size=768". Raises: SettingsError for a text without "="."""
    pairs: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise SettingsError(f"'{text}' is not of the form key=value", field=text)
        pairs[name.strip()] = value
    return pairs


def changed_values(settings: UnitSettings) -> dict[str, Value]:
    """What differs from the defaults, by name; `make_settings` gives the same settings back."""
    return {name: getattr(settings, name) for name, option in options().items() if getattr(settings, name) != option.default}


def json_schema() -> dict[str, Any]:
    """The table as a JSON schema (draft 2020-12) of one unit."""
    json_types = {"bool": "boolean", "int": "integer", "float": "number", "text": "string", "choice": "string"}
    properties: dict[str, Any] = {}
    for option in options().values():
        kind = json_types[option.kind]
        entry: dict[str, Any] = {"type": [kind, "null"] if option.optional else kind, "title": option.label, "description": option.help,
                                 "default": option.default}
        limits = {"minimum": option.minimum, "maximum": option.maximum, "enum": list(option.choices) or None}
        properties[option.name] = entry | {key: value for key, value in limits.items() if value is not None}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Detailer unit", "type": "object",
            "additionalProperties": False, "properties": properties}


def markdown_table() -> str:
    """The table as Markdown, one section a group."""
    lines: list[str] = []
    group = ""
    for option in options().values():
        if option.group != group:
            group = option.group
            lines += ["", f"**{group}**", "", "| name | default | values | what it does |", "|---|---|---|---|"]
        default = option.unset if option.default is None else repr(option.default).replace("'", "`") if option.default != "" else ""
        lines.append(f"| `{option.name}` | {default} | {_values(option)} | {option.help} |")
    return "\n".join(lines).strip() + "\n"


def _values(option: Option) -> str:
    if option.choices:
        return ", ".join(f"`{c}`" for c in option.choices)
    if option.minimum is not None and option.maximum is not None:
        return f"{option.minimum:.10g} to {option.maximum:.10g}"
    return {"bool": "true, false", "text": "text"}.get(option.kind, option.kind)
