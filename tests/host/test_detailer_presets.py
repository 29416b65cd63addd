"""Named presets: saved, loaded, renamed, deleted, exported, imported, and never lost."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from detailer_core.errors import SettingsError
from detailer_core.settings import UnitSettings, make_settings
from detailer_webui.presets import PresetShelf

FACE, HAND = make_settings({"detector": "face.pt", "denoise": 0.3, "prompt": "ein Gesicht 🙂\n\"x\""}), make_settings({"steps": 30})


@pytest.fixture
def shelf(tmp_path: Path) -> PresetShelf:
    """An empty shelf, in a folder with a space and letters of another script."""
    (tmp_path / "my Daten é").mkdir()
    return PresetShelf(tmp_path / "my Daten é" / "detailer-presets.json")


def file_of(shelf: PresetShelf) -> Path:
    """Where the shelf keeps its presets."""
    return shelf._path


def test_what_is_saved_is_loaded(shelf: PresetShelf) -> None:
    """All units come back as they were, also for another page that reads the same file."""
    assert shelf.names() == ()
    shelf.save("  both ", [FACE, HAND])
    shelf.save("Alone", [HAND])
    assert shelf.names() == ("Alone", "both")
    assert PresetShelf(file_of(shelf)).load("both") == (FACE, HAND)


def test_saving_again_replaces(shelf: PresetShelf) -> None:
    """The last one counts."""
    shelf.save("a", [FACE])
    shelf.save("a", [HAND, HAND])
    assert shelf.load("a") == (HAND, HAND)


def test_rename_and_delete(shelf: PresetShelf) -> None:
    """The units stay the same under the new name, and what is deleted is gone."""
    shelf.save("a", [FACE])
    shelf.save("b", [HAND])
    shelf.rename("a", " c ")
    assert shelf.names() == ("b", "c") and shelf.load("c") == (FACE,)
    shelf.rename("c", "c")
    shelf.delete("b")
    assert shelf.names() == ("c",)


@pytest.mark.parametrize(("work", "words"), [
    (lambda s: s.save(" ", [FACE]), "name"), (lambda s: s.save("x" * 101, [FACE]), "too long"), (lambda s: s.save("a\nb", [FACE]), "cannot be shown"),
    (lambda s: s.save("x", []), "nothing to save"), (lambda s: s.load("gone"), "no preset 'gone'"), (lambda s: s.load(""), "choose"),
    (lambda s: s.delete("gone"), "no preset 'gone'"), (lambda s: s.rename("gone", "x"), "no preset 'gone'"),
    (lambda s: s.rename("a", "b"), "already"), (lambda s: s.rename("a", ""), "name"), (lambda s: s.export_text("gone"), "no preset 'gone'"),
])
def test_what_cannot_be_done_is_told(shelf: PresetShelf, work: Any, words: str) -> None:
    """Each is an error that says why, and nothing is changed."""
    shelf.save("a", [FACE])
    shelf.save("b", [HAND])
    before = file_of(shelf).read_bytes()
    with pytest.raises(SettingsError, match=words):
        work(shelf)
    assert file_of(shelf).read_bytes() == before


def test_export_and_import(shelf: PresetShelf, tmp_path: Path) -> None:
    """What one host exports another imports, one preset or all; what has the same name is replaced, the others stay."""
    shelf.save("a", [FACE])
    shelf.save("b", [HAND])
    other = PresetShelf(tmp_path / "other.json")
    other.save("a", [HAND])
    other.save("z", [FACE])
    assert other.import_text(shelf.export_text("a")) == ("a",)
    assert (other.load("a"), other.load("z"), other.names()) == ((FACE,), (FACE,), ("a", "z"))
    assert set(other.import_text(shelf.export_text())) == {"a", "b"}


@pytest.mark.parametrize(("text", "words"), [
    ("", "no presets"), ("{", "no presets"), ("[]", "no presets"), ("{}", "no presets"), ('{"a": {}}', "no presets"), ('{"a": [3]}', "no presets"),
    ('{"a": []}', "holds no unit"), ("[" * 100_000, "no presets"), ('{" ": [{}]}', "name"),
    ('{"a": [{"denois": 1}], "b": [{}, {"denoise": 3}]}',
     "preset 'a', unit 1: unknown setting 'denois'; did you mean 'denoise'.*preset 'b', unit 2: "),
])
def test_a_text_with_anything_wrong_is_refused_whole(shelf: PresetShelf, text: str, words: str) -> None:
    """All that is wrong is told, and what was there stays as it was."""
    shelf.save("a", [FACE])
    with pytest.raises(SettingsError, match=words):
        shelf.import_text(text)
    assert shelf.load("a") == (FACE,) and shelf.names() == ("a",)


@pytest.mark.parametrize("content", [b"", b"{", b"[1, 2]", b"\xff\xfe", b'{"a": 3}'])
def test_a_broken_file_is_kept_aside(shelf: PresetShelf, content: bytes) -> None:
    """The user is told once; what was in the file can still be looked at, and new presets can be saved."""
    file_of(shelf).write_bytes(content)
    with pytest.raises(SettingsError, match=r"damaged and is kept as detailer-presets\.json\.broken"):
        shelf.names()
    assert shelf.names() == ()
    shelf.save("a", [FACE])
    assert file_of(shelf).with_name("detailer-presets.json.broken").read_bytes() == content and shelf.load("a") == (FACE,)


def test_a_preset_of_another_version_is_told_and_kept(shelf: PresetShelf) -> None:
    """A setting that is not known here makes its preset unusable, and no other; nothing is thrown away."""
    file_of(shelf).write_text(json.dumps({"new": [{"sparkle": 1}], "old": [{"denoise": 0.3}]}), encoding="utf-8")
    with pytest.raises(SettingsError, match="preset 'new', unit 1: unknown setting 'sparkle'"):
        shelf.load("new")
    shelf.save("a", [HAND])
    assert shelf.load("old")[0].denoise == 0.3 and shelf.names() == ("a", "new", "old")


def test_a_crash_while_writing_loses_nothing(shelf: PresetShelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is replaced whole or not at all, and nothing half written is left."""
    shelf.save("a", [FACE])

    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", fail)
        with pytest.raises(SettingsError, match="cannot be written"):
            shelf.save("b", [HAND])
    assert shelf.names() == ("a",) and [path.name for path in file_of(shelf).parent.iterdir()] == ["detailer-presets.json"]


def test_a_name_that_no_file_can_hold_is_told(shelf: PresetShelf) -> None:
    """Half a letter, as broken texts have it, is refused and costs nothing."""
    shelf.save("a", [FACE])
    with pytest.raises(SettingsError):
        shelf.save("b", [make_settings({"prompt": "\ud800"})])
    assert shelf.names() == ("a",)


def test_two_pages_at_once_lose_nothing(shelf: PresetShelf) -> None:
    """What several threads save is all there."""
    def save(number: int) -> None:
        PresetShelf(file_of(shelf)).save(f"p{number}", [UnitSettings(denoise=number / 100)])

    threads = [threading.Thread(target=save, args=(n,)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(shelf.names()) == 20 and shelf.load("p7")[0].denoise == 0.07
