"""The host's face restoration on redrawn parts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import standin
from scenes import Stage, cells, difference, inside, notes, pixels

every_host = pytest.mark.parametrize("played", list(standin.HOSTS), indirect=True, scope="module")


class Painter:
    """A face restoration that makes all red, or fails."""

    def __init__(self, name: str, error: Exception | None = None) -> None:
        self.label, self.error, self.seen = name, error, list[np.ndarray]()

    def name(self) -> str:
        """As in the host's settings."""
        return self.label

    def restore(self, np_image: np.ndarray, w: float | None = None) -> np.ndarray:
        """Red, as a mirrored view, as the hosts' own give it back."""
        self.seen.append(np_image)
        if self.error is not None:
            raise self.error
        red = np.zeros_like(np_image)
        red[..., 2] = 255
        return red[:, :, ::-1]


@pytest.fixture
def painter(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Painter:
    """A host with two of them, of which the second is chosen."""
    chosen = Painter(stage.world.shared.opts.face_restoration_model)
    monkeypatch.setattr(stage.world.shared, "face_restorers", [Painter("other", ValueError("not this one")), chosen])
    return chosen


@every_host
def test_each_redrawn_part_is_restored(stage: Stage, painter: Painter) -> None:
    """It gets each part as redrawn, at sampling size in 8 bit, and what it makes of it is pasted, there only; other units do without."""
    result = stage.txt2img({"restore_face": True})
    assert [(seen.shape, seen.dtype) for seen in painter.seen] == [((64, 64, 3), np.uint8)] * 2 and notes(result) == ""
    assert (pixels(result.images[0])[inside([(14, 14, 18, 18)])] == (255, 0, 0)).all()
    plain = stage.txt2img({})
    assert len(painter.seen) == 2 and not (difference(plain.images[0], result.images[0]) > 0)[~inside(cells(2), grow=2)].any()


@every_host
def test_without_a_model(stage: Stage, painter: Painter, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that has none, or not the chosen one, says so, and the picture is as it was."""
    plain = stage.txt2img()
    monkeypatch.setitem(stage.world.shared.opts.data, "face_restoration_model", "GFPGAN")
    result = stage.txt2img({"restore_face": True})
    assert "restore_face: the engine 'webui' does not support face restoration here" in notes(result)
    assert np.array_equal(pixels(plain.images[0]), pixels(result.images[0])) and painter.seen == []


def test_one_that_fails(stage: Stage, painter: Painter) -> None:
    """The parts stay as they were, and the infotext says why."""
    painter.error = RuntimeError("no file")
    plain, result = stage.txt2img(), stage.txt2img({"restore_face": True})
    told: Any = notes(result)
    assert "face restoration failed: RuntimeError: no file" in told and np.array_equal(pixels(plain.images[0]), pixels(result.images[0]))
