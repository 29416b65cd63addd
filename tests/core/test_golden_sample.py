"""The reference's own numbers: a small sample that always runs, and all rows where they can be had.

`golden_sample.json` holds some rows of the golden data (crop_region, normalize_region, size_decision, tensor2pil, gaussian_blur, resize, dilate,
scale_match, paste, crop_condition_mask, filters), made by ComfyUI-Impact-Pack V7.10.6 under ComfyUI (commit 915fdb5) in float32 on a CPU; arrays are
written out, and of `paste` single pixels were taken. `tests/golden_check.py` compares all of it.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from golden_check import PARTS
from PIL import Image

from detailer_core import masks
from detailer_core.geometry import SizeRule, decide_size, fit_span, make_crop_region
from detailer_core.image_ops import blur_mask, paste_
from detailer_core.resample import pillow_8bit, truncate_to_uint8
from detailer_core.segments import Segment, Segments, scale_to, split_labels, split_ordered, split_range

HERE = Path(__file__).resolve().parent
GOLDEN = HERE.parents[1].parent / "shared" / "golden"
SAMPLE: dict[str, Any] = json.loads((HERE / "golden_sample.json").read_text(encoding="utf-8"))
needs_golden = pytest.mark.skipif(not GOLDEN.is_dir(), reason="no golden data of the reference beside this project (../shared/golden)")


def picture(values: list[Any]) -> torch.Tensor:
    """`[1, C, H, W]` from rows of pixels."""
    return torch.tensor(values, dtype=torch.float32)[None].permute(0, 3, 1, 2)


def binary(lines: list[str]) -> torch.Tensor:
    """A mask from lines of 0 and 1."""
    return torch.tensor([[float(c) for c in line] for line in lines])


@pytest.mark.parametrize(("size", "box", "kind", "factor", "min_side", "region"), SAMPLE["crop_region"])
def test_crop_regions(size: list[int], box: list[float], kind: str, factor: float, min_side: int | None, region: list[int]) -> None:
    """Boxes of every type, at every edge, have the reference's regions."""
    values = [np.float32(v) for v in box] if kind == "np.float32" else box
    assert list(make_crop_region((size[0], size[1]), tuple(values), factor, min_side)) == region  # type: ignore[arg-type]


@pytest.mark.parametrize(("limit", "start", "size", "span"), SAMPLE["normalize_region"])
def test_spans(limit: int, start: float, size: float, span: list[int]) -> None:
    """Spans are moved as the reference moves them."""
    assert list(fit_span(limit, start, size)) == span


@pytest.mark.parametrize(("crop", "box", "guide", "for_bbox", "maximum", "force", "action", "forced", "size"), SAMPLE["size_decision"])
def test_sizes(crop: list[int], box: list[float], guide: float, for_bbox: bool, maximum: float, force: bool, action: str, forced: bool,
               size: list[int] | None) -> None:
    """Sizes and skips are the reference's; where it fails on a box without area, we skip (REFERENCE item 22)."""
    rule = SizeRule(guide_size=guide, guide_for="bbox" if for_bbox else "crop", max_size=maximum, force_inpaint=force)
    decision = decide_size((crop[0], crop[1]), (box[2] - box[0], box[3] - box[1]), rule)
    assert {"": "process", "big": "skip_big", "upscale": "skip_upscale", "zero": "error"}[decision.skip] == action
    assert decision.size_wh == (tuple(size) if size else (0, 0))
    assert decision.at_crop_size is forced


@pytest.mark.parametrize(("value", "byte"), SAMPLE["tensor2pil"])
def test_bytes(value: float, byte: int) -> None:
    """Values are truncated as there."""
    assert int(truncate_to_uint8(torch.tensor(value))) == byte


@pytest.mark.parametrize(("feather", "mask", "blurred"), SAMPLE["gaussian_blur"])
def test_blurs(feather: int, mask: list[list[float]], blurred: list[list[float]]) -> None:
    """The separable blur of a part gives what the full kernel over everything gives."""
    got = blur_mask(torch.tensor(mask)[None, None], feather)[0, 0]
    assert float((got - torch.tensor(blurred)).abs().max()) <= 2e-6


@pytest.mark.parametrize(("size", "given", "resized", "encoding"), SAMPLE["resize"])
def test_resizes(size: list[int], given: list[Any], resized: list[Any], encoding: str) -> None:
    """The way through 8 bit gives the reference's bytes."""
    got = pillow_8bit(picture(given), (size[0], size[1]))
    assert encoding == "uint8"
    assert torch.equal((got * 255).round(), picture(resized))


def test_dilations() -> None:
    """Grown and shrunk as there, with even kernels, too."""
    mask, rows = SAMPLE["dilate"]
    assert len(rows) >= 5
    for factor, wanted in rows:
        assert torch.equal(masks.dilate(binary(mask), factor), binary(wanted)), factor


@pytest.mark.parametrize(("old_hw", "new_hw", "crop", "box", "new_crop", "new_box"), SAMPLE["scale_match"])
def test_scaled_segments(old_hw: list[int], new_hw: list[int], crop: list[int], box: list[int], new_crop: list[int], new_box: list[int]) -> None:
    """Regions of a picture scaled alike in both directions are the reference's."""
    one = Segment(bbox_xyxy=tuple(box), crop_xyxy=tuple(crop), mask_hw=torch.ones(crop[3] - crop[1], crop[2] - crop[0]))  # type: ignore[arg-type]
    got = scale_to(Segments(size_wh=(old_hw[1], old_hw[0]), items=(one,)), (new_hw[1], new_hw[0]))[0]
    assert (list(got.crop_xyxy), list(got.bbox_xyxy)) == (new_crop, new_box)


def test_pasted_pixels() -> None:
    """Each pixel is the reference's blend of picture, patch and mask."""
    before, patch, mask, after = (torch.tensor(column) for column in zip(*SAMPLE["paste"], strict=True))
    whole = before.T[None, :, None].clone()
    count = len(before)
    paste_(whole, patch.T[None, :, None], (0, 0, count, 1), mask[None, None, None])
    assert float((whole[0, :, 0].T - after).abs().max()) <= 1e-6
    assert float((before - after).abs().max()) > 1e-3, "the sample blends something"


@pytest.mark.parametrize(("mask_hw", "picture_hw", "crop", "taken"), SAMPLE["crop_condition_mask"])
def test_parts_of_picture_masks(mask_hw: list[int], picture_hw: list[int], crop: list[int], taken: list[int]) -> None:
    """Of a mask with equal ratios the reference's part is taken."""
    numbered = torch.arange(mask_hw[0] * mask_hw[1]).reshape(mask_hw).float()
    got = masks.crop_of_picture_mask(numbered, (picture_hw[1], picture_hw[0]), tuple(crop))  # type: ignore[arg-type]
    assert torch.equal(got, numbered[taken[1] : taken[3], taken[0] : taken[2]])


TARGETS = {"area(=w*h)": "area", "x1": "x0", "y1": "y0", "x2": "x1", "y2": "y1", "confidence(0-100)": "confidence_percent"}


@pytest.mark.parametrize(("node", "params", "wanted"), SAMPLE["filters"]["rows"])
def test_filters(node: str, params: dict[str, Any], wanted: list[list[int]]) -> None:
    """Both halves, in the reference's order."""
    items = []
    for entry in SAMPLE["filters"]["segments"]:
        x0, y0, x1, y1 = entry["crop_region"]
        items.append(Segment(bbox_xyxy=tuple(entry["bbox"]), crop_xyxy=(x0, y0, x1, y1), mask_hw=torch.ones(y1 - y0, x1 - x0), label=entry["label"],
                             confidence=entry["confidence"]))
    segments = Segments(size_wh=(512, 512), items=tuple(items))
    target: Any = TARGETS.get(params.get("target", ""), params.get("target"))
    if node == "SEGSLabelFilter":
        both = split_labels(segments, params["labels"])
    elif node == "SEGSOrderedFilter":
        both = split_ordered(segments, target, descending=params["order_descending"], start=params["take_start"], count=params["take_count"])
    else:
        both = split_range(segments, target, low=params["min_value"], high=params["max_value"], inside=params["mode_inside"])
    assert [[items.index(s) for s in part] for part in both] == wanted


def pillow_scales_columns_first() -> bool:
    """Whether this Pillow resizes an even step in another order than the one that made the data; both passes round to 8 bit."""
    values = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    lanczos = Image.Resampling.LANCZOS
    at_once, columns_first = Image.fromarray(values).resize((128, 16), lanczos), Image.fromarray(values).resize((128, 40), lanczos)
    return np.array_equal(at_once, columns_first.resize((128, 16), lanczos))


@needs_golden
@pytest.mark.parametrize("part", [part for part in PARTS if not part.__name__.endswith("yolo")], ids=lambda part: part.__name__.rsplit(".", 1)[-1])
def test_all_golden_rows(part: ModuleType) -> None:
    """Every row of the reference's numbers passes, apart from what differs on purpose and stands in the parts' own tables.

    The part `yolo` is run by `test_yolo_golden`.
    """
    results = part.check(GOLDEN)
    assert results
    for name, (passed, total, worst) in results.items():
        if name == "resize" and pillow_scales_columns_first():
            continue  # an older Pillow's bytes are other bytes; `test_resample` compares with the Pillow that is there
        assert passed == total > 0, f"{name}: {passed} of {total} rows, worst difference {worst:.3g}"
