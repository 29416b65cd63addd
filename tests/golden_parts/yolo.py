"""How much of the golden YOLO data comes out: raw network answers, boxes, the selection among them, and masks.

The small models have random weights: in even parts of a picture they say the same everywhere, so scores and overlaps tie and the
order in which candidates compete is open. A golden box is therefore looked up among all our candidates (before the selection), and both
selections, theirs and ours, are checked for being one that greedy non-maximum suppression may give: every candidate that was left
out is overlapped by a kept one that is not worse. Ties are those of the golden README: 2e-3 of a score or of an overlap.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from detailer_core.detectors.yolo.checkpoint import YoloCheckpoint, cached
from detailer_core.detectors.yolo.decode import Selected, input_masks, letterbox, select
from detailer_core.detectors.yolo.network import YoloNetwork, build_network

RAW, PIXELS, SCORE, MASK = 1e-3, 0.5, 2e-3, 1e-3
Result = tuple[int, int, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One model on one picture: all our candidates, the kept ones by index, and the golden rows `[n, 6]` (box, score, class)."""

    candidates: Selected
    boxes_in_picture: NDArray[np.float32]
    kept: NDArray[np.intp]
    golden: NDArray[np.float32]
    masks: NDArray[np.bool_] | None
    golden_masks: NDArray[np.bool_] | None
    options: dict[str, Any]


def check(folder: Path) -> dict[str, Result]:
    """Per model and item: passed, total, worst difference; nothing for a folder without YOLO data.

    `raw`: numbers within 1e-3 relative. `boxes`: golden boxes with a candidate of ours within 0.5 pixels, 2e-3 of score and the same class
    (worst in pixels). `scores`: the same (worst of score). `golden selection`, `our selection`: candidates kept or rightly left out
    (worst 0 or 1). `masks`: golden masks of which at most 1e-3 of the pixels differ (worst as a part of all pixels).
    """
    folder = folder / "yolo" if (folder / "yolo").is_dir() else folder
    if not (folder / "yolo.json").is_file():
        return {}
    numbers = np.load(folder / "yolo.npz")
    results: dict[str, Result] = {}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as cache, torch.inference_mode():
        for entry in json.loads((folder / "yolo.json").read_text(encoding="utf-8"))["models"]:
            cached(folder / entry["file"], Path(cache))
            checkpoint = cached(folder / entry["file"], Path(cache))
            network = build_network(checkpoint)
            results[f"{entry['name']} raw"] = check_raw(network, numbers, entry["name"])
            for image in entry["images"]:
                case = load_case(folder, numbers, entry, image, checkpoint, network)
                results.update({f"{entry['name']} {image['image']} {item}": row for item, row in check_case(case).items()})
            del checkpoint, network
    return results


def check_raw(network: YoloNetwork, numbers: Any, name: str) -> Result:
    """The network's whole answer to the golden input."""
    golden = numbers[f"{name}|raw_output"]
    answer = network(torch.from_numpy(numbers[f"{name}|raw_input"].astype(np.float32))).raw().numpy()
    if answer.shape != golden.shape:
        return 0, golden.size, float("inf")
    difference = np.abs(answer - golden) / (np.abs(golden) + 1e-3)
    return int((difference <= RAW).sum()), golden.size, float(difference.max())


def load_case(folder: Path, numbers: Any, entry: dict[str, Any], image: dict[str, Any], checkpoint: YoloCheckpoint,
              network: YoloNetwork) -> Case:
    """Look at one picture."""
    picture = np.array(Image.open(folder / image["image"]).convert("RGB"))
    frame = letterbox((picture.shape[1], picture.shape[0]), entry["imgsz"], checkpoint.stride)
    pixels = torch.from_numpy(frame.apply(picture)).permute(2, 0, 1)[None].float() / 255
    output = network(pixels)
    columns, classes = output.raw()[0].numpy(), len(checkpoint.class_names)
    everything = select(columns, classes, confidence=entry["conf"], iou=1.0, limit=100_000)
    ours = select(columns, classes, confidence=entry["conf"], iou=entry["iou"], limit=entry["max_det"])
    start = f"{entry['name']}|{image['image']}|"
    golden = np.concatenate((numbers[start + "xyxy"], numbers[start + "conf"][:, None], numbers[start + "cls"][:, None]), 1)
    masks = golden_masks = None
    if output.prototypes is not None:
        masks = input_masks(everything, output.prototypes[0].numpy(), frame.input_wh)
        shape = image["masks_shape"]
        golden_masks = np.unpackbits(numbers[start + "masks"])[:int(np.prod(shape))].reshape(shape).astype(np.bool_)
    kept = [int(np.flatnonzero((everything.boxes_xyxy == box).all(1) & (everything.scores == score))[0])
            for box, score in zip(ours.boxes_xyxy, ours.scores, strict=True)]
    return Case(candidates=everything, boxes_in_picture=frame.to_picture(everything.boxes_xyxy), kept=np.array(kept, np.intp),
                golden=golden, masks=masks, golden_masks=golden_masks, options=entry)


def check_case(case: Case) -> dict[str, Result]:
    """The items of one picture."""
    alike, pixels, scores = match(case)
    good = (pixels <= PIXELS) & (scores <= SCORE)
    empty = np.zeros(len(case.candidates.scores), np.bool_) if case.masks is None else ~case.masks.any((1, 2))
    total = len(good)
    ours = [np.array([index]) for index in case.kept]
    results = {"boxes": (int(good.sum()), total, float(pixels.max(initial=0))),
               "scores": (int(good.sum()), total, float(scores.max(initial=0))),
               "golden selection": check_selection(case, alike, empty), "our selection": check_selection(case, ours, empty)}
    if case.masks is not None and case.golden_masks is not None:
        shares = np.array([(case.masks[mine] != theirs).mean((1, 2)).min(initial=1) for mine, theirs in
                           zip(alike, case.golden_masks, strict=True)])
        results["masks"] = (int((shares <= MASK).sum()), total, float(shares.max(initial=0)))
    return results


def match(case: Case) -> tuple[list[NDArray[np.intp]], NDArray[np.float32], NDArray[np.float32]]:
    """Per golden box: the candidates that it may be, and how far the nearest is in pixels and in score.

    There may be several: boxes that differ only outside of the picture are equal once they are cut at its edges.
    """
    distance = np.abs(case.boxes_in_picture[None] - case.golden[:, None, :4]).max(2)
    difference = np.abs(case.candidates.scores[None] - case.golden[:, None, 4])
    distance[case.candidates.classes[None] != case.golden[:, None, 5]] = np.inf
    alike = [np.flatnonzero(row) for row in (distance <= PIXELS) & (difference <= SCORE)]
    nearest = [(far[index].min(), apart[index].min()) if index.size else (np.inf, np.inf)
               for index, far, apart in zip(alike, distance, difference, strict=True)]
    pixels, scores = np.array(nearest, np.float32).reshape(-1, 2).T
    return alike, pixels, scores


def check_selection(case: Case, kept: list[NDArray[np.intp]], empty: NDArray[np.bool_]) -> Result:
    """Candidates that are kept, or left out because a kept one (or one without any mask pixel) overlaps them and is not worse.

    kept: per detection the candidates that it may be.
    """
    boxes, scores, classes = case.candidates.boxes_xyxy.astype(np.float64), case.candidates.scores, case.candidates.classes
    chosen = np.concatenate([np.zeros(0, np.intp), *kept])
    rivals = np.unique(np.concatenate((chosen, np.flatnonzero(empty))))
    overlaps = _overlaps(boxes, boxes[rivals]) * (classes[:, None] == classes[rivals][None])
    better = scores[rivals][None] >= scores[:, None] - SCORE
    explained = ((overlaps > case.options["iou"] - SCORE) & better).any(1) | empty
    explained |= scores <= case.options["conf"] + SCORE
    if len(kept) + int(empty.sum()) >= case.options["max_det"] and len(chosen):
        explained |= scores <= scores[chosen].min() + SCORE
    for at, one in enumerate(kept):
        for other in kept[:at]:
            same = classes[one][:, None] == classes[other][None]
            explained[one] &= bool((_overlaps(boxes[one], boxes[other]) * same).min(initial=1) <= case.options["iou"] + SCORE)
    return int(explained.sum()), len(explained), 0.0 if explained.all() else 1.0


def _overlaps(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intersection over union of each with each."""
    start, end = np.maximum(one[:, None, :2], other[None, :, :2]), np.minimum(one[:, None, 2:], other[None, :, 2:])
    common = np.clip(end - start, 0, None).prod(2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(1) for boxes in (one, other)]
    return common / (areas[0][:, None] + areas[1][None] - common)
