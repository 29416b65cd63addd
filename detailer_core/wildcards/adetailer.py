"""ADetailer's tokens: `[SEP]` between the prompts of the segments, `[SKIP]` for a segment to leave, `[PROMPT]` for the main prompt."""

from __future__ import annotations

_TOKENS = ("[SEP]", "[SKIP]", "[PROMPT]")


def has_tokens(text: str) -> bool:
    """Whether any of ADetailer's tokens is in the text."""
    return any(token in text for token in _TOKENS)


def split_parts(text: str) -> tuple[str, ...]:
    """The prompts of the first, second, ... segment, at least one, without space around them; empty = the main prompt."""
    return tuple(part.strip() for part in text.split("[SEP]"))


def insert_main_prompt(text: str, main_prompt: str) -> str:
    """The text with the main prompt in the place of every `[PROMPT]`."""
    return text.replace("[PROMPT]", main_prompt)
