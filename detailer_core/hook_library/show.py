"""A hook that shows the work as it goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from ..geometry import Box
from ..hooks import DetailerHook


@dataclass(frozen=True, kw_only=True, slots=True)
class Preview(DetailerHook):
    """Shows the work as it goes on and changes nothing: copies go out, so that whoever gets them may keep and change them.

    crops: gets the redrawn crops of a wave, float 0..1 `[N, 3, h, w]` at sampling size. picture: gets the picture after each pasted segment,
    as the run has it, and the box that changed.
    """

    crops: Callable[[Tensor], object] | None = None
    picture: Callable[[Tensor, Box], object] | None = None

    @property
    def name(self) -> str:
        """How messages call it."""
        return "preview"

    def uses(self, point: str) -> bool:
        """Where there is someone to show it to."""
        return (point == "after_decode" and self.crops is not None) or (point == "after_paste" and self.picture is not None)

    def after_decode(self, images_bchw: Tensor) -> Tensor:
        """The same crops."""
        if self.crops is not None:
            self.crops(images_bchw.detach().clone())
        return images_bchw

    def after_paste(self, picture_bchw: Tensor, paste_xyxy: Box) -> Tensor:
        """The same picture."""
        if self.picture is not None:
            self.picture(picture_bchw.detach().clone(), paste_xyxy)
        return picture_bchw
