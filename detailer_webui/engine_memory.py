"""What the host's engine keeps from one main job to the next."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from detailer_core.engines.vae_tiles import VaeTiles

from .cond_cache import CondCache

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EngineMemory:
    """Encoded prompts, the tiles that the VAE needed, and what the log was told already."""

    conds: CondCache = field(default_factory=CondCache)
    tiles: VaeTiles = field(default_factory=VaeTiles)
    told: set[str] = field(default_factory=set)

    def tell_once(self, text: str) -> None:
        """Log this text, unless it was logged before."""
        if text not in self.told:
            self.told.add(text)
            logger.info("Detailer: %s", text)
