"""One played host: what it is, what a test may turn, and what it may read afterwards."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor

from .api_calls import Picture, run_img2img, run_txt2img
from .extension import LoadedExtension, load_extension
from .faults import Counters, Faults, Report, SamplerCall
from .hosts import HostTraits
from .model import PIXELS_PER_LATENT, FakeModel
from .option_table import option_defaults

CHECKPOINT_NAMES = ("fake.safetensors", "other.safetensors")
"""The checkpoints that a played host has; the first is loaded."""


class World:
    """A host that is being played.

    host: which one, and how it differs from the others.
    folder: stands for the host's own folder; models, outputs and params.txt lie below it.
    faults: what goes wrong, and when. counters: how often something costly happened.
    sampler_log: every sampler call. reports: every error that the host swallowed. network_log: every activation, as
    `(name, weight)` pairs.
    """

    def __init__(self, *, host: HostTraits, folder: Path) -> None:
        """Keeps what it is given."""
        self.host = host
        self.folder = folder
        self.faults = Faults()
        self.counters = Counters()
        self.sampler_log: list[SamplerCall] = []
        self.reports: list[Report] = []
        self.network_log: list[tuple[tuple[str, float], ...]] = []
        self.extension: LoadedExtension | None = None
        self.checkpoint_names = CHECKPOINT_NAMES

    @property
    def shared(self) -> ModuleType:
        """The played `modules.shared`."""
        return self.module("shared")

    @property
    def model(self) -> Any:
        """The loaded fake checkpoint (a placeholder before the first picture on Forge and Neo)."""
        return self.shared.sd_model

    def module(self, name: str) -> ModuleType:
        """The played `modules.<name>`.

        Raises: ImportError if the played host has no such module.
        """
        return import_module(f"modules.{name}")

    def option_defaults(self) -> dict[str, Any]:
        """The host's options with their defaults; pictures go below the host's folder."""
        return option_defaults(self.host.name, (self.folder / "outputs").as_posix())

    def make_model(self, checkpoint_info: Any) -> FakeModel:
        """A fake checkpoint of that name."""
        return FakeModel(self, checkpoint_info)

    def note_report(self, message: str, error: BaseException | None, trace: str) -> None:
        """Keeps an error that the host swallows."""
        self.reports.append(Report(message=message, error=error, trace=trace))

    def note_sampling(self, kind: str, p: Any, latent: Tensor, steps: int, sampler: str) -> None:
        """Logs a sampler call, then lets it fail if that was ordered.

        Raises: what `faults` says.
        """
        call = len(self.sampler_log)
        self.counters.samples += 1
        self.sampler_log.append(SamplerCall(
            kind=kind, batch=latent.shape[0], steps=steps, sampler=sampler,
            size_wh=(latent.shape[3] * PIXELS_PER_LATENT, latent.shape[2] * PIXELS_PER_LATENT),
            scheduler=getattr(p, "scheduler", None), cfg_scale=p.cfg_scale, denoising_strength=p.denoising_strength,
            prompts=tuple(p.prompts), negative_prompts=tuple(p.negative_prompts), seeds=tuple(p.seeds),
            masked=getattr(p, "mask", None) is not None,
        ))
        self.faults.before_sampling(call, latent.shape[0])

    def load_extension(self, folder: Path | str) -> LoadedExtension:
        """The extension in `folder`, loaded as the host loads it; call it again to play "Reload UI"."""
        self.extension = load_extension(self, Path(folder))
        return self.extension

    def run_txt2img(self, script_args: dict[str, Any] | None = None, **fields: Any) -> Any:
        """The `Processed` of an API call; `script_args` maps a script's title to its first arguments."""
        return run_txt2img(self, script_args or {}, fields)

    def run_img2img(self, init_images: list[Picture], script_args: dict[str, Any] | None = None, **fields: Any) -> Any:
        """The `Processed` of an API call with pictures to start from."""
        return run_img2img(self, init_images, script_args or {}, fields)
