"""Read by the host before it starts: words for its own command line, which only who starts it can give."""

from __future__ import annotations

import argparse


def preload(parser: argparse.ArgumentParser) -> None:
    """Add Detailer's options."""
    parser.add_argument("--detailer-hook-folder", type=str, default=None, metavar="DIR",
                        help="folder of Python files that Detailer's setting 'hooks' may name (file NAME.py); without it none may be named")
