"""In a running host: eight faces of one photograph in waves, one by one, and through ADetailer if that is installed beside. Prints JSON.

Usage: python benchmarks/live_waves.py http://127.0.0.1:7860 [--repeat 3] [--steps 20] [--side 256] [--detector face_yolov8n.pt]

Needs scikit-image for the photograph, and the detector's file in the host's folders. Each side does the same main job, with almost no redrawing, and
then redraws each face at `side` pixels with the same steps, sampler and denoising; the time of the main job alone is subtracted. Turns alternate.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import statistics
import time
import urllib.request
from typing import Any

import numpy as np
from PIL import Image
from skimage import data

FACES = 8


def photograph(side: int) -> Image.Image:
    """Eight times the head of one photograph, three in a row."""
    head = Image.fromarray(data.astronaut()).crop((140, 30, 310, 200)).resize((side, side), Image.Resampling.LANCZOS)
    picture = Image.new("RGB", (3 * side, 3 * side))
    for place in range(FACES):
        picture.paste(head, (place % 3 * side, place // 3 * side))
    return picture


def sides(args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """What each side asks of the host, as always-on scripts."""
    unit = {"detector": args.detector, "denoise": args.denoise, "guide_size": args.side, "guide_size_for": "crop", "max_size": args.side,
            "crop_factor": 1.6, "confidence": args.confidence, "cfg": args.cfg}
    other = {"ad_model": args.detector, "ad_denoising_strength": args.denoise, "ad_inpaint_only_masked": True, "ad_inpaint_only_masked_padding": 32,
             "ad_use_inpaint_width_height": True, "ad_inpaint_width": args.side, "ad_inpaint_height": args.side,
             "ad_confidence": args.confidence, "ad_use_cfg_scale": True, "ad_cfg_scale": args.cfg}
    return {"none": {}, "waves": {"Detailer": {"args": [True, unit]}}, "one by one": {"Detailer": {"args": [True, unit | {"wave_pixels": 0}]}},
            "ADetailer": {"ADetailer": {"args": [True, False, other]}}}


def ask(url: str, path: str, body: dict[str, Any] | None = None) -> Any:
    """One request to the host."""
    data_sent = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url.rstrip("/") + path, data=data_sent, headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=1800) as answer:
        return json.loads(answer.read())


def turn(args: argparse.Namespace, picture: Image.Image, scripts: dict[str, Any]) -> tuple[float, Image.Image]:
    """Seconds of one job, and its picture."""
    file = io.BytesIO()
    picture.save(file, "PNG")
    body = {"init_images": [base64.b64encode(file.getvalue()).decode()], "prompt": "a face", "seed": 1, "steps": args.steps, "cfg_scale": 1,
            "sampler_name": "Euler", "denoising_strength": 0.01, "width": picture.width, "height": picture.height, "alwayson_scripts": scripts}
    started = time.perf_counter()
    answer = ask(args.url, "/sdapi/v1/img2img", body)
    return time.perf_counter() - started, Image.open(io.BytesIO(base64.b64decode(answer["images"][0])))


def changed_faces(plain: Image.Image, picture: Image.Image, side: int) -> int:
    """In how many of the eight places something was redrawn."""
    difference = np.abs(np.asarray(plain.convert("RGB")).astype(int) - np.asarray(picture.convert("RGB")).astype(int)).max(2)
    places = [(place // 3 * side, place % 3 * side) for place in range(FACES)]
    return sum(bool((difference[y:y + side, x:x + side] > 3).sum() > 100) for y, x in places)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--cfg", type=float, default=4.0)
    parser.add_argument("--denoise", type=float, default=0.4)
    parser.add_argument("--confidence", type=float, default=0.1)
    parser.add_argument("--detector", default="face_yolov8n.pt")
    args = parser.parse_args()
    installed = {name.lower() for name in ask(args.url, "/sdapi/v1/scripts")["img2img"]}
    asked = {name: scripts for name, scripts in sides(args).items() if all(title.lower() in installed for title in scripts)}
    seconds: dict[str, list[float]] = {name: [] for name in asked}
    pictures: dict[str, Image.Image] = {}
    for number in range(args.repeat + 1):
        for name, scripts in asked.items():
            spent, pictures[name] = turn(args, photograph(args.side), scripts)
            if number:  # the first turn loads models
                seconds[name].append(spent)
    alone = statistics.median(seconds["none"])
    detail = {name: statistics.median(values) - alone for name, values in seconds.items() if name != "none"}
    print(json.dumps({
        "faces": {name: changed_faces(pictures["none"], picture, args.side) for name, picture in pictures.items()},
        "main_seconds": round(alone, 2), "detail_seconds": {name: round(value, 2) for name, value in detail.items()},
        "waves_against": {name: round(value / detail["waves"], 2) for name, value in detail.items() if name != "waves"}}, indent=1))


if __name__ == "__main__":
    main()
