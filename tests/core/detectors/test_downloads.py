"""Fetching a known model, from a server on this machine: what comes whole is put in its place, all else is told and leaves nothing."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import http.server
import re
import shutil
import threading
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detailer_core.detectors import downloads
from detailer_core.detectors.downloads import KNOWN, KnownModel, download, is_present, known_model
from detailer_core.detectors.registry import SUBFOLDERS, SUFFIXES
from detailer_core.errors import DetectorNotFoundError, DownloadError

DATA = np.random.default_rng(5).integers(0, 256, 700_001, dtype=np.uint8).tobytes()
MODEL = KnownModel(name="face model.pt", url="https://example.invalid/face.pt", size=len(DATA), sha256=hashlib.sha256(DATA).hexdigest(),
                   what="faces", origin="somebody, MIT")


@dataclass
class Server:
    """What the server answers to each path: status, headers, body."""

    url: str = ""
    answers: dict[str, tuple[int, dict[str, str], bytes]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def give(self, body: bytes = DATA, *, status: int = 200, length: int | None = None, **headers: str) -> Server:
        """The answer to the model's name; length: what the header says, -1 = nothing."""
        told = {} if length == -1 else {"Content-Length": str(len(body) if length is None else length)}
        self.answers["/face%20model.pt"] = status, told | headers, body
        return self


@pytest.fixture
def server() -> Iterator[Server]:
    """A web server on this machine."""
    played = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            played.asked.append(self.path)
            status, headers, body = played.answers.get(self.path, (404, {"Content-Length": "0"}, b""))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            with contextlib.suppress(OSError):  # whoever asked has had enough
                self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing to the screen."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        played.url = f"http://127.0.0.1:{httpd.server_address[1]}"
        thread = threading.Thread(target=httpd.serve_forever, args=(0.02,))
        thread.start()
        yield played
        httpd.shutdown()
        thread.join()


def refused(server: Server, folder: Path, text: str, model: KnownModel = MODEL) -> None:
    """The download fails with this text, and leaves nothing."""
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(DownloadError, match=text):
        download(model, folder, base_url=server.url)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_file_is_fetched_and_checked(server: Server, tmp_path: Path) -> None:
    """It lies in the folder, which was made, and is the file; progress went from nothing to all; a second time nothing is asked."""
    seen: list[tuple[int, int]] = []
    folder = tmp_path / "модели 1" / "detailer"
    path = download(MODEL, folder, lambda done, total: seen.append((done, total)), base_url=server.give().url + "/")
    assert path == folder / "face model.pt"
    assert path.read_bytes() == DATA
    assert [p.name for p in folder.iterdir()] == ["face model.pt"]
    assert seen[0] == (0, len(DATA)) and seen[-1] == (len(DATA), len(DATA))
    assert seen == sorted(seen) and len(seen) > 2
    assert download(MODEL, folder, base_url=server.url) == path
    assert server.asked == ["/face%20model.pt"]


def test_a_length_need_not_be_told(server: Server, tmp_path: Path) -> None:
    """A server that says no length is believed if size and hash are right."""
    assert download(MODEL, tmp_path, base_url=server.give(length=-1).url).read_bytes() == DATA


@pytest.mark.parametrize(("body", "length", "text"), [
    (DATA[:-1], -1, "the connection ended after 700000 of the 700001 bytes"),
    (DATA[:-1], len(DATA), "the connection ended after 700000 of the 700001 bytes|could not be fetched"),
    (DATA + b"x", -1, "the server sends more than the 700001 bytes"),
    (DATA + b"x", None, "the server has another file .* 700002 bytes instead of 700001"),
    (b"<html>", None, "the server has another file .* 6 bytes instead of 700001"),
    (b"", -1, "the connection ended after 0 of the 700001 bytes"),
    (DATA[:-1] + bytes([DATA[-1] ^ 1]), None, "what came is not 'face model.pt': its SHA-256 is [0-9a-f]{64} instead of")],
    ids=["short", "cut off", "long", "longer", "a page", "nothing", "one bit"])
def test_another_file_is_not_kept(server: Server, tmp_path: Path, body: bytes, length: int | None, text: str) -> None:
    """Neither a shorter nor a longer nor a changed one."""
    refused(server.give(body, length=length), tmp_path, text)


def test_an_endless_answer_is_not_read(server: Server, tmp_path: Path) -> None:
    """Not more is read than the file has, whatever is sent."""
    read: list[int] = []
    with pytest.raises(DownloadError, match="sends more than"):
        download(MODEL, tmp_path, lambda done, total: read.append(done), base_url=server.give(DATA * 40, length=-1).url)
    assert max(read) <= len(DATA)


@pytest.mark.parametrize("status", [403, 404, 429, 500])
def test_a_refusal_is_told(server: Server, tmp_path: Path, status: int) -> None:
    """With its number, and where to get the file otherwise."""
    refused(server.give(b"", status=status), tmp_path, rf"the server refuses 'face model\.pt': {status} .* fetch https://example\.invalid/face\.pt")


def test_no_network_is_told(tmp_path: Path) -> None:
    """Nobody answers at that port."""
    with pytest.raises(DownloadError, match=r"'face model\.pt' could not be fetched: .* check the network"):
        download(MODEL, tmp_path, base_url="http://127.0.0.1:9")
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_that_name_is_not_replaced(server: Server, tmp_path: Path) -> None:
    """What the user has is the user's, whatever it is; the server is not even asked."""
    (tmp_path / MODEL.name).write_bytes(b"mine")
    refused(server.give(), tmp_path, "is there already, and it is another file .* move it away")
    (tmp_path / MODEL.name).unlink()
    (tmp_path / MODEL.name).mkdir()
    refused(server.give(), tmp_path, "is there already")
    assert server.asked == []


def test_a_full_disk_is_told(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the download where that can be seen, and in the middle of it."""
    refused(server.give(), tmp_path, "the disk is full: 'face model.pt' needs 8388608.0 MiB", replace(MODEL, size=2**43))
    assert server.asked == []
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(2**40, 0, 2**40))  # type: ignore[attr-defined]

    class Full:
        def __init__(self, file: Any) -> None:
            self.file = file

        def __enter__(self) -> Full:
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

        def write(self, data: bytes) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    whole = Path.open
    monkeypatch.setattr(Path, "open", lambda self, mode="r", **rest: (Full if mode == "xb" else lambda file: file)(whole(self, mode, **rest)))
    refused(server, tmp_path, r"the disk is full: 'face model\.pt' needs 0\.7 MiB")
    assert server.asked == ["/face%20model.pt"]


def test_a_folder_that_cannot_be_made_is_told(server: Server, tmp_path: Path) -> None:
    """A file stands in its place."""
    (tmp_path / "file").write_text("mine")
    with pytest.raises(DownloadError, match="cannot be written to"):
        download(MODEL, tmp_path / "file" / "detailer", base_url=server.give().url)


def test_stopping_leaves_nothing(server: Server, tmp_path: Path) -> None:
    """What the progress raises comes through, and the part is removed."""
    def stop(done: int, total: int) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(MODEL, tmp_path, stop, base_url=server.give().url)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("url", ["http://example.invalid", "http://127.0.0.1.example.invalid", "http://localhost:1", "ftp://127.0.0.1", "file:///etc",
                                 "127.0.0.1", "HTTP://example.invalid"])
def test_only_safe_addresses(tmp_path: Path, url: str) -> None:
    """Neither plain http to others, nor files."""
    with pytest.raises(DownloadError, match="only https is"):
        download(MODEL, tmp_path, base_url=url)


def test_redirects_are_followed_only_to_safe_addresses(server: Server, tmp_path: Path) -> None:
    """To another place of this server, not to plain http elsewhere, not to a file."""
    for number, target in enumerate(("http://example.invalid/x", "file:///etc/hostname", "ftp://127.0.0.1/x")):
        refused(server.give(b"", status=302, Location=target), tmp_path, "is not fetched: only https is|could not be fetched|server refuses")
        assert len(server.asked) == number + 1
    server.give(b"", status=302, Location=f"{server.url}/moved")
    server.answers["/moved"] = 200, {"Content-Length": str(len(DATA))}, DATA
    assert download(MODEL, tmp_path, base_url=server.url).read_bytes() == DATA


def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """127.0.0.1 is reached directly."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert download(MODEL, tmp_path, base_url=server.give().url).read_bytes() == DATA


@pytest.mark.parametrize("model", KNOWN, ids=lambda model: model.name)
def test_the_table_is_sound(model: KnownModel) -> None:
    """A fixed revision, a size and a hash; a name that a detector is found by; said what it is."""
    parts = urllib.parse.urlsplit(model.url)
    assert parts.scheme == "https" and parts.query == "" and parts.path.endswith(f"/{model.name}")
    assert re.search(r"/resolve/[0-9a-f]{40}/", parts.path) or "/float16/1/" in parts.path
    assert re.fullmatch(r"[0-9a-f]{64}", model.sha256)
    assert 0 < model.size < 2**27
    assert model.what and model.origin
    assert model.name.endswith((*SUFFIXES, ".tflite", ".task"))
    downloads._check_url(model.url)


def test_the_table_has_no_doubles() -> None:
    """Names and hashes are each there once, and the folder for them is searched first."""
    assert len({model.name for model in KNOWN}) == len({model.sha256 for model in KNOWN}) == len(KNOWN)
    assert SUBFOLDERS[0] == "detailer"


def test_names_that_are_not_known() -> None:
    """The nearest is told."""
    assert known_model("face_yolov8n.pt") is KNOWN[0]
    with pytest.raises(DetectorNotFoundError, match=r"no model 'face_yolo8n\.pt' is known for download; did you mean 'face_yolov8n\.pt'\?"):
        known_model("face_yolo8n.pt")
    with pytest.raises(DetectorNotFoundError, match="there are face_yolov8n"):
        known_model("qqq")


def test_presence_is_the_file_s_own(tmp_path: Path) -> None:
    """Size and hash count, not the name."""
    assert not is_present(MODEL, tmp_path / "none")
    (tmp_path / MODEL.name).write_bytes(DATA[::-1])
    assert not is_present(MODEL, tmp_path)
    (tmp_path / MODEL.name).write_bytes(DATA)
    assert is_present(MODEL, tmp_path)
