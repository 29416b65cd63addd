"""A VAE in tiles, for pictures that it cannot take whole: only after it ran out of memory, since tiles are not quite the same picture.

A VAE works on one picture at a time, so a smaller wave would not help it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Iterator

import torch
from torch import Tensor

from ..errors import EngineMemoryError

logger = logging.getLogger(__name__)

TILES = (96, 64, 32)
"""Sides of the tiles that are tried one after another, in latent pixels."""

OVERLAP = 16
"""How far neighbouring tiles overlap, in latent pixels: beyond it, a decoder hardly sees a pixel's surroundings."""


class VaeTiles:
    """Which tiles fitted, by what the caller says of model and size. Lives across waves, owned by whoever keeps an engine."""

    def __init__(self) -> None:
        self._tile: dict[Hashable, int] = {}

    def run(self, work: Callable[[Tensor], Tensor], source_bchw: Tensor, *, key: Hashable, latent_pixel: int, is_full: Callable[[Exception], bool],
            free: Callable[[], None] = lambda: None) -> Tensor:
        """What `work` makes of the source, `[B, C, h, w]`: of all of it, or of tiles where it runs out of memory.

        key: names the model. latent_pixel: side of a latent pixel in the source's pixels: 1 to decode, 8 to encode. is_full: whether an
        exception says that memory is full. free: gives memory back before the next try.
        Raises: EngineMemoryError if the smallest tiles do not fit either; whatever else `work` raises.
        """
        key = (key, tuple(source_bchw.shape[-2:]), latent_pixel)
        for tile in self._choices(key, max(source_bchw.shape[-2:]) // latent_pixel):
            try:
                made = apply_in_tiles(work, source_bchw, tile=tile * latent_pixel, overlap=OVERLAP * latent_pixel) if tile else work(source_bchw)
            except Exception as error:
                if not is_full(error):
                    raise
            else:
                self._remember(key, tile)
                return made
            free()  # not from the handler, which holds what did not fit
        raise EngineMemoryError(f"the device ran out of memory in the VAE, even in tiles of {TILES[-1]} latent pixels; lower max_size")

    def _choices(self, key: Hashable, longest: int) -> Iterator[int]:
        first = self._tile.get(key, 0)
        if not first:
            yield 0
        yield from (tile for tile in TILES if tile < longest and (not first or tile <= first))

    def _remember(self, key: Hashable, tile: int) -> None:
        if self._tile.get(key, 0) != tile:
            logger.info("the VAE works in tiles of %s latent pixels: it ran out of memory with the whole picture", tile)
            self._tile[key] = tile


def apply_in_tiles(work: Callable[[Tensor], Tensor], source_bchw: Tensor, *, tile: int, overlap: int) -> Tensor:
    """What `work` makes of overlapping tiles, put together with linear ramps.

    tile, overlap: in the source's pixels, overlap below tile. work: changes the size by one ratio, of which tile, overlap and the source's
    sides are multiples.
    """
    height, width = source_bchw.shape[-2:]
    total: Tensor | None = None
    weights: Tensor | None = None
    for y0, y1 in spans(height, tile, overlap):
        for x0, x1 in spans(width, tile, overlap):
            part = work(source_bchw[..., y0:y1, x0:x1])
            up, down = part.shape[-1], x1 - x0
            if total is None or weights is None:
                total = part.new_zeros(*part.shape[:2], height * up // down, width * up // down)
                weights = part.new_zeros(1, 1, *total.shape[-2:])
            rows, columns = slice(y0 * up // down, y1 * up // down), slice(x0 * up // down, x1 * up // down)
            reach = overlap * up // down
            ramp = _ramp(y0 > 0, y1 < height, part.shape[-2], reach)[:, None] * _ramp(x0 > 0, x1 < width, part.shape[-1], reach)
            total[..., rows, columns] += part * ramp.to(part)
            weights[..., rows, columns] += ramp.to(part)
    if total is None or weights is None:
        return work(source_bchw)
    return total / weights


def spans(length: int, tile: int, overlap: int) -> list[tuple[int, int]]:
    """Where tiles begin and end along a side; the last one ends with it."""
    if length <= tile:
        return [(0, length)]
    starts = [*range(0, length - tile, tile - overlap), length - tile]
    return [(start, start + tile) for start in starts]


def _ramp(before: bool, after: bool, length: int, reach: int) -> Tensor:
    """Weights along a side, `[length]`: rising from a neighbour before, falling towards one after."""
    weight = torch.ones(length)
    rise = torch.arange(1, reach + 1) / (reach + 1)
    if before:
        weight[:reach] *= rise
    if after:
        weight[length - reach:] *= rise.flip(0)
    return weight
