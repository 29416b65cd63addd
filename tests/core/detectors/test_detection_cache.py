"""What was found in the last pictures: keys, limits, and that nothing is found twice."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from played import Played, PlayedShelf, thing

from detailer_core.detectors.base import DetectOptions
from detailer_core.detectors.detection_cache import DetectionCache, picture_key
from detailer_core.detectors.tiling import Tiling

OPTIONS = DetectOptions()
CHANGES = {"confidence": 0.31, "iou": 0.71, "image_size": 640, "max_detections": 299, "class_names": ("face",), "across_classes": True,
           "device": "cuda:0"}


@pytest.fixture
def picture() -> np.ndarray:
    """A small picture."""
    return np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)


def test_the_second_call_does_not_detect(tmp_path: Path, picture: np.ndarray) -> None:
    """The same pixels, file and options are looked at once, by whichever handle, and the answer is the same."""
    player = Played(thing((1, 2, 30, 30), mask=True))
    shelf = PlayedShelf(tmp_path, a=player)
    first = shelf.handle("a.pt").detect(picture, OPTIONS)
    assert list(shelf.handle("detailer/a.pt").detect(picture.copy(), OPTIONS)) == list(first)
    assert len(player.asked) == 1


def test_every_option_has_a_test() -> None:
    """An option that is added to the detectors' is added here."""
    assert set(CHANGES) == set(DetectOptions.__dataclass_fields__)


@pytest.mark.parametrize("option", CHANGES)
def test_any_other_option_detects(tmp_path: Path, picture: np.ndarray, option: str) -> None:
    """Each option counts."""
    player = Played(thing((1, 2, 30, 30)))
    handle = PlayedShelf(tmp_path, a=player).handle("a.pt")
    handle.detect(picture, OPTIONS)
    handle.detect(picture, replace(OPTIONS, **{option: CHANGES[option]}))
    assert len(player.asked) == 2


def test_any_other_picture_detects(tmp_path: Path, picture: np.ndarray) -> None:
    """One pixel that differs by one, the same bytes in another shape, and a view of the picture."""
    player = Played(thing((1, 2, 30, 30)))
    handle = PlayedShelf(tmp_path, a=player).handle("a.pt")
    other = picture.copy()
    other[39, 49, 2] ^= 1
    for count, look in enumerate((picture, other, picture.reshape(50, 40, 3), picture[:, ::-1]), start=1):
        handle.detect(look, OPTIONS)
        assert len(player.asked) == count
    handle.detect(picture[:, ::-1].copy(), OPTIONS)
    assert len(player.asked) == 4


def test_another_file_or_tiling_detects(tmp_path: Path, picture: np.ndarray) -> None:
    """A file that has changed, another detector, other tiles."""
    one, other = Played(thing((1, 2, 30, 30))), Played()
    shelf = PlayedShelf(tmp_path, a=one, b=other)
    shelf.handle("a.pt").detect(picture, OPTIONS)
    assert list(shelf.handle("b.pt").detect(picture, OPTIONS)) == []
    shelf.handle("a.pt", tiling=Tiling(side=30)).detect(picture, OPTIONS)
    shelf.handle("a.pt", tiling=Tiling(side=30, overlap=0.5)).detect(picture, OPTIONS)
    looks = len(one.asked)
    assert looks > 3
    os.utime(tmp_path / "detailer" / "a.pt", ns=(1, 1))
    shelf.handle("a.pt").detect(picture, OPTIONS)
    assert len(one.asked) == looks + 1


def test_what_is_known_needs_no_detector(tmp_path: Path, picture: np.ndarray) -> None:
    """With the detector let go after each picture, a preview and the run after it load it once; `unload` forgets all."""
    shelf = PlayedShelf(tmp_path, a=Played(thing((1, 2, 30, 30))))
    for _ in range(3):
        shelf.handle("a.pt", keep=False).detect(picture, OPTIONS)
    assert shelf.loads == ["a.pt"]
    shelf.handle("a.pt", keep=False).detect(picture[::-1], OPTIONS)
    assert shelf.loads == ["a.pt"] * 2
    shelf.unload()
    shelf.handle("a.pt").detect(picture, OPTIONS)
    assert shelf.loads == ["a.pt"] * 3


def test_what_failed_is_tried_again(tmp_path: Path, picture: np.ndarray) -> None:
    """An error is not remembered."""
    def fail(_: np.ndarray) -> list:
        raise ValueError("ordered")

    player = Played(look=fail)
    handle = PlayedShelf(tmp_path, a=player).handle("a.pt")
    for _ in range(2):
        with pytest.raises(ValueError, match="ordered"):
            handle.detect(picture, OPTIONS)
    assert len(player.asked) == 2


def test_few_results_are_kept() -> None:
    """The least recently used goes first."""
    cache = DetectionCache(max_entries=2)
    cache.put("a", [thing((0, 0, 1, 1))])
    cache.put("b", [])
    assert cache.get("a") is not None
    cache.put("c", [])
    assert [cache.get(key) is not None for key in "abc"] == [True, False, True]
    cache.clear()
    assert cache.get("a") is None


def test_masks_are_limited_in_bytes() -> None:
    """Large masks push older results out; what is too large by itself is given back and not kept."""
    cache = DetectionCache(max_bytes=4 * 2500)
    cache.put("a", [thing((0, 0, 40, 40), mask=True)])
    cache.put("b", [thing((0, 0, 40, 40), mask=True)])
    assert (cache.get("a"), len(cache.get("b") or ())) == (None, 1)
    assert len(cache.put("c", [thing((0, 0, 60, 60), mask=True)])) == 1
    assert cache.get("c") is None


def test_kept_masks_cannot_be_spoilt() -> None:
    """Whoever writes to a mask that others will get is told."""
    (found,) = DetectionCache().put("a", [thing((0, 0, 4, 4), mask=True)])
    assert found.mask_hw is not None
    with pytest.raises(ValueError, match="read-only"):
        found.mask_hw[0, 0] = 0


def test_threads_share_a_cache() -> None:
    """Many threads at once neither lose the limit nor each other's answers."""
    cache = DetectionCache(max_entries=4)
    wrong: list[object] = []

    def work(own: int) -> None:
        for i in range(300):
            key = (own + i) % 7
            found = cache.get(key)
            if found is not None and found[0].confidence != key / 10:
                wrong.append(key)
            cache.put(key, [thing((0, 0, 1, 1), confidence=key / 10)])

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert sum(cache.get(key) is not None for key in range(7)) <= 4


def test_keys_of_pictures(picture: np.ndarray) -> None:
    """Equal pixels have equal keys, wherever they lie in memory."""
    assert picture_key(picture) == picture_key(np.asfortranarray(picture)) != picture_key(picture[1:])
