"""What the lists on the page offer, read from the host when the page is built."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Choices:
    """names: by the `source` of an option ("detectors", "second_detectors", "samplers", "schedulers", "checkpoints", "vaes", "control_models",
    "control_modules")."""

    names: Mapping[str, Sequence[str]]

    def of(self, source: str) -> Sequence[str]:
        """The names; empty for a source that this host does not have."""
        return self.names.get(source, ())
