"""Command `detect`: what a detector finds in a picture."""

from __future__ import annotations

import argparse
import time

from ..pictures import read_picture
from ..preview import draw_preview
from ..unit import find_segments
from .report import found_entries, write_json
from .tools import load_detector, save_png, settings_of


def detect_command(args: argparse.Namespace) -> int:
    """Print what was found; exit code 0, also if nothing was."""
    settings = settings_of(args)
    detector = load_detector(args, settings)
    picture = read_picture(args.input)
    started = time.perf_counter()
    segments = find_segments(picture.image_bchw, settings, detector)
    seconds = time.perf_counter() - started
    width, height = segments.size_wh
    print(f"{args.input}: {width}x{height} pixels, {len(segments)} found by {detector.name}")
    for entry in found_entries(segments):
        print(f"  {entry['number']}: {entry['label'] or 'area'} {entry['confidence']:.2f} box {entry['box_xyxy']} crop {entry['crop_region_xyxy']}")
    if args.preview:
        save_png(args.preview, draw_preview(picture.image_bchw, segments))
        print(f"preview: {args.preview}")
    if args.report:
        write_json(args.report, {"input": str(args.input), "size_wh": [width, height], "detector": detector.name, "segments": found_entries(segments),
                                 "seconds": round(seconds, 4)})
        print(f"report: {args.report}")
    return 0
