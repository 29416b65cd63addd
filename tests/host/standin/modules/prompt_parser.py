"""Plays `modules.prompt_parser`: schedules and conditionings. Only flat `[a:b:when]` is played, no alternation or nesting."""

from __future__ import annotations

import re
from collections import namedtuple

import torch
from modules._standin import _world

re_AND = re.compile(r"\bAND\b")
re_weight = re.compile(r"^((?:\s|.)*?)(?:\s*:\s*([-+]?(?:\d+\.?|\d*\.\d+)))?\s*$")
_SWITCH = re.compile(r"\[([^\[\]:]*):([^\[\]:]*):\s*([\d.]+)\s*\]")
ScheduledPromptConditioning = namedtuple("ScheduledPromptConditioning", ["end_at_step", "cond"])


class _Conditioning(list):
    """Prompts with the size that they are for."""


if _world.host.new_backend:
    class SdConditioning(_Conditioning):
        """Prompts with the size that they are for."""

        def __init__(self, prompts, is_negative_prompt=False, width=None, height=None, copy_from=None, distilled_cfg_scale=None):
            """Keeps what it is given."""
            super().__init__(prompts)
            source = copy_from or prompts
            self.is_negative_prompt = is_negative_prompt or getattr(source, "is_negative_prompt", False)
            self.width = width or getattr(source, "width", None)
            self.height = height or getattr(source, "height", None)
            self.distilled_cfg_scale = distilled_cfg_scale or getattr(source, "distilled_cfg_scale", None)
else:
    class SdConditioning(_Conditioning):
        """Prompts with the size that they are for."""

        def __init__(self, prompts, is_negative_prompt=False, width=None, height=None, copy_from=None):
            """Keeps what it is given."""
            super().__init__(prompts)
            source = copy_from or prompts
            self.is_negative_prompt = is_negative_prompt or getattr(source, "is_negative_prompt", False)
            self.width = width or getattr(source, "width", None)
            self.height = height or getattr(source, "height", None)


class ComposableScheduledPromptConditioning:
    """One part of a prompt with AND, and its weight."""

    def __init__(self, schedules, weight=1.0):
        """Keeps what it is given."""
        self.schedules = schedules
        self.weight = weight


class MulticondLearnedConditioning:
    """The conditionings of a batch of prompts with AND."""

    def __init__(self, shape, batch):
        """Keeps what it is given."""
        self.shape = shape
        self.batch = batch


def _schedules(prompts, steps):
    """Per prompt the entries `[last step, text]`."""
    return [_schedule(prompt, steps) for prompt in prompts]


def _schedule(prompt, steps):
    bounds = {steps}
    for _, _, when in _SWITCH.findall(prompt):
        bounds.add(max(1, min(steps, _switch_step(when, steps))))
    return [[end, _SWITCH.sub(lambda found, end=end: _choice(found, end, steps), prompt)] for end in sorted(bounds)]


def _switch_step(when, steps):
    return int(float(when) * steps) if "." in when else int(when)


def _choice(found, end, steps):
    return found.group(1) if end <= _switch_step(found.group(3), steps) else found.group(2)


def _encode(model, prompts, steps):
    """Per prompt its conditionings `tokens,8` by schedule; equal prompts are encoded once."""
    known = {}
    for prompt, schedule in zip(prompts, _schedules(prompts, steps), strict=True):
        if prompt not in known:
            conds = model.get_learned_conditioning([text for _, text in schedule])
            known[prompt] = [ScheduledPromptConditioning(end, cond) for (end, _), cond in zip(schedule, conds, strict=True)]
    return [known[prompt] for prompt in prompts]


def get_multicond_prompt_list(prompts: SdConditioning | list[str]):
    """Per prompt the (index, weight) of its parts; the parts; and the index of each part."""
    parts, index_of, result = SdConditioning([], copy_from=prompts), {}, []
    for prompt in prompts:
        pairs = []
        for piece in re_AND.split(prompt):
            text, weight = re_weight.search(piece).groups()
            if text not in index_of:
                index_of[text] = len(parts)
                parts.append(text)
            pairs.append((index_of[text], 1.0 if weight is None else float(weight)))
        result.append(pairs)
    return result, parts, index_of


def _multicond(model, prompts, steps):
    indexes, parts, _ = get_multicond_prompt_list(prompts)
    conds = _encode(model, parts, steps)
    batch = [[ComposableScheduledPromptConditioning(conds[index], weight) for index, weight in pairs] for pairs in indexes]
    return MulticondLearnedConditioning(shape=(len(prompts),), batch=batch)


if _world.host.neo:
    def get_learned_conditioning_prompt_schedules(prompts: SdConditioning | list[str], base_steps: int, hires_steps=None):
        """Per prompt the entries `[last step, text]`."""
        return _schedules(prompts, base_steps)

    def get_learned_conditioning(model, prompts: SdConditioning | list[str], steps: int, hires_steps=None):
        """Per prompt its conditionings by schedule."""
        return _encode(model, prompts, steps)

    def get_multicond_learned_conditioning(model, prompts: SdConditioning | list[str], steps: int, hires_steps=None):
        """The conditionings of prompts with AND."""
        return _multicond(model, prompts, steps)
else:
    def get_learned_conditioning_prompt_schedules(prompts, base_steps, hires_steps=None, use_old_scheduling=False):
        """Per prompt the entries `[last step, text]`."""
        return _schedules(prompts, base_steps)

    def get_learned_conditioning(model, prompts: SdConditioning | list[str], steps, hires_steps=None, use_old_scheduling=False):
        """Per prompt its conditionings by schedule."""
        return _encode(model, prompts, steps)

    def get_multicond_learned_conditioning(model, prompts, steps, hires_steps=None, use_old_scheduling=False):
        """The conditionings of prompts with AND."""
        return _multicond(model, prompts, steps)


def _at_step(schedules, step):
    return next((entry.cond for entry in schedules if step <= entry.end_at_step), schedules[-1].cond)


def reconstruct_cond_batch(c: list[list[ScheduledPromptConditioning]], current_step):
    """The conditionings `N,tokens,8` at a step.

    Raises: RuntimeError if they have different numbers of chunks, as on the hosts.
    """
    first = c[0][0].cond
    result = torch.zeros((len(c), *first.shape))
    for index, schedules in enumerate(c):
        result[index] = _at_step(schedules, current_step)
    return result


def stack_conds(tensors):
    """One tensor; shorter ones are filled up with their last token, which silently changes what they mean."""
    longest = max(tensor.shape[0] for tensor in tensors)
    return torch.stack([torch.cat([tensor, tensor[-1:].repeat(longest - tensor.shape[0], 1)]) for tensor in tensors])


def reconstruct_multicond_batch(c: MulticondLearnedConditioning, current_step):
    """Per picture the (index, weight) of its parts at a step, and all parts `M,tokens,8`."""
    tensors, indexes = [], []
    for parts in c.batch:
        pairs = []
        for part in parts:
            pairs.append((len(tensors), part.weight))
            tensors.append(_at_step(part.schedules, current_step))
        indexes.append(pairs)
    return indexes, stack_conds(tensors)
