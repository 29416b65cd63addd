"""The project from Python, with the engine that needs no model."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from stub_engine import StubEngine

import detailer_core
from detailer_core import Settings, detail, detail_all, detail_with_report, load_detector, load_engine
from detailer_core.errors import DetectorError, EngineError, PictureError, SettingsError
from detailer_core.run import RunOptions
from detailer_core.settings import UnitSettings

REPOSITORY = Path(__file__).resolve().parents[2]
SMALL = {"guide_size": 64, "max_size": 128, "crop_factor": 1.5}


def photo(seed: int = 3) -> Image.Image:
    """A picture full of detail."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (64, 96, 3), dtype=np.uint8))


def mask(*boxes: tuple[int, int, int, int]) -> np.ndarray:
    """A mask with white boxes."""
    levels = np.zeros((64, 96), np.uint8)
    for x0, y0, x1, y1 in boxes or ((30, 20, 60, 45),):
        levels[y0:y1, x0:x1] = 255
    return levels


@pytest.mark.parametrize("kind", ["pil", "numpy", "float", "torch"])
def test_a_picture_of_each_kind(kind: str) -> None:
    """The same kind comes back, changed inside the mask and nowhere else; the given picture stays; all kinds show the same."""
    given: Any = {"pil": photo(), "numpy": np.asarray(photo()), "float": np.asarray(photo()) / 255,
                  "torch": torch.from_numpy(np.array(photo())).permute(2, 0, 1)}[kind]
    done = detail(given, Settings(**SMALL), engine=load_engine("filter"), detector=load_detector("mask", mask=mask()))
    assert type(done) is type(given)
    before, after = np.asarray(photo()).astype(int), {"pil": lambda d: np.asarray(d), "numpy": lambda d: d, "float": lambda d: np.rint(d * 255),
                                                      "torch": lambda d: d.permute(1, 2, 0).numpy()}[kind](done).astype(int)
    changed = (before != after).any(-1)
    assert changed[22:43, 32:58].mean() > 0.5
    outside = np.ones((64, 96), bool)
    outside[10:55, 20:70] = False
    assert not changed[outside].any()
    reference = np.asarray(detail(photo(), Settings(**SMALL), engine=load_engine("filter"), detector=load_detector("mask", mask=mask()))).astype(int)
    assert np.abs(reference - after).max() <= 1


def test_several_units_work_one_after_another() -> None:
    """Two units are two calls; each has a detector of its own."""
    engine, detectors = load_engine("filter"), [load_detector("mask", mask=mask((5, 5, 30, 30))), load_detector("mask", mask=mask((20, 20, 60, 50)))]
    units = [Settings(**SMALL), Settings(**SMALL, denoise=0.9)]
    both = detail(photo(), units, engine=engine, detector=detectors)
    apart = detail(detail(photo(), units[0], engine=engine, detector=detectors[0]), units[1], engine=engine, detector=detectors[1])
    assert np.abs(np.asarray(both).astype(int) - np.asarray(apart).astype(int)).max() <= 1  # apart, the first result was rounded to 8 bit


def test_the_report_tells_what_was_done() -> None:
    """Each segment's state, reason, box, prompt and seed, and a sentence."""
    detector = load_detector("mask", mask=mask((5, 5, 30, 30), (50, 20, 80, 50)))
    report = detail_with_report(photo(), Settings(**SMALL, prompt="[SKIP] [SEP] [PROMPT], freckles"), engine=load_engine("filter"),
                                detector=detector, prompt="a face", seed=7)
    assert report.summary == "1 skipped (the prompt says [SKIP]), 1 done"
    skipped, done = report.outcomes
    assert skipped.plan is None and done.plan is not None
    assert (done.plan.prompt, done.plan.seed, done.segment.bbox_xyxy) == ("a face, freckles", 8, (50, 20, 80, 50))
    assert isinstance(report.picture, Image.Image) and len(report.units) == 1
    nothing = load_detector("mask", mask=np.zeros((64, 96)))
    assert detail_with_report(photo(), engine=load_engine("filter"), detector=nothing).summary == "nothing found"


def test_several_pictures_share_waves() -> None:
    """Their parts are sampled together, each as it would be alone, and every report is its own picture's."""
    engine, settings = StubEngine(), Settings(**SMALL, noise_mask_feather=0)
    images = [photo(seed) for seed in range(3)]
    together = detail_all(images, settings, engine=engine, detector=load_detector("mask", mask=mask()))
    assert engine.waves == [3]
    for image, one in zip(images, together, strict=True):
        alone = detail_with_report(image, settings, engine=StubEngine(), detector=load_detector("mask", mask=mask()))
        assert alone.picture.tobytes() == one.picture.tobytes()
        assert [o.state for o in one.outcomes] == ["done"] and one.units[0].run.pictures[0].shape == (1, 3, 64, 96)


def test_a_part_that_fails_is_left(caplog: pytest.LogCaptureFixture) -> None:
    """The picture comes back as it was, the log warns, and the report has the reason."""
    report = detail_with_report(photo(), Settings(**SMALL, noise_mask_feather=0), engine=StubEngine(fail_at=frozenset({1})),
                                detector=load_detector("mask", mask=mask()))
    assert report.picture.tobytes() == photo().tobytes()
    assert "told to fail" in caplog.text and "1 failed (the stub was told to fail)" in report.summary


def test_detectors_by_the_settings(tmp_path: Path) -> None:
    """Without a detector the settings name it; what is not there is told."""
    whole = detail(photo(), Settings(**SMALL, detector="whole"), engine=load_engine("filter"), models=tmp_path)
    assert whole.tobytes() != photo().tobytes()
    with pytest.raises(DetectorError, match=r"'face\.pt' not found"):
        detail(photo(), Settings(detector="face.pt"), engine=load_engine("filter"), models=tmp_path)


@pytest.mark.parametrize("kind", ["array", "pil", "file", "tensor"])
def test_masks_of_every_kind(tmp_path: Path, kind: str) -> None:
    """A mask may be a file, an array, a tensor or a Pillow picture."""
    Image.fromarray(mask()).save(tmp_path / "mask.png")
    source: Any = {"array": mask(), "pil": Image.fromarray(mask()), "file": tmp_path / "mask.png", "tensor": torch.from_numpy(mask()) / 255}[kind]
    found = load_detector("mask", mask=source).detect(np.asarray(photo()), detailer_core_options())
    assert [d.box_xyxy for d in found] == [(30, 20, 60, 45)]


def detailer_core_options() -> Any:
    """What a detector is asked for."""
    from detailer_core.detectors.base import DetectOptions

    return DetectOptions()


def test_settings_are_the_table_s() -> None:
    """`Settings` is the class that all else is built of, and its values are checked before anything is done."""
    assert Settings is UnitSettings
    with pytest.raises(SettingsError, match=r"denoise .* must lie in 0\.\.1, got 3"):
        detail(photo(), Settings(denoise=3), engine=load_engine("filter"))
    with pytest.raises(TypeError, match="denoize"):
        Settings(denoize=0.3)  # type: ignore[call-arg]


def test_what_cannot_be() -> None:
    """Too few detectors, no units, no picture, no such engine, an engine without its model."""
    engine, detector = load_engine("filter"), load_detector("whole")
    with pytest.raises(SettingsError, match="1 detectors for 2 units; give one for all, or one for each"):
        detail(photo(), [Settings(), Settings()], engine=engine, detector=[detector])
    with pytest.raises(SettingsError, match="no settings of any unit"):
        detail(photo(), [], engine=engine)
    with pytest.raises(PictureError, match="got str"):
        detail("photo.png", engine=engine, detector=detector)  # type: ignore[type-var]
    with pytest.raises(EngineError, match="unknown engine 'magic'"):
        load_engine("magic")
    with pytest.raises(EngineError, match="'diffusers' needs a model"):
        load_engine()


def test_options_reach_the_run() -> None:
    """Progress and interrupts of a run are the caller's."""
    seen: list[int] = []
    detail(photo(), Settings(**SMALL), engine=load_engine("filter"), detector=load_detector("mask", mask=mask()),
           options=RunOptions(progress=lambda progress: seen.append(progress.segments)))
    assert seen == [1]


def test_names_are_loaded_when_they_are_used() -> None:
    """Importing the package, or a light module of it, loads neither torch nor OpenCV; all names are there and no others."""
    code = ("import sys, detailer_core, detailer_core.settings; assert 'torch' not in sys.modules and 'cv2' not in sys.modules; "
            "detailer_core.detail; assert 'torch' in sys.modules and 'diffusers' not in sys.modules")
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, capture_output=True, timeout=120,
                          check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert set(dir(detailer_core)) == set(detailer_core.__all__)
    assert all(getattr(detailer_core, name) is not None for name in detailer_core.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        detailer_core.nothing  # noqa: B018


def test_the_package_says_that_it_is_typed() -> None:
    """Type checkers look for this file, and the package brings it along."""
    assert (REPOSITORY / "detailer_core" / "py.typed").is_file()
    assert 'detailer_core = ["py.typed"]' in (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
