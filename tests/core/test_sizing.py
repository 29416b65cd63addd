"""Sampling sizes a model can take: by hand, and what holds for every crop."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detailer_core.geometry import Box, SizeWH, box_size_wh
from detailer_core.sizing import bucket_step, fit, scale_of

steady = settings(deadline=None, max_examples=200)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Box, SizeWH, SizeWH, int, int]:
    """A crop inside a picture, its reference size, the picture's size, a multiple, and a limit that the size keeps to."""
    width, height = draw(st.integers(16, 2048)), draw(st.integers(16, 2048))
    x0, y0 = draw(st.integers(0, width - 16)), draw(st.integers(0, height - 16))
    crop = (x0, y0, draw(st.integers(x0 + 16, width)), draw(st.integers(y0 + 16, height)))
    factor = draw(st.floats(1, 8))
    size = tuple(max(1, int(s * factor)) for s in box_size_wh(crop))
    return crop, size, (width, height), draw(st.sampled_from([8, 16, 64])), max(size) + draw(st.integers(0, 200))  # type: ignore[return-value]


@pytest.mark.parametrize(("side", "multiple", "step"), [(8, 8, 8), (255, 8, 8), (256, 8, 32), (511, 8, 32), (512, 8, 64), (2000, 8, 64),
                                                        (100, 64, 64), (300, 64, 64), (300, 48, 48), (600, 48, 96)])
def test_bucket_step_by_hand(side: int, multiple: int, step: int) -> None:
    """Small sides have fine buckets, and every bucket is a multiple of what the model takes."""
    assert bucket_step(side, multiple) == step


@pytest.mark.parametrize(("sizes", "crop", "size", "fitted"), [
    ("exact", (10, 20, 110, 120), (517, 333), ((10, 20, 110, 120), (517, 333))),
    ("multiple", (10, 20, 110, 120), (517, 331), ((10, 20, 110, 120), (520, 328))),
    ("multiple", (10, 20, 110, 120), (3, 1022), ((10, 20, 110, 120), (8, 1024))),
    # 520 -> 576: 100 * 576 / 520 = 110.8 -> 111 px around 60; 512 is a bucket: nothing moves.
    ("bucket", (10, 20, 110, 120), (520, 512), ((4, 20, 115, 120), (576, 512))),
    # At the picture's edge the region is moved into it.
    ("bucket", (0, 20, 100, 120), (520, 512), ((0, 20, 111, 120), (576, 512))),
    ("bucket", (300, 20, 400, 120), (520, 512), ((289, 20, 400, 120), (576, 512))),
    # 1000 -> 1024 wants 410 px of 400: that side is rounded as in `multiple`.
    ("bucket", (0, 0, 400, 100), (1000, 256), ((0, 0, 400, 100), (1000, 256))),
    # 1023 -> 1024 is allowed, 1025 -> 1088 would exceed max_size and is rounded.
    ("bucket", (0, 0, 99, 99), (1023, 1030), ((0, 0, 99, 99), (1024, 1032))),
])
def test_fit_by_hand(sizes: str, crop: Box, size: SizeWH, fitted: tuple[Box, SizeWH]) -> None:
    """The three ways, in a picture of 400x400 pixels and with a limit of 1024."""
    assert fit(crop, size, (400, 400), sizes=sizes, multiple=8, max_size=1024) == fitted  # type: ignore[arg-type]


def test_rounding_does_not_exceed_the_limit() -> None:
    """A size within max_size stays within it, also where the nearest multiple lies beyond."""
    crop = (0, 0, 400, 400)
    for sizes in ("multiple", "bucket"):
        assert fit(crop, (1020, 510), (400, 400), sizes=sizes, multiple=8, max_size=1020)[1][0] == 1016  # type: ignore[arg-type]
        assert fit(crop, (1000, 1000), (400, 400), sizes=sizes, multiple=64, max_size=1000)[1] == (960, 960)  # type: ignore[arg-type]


def test_a_forced_size_beyond_the_limit_is_rounded_to_the_nearest() -> None:
    """A crop that is redrawn at its own size is not cut down to max_size (REFERENCE item 20)."""
    assert fit((0, 0, 1503, 900), (1503, 900), (2000, 2000), sizes="multiple", multiple=8, max_size=1024)[1] == (1504, 896)


@steady
@given(cases(), st.sampled_from(["multiple", "bucket"]))
def test_sizes_are_multiples_within_the_limit(case: tuple[Box, SizeWH, SizeWH, int, int], sizes: str) -> None:
    """Every sampling size can be taken by the model and exceeds max_size nowhere, unless one multiple does already."""
    crop, size, picture, multiple, limit = case
    _, fitted = fit(crop, size, picture, sizes=sizes, multiple=multiple, max_size=limit)  # type: ignore[arg-type]
    assert all(side % multiple == 0 and multiple <= side <= max(limit, multiple) for side in fitted)


@steady
@given(cases())
def test_a_grown_region_holds_the_crop(case: tuple[Box, SizeWH, SizeWH, int, int]) -> None:
    """A bucket's region lies in the picture, holds the crop, and is by no more than a bucket's share larger."""
    crop, size, picture, multiple, limit = case
    region, _ = fit(crop, size, picture, sizes="bucket", multiple=multiple, max_size=limit)
    for axis in (0, 1):
        assert 0 <= region[axis] <= crop[axis] < crop[axis + 2] <= region[axis + 2] <= picture[axis]
        length, grown = crop[axis + 2] - crop[axis], region[axis + 2] - region[axis]
        assert grown <= length * (1 + bucket_step(size[axis], multiple) / size[axis]) + 1


@steady
@given(cases(), st.sampled_from(["multiple", "bucket"]))
def test_nothing_is_squashed(case: tuple[Box, SizeWH, SizeWH, int, int], sizes: str) -> None:
    """A side's enlargement changes by its rounding only: half a multiple, or a whole one at the limit; half a pixel of a grown region."""
    crop, size, picture, multiple, limit = case
    region, fitted = fit(crop, size, picture, sizes=sizes, multiple=multiple, max_size=limit)  # type: ignore[arg-type]
    for axis in (0, 1):
        before = size[axis] / (crop[axis + 2] - crop[axis])
        length = region[axis + 2] - region[axis]
        off = abs(scale_of(region, fitted)[axis] / before - 1)
        if region[axis::2] == crop[axis::2]:
            nearest = multiple / 2 if limit - size[axis] >= multiple / 2 else multiple
            bound = max(nearest, multiple - size[axis]) / size[axis]
            # A bucket that a short crop cannot grow to by whole pixels is off by up to half a pixel of the crop.
            bound = max(bound, 0.5 / length if sizes == "bucket" else 0.0)
        else:
            bound = 0.5 / (length - 0.5)
        assert off <= bound + 1e-9


def test_scale_of_by_hand() -> None:
    """Enlargement is sampling size over region size, x first."""
    assert scale_of((10, 10, 60, 35), (100, 200)) == (2.0, 8.0)
