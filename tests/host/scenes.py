"""A played host with Detailer in it, a detector that finds what a test says, and short ways to make pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from standin import World
from standin.faults import Counters, Faults

from detailer_core.detectors.base import Detection, DetectOptions
from detailer_core.wave_memory import WaveMemory

REPOSITORY = Path(__file__).resolve().parents[2]
SIDE = 128
CELL = 32
TITLE = "Detailer"

UNIT: dict[str, Any] = {"detector": "spots", "guide_size": 64, "guide_size_for": "crop", "max_size": 64, "crop_factor": 2.0, "drop_size": 1,
                        "dilation": 0, "feather": 2, "noise_mask_feather": 0, "sizes": "exact"}
"""A unit whose crops of 32 pixels are sampled at 64."""

Box = tuple[int, int, int, int]


def cells(count: int) -> list[Box]:
    """So many boxes of 16 pixels, in cells of 32 that do not touch each other, row by row."""
    places = [(i % (SIDE // CELL) * CELL + 8, i // (SIDE // CELL) * CELL + 8) for i in range(count)]
    return [(x, y, x + 16, y + 16) for x, y in places]


def overlapping(count: int) -> list[Box]:
    """So many boxes in a row, each in the crop region of the one before."""
    return [(8 + 12 * i, 40, 24 + 12 * i, 56) for i in range(count)]


class Spots:
    """A detector that finds `boxes`, or raises `error`."""

    name = "spots"
    class_names = ()

    def __init__(self) -> None:
        self.boxes: Sequence[Box] = cells(2)
        self.error: BaseException | None = None
        self.pictures: list[np.ndarray] = []

    def detect(self, picture_hwc: np.ndarray, options: DetectOptions) -> Sequence[Detection]:
        """The boxes. Raises: what the test ordered."""
        self.pictures.append(picture_hwc.copy())
        if self.error is not None:
            raise self.error
        return [Detection(box_xyxy=box, label="spot") for box in self.boxes]


class _Shelf:
    """The real shelf with one detector more."""

    def __init__(self, real: Any, spots: Spots) -> None:
        self.real, self.spots = real, spots

    def get(self, name: str, **rest: Any) -> Any:
        return self.spots if name == "spots" else self.real.get(name, **rest)

    def handle(self, name: str, **rest: Any) -> Any:
        return self.spots if name == "spots" else self.real.handle(name, **rest)

    def class_names(self, name: str) -> Any:
        return self.spots.class_names if name == "spots" else self.real.class_names(name)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


@dataclass
class Stage:
    """The host, and the detector "spots" in both of its tabs."""

    world: World
    spots: Spots

    def script(self, tab: str = "txt2img") -> Any:
        """The host's instance of Detailer."""
        assert self.world.extension is not None
        return self.world.extension.script(TITLE, tab)

    def reset(self) -> None:
        """As after a fresh start, but for the page and the loaded model."""
        world = self.world
        world.faults, world.counters = Faults(), Counters()
        for log in (world.sampler_log, world.reports, world.network_log):
            log.clear()
        self.spots.__init__()  # type: ignore[misc]
        for tab in ("txt2img", "img2img"):
            workshop = self.script(tab).workshop
            workshop.engine_memory = import_module("detailer_webui.engine_memory").EngineMemory()
            workshop.memory = WaveMemory()
            if not isinstance(workshop.shelf, _Shelf):
                workshop.shelf = _Shelf(workshop.shelf, self.spots)

    def txt2img(self, *units: dict[str, Any], args: list[Any] | None = None, **fields: Any) -> Any:
        """The result of a txt2img job of 128 pixels; the units are changes to `UNIT`, without any Detailer is off."""
        torch.manual_seed(0)
        return self.world.run_txt2img(_args(units, args), **{"prompt": "a face", "width": SIDE, "height": SIDE, **fields})

    def img2img(self, *units: dict[str, Any], image: Image.Image | None = None, args: list[Any] | None = None, **fields: Any) -> Any:
        """The result of an img2img job; what the VAE draws at its start is the same each time."""
        torch.manual_seed(0)
        return self.world.run_img2img([image or picture()], _args(units, args), **{"prompt": "a face", "denoising_strength": 0.4, **fields})

    @property
    def detail_calls(self) -> list[Any]:
        """Sampler calls of detail passes: those at the units' sampling size."""
        return [call for call in self.world.sampler_log if call.size_wh == (64, 64)]


def _args(units: Sequence[dict[str, Any]], args: list[Any] | None) -> dict[str, Any]:
    return {TITLE: args if args is not None else [bool(units), *({**UNIT, **unit} for unit in units)]}


def load(world: World, *, units: int = 2, folder: Path = REPOSITORY) -> Stage:
    """Detailer in this host, with so many units on its page. folder: of the extension."""
    world.shared.opts.data["detailer_unit_count"] = units
    world.load_extension(folder)
    stage = Stage(world, Spots())
    stage.reset()
    return stage


def picture(seed: int = 0, side: int = SIDE) -> Image.Image:
    """A picture of random soft blocks."""
    blocks = np.random.default_rng(seed).integers(40, 215, (side // 8, side // 8, 3), dtype=np.uint8)
    return Image.fromarray(blocks).resize((side, side), Image.Resampling.BICUBIC)


def pixels(image: Image.Image) -> np.ndarray:
    """The picture as integers."""
    return np.asarray(image).astype(int)


def difference(one: Image.Image, other: Image.Image) -> np.ndarray:
    """The largest difference of a channel, `[H, W]`, in levels of 255."""
    return np.abs(pixels(one) - pixels(other)).max(axis=2)


def inside(boxes: Sequence[Box], grow: int = 0) -> np.ndarray:
    """Where a picture of 128 pixels lies in one of the boxes, grown by so many pixels, `[H, W]`."""
    where = np.zeros((SIDE, SIDE), dtype=bool)
    for x0, y0, x1, y1 in boxes:
        where[max(0, y0 - grow):y1 + grow, max(0, x0 - grow):x1 + grow] = True
    return where


def notes(result: Any, index: int = 0) -> str:
    """What the generation parameters of a picture say under "Detailer note", quoted as the host does; "" if nothing."""
    _, found, rest = result.infotexts[index].partition("Detailer note: ")
    return rest if found else ""
