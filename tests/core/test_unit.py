"""A unit as a whole: what an earlier one has redrawn is left alone only where the settings say so."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from stub_engine import StubEngine

from detailer_core.detectors.base import Detection, DetectOptions
from detailer_core.run import Outcome
from detailer_core.sampling import MainGeneration
from detailer_core.segments import Segment, Segments
from detailer_core.settings import UnitSettings, make_settings
from detailer_core.unit import DoneParts, UnitTools, find_segments, run_unit

Box = tuple[int, int, int, int]
PICTURE = torch.full((1, 3, 100, 200), 0.5)


class Found:
    """A plain detector with fixed boxes."""

    name = "found"
    class_names = ("face", "hand")

    def __init__(self, *boxes: Box) -> None:
        self.boxes = boxes
        self.asked: list[DetectOptions] = []

    def detect(self, picture_hwc: np.ndarray, options: DetectOptions) -> Sequence[Detection]:
        """The boxes."""
        self.asked.append(options)
        return [Detection(box_xyxy=box, label="face") for box in self.boxes]


def segment(box: Box) -> Segment:
    """A segment that is all mask."""
    return Segment(bbox_xyxy=box, crop_xyxy=box, mask_hw=torch.ones(box[3] - box[1], box[2] - box[0]))


def left(done: DoneParts, settings: UnitSettings, *boxes: Box) -> list[Box]:
    """Which of these segments are left."""
    segments = Segments(size_wh=(200, 100), items=tuple(segment(box) for box in boxes))
    return [s.bbox_xyxy for s in done.leave_out(segments, settings)]


FACE, SAME, ELSEWHERE = (10, 10, 50, 50), (15, 10, 55, 50), (100, 10, 140, 50)
"""SAME overlaps FACE by 35 * 40 / (45 * 40) = 0.78."""


@pytest.mark.parametrize(("value", "boxes"), [(0.0, [FACE, SAME, ELSEWHERE]), (0.05, [ELSEWHERE]), (0.77, [ELSEWHERE]), (0.78, [SAME, ELSEWHERE]),
                                              (1.0, [SAME, ELSEWHERE])])
def test_what_was_redrawn_is_left_out(value: float, boxes: list[Box]) -> None:
    """By its overlap, the value included; with 0, the default, nothing is."""
    done = DoneParts(boxes=(FACE,))
    assert left(done, make_settings({"skip_done": value}), FACE, SAME, ELSEWHERE) == boxes
    assert make_settings().skip_done == 0


def test_only_finished_parts_count() -> None:
    """What was skipped, failed or interrupted is the next unit's to do; parts of several units add up."""
    outcomes = [Outcome(index=i, segment=segment(box), state=state) for i, (box, state) in enumerate(
        [(FACE, "done"), (ELSEWHERE, "failed"), ((150, 10, 190, 50), "skipped"), ((60, 10, 90, 50), "interrupted")])]  # type: ignore[arg-type]
    done = DoneParts().adding(outcomes)
    assert done == DoneParts(boxes=(FACE,))
    assert done.adding([Outcome(index=0, segment=segment(ELSEWHERE), state="done")]).boxes == (FACE, ELSEWHERE)
    assert left(DoneParts(), make_settings({"skip_done": 0.5}), FACE) == [FACE]


def test_a_second_unit_does_what_the_first_left() -> None:
    """Through two whole runs: the face that is done already is not redrawn, the other one is."""
    settings = make_settings({"guide_size": 64, "max_size": 64, "steps": 2, "skip_done": 0.5})
    first = run_unit([PICTURE], [MainGeneration()], settings, UnitTools(detector=Found(FACE), engine=StubEngine()))
    done = DoneParts().adding(first.run.outcomes[0])
    second = find_segments(first.run.pictures[0], settings, Found(SAME, ELSEWHERE))
    assert [s.bbox_xyxy for s in done.leave_out(second, settings)] == [ELSEWHERE]


def test_a_plain_detector_is_asked_as_the_settings_say() -> None:
    """Without a shelf, too, the options reach the detector."""
    detector = Found(FACE)
    found = find_segments(PICTURE, make_settings({"labels": "face", "iou": 0.2, "image_size": 800}), detector, "cuda:0")
    assert [s.bbox_xyxy for s in found] == [FACE]
    assert detector.asked == [DetectOptions(iou=0.2, image_size=800, class_names=("face",), device="cuda:0")]
