"""Runs a command and turns errors into messages and exit codes: 0 all well, 1 something could not be done, 2 wrong words."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

from ..errors import DetailerError, SettingsError
from ..settings import json_schema, options
from .arguments import make_parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code of one command line (default: the process's own)."""
    args = make_parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    commands = {"run": _run, "detect": _detect, "settings": _settings, "demo": _demo}
    try:
        return commands[args.command](args)
    except SettingsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except DetailerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; finished pictures are kept", file=sys.stderr)
        return 130


# The commands import what they need when they are called, so that `--help` answers at once.
def _run(args: object) -> int:
    from .run_command import run_command

    return run_command(args)  # type: ignore[arg-type]


def _detect(args: object) -> int:
    from .detect_command import detect_command

    return detect_command(args)  # type: ignore[arg-type]


def _demo(args: object) -> int:
    from .demo_command import demo_command

    return demo_command(args)  # type: ignore[arg-type]


def _settings(args: object) -> int:
    if getattr(args, "json_schema", False):
        import json

        print(json.dumps(json_schema(), indent=1))
        return 0
    group = ""
    for option in options().values():
        if option.group != group:
            group = option.group
            print(f"\n{group}")
        values = ", ".join(option.choices) or (f"{option.minimum:.10g}..{option.maximum:.10g}" if option.minimum is not None else option.kind)
        default = "as main" if option.default is None else repr(option.default)
        print(f"  {option.name} = {default}  ({values})\n      {option.help}")
    return 0
