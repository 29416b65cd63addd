"""Seconds per picture against ultralytics, where that is installed, and loading from the cache against building from a `.pt`.

    python benchmarks/yolo_detect.py MODEL.pt PICTURE [--size 640] [--rounds 20] [--without-ultralytics]

Prints one JSON object. The two detectors take turns, so that a busy machine slows both; medians and minima are in milliseconds.
ultralytics executes what a `.pt` holds: give it only files that you trust.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from detailer_core.detectors.base import DetectOptions
from detailer_core.detectors.yolo.checkpoint import cached, read_pt
from detailer_core.detectors.yolo.detector import YoloDetector
from detailer_core.detectors.yolo.network import build_network


def milliseconds(action: Callable[[], object]) -> float:
    """How long one call takes."""
    started = time.perf_counter()
    action()
    return 1000 * (time.perf_counter() - started)


def summary(times: list[float]) -> dict[str, float]:
    """Median and minimum."""
    return {"median_ms": round(statistics.median(times), 2), "minimum_ms": round(min(times), 2)}


def measure_detection(model: Path, picture: np.ndarray, size: int, rounds: int, compare: bool) -> dict[str, Any]:
    """Both detectors in turns; the first call of each is left out."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as cache:
        detector = YoloDetector(model, cache_folder=Path(cache))
    options = DetectOptions(image_size=size)
    actions: dict[str, Callable[[], object]] = {"detailer": lambda: detector.detect(picture, options)}
    if compare:
        from ultralytics import YOLO

        other, reversed_picture = YOLO(str(model)), np.ascontiguousarray(picture[..., ::-1])
        actions["ultralytics"] = lambda: other.predict(reversed_picture, imgsz=size, conf=options.confidence, iou=options.iou, device="cpu",
                                                       max_det=options.max_detections, verbose=False)
    for action in actions.values():
        action()
    times: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(rounds):
        for name, action in actions.items():
            times[name].append(milliseconds(action))
    result: dict[str, Any] = {name: summary(values) for name, values in times.items()}
    if compare:
        result["ratio_of_medians"] = round(result["detailer"]["median_ms"] / result["ultralytics"]["median_ms"], 3)
    return result


def measure_loading(model: Path, rounds: int) -> dict[str, Any]:
    """Network out of the `.pt` against network out of the cache."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        cached(model, Path(folder))
        pairs = [(milliseconds(lambda: build_network(read_pt(model))), milliseconds(lambda: build_network(cached(model, Path(folder)))))
                 for _ in range(rounds)]
    slow, fast = zip(*pairs, strict=True)
    return {"from_pt": summary(list(slow)), "from_cache": summary(list(fast)),
            "times_faster": round(statistics.median(slow) / statistics.median(fast), 1)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--size", type=int, default=640)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--without-ultralytics", action="store_true")
    given = parser.parse_args()
    picture = np.array(Image.open(given.picture).convert("RGB"))
    compare = not given.without_ultralytics and importlib.util.find_spec("ultralytics") is not None
    result = {"model": given.model.name, "picture": given.picture.name, "size": given.size, "threads": torch.get_num_threads(),
              "torch": torch.__version__, "loading": measure_loading(given.model, given.rounds),
              "detection": measure_detection(given.model, picture, given.size, given.rounds, compare)}
    sys.stdout.write(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
