"""The project from Python: a picture in, the same kind of picture out.

```python
from PIL import Image
from detailer_core import Settings, detail, load_detector, load_engine

engine = load_engine("diffusers", model="models/my-model")
picture = detail(Image.open("photo.png"), Settings(denoise=0.4), engine=engine, detector=load_detector("face_yolov8n.pt"), prompt="a face")
picture.save("detailed.png")
```
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Generic, TypeAlias

from PIL import Image
from torch import Tensor

from .detectors.assembly import unit_detector
from .detectors.base import Detector
from .detectors.registry import SUFFIXES, DetectorFolders, DetectorShelf, MaskSource
from .engines.base import Engine
from .engines.diffusers.options import ModelOptions, Offload, Precision, Tiling
from .engines.registry import main_defaults, make_engine
from .errors import SettingsError
from .picture_kinds import P, take_in
from .plan import PromptRules
from .run import Outcome, RunOptions
from .settings import UnitSettings, make_settings
from .summary import told
from .unit import DoneParts, UnitResult, UnitTools, find_segments, redraw_segments

PathLike: TypeAlias = str | os.PathLike[str]

Settings = UnitSettings
"""The settings of one unit, of which everything else is built: no second class that could fall behind. `detail` checks their values."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Detailed(Generic[P]):
    """A detailed picture, and what was done. picture: of the kind that was given. units: what each unit did, in order."""

    picture: P
    units: tuple[UnitResult, ...]

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        """What became of each segment: its state, the reason if it is not done, its box and its plan."""
        return tuple(outcome for unit in self.units for outcome in unit.run.outcomes[0])

    @property
    def summary(self) -> str:
        """The outcomes in words, such as "2 done, 1 skipped (the prompt says [SKIP])"."""
        return told(self.outcomes) or "nothing found"


def detail(picture: P, settings: Settings | Sequence[Settings] | None = None, *, engine: Engine,
           detector: Detector | Sequence[Detector] | None = None, prompt: str = "", negative_prompt: str = "", seed: int = 0,
           options: RunOptions | None = None, models: PathLike = "models") -> P:
    """The picture with its parts redrawn, of the kind that was given; what is outside of the masks is as it was, bit for bit.

    picture: a Pillow picture, an array `[H, W]` or `[H, W, C]`, or a tensor `[C, H, W]` or `[1, C, H, W]`; uint8, or float in 0..1.
    settings: of one unit or of several, which work one after another; default: one with all defaults. detector: for all units, or one for each;
    None = those that the settings name, from the folder `models`. prompt, negative_prompt, seed: of the main picture, for units without their own.
    A part that fails is left as it was, and a warning is logged; `detail_with_report` tells.
    Raises: DetailerError, of the kind that `errors` says, if nothing can be done: a picture, setting, prompt or detector that cannot be used.
    """
    return detail_with_report(picture, settings, engine=engine, detector=detector, prompt=prompt, negative_prompt=negative_prompt, seed=seed,
                              options=options, models=models).picture


def detail_with_report(picture: P, settings: Settings | Sequence[Settings] | None = None, *, engine: Engine,
                       detector: Detector | Sequence[Detector] | None = None, prompt: str = "", negative_prompt: str = "", seed: int = 0,
                       options: RunOptions | None = None, models: PathLike = "models") -> Detailed[P]:
    """As `detail`, with what was done beside the picture."""
    return detail_all([picture], settings, engine=engine, detector=detector, prompt=prompt, negative_prompt=negative_prompt, seed=seed,
                      options=options, models=models)[0]


def detail_all(pictures: Sequence[P], settings: Settings | Sequence[Settings] | None = None, *, engine: Engine,
               detector: Detector | Sequence[Detector] | None = None, prompt: str = "", negative_prompt: str = "", seed: int = 0,
               options: RunOptions | None = None, models: PathLike = "models") -> list[Detailed[P]]:
    """As `detail_with_report`, for several pictures whose parts are sampled together; each comes out as it would alone."""
    units = [make_settings(asdict(unit)) for unit in _units(settings)]
    detectors = _detectors(units, detector, Path(models))
    taken = [take_in(picture) for picture in pictures]
    work = [tensor for tensor, _ in taken]
    main = replace(main_defaults(engine), prompt=prompt, negative_prompt=negative_prompt, seed=seed)
    done = [DoneParts() for _ in work]
    results: list[UnitResult] = []
    for unit, finder in zip(units, detectors, strict=True):
        tools = UnitTools(detector=finder, engine=engine, options=options or RunOptions(), rules=PromptRules())
        segments = [parts.leave_out(find_segments(tensor, unit, finder, tools.device), unit) for tensor, parts in zip(work, done, strict=True)]
        result = redraw_segments(work, segments, [main] * len(work), unit, tools)
        work = list(result.run.pictures)
        done = [parts.adding(outcomes) for parts, outcomes in zip(done, result.run.outcomes, strict=True)]
        results.append(result)
    return [Detailed(picture=back(tensor), units=tuple(_of_picture(result, number) for result in results))
            for number, ((_, back), tensor) in enumerate(zip(taken, work, strict=True))]


def load_detector(name: str = "face_haar", *, models: PathLike = "models", mask: MaskSource | Image.Image | None = None) -> Detector:
    """A detector by its name or the path of its model file. mask: for the detector "mask": a file, array, tensor or Pillow picture, white = redraw.

    models: the folder whose subfolders hold model files. Raises: DetectorError, with what there is.
    """
    source = mask.convert("L") if isinstance(mask, Image.Image) else mask
    values = _mask_values(source) if isinstance(source, Image.Image) else source
    file = Path(name)
    if file.suffix.lower() in SUFFIXES and file.parent != Path() and file.is_file():
        folder = file.resolve().parent
        shelf = DetectorShelf(DetectorFolders(models_root=folder / ".none", extra=(folder,)), cache_folder=folder / ".cache")
        return shelf.get(f"{folder.name}/{file.name}")
    return DetectorShelf(DetectorFolders(models_root=Path(models))).get(name, mask=values)


def load_engine(name: str = "diffusers", *, model: PathLike = "", config: PathLike = "", dtype: Precision = "auto", device: str = "",
                offload: Offload = "none", vae_tiling: Tiling = "auto", lora_folders: Sequence[PathLike] = (),
                control_folders: Sequence[PathLike] = (), model_folders: Sequence[PathLike] = (), distilled_guidance: float = 3.5) -> Engine:
    """An engine by its name: "diffusers", with a model, or "filter", a preview without one.

    The other arguments are those of `ModelOptions`; only a model that is named `hub:owner/name` may be downloaded.
    Raises: EngineError if there is no such engine, or its model cannot be had.
    """
    options = None
    if model:
        options = ModelOptions(model=os.fspath(model), config=os.fspath(config), precision=dtype, device=device, offload=offload,
                               vae_tiling=vae_tiling, lora_folders=_paths(lora_folders), control_folders=_paths(control_folders),
                               model_folders=_paths(model_folders), distilled_guidance=distilled_guidance)
    return make_engine(name, options)


def _units(settings: Settings | Sequence[Settings] | None) -> list[Settings]:
    units = [Settings()] if settings is None else [settings] if isinstance(settings, UnitSettings) else list(settings)
    if not units:
        raise SettingsError("no settings of any unit were given; leave them away for one unit with all defaults", field="settings")
    return units


def _detectors(units: Sequence[Settings], given: Detector | Sequence[Detector] | None, models: Path) -> list[Detector]:
    """A detector for each unit. Raises: SettingsError if their numbers differ; DetectorError."""
    if given is None:
        shelf = DetectorShelf(DetectorFolders(models_root=models))
        return [unit_detector(shelf, unit) for unit in units]
    if not isinstance(given, Sequence):
        return [given] * len(units)
    if len(given) != len(units):
        raise SettingsError(f"{len(given)} detectors for {len(units)} units; give one for all, or one for each", field="detector")
    return list(given)


def _of_picture(result: UnitResult, number: int) -> UnitResult:
    """What a unit did to one of the pictures."""
    part = slice(number, number + 1)
    run = replace(result.run, pictures=result.run.pictures[part], outcomes=result.run.outcomes[part])
    return replace(result, run=run, segments=result.segments[part])


def _mask_values(mask: Image.Image) -> Tensor:
    return take_in(mask)[0][0, 0]


def _paths(folders: Sequence[PathLike]) -> tuple[Path, ...]:
    return tuple(Path(folder) for folder in folders)
