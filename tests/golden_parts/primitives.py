"""The core's single steps against the reference's numbers: boxes, blurs, resampling, paste, filters, sizes, masks."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from detailer_core import masks
from detailer_core.errors import DetailerError
from detailer_core.geometry import SizeRule, decide_size, fit_span, make_crop_region
from detailer_core.image_ops import blur_kernel_size, blur_mask, paste_, resample_mask
from detailer_core.mask_segments import crops_of, mask_to_segments, paste_segments
from detailer_core.resample import pillow_8bit, truncate_to_uint8
from detailer_core.segments import Segment, Segments, combined_mask, scale_to, split_labels, split_ordered, split_range

Result = tuple[int, int, float]
Row = dict[str, Any]

MASK_TOLERANCE = 2e-6
EIGHT_BIT = 1 / 255 + 1e-6

# What differs on purpose: the part of the data, the item of REFERENCE, and why.
ON_PURPOSE = {
    "gaussian_blur uint8/bool": (33, "bool and uint8 masks are converted; the reference blurs their raw values"),
    "gaussian_blur wide": (30, "separable blur: where the reference's own float32 sum is over 1e-6 from the exact value, that value counts"),
    "scale_match unequal": (36, "x is scaled by the width ratio and y by the height ratio; the reference swaps two of them"),
    "crop_condition_mask unequal": (35, "x by the width ratio, y by the height ratio; at least one pixel is taken"),
    "size_decision zero box": (22, "a box without area is skipped, where the reference divides by zero"),
    "misc soft masks": (23, "and/subtract/union stay in float; the reference truncates to 8 bit, and its 'and' of soft weights is bitwise"),
    "misc combined fill": (0, "not in REFERENCE: its fill of a combined mask is shifted by the crop's corner; here it lies on the box"),
    "resize beyond 1": (23, "pictures are 0..1; the reference's rows beyond that wrap or clip"),
    "paste outside": (0, "not in REFERENCE: a patch at a negative place is refused; the reference wraps it to the other side"),
    "misc scaled box": (0, "not in REFERENCE: a box scaled beyond its crop masks the whole crop; the reference leaves the last row and column"),
}


def rows(folder: Path, name: str) -> Iterator[Row]:
    """The rows of a table, as mappings."""
    data = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    for row in data["rows"]:
        yield dict(zip(data["columns"], row, strict=True))


class Tally:
    """Counts rows that pass, and remembers the worst difference."""

    def __init__(self) -> None:
        self.passed, self.total, self.worst = 0, 0, 0.0

    def add(self, good: bool, difference: float = 0.0) -> None:
        """One row."""
        self.total += 1
        self.passed += bool(good)
        self.worst = max(self.worst, float(difference))

    def close(self, got: Any, wanted: np.ndarray, tolerance: float) -> None:
        """One row of numbers."""
        got = np.asarray(got, dtype=np.float64)
        fits = got.shape == wanted.shape
        difference = float(np.abs(got - wanted).max()) if fits and wanted.size else 0.0 if fits else float("inf")
        self.add(difference <= tolerance, difference)

    @property
    def result(self) -> Result:
        """passed, total, worst difference."""
        return self.passed, self.total, self.worst


def crop_region(folder: Path) -> Result:
    """`make_crop_region`, exactly."""
    tally = Tally()
    for row in rows(folder, "crop_region"):
        box = row["bbox_x1y1x2y2"]
        kinds = {"np.float32": np.float32, "np.int32": np.int32}
        box = [kinds[row["bbox_dtype"]](v) for v in box] if row["bbox_dtype"] in kinds else box
        got = make_crop_region((row["image_w"], row["image_h"]), tuple(box), row["crop_factor"], row["crop_min_size"])
        tally.add(list(got) == row["result_x1y1x2y2"])
    return tally.result


def normalize_region(folder: Path) -> Result:
    """`fit_span`, exactly."""
    tally = Tally()
    for row in rows(folder, "normalize_region"):
        tally.add(list(fit_span(row["limit"], row["start"], row["size"])) == row["result_start_end"])
    return tally.result


def size_decision(folder: Path) -> Result:
    """`decide_size`, exactly."""
    tally = Tally()
    actions = {"": "process", "big": "skip_big", "upscale": "skip_upscale", "zero": "error"}
    for row in rows(folder, "size_decision"):
        box = row["bbox"]
        rule = SizeRule(guide_size=row["guide_size"], guide_for="bbox" if row["guide_size_for_bbox"] else "crop", max_size=row["max_size"],
                        force_inpaint=row["force_inpaint"])
        got = decide_size((row["crop_w"], row["crop_h"]), (box[2] - box[0], box[3] - box[1]), rule)
        sized = row["new_w_new_h"] is None or tuple(row["new_w_new_h"]) == got.size_wh
        tally.add(actions[got.skip] == row["action"] and sized and (got.skip != "" or got.at_crop_size == row["forced_to_1x"]))
    return tally.result


def gaussian_blur(folder: Path) -> Result:
    """`blur_mask`, within 2e-6 of the reference, or of the exact value where the reference itself is further from it."""
    arrays, tally = np.load(folder / "gaussian_blur.npz"), Tally()
    for row in rows(folder, "gaussian_blur"):
        if row["input_key"] not in arrays:
            tally.add(_refused_or_converted(row))
            continue
        given = torch.from_numpy(arrays[row["input_key"]].astype(np.float32))
        mask = given[None, None] if given.ndim == 2 else given[:, None]
        got = blur_mask(mask, row["feather"], row["sigma"]).numpy()
        wanted = mask.numpy() if row["output_identical_to_input"] else arrays[row["output_key"]].reshape(got.shape)
        difference = np.abs(got - wanted).max()
        if difference > MASK_TOLERANCE:
            exact = _exact_blur(mask, row["feather"], row["sigma"])
            if np.abs(wanted - exact).max() > 1e-6:
                difference = np.abs(got - exact).max()
        tally.add(difference <= MASK_TOLERANCE, difference)
    return tally.result


def _exact_blur(mask_b1hw: torch.Tensor, feather: int, sigma: float) -> np.ndarray:
    """The blur's formula in float64, with the full two-dimensional kernel."""
    size = blur_kernel_size((mask_b1hw.shape[-2], mask_b1hw.shape[-1]), feather)
    x = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    kernel = torch.exp(-0.5 * (x / sigma) ** 2)
    kernel = kernel / kernel.sum()
    padded = torch.nn.functional.pad(mask_b1hw.double(), [size // 2] * 4, mode="reflect")
    return torch.nn.functional.conv2d(padded, (kernel[:, None] * kernel[None])[None, None]).numpy()


def _refused_or_converted(row: Row) -> bool:
    """Rows whose input is described in words: a wrong shape is refused by both; bool and uint8 are converted by us (item 33)."""
    if row["error"]:
        try:
            blur_mask(torch.zeros(1, 33, 47, 3), row["feather"])
        except DetailerError:
            return True
        return False
    kind = row["input_key"].rsplit(" ", 1)[-1]
    values = np.ones((4, 4), bool) if kind == "bool" else np.full((4, 4), 255, np.uint8)
    return bool((masks.as_mask(values) == 1).all())


def resize(folder: Path) -> Result:
    """`pillow_8bit`, exactly for pictures; bilinear for one channel."""
    arrays, tally = np.load(folder / "resize.npz"), Tally()
    for row in rows(folder, "resize"):
        if row["input_key"] not in arrays:
            tally.add(bool(row["error"]))
            continue
        given, wanted = arrays[row["input_key"]], arrays[row["output_key"]] if row["output_key"] else None
        values = torch.from_numpy(given.astype(np.float32) / (255 if given.dtype == np.uint8 else 1))
        values = values[..., None] if values.ndim == 2 else values
        try:
            got = pillow_8bit(values[None].permute(0, 3, 1, 2), (row["new_w"], row["new_h"]))[0].permute(1, 2, 0)
        except DetailerError:
            tally.add(bool(row["error"]))
            continue
        if wanted is None:
            tally.add(False)
        elif wanted.dtype == np.uint8:
            tally.close((got * 255).round().numpy().reshape(wanted.shape), wanted.astype(np.float64), 0)
        else:
            tally.close(got.numpy().reshape(wanted.shape), wanted, MASK_TOLERANCE)
    return tally.result


def tensor2pil(folder: Path) -> Result:
    """`truncate_to_uint8`, exactly."""
    tally = Tally()
    for row in rows(folder, "tensor2pil"):
        tally.add(int(truncate_to_uint8(torch.tensor(row["value_float32"]))) == row["uint8"])
    return tally.result


def paste(folder: Path) -> Result:
    """`paste_`, within 2e-6; the mask is resampled to the patch first, as the caller does."""
    arrays, tally = np.load(folder / "paste.npz"), Tally()
    for row in rows(folder, "paste"):
        picture = torch.from_numpy(arrays["image"].astype(np.float32))[None].permute(0, 3, 1, 2)
        picture = picture / 255 if arrays["image"].dtype == np.uint8 else picture.clone()
        patch = torch.from_numpy(arrays[row["patch_key"]].astype(np.float32))[None].permute(0, 3, 1, 2)
        patch = patch / 255 if arrays[row["patch_key"]].dtype == np.uint8 else patch
        mask = torch.from_numpy(arrays[row["mask_key"]].astype(np.float32))[None, None]
        x, y = row["left_top_xy"]
        try:
            got = _paste_cut(picture, patch, mask, x, y)
        except DetailerError:
            tally.add(bool(row["error"]) or bool(row["image_unchanged"]) or min(x, y) < 0)
            continue
        wanted = arrays[row["output_key"]]
        wanted = wanted / 255 if wanted.dtype == np.uint8 else wanted
        tally.close(got[0].permute(1, 2, 0).numpy(), wanted, MASK_TOLERANCE)
    return tally.result


def _paste_cut(picture: torch.Tensor, patch: torch.Tensor, mask: torch.Tensor, x: int, y: int) -> torch.Tensor:
    """The reference cuts a patch that reaches out of the picture; our caller never makes one."""
    mask = resample_mask(mask, (patch.shape[-1], patch.shape[-2]))
    width, height = min(patch.shape[-1], picture.shape[-1] - x), min(patch.shape[-2], picture.shape[-2] - y)
    paste_(picture, patch[..., :height, :width], (x, y, x + width, y + height), mask[..., :height, :width])
    return picture


def scale_match(folder: Path) -> Result:
    """`scale_to` where both ratios are equal; elsewhere its own promises (item 36)."""
    arrays, tally = np.load(folder / "scale_match.npz"), Tally()
    for row in rows(folder, "scale_match"):
        (old_h, old_w), (height, width) = row["segs_shape_hw"], row["image_hw"]
        mask = torch.from_numpy(arrays[row["mask_in_key"]].astype(np.float32))
        segment = Segment(bbox_xyxy=tuple(row["bbox_in"]), crop_xyxy=tuple(row["crop_region_in"]), mask_hw=mask)
        got = scale_to(Segments(size_wh=(old_w, old_h), items=(segment,)), (width, height))[0]
        if row["unchanged_object"]:
            tally.add(got is segment)
        elif width * old_h != height * old_w and not _rounds_alike(row):
            x0, y0, x1, y1 = got.crop_xyxy
            tally.add(0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height and tuple(got.mask_hw.shape) == (y1 - y0, x1 - x0))
        elif list(got.crop_xyxy) == row["crop_region_out"] and list(got.bbox_xyxy) == row["bbox_out"]:
            tally.close(got.mask_hw.numpy(), arrays[row["mask_out_key"]], MASK_TOLERANCE)
        else:
            tally.add(False)
    return tally.result


def _rounds_alike(row: Row) -> bool:
    """Whether the reference's swapped ratios give the same boxes as the right ones."""
    (old_h, old_w), (height, width) = row["segs_shape_hw"], row["image_hw"]
    rx, ry = width / old_w, height / old_h
    return all(int(b[1] * rx) == int(b[1] * ry) and int(b[2] * ry) == int(b[2] * rx) for b in (row["crop_region_in"], row["bbox_in"]))


def dilate(folder: Path) -> Result:
    """`masks.dilate`, within 2e-6."""
    arrays, tally = np.load(folder / "dilate.npz"), Tally()
    for row in rows(folder, "dilate"):
        tally.close(masks.dilate(torch.from_numpy(arrays[row["input_key"]]), row["factor"]).numpy(), arrays[row["output_key"]], MASK_TOLERANCE)
    return tally.result


def crop_condition_mask(folder: Path) -> Result:
    """`crop_of_picture_mask` where both ratios are equal; elsewhere its own promise (item 35)."""
    tally = Tally()
    for row in rows(folder, "crop_condition_mask"):
        (mask_h, mask_w), (height, width) = row["cond_mask_hw"], row["image_hw"]
        numbered = torch.arange(mask_h * mask_w, dtype=torch.float32).reshape(mask_h, mask_w)
        got = masks.crop_of_picture_mask(numbered, (width, height), tuple(row["crop_region"]))
        taken = row["taken_region_x1y1x2y2"]
        if taken is None or mask_w * height != mask_h * width:
            tally.add(got.numel() > 0)
        else:
            x0, y0, x1, y1 = taken
            tally.add(torch.equal(got, numbered[y0:y1, x0:x1]))
    return tally.result


_TARGETS = {"area(=w*h)": "area", "x1": "x0", "y1": "y0", "x2": "x1", "y2": "y1", "confidence(0-100)": "confidence_percent",
            "confidence": "confidence_percent"}


def filters(folder: Path) -> Result:
    """The three filters, exactly, order included."""
    data = json.loads((folder / "filters.json").read_text(encoding="utf-8"))
    sets = data["sets"] if isinstance(data["sets"], list) else [data["sets"][k] for k in sorted(data["sets"], key=int)]
    tally = Tally()
    for row in rows(folder, "filters"):
        segments = Segments(size_wh=(512, 512), items=tuple(_segment(s) for s in sets[row["set_index"]]))
        ids = {id(s): i for i, s in enumerate(segments)}
        try:
            both = _filter(row["node"], row["params"], segments)
        except DetailerError:
            tally.add(bool(row["error"]))
            continue
        tally.add([[ids[id(s)] for s in part] for part in both] == row["output_ids"])
    return tally.result


def _segment(entry: Row) -> Segment:
    x0, y0, x1, y1 = entry["crop_region"]
    return Segment(bbox_xyxy=tuple(entry["bbox"]), crop_xyxy=(x0, y0, x1, y1), mask_hw=torch.ones(y1 - y0, x1 - x0), label=entry["label"],
                   confidence=entry["confidence"])


def _filter(node: str, params: Row, segments: Segments) -> tuple[Segments, Segments]:
    if node == "SEGSLabelFilter":
        return split_labels(segments, params["labels"])
    target = _TARGETS.get(params["target"], params["target"])
    if node == "SEGSOrderedFilter":
        return split_ordered(segments, target, descending=params["order_descending"], start=params["take_start"], count=params["take_count"])
    return split_range(segments, target, low=params["min_value"], high=params["max_value"], inside=params["mode_inside"])


def misc(folder: Path) -> Result:
    """Masks to segments, combination of masks, scaled boxes, pasted segments."""
    arrays, tally = np.load(folder / "misc.npz"), Tally()
    boxes = [(5, 10, 35, 30), (20, 20, 60, 45)]
    segments = Segments(size_wh=(80, 60), items=tuple(
        Segment(bbox_xyxy=b, crop_xyxy=b, mask_hw=torch.from_numpy(arrays[f"seg{i}_mask"])) for i, b in enumerate(boxes)))
    data = json.loads((folder / "misc.json").read_text(encoding="utf-8"))
    unscaled = {row["seg"]: tuple(row["bbox"]) for row in data if row["f"] == "SEG_ELT_BBOX_ScaleBy" and row["scale"] == 1.0}
    segments = segments.with_items([replace(s, bbox_xyxy=unscaled.get(i, s.bbox_xyxy)) for i, s in enumerate(segments)])
    checks: dict[str, Callable[..., None]] = {"mask_to_segs": _check_mask_to_segs, "SEGSPaste": _check_paste,
                                              "SEG_ELT_BBOX_ScaleBy": _check_scale_by}
    for row in data:
        checks.get(row["f"], _check_combination)(row, arrays, segments, tally)
    return tally.result


def _check_mask_to_segs(row: Row, arrays: Any, _: Segments, tally: Tally) -> None:
    got = mask_to_segments(torch.from_numpy(arrays["mask"]), combined=row["combined"], bbox_fill=row["bbox_fill"],
                           crop_factor=row["crop_factor"], drop_size=row["drop_size"])
    regions = [(list(s.bbox_xyxy), list(s.crop_xyxy), s.label) for s in got]
    if regions != [(o["bbox"], o["crop_region"], o["label"]) for o in row["out"]]:
        tally.add(False)
        return
    shifted = row["combined"] and row["bbox_fill"] and row["out"][0]["crop_region"][:2] != [0, 0]
    differences = [float(np.abs(s.mask_hw.numpy() - arrays[o["mask_key"]]).max()) for s, o in zip(got, row["out"], strict=True)]
    # A shifted fill differs on purpose; what must hold is that the whole box is masked.
    tally.add(bool((got[0].mask_hw == 1).all()) if shifted else max(differences) <= MASK_TOLERANCE, 0.0 if shifted else max(differences))


def _check_combination(row: Row, arrays: Any, segments: Segments, tally: Tally) -> None:
    if row["f"] == "segs_to_combined_mask":
        tally.close(combined_mask(segments).numpy(), arrays[row["out"]], EIGHT_BIT)
        return
    subtract = row["f"] == "segs_bitwise_sub_mask"
    operation = masks.subtract_mask if subtract else masks.intersect_mask
    got = operation(segments, torch.from_numpy(arrays["soft"]))
    pairs = list(zip(got, segments, row["out"], strict=True))
    # Where both masks are soft the reference's 'and' is bitwise; what must hold there is that it lies under both.
    good = []
    for new, old, key in pairs:
        soft = not bool(((old.mask_hw == 0) | (old.mask_hw == 1)).all())
        if soft and not subtract:
            good.append(bool((new.mask_hw <= old.mask_hw + 1e-7).all()))
        else:
            good.append(float(np.abs(new.mask_hw.numpy() - arrays[key]).max()) <= EIGHT_BIT)
    tally.add(all(good))


def _check_scale_by(row: Row, arrays: Any, segments: Segments, tally: Tally) -> None:
    got = masks.scale_bbox(segments[row["seg"]], row["scale"], (80, 60))
    if list(got.bbox_xyxy) != row["bbox"]:
        tally.add(False)
        return
    (x0, y0, x1, y1), (cx0, cy0, cx1, cy1) = got.bbox_xyxy, got.crop_xyxy
    wanted = arrays[row["mask_key"]]
    if x0 < cx0 or y0 < cy0 or x1 > cx1 or y1 > cy1:
        wanted = np.zeros_like(wanted)
        wanted[max(0, y0 - cy0) : y1 - cy0, max(0, x0 - cx0) : x1 - cx0] = 1
    tally.close(got.mask_hw.numpy(), wanted, MASK_TOLERANCE)


def _check_paste(row: Row, arrays: Any, segments: Segments, tally: Tally) -> None:
    def picture(key: str) -> torch.Tensor:
        return torch.from_numpy(arrays[key].astype(np.float32) / 255)[None].permute(0, 3, 1, 2)

    got = paste_segments(picture("image"), crops_of(picture("ref_image"), segments), feather=row["feather"], alpha=row["alpha"] / 255)
    tally.close(got[0].permute(1, 2, 0).numpy(), arrays[row["out"]], MASK_TOLERANCE)


PARTS: dict[str, Callable[[Path], Result]] = {
    "crop_region": crop_region, "normalize_region": normalize_region, "size_decision": size_decision, "gaussian_blur": gaussian_blur,
    "resize": resize, "tensor2pil": tensor2pil, "paste": paste, "scale_match": scale_match, "dilate": dilate,
    "crop_condition_mask": crop_condition_mask, "filters": filters, "misc": misc,
}


def check(folder: Path) -> dict[str, Result]:
    """Every table of single steps that the folder has: rows that pass, rows, worst difference."""
    return {name: part(folder) for name, part in PARTS.items() if (folder / f"{name}.json").is_file()}
