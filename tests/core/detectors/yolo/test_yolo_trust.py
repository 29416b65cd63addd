"""Files of architectures that are not known here: run by another library only if the user trusts the very file."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from detailer_core.detectors.base import DetectOptions
from detailer_core.detectors.registry import DetectorFolders, DetectorShelf
from detailer_core.detectors.ultralytics_library import UltralyticsDetector
from detailer_core.errors import ModelFileError, UnknownArchitectureError

Library = Callable[[], ModuleType]
PICTURE = np.zeros((48, 64, 3), np.uint8)


@pytest.fixture
def unknown(tmp_path: Path, write_model: Callable[..., Path], parts: SimpleNamespace) -> Path:
    """A sound model file of an architecture that is not known here."""
    model = parts.model()
    model.model[0].__class__ = parts.classes["A2C2f"]
    (tmp_path / "models" / "yolo").mkdir(parents=True)
    return write_model(tmp_path / "models" / "yolo" / "world.pt", model.half())


def test_a_file_is_run_only_if_it_is_trusted(library: Library, tmp_path: Path, unknown: Path) -> None:
    """Without trust: the SHA-256 and where to allow it, and the library is not even imported. With: it runs. Taken back: it does not."""
    trusted: set[str] = set()
    shelf = DetectorShelf(DetectorFolders(models_root=tmp_path / "models"), trusted=lambda: frozenset(trusted))
    digest = hashlib.sha256(unknown.read_bytes()).hexdigest()
    for _ in range(2):
        with pytest.raises(UnknownArchitectureError, match=rf"'A2C2f'.* allow the SHA-256 {digest} .*Settings, Detailer; .*--trust {digest}"):
            shelf.get("world.pt")
        assert "ultralytics" not in sys.modules
        trusted.add("0" * 64)
    trusted.add(digest)
    assert isinstance(shelf.get("world.pt"), UltralyticsDetector)
    assert shelf.class_names("world.pt") == ("cat", "dog")
    assert [d.label for d in shelf.handle("world.pt").detect(PICTURE, DetectOptions())] == ["cat", "dog"]
    trusted.remove(digest)
    with pytest.raises(UnknownArchitectureError):
        shelf.get("world.pt")
    trusted.add(digest)
    unknown.write_bytes(unknown.read_bytes() + b"x")
    with pytest.raises((UnknownArchitectureError, ModelFileError)):
        shelf.get("world.pt")


def test_trust_does_not_reach_what_we_know_or_refuse(library: Library, tmp_path: Path, write_model: Callable[..., Path]) -> None:
    """A known architecture is ours, and a file that is no sound model stays refused, whatever is trusted."""
    (tmp_path / "yolo").mkdir()
    known, bad = write_model(tmp_path / "yolo" / "known.pt"), tmp_path / "yolo" / "bad.pt"
    bad.write_bytes(b"whatever")
    digests = frozenset(hashlib.sha256(path.read_bytes()).hexdigest() for path in (known, bad))
    shelf = DetectorShelf(DetectorFolders(models_root=tmp_path), trusted=lambda: digests)
    assert not isinstance(shelf.get("known.pt"), UltralyticsDetector)
    with pytest.raises(ModelFileError, match=r"bad\.pt") as caught:
        shelf.get("bad.pt")
    assert "allow" not in str(caught.value)
    assert "ultralytics" not in sys.modules
