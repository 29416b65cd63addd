"""Prompts as the model reads them: encoded once each, and kept."""

from __future__ import annotations

import logging
import re
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from .families import Family

logger = logging.getLogger(__name__)

_BREAK = re.compile(r"\s*\bBREAK\b\s*")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Encoded:
    """One prompt. tokens: float `[1, length, width]`. pooled: float `[1, width]`, the prompt as a whole, where the family has such."""

    tokens: Tensor
    pooled: Tensor | None = None


class TextEncoder(Protocol):
    """How a family reads prompts."""

    def length(self, prompt: str) -> int:
        """In how many parts the prompt is read; only prompts of one length share a wave."""
        ...

    def encode(self, prompt: str, negative: bool) -> Encoded:
        """The prompt for the model."""
        ...

    def lengthen(self, encoded: Encoded, length: int) -> Encoded:
        """The prompt with empty parts at its end, up to so many."""
        ...


class PromptCache:
    """The last prompts that were encoded, at most `size`."""

    def __init__(self, size: int = 64) -> None:
        self.size = size
        self._kept: OrderedDict[Hashable, Encoded] = OrderedDict()

    def get(self, key: Hashable, encode: Callable[[], Encoded]) -> Encoded:
        """What is kept under the key, or what `encode` gives, kept."""
        if key not in self._kept:
            self._kept[key] = encode()
        self._kept.move_to_end(key)
        while len(self._kept) > self.size:
            self._kept.popitem(last=False)
        return self._kept[key]


class ClipText:
    """Stable Diffusion 1, 2 and XL: prompts of any length, read in parts of at most 75 tokens as WebUIs do; BREAK begins a new part."""

    def __init__(self, pipe: Any, family: Family) -> None:
        self.pipe, self.family = pipe, family
        pairs = [(pipe.tokenizer, pipe.text_encoder)] if family.name != "xl-refiner" else []
        if family.name in ("xl", "xl-refiner"):
            pairs.append((pipe.tokenizer_2, pipe.text_encoder_2))
        self._pairs: list[tuple[Any, Any]] = pairs

    def length(self, prompt: str) -> int:
        """See `TextEncoder`."""
        return len(self._parts(prompt)[0])

    def encode(self, prompt: str, negative: bool) -> Encoded:
        """See `TextEncoder`."""
        columns: list[Tensor] = []
        pooled: Tensor | None = None
        for place, parts in enumerate(self._parts(prompt)):
            tokens, pooled = self._encode_parts(place, parts)
            columns.append(tokens)
        encoded = Encoded(tokens=torch.cat(columns, -1), pooled=pooled if self.family.name != "sd" else None)
        empty = negative and not prompt.strip() and bool(getattr(self.pipe.config, "force_zeros_for_empty_prompt", False))
        return _zeros(encoded) if empty and self.family.name == "xl" else encoded

    def lengthen(self, encoded: Encoded, length: int) -> Encoded:
        """See `TextEncoder`."""
        window = self._pairs[0][0].model_max_length
        missing = length - encoded.tokens.shape[1] // window
        if missing <= 0:
            return encoded
        empty = self.encode("", False).tokens
        return Encoded(tokens=torch.cat([encoded.tokens, *[empty] * missing], 1), pooled=encoded.pooled)

    def _parts(self, prompt: str) -> list[list[list[int]]]:
        """For each text encoder the prompt's tokens in parts; equally many for all of them."""
        all_parts: list[list[list[int]]] = []
        for tokenizer, _ in self._pairs:
            room = tokenizer.model_max_length - 2
            parts: list[list[int]] = []
            for text in _BREAK.split(prompt):
                ids: list[int] = tokenizer(text, add_special_tokens=False, truncation=False, verbose=False).input_ids
                parts += [ids[start : start + room] for start in range(0, max(1, len(ids)), room)]
            all_parts.append(parts)
        most = max(len(parts) for parts in all_parts)
        return [parts + [[]] * (most - len(parts)) for parts in all_parts]

    def _encode_parts(self, place: int, parts: Sequence[list[int]]) -> tuple[Tensor, Tensor]:
        tokenizer, encoder = self._pairs[place]
        device = self.pipe._execution_device
        size = tokenizer.model_max_length
        done: list[Tensor] = []
        pooled: list[Tensor] = []
        for part in parts:
            ids = [tokenizer.bos_token_id, *part, tokenizer.eos_token_id]
            ids += [tokenizer.pad_token_id] * (size - len(ids))
            output = encoder(torch.tensor([ids], device=device), output_hidden_states=True)
            xl = self.family.name != "sd"
            done.append(output.hidden_states[-2] if xl else output.last_hidden_state)
            pooled.append(output[0] if xl else done[-1][:, 0])
        return torch.cat(done, 1), pooled[0]  # of XL's pooled texts the last encoder's first part counts


class PipelineText:
    """Stable Diffusion 3 and Flux: as their pipelines in diffusers encode; what is too long for that is cut, and the log says so."""

    def __init__(self, pipe: Any, family: Family) -> None:
        self.pipe, self.family = pipe, family
        self._limit = 512 if family.name == "flux" else 256

    def length(self, prompt: str) -> int:
        """See `TextEncoder`."""
        return 1

    def encode(self, prompt: str, negative: bool) -> Encoded:
        """See `TextEncoder`."""
        text = _BREAK.sub(" ", prompt)
        self._warn(text)
        device = self.pipe._execution_device
        if self.family.name == "flux":
            tokens, pooled, _ = self.pipe.encode_prompt(text, text, device=device, max_sequence_length=self._limit)
        else:
            tokens, _, pooled, _ = self.pipe.encode_prompt(text, text, text, device=device, do_classifier_free_guidance=False,
                                                           max_sequence_length=self._limit)
        return Encoded(tokens=tokens, pooled=pooled)

    def lengthen(self, encoded: Encoded, length: int) -> Encoded:
        """See `TextEncoder`."""
        return encoded

    def _warn(self, text: str) -> None:
        tokenizer = self.pipe.tokenizer_2 if self.family.name == "flux" else self.pipe.tokenizer_3
        limit = self._limit if tokenizer is not None else self.pipe.tokenizer.model_max_length
        tokenizer = self.pipe.tokenizer if tokenizer is None else tokenizer
        count = len(tokenizer(text, truncation=False, verbose=False).input_ids)
        if count > limit:
            logger.warning("the prompt '%s...' has %s tokens; this model reads the first %s", text[:40], count, limit)


def make_text_encoder(pipe: Any, family: Family) -> TextEncoder:
    """How this model reads prompts."""
    return PipelineText(pipe, family) if family.flow else ClipText(pipe, family)


def _zeros(encoded: Encoded) -> Encoded:
    pooled = None if encoded.pooled is None else torch.zeros_like(encoded.pooled)
    return Encoded(tokens=torch.zeros_like(encoded.tokens), pooled=pooled)
