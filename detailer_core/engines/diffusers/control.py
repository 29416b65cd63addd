"""ControlNets for segments: found by their folder's name, shown the segment's crop."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from ...errors import EngineError, EngineUnsupportedError
from ...sampling import SegmentControl
from .library import class_of_diffusers
from .model import Model
from .samplers import nearest
from .unet import ControlInput


def _canny(image_chw: Tensor) -> Tensor:
    levels = (image_chw.float().cpu().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    edges = cv2.Canny(np.ascontiguousarray(levels), 100, 200)
    return torch.from_numpy(edges).to(image_chw)[None].expand_as(image_chw) / 255


PREPROCESSORS: dict[str, Callable[[Tensor], Tensor]] = {"none": lambda image: image, "canny": _canny}
"""What makes the control picture of a crop `[3, h, w]`, by name."""


class ControlShelf:
    """ControlNets for one model; the last stays loaded."""

    def __init__(self, model: Model, folders: tuple[Path, ...]) -> None:
        self.model, self.folders = model, folders
        self._kept: tuple[Path, Any] | None = None

    def get(self, control: SegmentControl, images_bchw: Tensor) -> ControlInput:
        """The ControlNet with the control pictures of these crops.

        Raises: EngineError if it is missing or damaged; EngineUnsupportedError for a preprocessor or a ControlNet that does not fit.
        """
        if control.module not in PREPROCESSORS:
            raise EngineUnsupportedError(f"control: there is no preprocessor '{control.module}'{nearest(control.module, PREPROCESSORS)}; choose one "
                                         f"of {', '.join(PREPROCESSORS)}")
        net = self._load(self._find(control.model))
        pictures = torch.stack([PREPROCESSORS[control.module](image) for image in images_bchw]).to(self.model.device)
        return ControlInput(net=net, images_bchw=pictures, weight=control.weight, start=control.start, end=control.end)

    def _find(self, name: str) -> Path:
        if (Path(name) / "config.json").is_file():
            return Path(name)
        found = {path.parent.name: path.parent for folder in self.folders for path in sorted(folder.glob("*/config.json"))}
        if name not in found:
            where = ", ".join(str(folder) for folder in self.folders) or "no folder; name one with --control-folder"
            raise EngineError(f"ControlNet '{name}' not found in {where}{nearest(name, tuple(found))}")
        return found[name]

    def _load(self, path: Path) -> Any:
        if self._kept is not None and self._kept[0] == path:
            return self._kept[1]
        self._kept = None  # the old one goes first: both may not fit into memory
        kind = class_of_diffusers("ControlNetModel")
        try:
            net = kind.from_pretrained(str(path), torch_dtype=self.model.dtype, local_files_only=True, use_safetensors=True)
        except (OSError, ValueError, RuntimeError) as error:
            raise EngineError(f"{path} cannot be loaded as a ControlNet: {str(error)[:300]}") from error
        own, wanted = net.config["cross_attention_dim"], self.model.denoiser.config.cross_attention_dim
        if own != wanted:
            raise EngineUnsupportedError(f"control: the ControlNet {path} is for another kind of model: its text is {own} wide, the model's {wanted}")
        self._kept = path, net.to(self.model.device).eval()
        return self._kept[1]
