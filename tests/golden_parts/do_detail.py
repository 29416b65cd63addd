"""Whole runs of the reference's node, through the real planner and runner, with the stand-in model that the data was made with.

Each case runs twice: with the reference's own sizes and resampler, and with the defaults.
"""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stub_engine import StubEngine

from detailer_core.geometry import SizeRule, box_size_wh, decide_size
from detailer_core.plan import PictureJob, Plan, PromptRules, make_plan
from detailer_core.run import Keep, RunOptions, RunResult, run_plan
from detailer_core.sampling import SEED_LIMIT, MainGeneration
from detailer_core.segments import Segment, Segments, scale_to
from detailer_core.settings import UnitSettings

MASK_TOLERANCE = 2.5e-6
"""The data's own float32 sums of 1681 weights are up to 2.3e-6 from the exact value; `primitives.gaussian_blur` shows that ours are within 2e-6."""

Result = tuple[int, int, float]
Case = dict[str, Any]

# What differs on purpose: which cases, the item of REFERENCE, and why.
ON_PURPOSE = {
    "ZeroDivisionError": (22, "a box without area is skipped; the reference's node fails as a whole"),
    "a side under 8 px": (22, "such a crop fails alone; the reference's node fails as a whole"),
    "seeds": (42, "they wrap at 2^32, also where the reference overflows"),
    "unequal ratios": (36, "x by the width ratio and y by the height ratio; the reference swaps two of them"),
    "[LAB] with [SKIP] or [STOP]": (14, "they work there, too"),
    "skipped by size": (6, "its prompt is not encoded and no model is loaded for it"),
}

BASE = "the main prompt"
SKIPS = {"empty-mask": "skip_empty_mask", "big": "skip_big", "upscale": "skip_upscale", "zero": "skip_zero"}


def _settings(params: Case, *, reference: bool) -> UnitSettings:
    ways: Case = {"sizes": "exact", "resampler": "pillow-8bit"} if reference else {}
    # `replace` and not `make_settings`: the golden cases go beyond the ranges that the page offers.
    return replace(UnitSettings(), guide_size=params["guide_size"], guide_size_for="bbox" if params["guide_size_for_bbox"] else "crop",
                   max_size=params["max_size"], seed=params["seed"], steps=params["steps"], cfg=params["cfg"], sampler=params["sampler_name"],
                   scheduler=params["scheduler"], denoise=params["denoise"], feather=params["feather"], noise_mask=params["noise_mask"],
                   force_inpaint=params["force_inpaint"], prompt=params["wildcard"], cycle=params["cycle"],
                   inpaint_model=params["inpaint_model"], noise_mask_feather=params["noise_mask_feather"], **ways)


class Run:
    """One case, run one way."""

    def __init__(self, case: Case, arrays: Any, *, reference: bool) -> None:
        image = torch.from_numpy(arrays[case["image_key"]].astype(np.float32) / 255)[None].permute(0, 3, 1, 2)
        height, width = case["segs_shape_hw"]
        segments = Segments(size_wh=(width, height), items=tuple(_segment(s, arrays) for s in case["segs"]))
        self.segments = scale_to(segments, (image.shape[-1], image.shape[-2]))
        settings = _settings(case["params"], reference=reference)
        self.engine = StubEngine(formula=case["sampler_stub"])
        job = PictureJob(segments=self.segments, main=MainGeneration(prompt=BASE))
        self.plan: Plan = make_plan([job], settings, policy=self.engine, rules=PromptRules(dialect="impact", choices=lambda _: random.Random(1234)))
        self.result: RunResult = run_plan([image], self.plan, self.engine, RunOptions(keep=Keep(cropped=True, enhanced=True)))
        self.before, self.settings = image, settings

    @property
    def picture(self) -> np.ndarray:
        """The result, `[H, W, 3]`."""
        return self.result.pictures[0][0].permute(1, 2, 0).numpy()


def _segment(entry: Case, arrays: Any) -> Segment:
    mask = arrays[entry["mask_key"]]
    mask = torch.from_numpy(mask.astype(np.float32) / (255 if mask.dtype == np.uint8 else 1))
    return Segment(bbox_xyxy=tuple(entry["bbox"]), crop_xyxy=tuple(entry["crop_region"]), mask_hw=mask, label=entry["label"])


def check(folder: Path) -> dict[str, Result]:
    """Both ways over every case: cases that pass, cases, worst difference of a value (0..1)."""
    file = folder / "do_detail.json"
    if not file.is_file():
        return {}
    cases = json.loads(file.read_text(encoding="utf-8"))["cases"]
    arrays = np.load(folder / "do_detail.npz")
    exact = [_compare_reference(case, arrays) for case in cases]
    default = [d for d in (_compare_default(case, arrays) for case in cases) if d is not None]
    return {f"do_detail {way}": (sum(good for good, _ in found), len(found), max((d for _, d in found), default=0.0))
            for way, found in (("as the reference", exact), ("with the defaults", default))}


def problems(case: Case, arrays: Any) -> tuple[list[str], float]:
    """What differs from the reference in one case, run its way, and the worst difference of the picture."""
    run = Run(case, arrays, reference=True)
    if case["error"]:
        return _of_failed(case, run), 0.0
    if _differs_on_purpose(case):
        return [] if run.result.outcomes[0] else ["segments are missing"], 0.0
    found = [*_events(case, run), *_calls(case, run), *_results(case, run, arrays)]
    wanted = _output(case, arrays)
    difference = np.abs(run.picture - wanted)
    if difference.max() > 3.5 / 255 or (difference <= 2e-5).mean() < 0.8:
        found.append(f"picture: worst {difference.max() * 255:.2f}/255, {100 * (difference <= 2e-5).mean():.1f} % equal")
    return found, float(difference.max())


def _compare_reference(case: Case, arrays: Any) -> tuple[bool, float]:
    found, worst = problems(case, arrays)
    return not found, worst


def _differs_on_purpose(case: Case) -> bool:
    """Items 14 and 36 of the table above."""
    text = case["params"]["wildcard"]
    if "[LAB]" in text and ("[SKIP]" in text or "[STOP]" in text):
        return True
    height, width = case["segs_shape_hw"]
    new_height, new_width = (int(v) for v in case["image_key"].split("_")[1].split("x"))
    rx, ry = new_width / width, new_height / height
    boxes = [b for s in case["segs"] for b in (s["bbox"], s["crop_region"])]
    return any(int(b[1] * rx) != int(b[1] * ry) or int(b[2] * ry) != int(b[2] * rx) for b in boxes)


def _of_failed(case: Case, run: Run) -> list[str]:
    """Where the reference fails as a whole: the segment at fault is named, or none is, and nothing raised."""
    states = [o.state for o in run.result.outcomes[0]]
    at_fault = {"ZeroDivisionError": "skipped", "RuntimeError: Expected 3D": "failed"}
    for error, state in at_fault.items():
        if case["error"].startswith(error):
            return [] if state in states else [f"states are {states}, expected one to be {state}"]
    return [] if set(states) <= {"done", "skipped"} else [f"states are {states}"]


def _events(case: Case, run: Run) -> list[str]:
    got: list[str] = []
    reasons = {s.index: s.reason for s in run.plan.skips}
    for outcome in run.result.outcomes[0]:
        reason = reasons.get(outcome.index)
        if reason is not None:
            got += [SKIPS[reason]] if reason in SKIPS else []
            continue
        if outcome.plan is not None:
            bbox = outcome.segment.bbox_xyxy
            rule = SizeRule(guide_size=run.settings.guide_size or 512, guide_for=run.settings.guide_size_for, max_size=run.settings.max_size,
                            force_inpaint=run.settings.force_inpaint)
            forced = decide_size(box_size_wh(outcome.plan.segment.crop_xyxy), box_size_wh(bbox), rule).at_crop_size
            got += ["force_1x"] * forced + ["process"]
    wanted = [e for e in case["events"] if e != "skip_wildcard"]
    return [] if got == wanted else [f"events {got}, expected {wanted}"]


def _ordered_calls(run: Run) -> list[tuple[Any, Any, int]]:
    """The sampler's calls in the reference's order, segment by segment and cycle by cycle: cycle, request, row of the wave."""
    done = {o.index for o in run.result.outcomes[0] if o.state == "done"}
    waves = iter([w for w in run.plan.waves if w.items[0].index in done])
    found: dict[tuple[int, int], tuple[Any, Any, int]] = {}
    for given, request in run.engine.calls:
        if given.cycle == 0:
            wave = next(waves)
        for row, item in enumerate(wave.items):
            found[item.index, given.cycle] = (given, request, row)
    return [found[key] for key in sorted(found)]


def _calls(case: Case, run: Run) -> list[str]:
    """What the sampler was given."""
    wanted = [{k: call[k] for k in _KEYS} | {"seed": call["seed"] % SEED_LIMIT} for call in case["sampler_calls"]]
    mine = [_call(given, request, row, run) for given, request, row in _ordered_calls(run)]
    if len(mine) != len(wanted):
        return [f"{len(mine)} sampler calls, expected {len(wanted)}"]
    pairs = enumerate(zip(mine, wanted, strict=True))
    return [f"call {i}: {k} is {a[k]}, expected {b[k]}" for i, (a, b) in pairs for k in b if not _same(a[k], b[k])]


_KEYS = ("steps", "cfg", "sampler", "scheduler", "denoise", "latent_shape", "has_noise_mask", "noise_mask_shape", "noise_mask_sum",
         "differential_diffusion", "positive_rows", "positive_value")


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, float) and isinstance(b, (int, float)):
        return abs(a - b) <= 1e-5 * max(1.0, abs(b))
    return a == b


def _call(given: Any, request: Any, row: int, run: Run) -> Case:
    sampling, prompt = given.sampling, request.prompts[row]
    mask = run.engine.given_masks(request)[row]
    text = prompt.removeprefix(f"{BASE} BREAK ")
    shape = None if mask is None else list(mask.shape) if sampling.inpaint_model else list(mask.shape[1:])
    return {"seed": given.seeds[row], "steps": sampling.steps, "cfg": sampling.cfg, "sampler": sampling.sampler, "scheduler": sampling.scheduler,
            "denoise": sampling.denoise, "latent_shape": [1, *given.latents_bchw.shape[1:]], "has_noise_mask": mask is not None,
            "noise_mask_shape": shape, "noise_mask_sum": None if mask is None else float(mask.double().sum()),
            # The reference marks the model also where there is no noise mask that it could act on (item 32).
            "differential_diffusion": run.settings.noise_mask_feather > 0, "positive_rows": 154 if " BREAK " in prompt else 77,
            "positive_value": 1.0 if prompt == BASE else float(np.float32(len(text) / 100))}


def _results(case: Case, run: Run, arrays: Any) -> list[str]:
    outcomes = run.result.outcomes[0]
    skipped = {s.index: s.reason for s in run.plan.skips}
    listed = [o for o in outcomes if skipped.get(o.index) not in ("empty-mask", "prompt-skip", "prompt-stop")]
    ids = {(s.bbox_xyxy, s.crop_xyxy, s.label, float(s.mask_hw.sum())): [] for s in run.segments}
    for number, s in enumerate(run.segments):
        ids[s.bbox_xyxy, s.crop_xyxy, s.label, float(s.mask_hw.sum())].append(number)
    new = [[ids[o.segment.bbox_xyxy, o.segment.crop_xyxy, o.segment.label, float(o.segment.mask_hw.sum())].pop(0), o.state == "done",
            list(o.segment.crop_xyxy), list(o.segment.bbox_xyxy)] for o in listed]
    found = [] if new == case["new_segs"] else [f"new segments {new}, expected {case['new_segs']}"]
    enhanced = [o for o in outcomes if o.enhanced_bchw is not None]
    shapes = sorted(([1, *o.enhanced_bchw.shape[-2:], 3] for o in enhanced), reverse=True)
    if shapes != case["enhanced_shapes"]:
        found.append(f"enhanced shapes {shapes}, expected {case['enhanced_shapes']}")
    for key, outcome in zip(case.get("enhanced_keys") or [], listed, strict=False):
        if key is not None and outcome.enhanced_bchw is not None:
            found += _far(key, outcome.enhanced_bchw[0].permute(1, 2, 0).numpy(), arrays[key].astype(np.float32) / 255, 3.5 / 255)
    calls = _ordered_calls(run) if case.get("noise_mask_keys") else []
    # The data holds the masks of the first calls only.
    for key, (_, request, row) in zip(case.get("noise_mask_keys") or [], calls, strict=False):
        mask = run.engine.given_masks(request)[row]
        if key is not None and mask is not None:
            found += _far(key, mask.reshape(arrays[key].shape).numpy(), arrays[key], MASK_TOLERANCE)
    if case.get("alpha0_key") and enhanced:
        first = max(enhanced, key=lambda o: tuple(o.alpha_b1hw.shape[-2:]))
        found += _far(case["alpha0_key"], first.alpha_b1hw[0, 0].numpy(), arrays[case["alpha0_key"]], MASK_TOLERANCE)
    return found


def _far(key: str, got: np.ndarray, wanted: np.ndarray, tolerance: float) -> list[str]:
    if got.shape != wanted.shape:
        return [f"{key}: shape {got.shape}, expected {wanted.shape}"]
    worst = float(np.abs(got - wanted).max())
    return [] if worst <= tolerance else [f"{key}: differs by {worst:.3g}"]


def _output(case: Case, arrays: Any) -> np.ndarray:
    stored = arrays[case["out_key"]]
    if case["out_encoding"] == "float32":
        return stored
    return ((257 * arrays[case["image_key"]].astype(np.int64) + stored) / 65535).astype(np.float32)


def _compare_default(case: Case, arrays: Any) -> tuple[bool, float] | None:
    """With the defaults, where the sizes are multiples of 8 already: within 4/255 at most and 0.75/255 on average."""
    if case["error"] or _differs_on_purpose(case) or any(v % 8 for s in case["vae_encode_in_NHWC"] for v in s[1:3]):
        return None
    difference = np.abs(Run(case, arrays, reference=False).picture - _output(case, arrays))
    return bool(difference.max() <= 4 / 255 and difference.mean() <= 0.75 / 255), float(difference.max())
