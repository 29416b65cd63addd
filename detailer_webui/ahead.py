"""Pictures of a batch that were detailed together, kept until the host comes with each of them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from PIL import Image

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Remark:
    """What the user is to be told of a picture. noted: also in its generation parameters."""

    text: str
    noted: bool = True


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Finished:
    """A picture after all units (the very same object as was given if nothing was redrawn), and what is to be said of it."""

    image: Image.Image
    remarks: tuple[Remark, ...] = ()


@dataclass(slots=True)
class Ahead:
    """Finished pictures by their number in the job, each with the picture that it was made from.

    Another extension may change a picture between the moment when the batch is known and the moment when it is this extension's turn. What
    was made from the unchanged picture is then of no use, and `overtaken` says so for the batches that follow.
    """

    overtaken: bool = False
    _ready: dict[int, tuple[Image.Image, Finished]] = field(default_factory=dict, repr=False)

    def put(self, indices: Sequence[int], given: Sequence[Image.Image], finished: Sequence[Finished]) -> None:
        """Keep a batch; what was left of the one before is forgotten."""
        self._ready = {index: (image, done) for index, image, done in zip(indices, given, finished, strict=True)}

    def take(self, index: int, image: Image.Image) -> Finished | None:
        """What was made from this very picture; None if there is no such."""
        if index not in self._ready:
            return None
        given, finished = self._ready.pop(index)
        if given.mode == image.mode and np.array_equal(np.asarray(given), np.asarray(image)):
            return replace(finished, image=image) if finished.image is given else finished
        self.overtaken = True
        logger.info("Detailer: another extension has changed picture %s since the batch was made; what follows is detailed one by one", index + 1)
        return None
