"""Pictures that are saved beside the finished ones: as they were before, with what was found drawn in, the parts, the masks. Off by default."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from modules import images, processing, shared
from PIL import Image

from detailer_core.pictures import to_pil
from detailer_core.preview import draw_preview
from detailer_core.run import Keep
from detailer_core.segments import combined_mask

from .watcher import UnitSeen, Watcher

KINDS = ("before", "preview", "crops", "masks")
"""What can be saved; the names of the choices in the settings."""

WHAT, FOLDER, SUFFIX = "detailer_save", "detailer_save_folder", "detailer_save_suffix"
"""The settings."""
USUAL_SUFFIX = "-detailer-[unit]-[kind]-[segment]"

_LONGEST = 80


def savers(p: Any) -> tuple[Watcher, ...]:
    """Who saves what the settings ask for; nobody if that is nothing, or if the job's own pictures are not to be saved."""
    wanted = [kind for kind in getattr(shared.opts, WHAT, ()) or () if kind in KINDS]
    return () if not wanted or p.do_not_save_samples else (Saver(p, wanted),)


def suffix(pattern: str, *, kind: str, unit: str = "", segment: str = "", label: str = "") -> str:
    """What stands behind the host's own file name. Marks that mean nothing here, and the "-" before them, are left out."""
    values = {"kind": kind, "unit": unit, "segment": segment, "label": label}
    filled = re.sub(r"-?\[(kind|unit|segment|label)\]", lambda m: m[0].replace(f"[{m[1]}]", values[m[1]]) if values[m[1]] else "", pattern)
    return re.sub(r"[^\w\-. ()+,]", "_", filled).rstrip(". ")[:_LONGEST] or f"-{kind}"


class Saver(Watcher):
    """Saves through the host, which gives number, folder of the day, format and generation parameters as to its own pictures."""

    def __init__(self, p: Any, kinds: Sequence[str]) -> None:
        self.p, self.kinds = p, kinds
        self.keep = Keep(cropped="crops" in kinds, enhanced="crops" in kinds)

    def picture_done(self, index: int, before: Image.Image, after: Image.Image) -> None:
        """The picture as it was, if it was changed."""
        if "before" in self.kinds and after is not before:
            self._save(before.copy(), index, kind="before")  # a copy: the host writes into the picture where it has saved it

    def unit_done(self, seen: UnitSeen) -> None:
        """What was found, where it was redrawn, and how."""
        if not seen.outcomes:
            return
        unit = str(seen.unit)
        if "preview" in self.kinds:
            self._save(draw_preview(seen.before_bchw, seen.segments), seen.index, kind="preview", unit=unit)
        if "masks" in self.kinds:
            levels = (combined_mask(seen.segments).cpu().numpy() * 255 + 0.5).astype(np.uint8)
            self._save(Image.fromarray(levels), seen.index, kind="mask", unit=unit)
        for outcome in seen.outcomes if "crops" in self.kinds else ():
            for kind, picture in (("crop", outcome.cropped_bchw), ("redrawn", outcome.enhanced_bchw)):
                if picture is not None:
                    self._save(to_pil(picture.cpu()), seen.index, kind=kind, unit=unit, segment=str(outcome.index + 1), label=outcome.segment.label)

    def _save(self, image: Image.Image, index: int, **names: str) -> None:
        p = self.p
        place = min(index, len(p.all_prompts) - 1)
        info = processing.create_infotext(p, p.all_prompts, p.all_seeds, p.all_subseeds, index=place)
        images.save_image(image, getattr(shared.opts, FOLDER, "").strip() or p.outpath_samples, "", p.all_seeds[place], p.all_prompts[place],
                          shared.opts.samples_format, info=info, p=p, suffix=suffix(getattr(shared.opts, SUFFIX, USUAL_SUFFIX), **names))
