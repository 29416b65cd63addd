"""Command `demo`: the whole way on a real photograph, with pictures to look at."""

from __future__ import annotations

import argparse

import torch
from PIL import Image

from ..detectors.haar import HaarFaceDetector
from ..engines.filter import FilterEngine
from ..errors import DetailerError
from ..pictures import from_pil, to_pil
from ..preview import draw_preview, side_by_side
from ..sampling import MainGeneration
from ..settings import make_settings
from ..summary import told
from ..unit import UnitTools, run_unit
from .files import check_folder, save_png


def demo_command(args: argparse.Namespace) -> int:
    """Writes before.png, after.png, side-by-side.png and preview.png; exit code 0 if a face was found and redrawn."""
    tools = UnitTools(detector=HaarFaceDetector(), engine=FilterEngine())
    check_folder(args.output, "--output")
    before = _photograph()
    settings = make_settings({"denoise": 0.9})
    picture = from_pil(before)
    result = run_unit([picture], [MainGeneration(seed=1)], settings, tools)
    after = to_pil(result.run.pictures[0])
    outcomes = result.run.outcomes[0]
    pictures = {"before": before, "after": after, "side-by-side": side_by_side(before, after),
                "preview": draw_preview(result.run.pictures[0], result.segments[0], states=[o.state for o in outcomes])}
    for name, image in pictures.items():
        save_png(args.output / f"{name}.png", image)
        print(f"{name}: {args.output / f'{name}.png'}")
    done = [o for o in outcomes if o.state == "done"]
    for outcome in done:
        plan = outcome.plan
        if plan is not None:
            print(f"face {outcome.index + 1}: box {outcome.segment.bbox_xyxy}, crop {outcome.segment.crop_xyxy}, redrawn at {plan.size_wh[0]}x"
                  f"{plan.size_wh[1]}, pasted into {plan.paste_xyxy}")
            _tell_difference(picture, result.run.pictures[0], plan.paste_xyxy)
    if not done:
        print("no face was redrawn: " + (told(outcomes) or "none was found"))
    print("engine: filter (sharpens, to show the way a picture takes; it is no diffusion model)")
    print("next: python -m detailer_core run YOUR-PICTURE --output out --preview")
    return 0 if done else 1


def _tell_difference(before: torch.Tensor, after: torch.Tensor, paste_xyxy: tuple[int, int, int, int]) -> None:
    changed = (before * 255).round().ne((after * 255).round()).any(1)[0]
    x0, y0, x1, y1 = paste_xyxy
    inside = int(changed[y0:y1, x0:x1].sum())
    print(f"pixels changed: {inside} inside the blurred mask, {int(changed.sum()) - inside} outside")


def _photograph() -> Image.Image:
    try:
        from skimage import data
    except ImportError:
        raise DetailerError("the demonstration needs a photograph from scikit-image; install it: pip install scikit-image") from None
    return Image.fromarray(data.astronaut())
