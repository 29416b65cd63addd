"""Runs a command and turns errors into messages and exit codes.

0: all was done. 1: something could not be done. 2: the words make no sense, nothing was done. 130: stopped with Ctrl+C.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

from ..errors import DetailerError, DetectorNotFoundError, PromptError, SettingsError
from ..settings import options
from .arguments import make_parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code of one command line (default: the process's own). Raises: SystemExit, as argparse does, for --help and unknown words."""
    words = sys.argv[1:] if arguments is None else arguments
    parser = make_parser()
    if not words:
        parser.print_help(sys.stderr)
        return 2
    args, rest = parser.parse_known_args(words)
    if rest:
        parser.error(_unknown(rest, args.command))
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    commands = {"run": _run, "detect": _detect, "settings": _settings, "demo": _demo, "download": _download}
    try:
        return commands[args.command](args)
    except DetailerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, (SettingsError, PromptError, DetectorNotFoundError)) else 1
    except MemoryError:
        print("error: out of memory; make the picture smaller or cut it into parts", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; finished pictures are kept", file=sys.stderr)
        return 130


def _unknown(rest: Sequence[str], command: str) -> str:
    """What to tell of words that no option takes."""
    name = rest[0].partition("=")[0].lstrip("-").replace("-", "_")
    if rest[0].startswith("--") and name in options():
        value = (rest[0].partition("=")[2] or " ".join(rest[1:2])) or "VALUE"
        return f"{rest[0]}: this is a setting; write --set {name}={value}"
    if rest[0].startswith("="):
        return f"'{' '.join(rest)}': a setting is written without blanks around the '=', for example --set guide_size=768"
    return f"nothing is known of '{' '.join(rest)}'; see python -m detailer_core {command} --help"


# The commands import what they need when they are called, so that `--help` answers at once.
def _run(args: argparse.Namespace) -> int:
    from .run_command import run_command

    return run_command(args)


def _detect(args: argparse.Namespace) -> int:
    from .detect_command import detect_command

    return detect_command(args)


def _demo(args: argparse.Namespace) -> int:
    from .demo_command import demo_command

    return demo_command(args)


def _download(args: argparse.Namespace) -> int:
    from .download_command import download_command

    return download_command(args)


def _settings(args: argparse.Namespace) -> int:
    from .settings_command import settings_command

    return settings_command(args)
