"""What a pass asks its model: the prediction for latents, steered from the negative prompt towards the prompt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from .text import Encoded


@dataclass(frozen=True, kw_only=True, slots=True)
class Moment:
    """Where a pass is. time: the model's timestep. step: of the `steps` that are done, 0-based."""

    time: Tensor
    step: int
    steps: int


Predict: TypeAlias = Callable[[Tensor, Moment, Encoded, bool], Tensor]
"""The model's prediction, float32, for rows of latents with the text of each row; the flag says that the rows come twice: negative, then positive."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Guidance:
    """A model with the prompts of a wave."""

    predict: Predict
    positive: Encoded
    negative: Encoded

    def at(self, x: Tensor, moment: Moment, cfg: float) -> Tensor:
        """The prediction for each row; with a guidance of 1 the negative prompts mean nothing and are not asked."""
        if cfg == 1:
            return self.predict(x, moment, self.positive, False)
        without, with_prompt = self.predict(torch.cat([x, x]), moment, join([self.negative, self.positive]), True).chunk(2)
        return without + cfg * (with_prompt - without)


def join(texts: Sequence[Encoded]) -> Encoded:
    """Texts of one length as the rows of one."""
    pooled = [text.pooled for text in texts if text.pooled is not None]
    return Encoded(tokens=torch.cat([text.tokens for text in texts]), pooled=torch.cat(pooled) if pooled else None)
