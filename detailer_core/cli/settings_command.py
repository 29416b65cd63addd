"""Command `settings`: the table of all settings, for people or as a JSON schema."""

from __future__ import annotations

import argparse
import json
import textwrap

from ..settings import Option, json_schema, options

_HEAD = """Settings for --set NAME=VALUE, with their defaults; as often as needed: --set guide_size=768 --set mask_shape=ellipse
"as main": as the main generation has it; on the command line that means something to engines with a model only."""


def settings_command(args: argparse.Namespace) -> int:
    """Print the table; exit code 0."""
    if args.json_schema:
        print(json.dumps(json_schema(), indent=1))
        return 0
    print(_HEAD)
    group = ""
    for option in options().values():
        if option.group != group:
            group = option.group
            print(f"\n{group}")
        print(f"  {option.name} = {_shown(option)}")
        print(textwrap.fill(option.help, 110, initial_indent=" " * 6, subsequent_indent=" " * 6))
    return 0


def _shown(option: Option) -> str:
    default = option.unset if option.default is None else "(empty)" if option.default == "" else str(option.default)
    if option.minimum is not None:
        return f"{default}  ({option.minimum:.10g} to {option.maximum:.10g})"
    values = ", ".join(option.choices) or {"bool": "True or False"}.get(option.kind, option.kind)
    return f"{default}  ({values})"
