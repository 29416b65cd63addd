"""What lists of names offer, on the page and in the X/Y/Z plot: what the host has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from detailer_core.detectors.assembly import NO_DETECTOR
from detailer_core.detectors.registry import list_detectors
from detailer_core.settings import options

from . import controlnet, host


def offered(source: str) -> list[str]:
    """The names that the host has now for an option with this `source`; empty for a source that it does not have."""
    sources = {"detectors": _detectors, "second_detectors": lambda: [NO_DETECTOR, *_detectors()], "samplers": host.visible_sampler_names,
               "schedulers": host.scheduler_names, "checkpoints": host.checkpoint_names, "vaes": host.vae_names,
               "control_models": controlnet.model_names, "control_modules": controlnet.module_names}
    return list(sources[source]()) if source in sources else []


def _detectors() -> list[str]:
    # "mask" needs a mask picture, for which the page has no place: inpainting is the WebUI's own way to give one.
    return [info.name for info in list_detectors(host.detector_folders()) if info.name != "mask"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Choices:
    """Names by the `source` of an option, asked for once for a whole page."""

    names: Mapping[str, Sequence[str]]

    @classmethod
    def of_host(cls) -> Choices:
        """All that the host has now."""
        return cls(names={option.source: offered(option.source) for option in options().values() if option.source})

    def of(self, source: str) -> Sequence[str]:
        """The names; empty for a source that this host does not have."""
        return self.names.get(source, ())
