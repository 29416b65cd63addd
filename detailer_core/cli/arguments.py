"""What the command line understands, and the help that teaches it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..engines.diffusers.options import OFFLOADS, PRECISIONS, TILINGS
from ..version import VERSION

_SEED_LIMIT = 2**32

_EXAMPLES = """examples:
  python -m detailer_core demo
      the whole way on a photograph that comes with scikit-image
  python -m detailer_core detect photo.jpg --preview found.png
      only look: prints what is found and writes a picture with numbered boxes
  python -m detailer_core run photo.jpg --output out
      finds faces, redraws them, writes out/photo.jpg; photo.jpg stays as it is
  python -m detailer_core settings
      all settings for --set
  python -m detailer_core download
      detector models that can be fetched, and how
  python -m detailer_core run --help
      everything about one command, with more examples

exit codes: 0 all was done; 1 something could not be done, the messages say what; 2 a word or value makes no sense, nothing was done;
            130 stopped with Ctrl+C, finished pictures are kept
"""

_RUN = """Redraws parts of pictures. Inputs are never overwritten; format, EXIF and ICC profile are kept; outside the
blurred masks every pixel stays as it is (JPEG is compressed anew). Where nothing is found the file is copied as it is. A picture that
fails does not stop the others. A run that did not come to its end goes on where it was when the same command is given again."""

_RUN_EXAMPLES = """examples:
  python -m detailer_core run photo.jpg --output out --preview
      faces of one picture; out/photo-preview.png shows what was redrawn
  python -m detailer_core run photos/ --output out --set guide_size=768 --set denoise=0.6 --report out/report.json
      a whole folder, with other settings, and a report of every segment
  python -m detailer_core run photo.png --output out --mask mask.png
      each white area of mask.png, which must be as large as photo.png, is redrawn
  python -m detailer_core run photo.png --output out --detector models/adetailer/hand_yolov8n.pt
      a model file by its path; a file in one of the folders of --models by its name alone
  python -m detailer_core run photos/ --output out --model models/my-model --prompt "a face, freckles" --share-waves 8
      with a diffusion model; segments of up to 8 pictures are sampled together
"""

_DETECT_EXAMPLES = """examples:
  python -m detailer_core detect photo.jpg --preview found.png
      faces, and a picture with numbered boxes; dashed: what the model would see
  python -m detailer_core detect photo.jpg --detector face_yolov8n.pt --set confidence=0.5 --report found.json
      with a model file, only what it is quite sure of, as data
"""

_SETTINGS_EXAMPLES = """examples:
  python -m detailer_core settings
  python -m detailer_core settings --json-schema > unit.schema.json
"""

_DEMO_EXAMPLES = """example:
  python -m detailer_core demo --output demo
      writes demo/before.png, after.png, side-by-side.png and preview.png
"""

_DOWNLOAD_EXAMPLES = """examples:
  python -m detailer_core download
      the list of known models, with their sizes
  python -m detailer_core download face_yolov8n.pt hand_yolov8n.pt
      fetches two of them into models/detailer
"""


def make_parser() -> argparse.ArgumentParser:
    """The parser; each command sets `command`."""
    parser = argparse.ArgumentParser(
        prog="python -m detailer_core", formatter_class=argparse.RawDescriptionHelpFormatter, epilog=_EXAMPLES,
        description="Finds parts of a picture (faces, hands, what a mask shows), redraws each enlarged, and pastes it back without a seam.")
    parser.add_argument("--version", action="version", version=f"Detailer {VERSION}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    _add_run(commands.add_parser("run", **_texts("redraw parts of pictures", _RUN, _RUN_EXAMPLES)))
    _add_detect(commands.add_parser("detect", **_texts("only find parts", "Finds parts of a picture and prints them; redraws nothing.",
                                                       _DETECT_EXAMPLES)))
    settings = commands.add_parser("settings", **_texts("list all settings", "Lists all settings that --set takes.", _SETTINGS_EXAMPLES))
    settings.add_argument("--json-schema", action="store_true", help="as a JSON schema, for programs that check or edit settings")
    download = commands.add_parser("download", **_texts("fetch detector models", "Lists known detector models, or fetches those that are named "
                                                        "and checks each by size and\nSHA-256. Nothing is ever fetched without this command.",
                                                        _DOWNLOAD_EXAMPLES))
    download.add_argument("names", nargs="*", metavar="NAME", help="a model of the list; without one, the list is printed")
    _add_models(download)
    demo = commands.add_parser("demo", **_texts("try it on a photograph", "The whole way on a photograph that comes with scikit-image; needs "
                                                "OpenCV 4, whose cascades find the face.", _DEMO_EXAMPLES))
    demo.add_argument("-o", "--output", type=Path, default=Path("detailer-demo"), metavar="DIR", help="folder for the results (default: %(default)s)")
    return parser


def _texts(short: str, long: str, examples: str) -> dict[str, Any]:
    return {"help": short, "description": long, "epilog": examples, "formatter_class": argparse.RawDescriptionHelpFormatter}


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("input", nargs="+", type=Path, metavar="INPUT", help="a picture, or a folder of pictures (not the folders inside of it)")
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="DIR",
                        help="folder for the results, which keep their names; made if it is not there; results of an earlier run are replaced")
    _add_common(parser)
    parser.add_argument("--engine", metavar="NAME",
                        help="what redraws: 'diffusers', with --model, or 'filter' (default without it), which sharpens without a model: a preview "
                             "of the pipeline and not a diffusion model")
    _add_model(parser)
    parser.add_argument("--hook", action="append", default=[], type=Path, metavar="FILE.py", dest="hooks",
                        help="a program of your own that bends the run: a Python file with make_hook(**arguments) -> DetailerHook; repeatable")
    parser.add_argument("--hook-arguments", action="append", metavar="JSON", dest="hooks", help="arguments of the --hook before it, a JSON object")
    parser.add_argument("--wildcards", action="append", default=[], type=Path, metavar="DIR",
                        help="folder of wildcard files (.txt, .yaml): __name__ in a prompt stands for a line of name.txt; repeatable")
    parser.add_argument("--prompt", default="", metavar="TEXT", help="the main prompt, for units without one of their own; 'filter' knows no prompts")
    parser.add_argument("--negative-prompt", default="", metavar="TEXT", help="the main negative prompt")
    parser.add_argument("--seed", type=_seed, default=0, metavar="N",
                        help="seed of the first segment of each picture; each further one takes the next (default: 0)")
    parser.add_argument("--preview", action="store_true", help="also write NAME-preview.png with numbered boxes")
    parser.add_argument("--report", type=Path, metavar="FILE.json", help="write what was done, picture by picture and segment by segment")
    parser.add_argument("--contact-sheet", type=Path, metavar="FILE",
                        help="write a picture of all pictures, before and after, small; more than 200 go to several files")
    parser.add_argument("--share-waves", type=_count, default=1, metavar="N",
                        help="keep so many pictures in memory at once, so that their segments can be sampled together (default: 1)")
    parser.add_argument("--again", action="store_true",
                        help="do all pictures, also those that an earlier run of this command, which did not come to its end, has done")


def _add_model(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the engine 'diffusers'")
    group.add_argument("--model", default="", metavar="MODEL",
                       help="a folder that diffusers saved, a .safetensors file, or hub:owner/name, which is downloaded if it is not there yet; "
                            "nothing else is ever downloaded")
    group.add_argument("--model-config", default="", metavar="DIR",
                       help="for a .safetensors file: a folder (or hub:owner/name) of a model of its family, for tokenizer and configuration")
    group.add_argument("--dtype", default="auto", choices=PRECISIONS, help="arithmetic of the model; auto: fp16 on a GPU, else fp32")
    group.add_argument("--device", default="", metavar="NAME", help="cuda, cuda:1, mps, cpu, ...; default: a GPU if there is one")
    group.add_argument("--offload", default="none", choices=OFFLOADS,
                       help="what waits in the main memory until it is needed: nothing, whole parts of the model, or single layers (slow)")
    group.add_argument("--vae-tiling", default="auto", choices=TILINGS, help="whether the VAE works in tiles; auto: once it ran out of memory")
    group.add_argument("--lora-folder", action="append", default=[], type=Path, metavar="DIR",
                       help="folder of LoRAs (.safetensors) for <lora:name:weight> in prompts; repeatable")
    group.add_argument("--control-folder", action="append", default=[], type=Path, metavar="DIR",
                       help="folder of ControlNets, each a folder that diffusers saved, for hooks that ask for one; repeatable")
    group.add_argument("--model-folder", action="append", default=[], type=Path, metavar="DIR",
                       help="folder of models for the settings refiner and checkpoint; repeatable")


def _add_detect(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("input", type=Path, metavar="INPUT", help="a picture")
    _add_common(parser)
    parser.add_argument("--report", type=Path, metavar="FILE.json", help="write what was found")
    parser.add_argument("--preview", type=Path, metavar="FILE.png", help="write the picture with numbered boxes")


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--detector", metavar="NAME",
                        help="what finds the parts: face_haar (default; needs OpenCV 4), mask (with --mask), whole (the picture), tiles, or a "
                             "model file: its path, or its name if it lies in --models")
    _add_models(parser)
    parser.add_argument("--detectors", action="append", default=[], type=Path, metavar="DIR", dest="folders",
                        help="another folder of model files, searched after those of --models; repeatable")
    parser.add_argument("--trust", action="append", default=[], type=_hash, metavar="SHA256", dest="trusted",
                        help="let the library ultralytics load the model file with this SHA-256 if its architecture is not known here; that executes "
                             "what the file holds; repeatable")
    parser.add_argument("--mask", type=Path, metavar="FILE",
                        help="a picture as large as the input, white = redraw, each white area by itself; stands for --detector mask, "
                             "unless --set second_detector=mask")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", dest="assignments",
                        help="a setting, as often as needed; the command 'settings' lists them")


def _add_models(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--models", type=Path, default=Path("models"), metavar="DIR",
                        help="folder whose subfolders detailer, adetailer, ultralytics/bbox, ultralytics/segm and yolo hold model files "
                             "(default: %(default)s)")


def _hash(text: str) -> str:
    if len(text) == 64 and all(letter in "0123456789abcdef" for letter in text.lower()):
        return text.lower()
    raise argparse.ArgumentTypeError(f"it must be a SHA-256, 64 hexadecimal digits, got '{text[:80]}'")


def _count(text: str) -> int:
    if text.isascii() and text.isdecimal() and int(text) > 0:
        return int(text)
    raise argparse.ArgumentTypeError(f"it must be a whole number from 1 on, got '{text}'")


def _seed(text: str) -> int:
    if text.isascii() and text.isdecimal() and int(text) < _SEED_LIMIT:
        return int(text)
    raise argparse.ArgumentTypeError(f"it must be a whole number from 0 to {_SEED_LIMIT - 1}, got '{text}'")
