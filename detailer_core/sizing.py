"""Sampling sizes that a model can take, and crop regions that fit them.

Three ways: `exact` keeps the reference's sizes; `multiple` rounds them to what the model can take; `bucket` grows the crop region, never
squashing it, so that the sampling sizes of several segments meet and they can be sampled together.
"""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

from .geometry import Box, SizeWH, box_size_wh, fit_span, round_to_latent

Sizes: TypeAlias = Literal["bucket", "multiple", "exact"]


def bucket_step(side: int, multiple: int) -> int:
    """Distance of buckets around a side, in pixels: at most an eighth of it, and a multiple of what the model can take.

    Below 256 px a crop is cheap, and growing it would show the model another picture for nothing.
    """
    wanted = 64 if side >= 512 else 32 if side >= 256 else multiple
    return math.ceil(wanted / multiple) * multiple


def fit(crop_xyxy: Box, size_wh: SizeWH, picture_wh: SizeWH, *, sizes: Sizes, multiple: int, max_size: float) -> tuple[Box, SizeWH]:
    """The crop region and its sampling size, both as they will be used.

    size_wh: what `geometry.decide_size` found for the region. multiple: what the model's sizes must be a multiple of, in pixels.
    In `bucket` the region grows around its centre, moved into the picture; where the picture ends, that side is rounded as in `multiple`.
    """
    if sizes == "exact":
        return crop_xyxy, size_wh
    rounded = _round(size_wh, multiple, max_size)
    if sizes == "multiple":
        return crop_xyxy, rounded
    spans: list[tuple[int, int]] = []
    final: list[int] = []
    for axis in (0, 1):
        start, end = crop_xyxy[axis], crop_xyxy[axis + 2]
        span, side = _grow_side((start, end), size_wh[axis], rounded[axis], picture_wh[axis], multiple, max_size)
        spans.append(span)
        final.append(side)
    (x0, x1), (y0, y1) = spans
    return (x0, y0, x1, y1), (final[0], final[1])


def _round(size_wh: SizeWH, multiple: int, max_size: float) -> SizeWH:
    """Both sides at the nearest multiple; one that `max_size` allows is not rounded up beyond it."""
    width, height = round_to_latent(size_wh, multiple)
    largest = max(multiple, int(max_size // multiple) * multiple)
    return (min(width, largest) if size_wh[0] <= max_size else width, min(height, largest) if size_wh[1] <= max_size else height)


def _grow_side(span: tuple[int, int], side: int, rounded: int, limit: int, multiple: int, max_size: float) -> tuple[tuple[int, int], int]:
    step = bucket_step(side, multiple)
    bucket = math.ceil(side / step) * step
    length = span[1] - span[0]
    wanted = round(length * bucket / side)
    if bucket == side or bucket > max(max_size, side) or wanted > limit:
        return span, rounded
    return fit_span(limit, int((span[0] + span[1]) / 2 - wanted / 2), wanted), bucket


def scale_of(crop_xyxy: Box, size_wh: SizeWH) -> tuple[float, float]:
    """Enlargement of a crop region in x and y."""
    width, height = box_size_wh(crop_xyxy)
    return size_wh[0] / width, size_wh[1] / height
