"""What the command line understands."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..version import VERSION

_EXAMPLES = """examples:
  python -m detailer_core demo
      the whole way on a photograph that comes with scikit-image
  python -m detailer_core run photo.jpg --output out --preview
      finds faces, enhances them, writes out/photo.jpg and a numbered preview
  python -m detailer_core run photos/ --output out --set guide_size=768 --set denoise=0.6 --report out/report.json
      a whole folder, with other settings, and a report of every segment
  python -m detailer_core run photo.png --output out --detector mask --mask mask.png
      each white area of mask.png is a segment
  python -m detailer_core detect photo.jpg --preview found.png
      only look, draw nothing anew
  python -m detailer_core settings
      all settings for --set
"""


def make_parser() -> argparse.ArgumentParser:
    """The parser; each command sets `command`."""
    parser = argparse.ArgumentParser(
        prog="python -m detailer_core", formatter_class=argparse.RawDescriptionHelpFormatter, epilog=_EXAMPLES,
        description="Finds parts of a picture (faces, hands, what a mask shows), redraws each enlarged, and pastes it back without a seam.")
    parser.add_argument("--version", action="version", version=f"Detailer {VERSION}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    _add_run(commands.add_parser("run", help="redraw parts of pictures", description="Redraws parts of pictures. Inputs are never overwritten."))
    _add_detect(commands.add_parser("detect", help="only find parts", description="Finds parts of a picture and prints them; redraws nothing."))
    settings = commands.add_parser("settings", help="list all settings", description="Lists all settings that --set takes.")
    settings.add_argument("--json-schema", action="store_true", help="as a JSON schema")
    demo = commands.add_parser("demo", help="try it on a photograph", description="The whole way on a photograph that comes with scikit-image.")
    demo.add_argument("--output", type=Path, default=Path("detailer-demo"), metavar="DIR", help="folder for the results (default: %(default)s)")
    return parser


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("input", nargs="+", type=Path, metavar="INPUT", help="a picture, or a folder of pictures")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder for the results; made if it is not there")
    _add_common(parser)
    parser.add_argument("--engine", default="filter", metavar="NAME",
                        help="what redraws: 'filter' (default) sharpens without a model, a preview of the pipeline and not a diffusion model")
    parser.add_argument("--prompt", default="", metavar="TEXT", help="the main prompt, which units without one of their own use")
    parser.add_argument("--negative-prompt", default="", metavar="TEXT", help="the main negative prompt")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the first segment; each further one takes the next (default: 0)")
    parser.add_argument("--preview", action="store_true", help="also write NAME-preview.png with numbered boxes")
    parser.add_argument("--report", type=Path, metavar="FILE.json", help="write what was done, picture by picture and segment by segment")


def _add_detect(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("input", type=Path, metavar="INPUT", help="a picture")
    _add_common(parser)
    parser.add_argument("--report", type=Path, metavar="FILE.json", help="write what was found")
    parser.add_argument("--preview", type=Path, metavar="FILE.png", help="write the picture with numbered boxes")


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--detector", metavar="NAME", help="what finds the parts: face_haar (default), mask, whole, tiles, or a model file "
                                                           "from --models")
    parser.add_argument("--models", type=Path, default=Path("models"), metavar="DIR",
                        help="folder whose subfolders detailer, adetailer, ultralytics/bbox, ... hold detector models (default: %(default)s)")
    parser.add_argument("--mask", type=Path, metavar="FILE", help="mask picture, white = redraw; for the detector 'mask', which it selects")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="assignments",
                        help="a setting, as often as needed; the command 'settings' lists them")
