"""The list of detectors and the shelf: names, links, reloading, errors."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from detailer_core.detectors import registry
from detailer_core.detectors.base import DetectOptions
from detailer_core.detectors.fixed import TilesDetector, WholeDetector
from detailer_core.detectors.registry import DetectorFolders, DetectorInfo, DetectorShelf, list_detectors
from detailer_core.errors import DetectorError, DetectorNotFoundError, ModelFileError


def put(root: Path, *names: str) -> None:
    """Files, folders included, of which no two are the same."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"not a model, but {name}", encoding="utf-8")


def files(folders: DetectorFolders) -> dict[str, DetectorInfo]:
    """The model files by name."""
    return {info.name: info for info in list_detectors(folders) if info.path is not None}


def link(target: Path, path: Path) -> None:
    """A link, or no test where there are none."""
    try:
        path.symlink_to(target)
    except OSError:
        pytest.skip("this system lets nobody make links")


class Loaded:
    """Stands for a model file that was loaded."""

    def __init__(self, path: Path, **options: Any) -> None:
        self.path, self.options = path, options


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DetectorShelf:
    """A shelf on a folder, whose model files are not really read."""
    monkeypatch.setattr(registry, "YuNetDetector", Loaded)
    return DetectorShelf(DetectorFolders(models_root=tmp_path))


def test_builtin_detectors_need_no_folder(tmp_path: Path) -> None:
    """Without any folder there are the built-in ones, first the default."""
    infos = [info for info in list_detectors(DetectorFolders(models_root=tmp_path / "none")) if info.kind == "builtin"]
    assert [info.name for info in infos] == ["face_haar", "mask", "whole", "tiles"]
    assert all(info.path is None and info.title for info in infos)


def test_all_folders_are_searched(tmp_path: Path) -> None:
    """Ours, ADetailer's, Impact Pack's and extra ones, and folders in them; kinds by their names; other files are passed over."""
    put(
        tmp_path,
        "detailer/a.pt",
        "adetailer/B.safetensors",
        "ultralytics/bbox/c.onnx",
        "ultralytics/segm/d.pt",
        "yolo/sub/e.PT",
        "elsewhere/лицо 1.pt",
        "detailer/face_detection_YuNet_2023mar.onnx",
        "detailer/notes.txt",
        "detailer/.cache/z.safetensors",
        "other/f.pt",
    )
    found = files(DetectorFolders(models_root=tmp_path, extra=(tmp_path / "elsewhere", tmp_path / "gone")))
    assert list(found) == ["a.pt", "B.safetensors", "c.onnx", "d.pt", "e.PT", "face_detection_YuNet_2023mar.onnx", "лицо 1.pt"]
    assert {name for name, info in found.items() if info.kind == "yunet"} == {"face_detection_YuNet_2023mar.onnx"}
    assert found["e.PT"].title == "yolo/sub/e.PT"
    assert found["d.pt"].path == tmp_path / "ultralytics" / "segm" / "d.pt"


def test_equal_names_have_their_folder_before_them(tmp_path: Path) -> None:
    """Names are unique, and a file that is found through two folders is there once."""
    put(tmp_path, "detailer/face.pt", "adetailer/face.pt", "ultralytics/bbox/hand.pt", "one/extra/x.pt", "two/extra/x.pt")
    found = files(
        DetectorFolders(models_root=tmp_path, extra=(tmp_path / "one" / "extra", tmp_path / "two" / "extra", tmp_path / "adetailer"))
    )
    assert set(found) == {
        "detailer/face.pt",
        "adetailer/face.pt",
        "hand.pt",
        (tmp_path / "one/extra/x.pt").as_posix(),
        (tmp_path / "two/extra/x.pt").as_posix(),
    }


def test_links_out_of_the_folder_are_left_out(tmp_path: Path) -> None:
    """A link may name another file of its folder, not one outside, and a folder outside is not entered."""
    put(tmp_path, "detailer/a.pt", "secret/b.pt")
    link(tmp_path / "detailer" / "a.pt", tmp_path / "detailer" / "same.pt")
    link(tmp_path / "secret" / "b.pt", tmp_path / "detailer" / "out.pt")
    link(tmp_path / "secret", tmp_path / "detailer" / "folder")
    link(tmp_path / "nowhere", tmp_path / "detailer" / "dangling.pt")
    assert list(files(DetectorFolders(models_root=tmp_path))) == ["a.pt", "same.pt"]


def test_a_linked_folder_may_be_named_itself(tmp_path: Path) -> None:
    """Where the models folder itself is a link, its files are there: the owner chose it."""
    put(tmp_path, "disk/a.pt")
    link(tmp_path / "disk", tmp_path / "detailer")
    assert list(files(DetectorFolders(models_root=tmp_path))) == ["a.pt"]


def test_builtin_detectors_are_had_by_name(shelf: DetectorShelf) -> None:
    """The shelf hands out the same object each time, a new one after `unload`."""
    whole = shelf.get("whole")
    assert isinstance(whole, WholeDetector)
    assert isinstance(shelf.get("tiles"), TilesDetector)
    assert shelf.get("whole") is whole
    shelf.unload()
    assert shelf.get("whole") is not whole


def test_a_mask_is_given_with_the_call(shelf: DetectorShelf) -> None:
    """The detector 'mask' is made for its mask and not kept; without one the error says so."""
    mask = np.ones((4, 5), np.float32)
    (found,) = shelf.get("mask", mask=mask).detect(np.zeros((4, 5, 3), np.uint8), DetectOptions())
    assert found.box_xyxy == (0, 0, 5, 4)
    with pytest.raises(
        DetectorError, match="detector 'mask' needs a mask picture, white where to redraw; give one or choose another detector"
    ):
        shelf.get("mask")


def test_files_are_kept_until_they_change(shelf: DetectorShelf, tmp_path: Path) -> None:
    """A file is loaded once; anew when its time or size changes, and not when another does."""
    put(tmp_path, "detailer/yunet.onnx", "detailer/yunet2.onnx")
    first = shelf.get("yunet.onnx")
    assert isinstance(first, Loaded)
    assert first.path == tmp_path / "detailer" / "yunet.onnx"
    assert first.options == {"name": "yunet.onnx"}
    shelf.get("yunet2.onnx")
    assert shelf.get("yunet.onnx") is first
    os.utime(first.path, ns=(1, 1))
    second = shelf.get("yunet.onnx")
    assert second is not first
    first.path.write_bytes(b"longer than before")
    os.utime(first.path, ns=(1, 1))
    assert shelf.get("yunet.onnx") is not second


def test_names_with_folders_work_in_every_spelling(shelf: DetectorShelf, tmp_path: Path) -> None:
    """A unique file may be called with its folder as well, also with backslashes."""
    put(tmp_path, "adetailer/yunet.onnx")
    assert shelf.get("yunet.onnx") is shelf.get("adetailer/yunet.onnx") is shelf.get("adetailer\\yunet.onnx")


def test_yolo_files_are_read_by_the_yolo_room(tmp_path: Path) -> None:
    """A file that is no model is refused by name; the cache lies where the caller says."""
    put(tmp_path, "detailer/face.pt")
    with pytest.raises(ModelFileError, match=r"face\.pt"):
        DetectorShelf(DetectorFolders(models_root=tmp_path), cache_folder=tmp_path / "cache").get("face.pt")


def test_unknown_names_are_told_with_what_there_is(shelf: DetectorShelf, tmp_path: Path) -> None:
    """The error has the nearest name, the known ones, and where files belong."""
    put(tmp_path, "adetailer/face_yolov8n.safetensors")
    with pytest.raises(DetectorNotFoundError) as caught:
        shelf.get("Face_yolov8n.pt")
    text = str(caught.value)
    assert text.startswith(
        "detector 'Face_yolov8n.pt' not found; did you mean 'face_yolov8n.safetensors'? There are face_haar, mask, whole, tiles"
    )
    assert text.endswith(f"; model files (.pt, .safetensors, .onnx) belong in {tmp_path / 'detailer'}")
    with pytest.raises(DetectorNotFoundError, match=r"detector 'zzz' not found\. There are face_haar"):
        shelf.get("zzz")


def test_long_lists_are_cut(shelf: DetectorShelf, tmp_path: Path) -> None:
    """The error does not list hundreds of files."""
    put(tmp_path, *(f"yolo/{n:03}.pt" for n in range(200)))
    with pytest.raises(DetectorNotFoundError, match=r" and 1\d\d more; model files"):
        shelf.get("zzz")


def test_a_name_in_several_folders_must_be_chosen(shelf: DetectorShelf, tmp_path: Path) -> None:
    """A name that stands for two files is no name."""
    put(tmp_path, "detailer/face.pt", "adetailer/face.pt")
    with pytest.raises(
        DetectorNotFoundError, match=r"detector 'face\.pt' is in several folders; choose one of adetailer/face\.pt, detailer/face\.pt"
    ):
        shelf.get("face.pt")


@pytest.mark.parametrize("name", ["../secret/b.pt", "detailer/../../secret/b.pt", "/etc/passwd", "", "."])
def test_paths_are_no_names(shelf: DetectorShelf, tmp_path: Path, name: str) -> None:
    """Nothing outside of the folders can be named, however it is written."""
    put(tmp_path, "detailer/a.pt")
    put(tmp_path.parent, "secret/b.pt")
    for spelling in (name, str(tmp_path.parent / "secret" / "b.pt")):
        with pytest.raises(DetectorNotFoundError, match="not found"):
            shelf.get(spelling)


def test_what_is_not_installed_is_told(shelf: DetectorShelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """MediaPipe's and OpenCV's own errors come through, and the shelf works on."""
    monkeypatch.setitem(__import__("sys").modules, "mediapipe", None)
    monkeypatch.delattr(cv2, "CascadeClassifier", raising=False)
    for name, message in (("mediapipe_hands", "needs MediaPipe"), ("face_haar", "needs the cascades of OpenCV 4")):
        with pytest.raises(DetectorError, match=message):
            shelf.get(name)
    assert shelf.get("whole").name == "whole"


def test_threads_load_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads that ask for the same file at once get the same object."""
    made: list[Loaded] = []

    def slow(path: Path, **options: Any) -> Loaded:
        made.append(Loaded(path, **options))
        return made[-1]

    monkeypatch.setattr(registry, "YuNetDetector", slow)
    put(tmp_path, "detailer/yunet.onnx")
    shelf = DetectorShelf(DetectorFolders(models_root=tmp_path))
    threads = [threading.Thread(target=lambda: [shelf.get("yunet.onnx") for _ in range(10)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1


def test_folders_may_change_while_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders that are told anew each time, and files that come, change and go in them, count at once; what went can no longer be had."""
    monkeypatch.setattr(registry, "YuNetDetector", Loaded)
    put(tmp_path, "one/yunet.onnx", "two/other_yunet.onnx")
    extra = [tmp_path / "one"]
    shelf = DetectorShelf(lambda: DetectorFolders(models_root=tmp_path / "models", extra=tuple(extra)))
    first = shelf.get("yunet.onnx")
    with pytest.raises(DetectorNotFoundError):
        shelf.get("other_yunet.onnx")
    extra.append(tmp_path / "two")
    assert isinstance(shelf.get("other_yunet.onnx"), Loaded)
    put(tmp_path, "two/yunet.onnx")
    with pytest.raises(DetectorNotFoundError, match=r"in several folders; choose one of one/yunet\.onnx, two/yunet\.onnx"):
        shelf.get("yunet.onnx")
    assert shelf.get("one/yunet.onnx").path == first.path  # type: ignore[attr-defined]
    (tmp_path / "one" / "yunet.onnx").unlink()
    assert shelf.get("yunet.onnx").path == tmp_path / "two" / "yunet.onnx"  # type: ignore[attr-defined]
    assert shelf.cache_folder == tmp_path / "models" / "detailer" / ".cache"


def test_one_detector_is_let_go(shelf: DetectorShelf, tmp_path: Path) -> None:
    """By any of its names; the others stay, and one that is not there is no error."""
    put(tmp_path, "adetailer/yunet.onnx", "adetailer/yunet2.onnx")
    first, second = shelf.get("yunet.onnx"), shelf.get("yunet2.onnx")
    shelf.release("adetailer/yunet.onnx")
    shelf.release("nothing of that name")
    assert shelf.get("yunet.onnx") is not first
    assert shelf.get("yunet2.onnx") is second


def test_what_tells_a_detector_apart(shelf: DetectorShelf, tmp_path: Path) -> None:
    """A file's identity changes with the file; what needs no looking has none."""
    put(tmp_path, "detailer/yunet.onnx")
    first = shelf.identity("yunet.onnx")
    assert first == shelf.identity("detailer/yunet.onnx") != shelf.identity("face_haar")
    os.utime(tmp_path / "detailer" / "yunet.onnx", ns=(1, 1))
    assert shelf.identity("yunet.onnx") != first
    assert [shelf.identity(name) for name in ("mask", "whole", "tiles")] == [None] * 3
    before = shelf.identity("mediapipe_hands")
    put(tmp_path, "detailer/hand_landmarker.task")
    assert shelf.identity("mediapipe_hands") != before
    (tmp_path / "detailer" / "yunet.onnx").unlink()
    with pytest.raises(DetectorNotFoundError):
        shelf.identity("yunet.onnx")


@pytest.mark.parametrize(("name", "classes"), [("face_haar", ("face",)), ("mediapipe_hands", ("hand",)), ("mediapipe_face_mesh_eyes_only", ("eyes",)),
                                               ("whole", ()), ("tiles", ()), ("mask", ()), ("yunet.onnx", ("face",))])
def test_classes_of_what_is_not_loaded(shelf: DetectorShelf, tmp_path: Path, name: str, classes: tuple[str, ...]) -> None:
    """They are known also where the library is not installed, and nothing is loaded for them."""
    put(tmp_path, "detailer/yunet.onnx")
    assert shelf.class_names(name) == classes
    assert not vars(shelf)["_kept"]


def test_classes_of_what_is_not_there(shelf: DetectorShelf) -> None:
    """The error is that of `get`."""
    with pytest.raises(DetectorNotFoundError, match="detector 'zzz' not found"):
        shelf.class_names("zzz")


def test_folders_are_not_listed_for_every_picture(shelf: DetectorShelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A handle looks its file up once; that it changed, or went, is still seen."""
    class Still(Loaded):
        class_names = ("face",)

        def detect(self, picture_hwc: np.ndarray, options: DetectOptions) -> list[Any]:
            return []

    monkeypatch.setattr(registry, "YuNetDetector", Still)
    put(tmp_path, "detailer/yunet.onnx")
    handle = shelf.handle("yunet.onnx")
    first = shelf.get("yunet.onnx")
    with monkeypatch.context() as patched:
        patched.setattr(registry.os, "walk", lambda *_: pytest.fail("a folder was listed"))
        for level in range(3):
            assert handle.detect(np.full((4, 5, 3), level, np.uint8), DetectOptions()) == ()
        assert handle.class_names == ("face",)
        os.utime(tmp_path / "detailer" / "yunet.onnx", ns=(1, 1))
        handle.detect(np.zeros((4, 5, 3), np.uint8), DetectOptions())
    assert shelf.get("yunet.onnx") is not first
    (tmp_path / "detailer" / "yunet.onnx").unlink()
    with pytest.raises(DetectorNotFoundError, match=r"yunet\.onnx cannot be read: .*; put it there again"):
        handle.detect(np.zeros((4, 5, 3), np.uint8), DetectOptions())
