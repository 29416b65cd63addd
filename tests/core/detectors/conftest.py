"""A played library ultralytics, which does to the process what the real one does, and more."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

LIBRARY = '''
import os, random, warnings
import cv2, numpy, torch

SEEN = {name: os.environ.get(name) for name in ("YOLO_OFFLINE", "YOLO_AUTOINSTALL", "YOLO_VERBOSE")}

def leak(where):
    os.environ["PLAYED_" + where] = "1"
    os.environ.pop("PLAYED_BEFORE", None)
    os.environ["PATH"] = "elsewhere"
    torch.set_num_threads(3)
    cv2.setNumThreads(3)
    torch.save = cv2.imread = print
    numpy.set_printoptions(linewidth=320, formatter={"float_kind": "{:11.5g}".format})
    torch.set_printoptions(linewidth=320, precision=2)
    warnings.filterwarnings("ignore")
    random.seed(0), numpy.random.seed(0), torch.manual_seed(0)
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = True

leak("IMPORT")

class Part:
    def __init__(self, **parts):
        vars(self).update(parts)

class YOLO:
    def __init__(self, path):
        leak("LOAD")
        if "broken" in path:
            raise KeyError("ordered")
        self.path, self.names, self.asked = path, {0: "cat", 1: "dog"}, []

    def predict(self, picture, **asked):
        leak("CALL")
        self.asked.append((picture, asked))
        if "fails" in self.path:
            raise RuntimeError("ordered")
        boxes = Part(xyxy=torch.tensor([[30.5, 5.0, 60.25, 40.0], [1.0, 2.0, 21.0, 12.0], [5.0, 5.0, float("nan"), 9.0]]),
                     conf=torch.tensor([0.5, 0.75, 0.9]), cls=torch.tensor([1.0, 0.0, 0.0]))
        masks = torch.zeros(3, *picture.shape[:2])
        masks[0, 10:20, 40:50] = 1
        masks[1, 2:12, 1:21] = 1
        return [Part(boxes=None if "classes" in self.path else boxes, masks=Part(data=masks) if "seg" in self.path else None)]
'''

@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], ModuleType]]:
    """The played library can be imported; the call gives it if it has been."""
    (tmp_path / "site" / "ultralytics").mkdir(parents=True)
    (tmp_path / "site" / "ultralytics" / "__init__.py").write_text(LIBRARY, encoding="utf-8")
    monkeypatch.delitem(sys.modules, "ultralytics", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setenv("PLAYED_BEFORE", "mine")
    yield lambda: sys.modules["ultralytics"]
    sys.modules.pop("ultralytics", None)
