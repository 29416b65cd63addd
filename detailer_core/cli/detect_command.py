"""Command `detect`: what a detector finds in a picture."""

from __future__ import annotations

import argparse
import time

from ..errors import SettingsError
from ..pictures import read_picture
from ..preview import draw_preview
from ..settings import changed_values
from ..unit import find_segments
from ..version import VERSION
from .files import Inputs, check_file, save_png, write_json
from .report import found_entries
from .tools import load_detector, settings_of


def detect_command(args: argparse.Namespace) -> int:
    """Print what was found; exit code 0, also if nothing was."""
    settings = settings_of(args)
    if args.preview and args.preview.suffix.lower() != ".png":
        raise SettingsError(f"the preview is a PNG file, got the name {args.preview}; write for example --preview found.png", field="preview")
    detector = load_detector(args, settings)
    keep = Inputs([args.input, *([args.mask] if args.mask else [])])
    for path, option in ((args.preview, "--preview"), (args.report, "--report")):
        if path:
            keep.refuse(path, option)
            check_file(path, option)
    picture = read_picture(args.input)
    started = time.perf_counter()
    segments = find_segments(picture.image_bchw, settings, detector)
    seconds = time.perf_counter() - started
    width, height = segments.size_wh
    print(f"{args.input}: {width}x{height} pixels, {len(segments) or 'nothing'} found by {detector.name}")
    for entry in found_entries(segments):
        print(f"  {entry['number']}: {entry['label'] or 'area'} {entry['confidence']:.2f} box {entry['box_xyxy']} crop {entry['crop_region_xyxy']}")
    if args.preview:
        save_png(args.preview, draw_preview(picture.image_bchw, segments))
        print(f"preview: {args.preview}")
    if args.report:
        write_json(args.report, {"version": VERSION, "input": str(args.input), "size_wh": [width, height], "detector": detector.name,
                                 "settings": changed_values(settings), "segments": found_entries(segments), "seconds": round(seconds, 4)})
        print(f"report: {args.report}")
    return 0
