"""Plays `modules.infotext_utils`: the text that describes a picture, and back."""

from __future__ import annotations

import json
import re

from modules import shared

re_param_code = r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)'
re_param = re.compile(re_param_code)
re_imagesize = re.compile(r"^(\d+)x(\d+)$")
paste_fields = {}
registered_param_bindings = []


class PasteField(tuple):
    """A component, and the infotext label (or function of the parsed infotext) that fills it."""

    def __new__(cls, component, target, *, api=None):
        """The pair; `api` is only kept."""
        return super().__new__(cls, (component, target))

    def __init__(self, component, target, *, api=None):
        """Keeps what it is given."""
        super().__init__()
        self.api = api
        self.component = component
        self.label = target if isinstance(target, str) else None
        self.function = target if callable(target) else None


def quote(text):
    """The text as an infotext value: JSON if it has a comma, a colon or a line break."""
    return json.dumps(text, ensure_ascii=False) if any(mark in str(text) for mark in ",\n:") else text


def unquote(text):
    """The text of an infotext value."""
    if len(text) == 0 or text[0] != '"' or text[-1] != '"':
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def parse_generation_parameters(x: str, skip_fields: list[str] | None = None):
    """The infotext as a dict; only what the stand-in itself writes, and what extensions add, is filled in."""
    *lines, last = x.strip().split("\n")
    if len(re_param.findall(last)) < 3:
        lines, last = [*lines, last], ""
    text = "\n".join(line.strip() for line in lines)
    prompt, _, negative = text.partition("Negative prompt:")
    result = {}
    for key, value in re_param.findall(last):
        size = re_imagesize.match(unquote(value))
        if size is None:
            result[key] = unquote(value)
        else:
            result[f"{key}-1"], result[f"{key}-2"] = size.groups()
    result.update({"Prompt": prompt.strip("\n"), "Negative prompt": negative.strip()})
    result.setdefault("Clip skip", "1")
    for key in shared.opts.infotext_skip_pasting if skip_fields is None else skip_fields:
        result.pop(key, None)
    return result
