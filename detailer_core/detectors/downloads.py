"""Known detector models, and fetching one where the user asks for it. Nothing else in this project opens a connection.

Each entry names one file for good: a fixed revision, its size and its SHA-256. What comes is read up to that size, checked, and put in its
place only when it is the file that was meant.
"""

from __future__ import annotations

import contextlib
import difflib
import errno
import hashlib
import http.client
import os
import secrets
import shutil
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ..errors import DetectorNotFoundError, DownloadError

Progress = Callable[[int, int], None]
"""Called with the bytes that have come and all of them; what it raises stops the download."""

_ADETAILER = "https://huggingface.co/Bingsu/adetailer/resolve/53cc19de382014514d9d4038601d261a7faa9b7b"
_YUNET = "https://huggingface.co/opencv/face_detection_yunet/resolve/3cc26e7f1014a5ee5d74a42acee58bafc9d0a310"
_MEDIAPIPE = "https://storage.googleapis.com/mediapipe-models"
_PIECE = 1 << 18
_SECONDS = 30.0
_SPARE = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownModel:
    """One file. url: of a fixed revision. size: bytes. sha256: hexadecimal. what: it finds, for people. origin: publisher and licence."""

    name: str
    url: str
    size: int
    sha256: str
    what: str
    origin: str


def _adetailer(name: str, size: int, sha256: str, what: str) -> KnownModel:
    return KnownModel(name=name, url=f"{_ADETAILER}/{name}", size=size, sha256=sha256, what=what, origin="Bingsu/adetailer, Apache-2.0")


def _mediapipe(name: str, path: str, size: int, sha256: str, what: str) -> KnownModel:
    return KnownModel(name=name, url=f"{_MEDIAPIPE}/{path}/float16/1/{name}", size=size, sha256=sha256, what=what, origin="MediaPipe, Apache-2.0")


KNOWN = (
    _adetailer("face_yolov8n.pt", 6230011, "70b640f8f60b1cf0dcc72f30caf3da9495eb2fb6509da48c53374ad6806e6a9c", "faces, boxes, small and fast"),
    _adetailer("face_yolov8s.pt", 22507707, "c7237eff25787377de196961140ceaed324d859ee8de5a775d93d33a0e3fab78", "faces, boxes"),
    _adetailer("face_yolov8m.pt", 52026019, "717923c19b3f4bbf5250b728f1fa6b2cb72a33aed1d236ea9caf0e21ad943e5f", "faces, boxes, surest"),
    _adetailer("hand_yolov8n.pt", 6237883, "3991202eb69e9ddcb3b9ba80cdeb41e734ffaf844403d6c9f47d515cd88c6f29", "hands, boxes, small and fast"),
    _adetailer("hand_yolov8s.pt", 22507643, "70b540063fbc385736d8258970744a4afbc4cbf7932134bae3b24cdadeadec06", "hands, boxes"),
    _adetailer("person_yolov8n-seg.pt", 6777003, "38fc8aaae97cb6e70be4ec44770005b26ed473471362afcda62a0037d7ccf432",
               "persons, masks, small and fast"),
    _adetailer("person_yolov8m-seg.pt", 54827683, "c8ab26f517173b1fe8342d336a09f443eb61cb08dcbfc78d53fff4c2547ae81e", "persons, masks"),
    KnownModel(name="face_detection_yunet_2023mar.onnx", url=f"{_YUNET}/face_detection_yunet_2023mar.onnx", size=232589,
               sha256="8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4", what="faces, boxes, tiny, for any CPU",
               origin="OpenCV Zoo, MIT"),
    _mediapipe("blaze_face_short_range.tflite", "face_detector/blaze_face_short_range", 229746,
               "b4578f35940bf5a1a655214a1cce5cab13eba73c1297cd78e1a04c2380b0152f", "for mediapipe_face_full and _short"),
    _mediapipe("face_landmarker.task", "face_landmarker/face_landmarker", 3758596,
               "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff", "for mediapipe_face_mesh and _mesh_eyes_only"),
    _mediapipe("hand_landmarker.task", "hand_landmarker/hand_landmarker", 7819105,
               "fbc2a30080c3c557093b5ddfc334698132eb341044ccee322ccf8bcf3607cde1", "for mediapipe_hands"),
)
"""Files whose revision, size and SHA-256 several independent publications agree on; what could not be confirmed is not here."""


def known_model(name: str) -> KnownModel:
    """The entry of that name. Raises: DetectorNotFoundError, with the nearest name."""
    names = {model.name: model for model in KNOWN}
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
        hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(names)}"
        raise DetectorNotFoundError(f"no model '{name}' is known for download; {hint}")
    return names[name]


def is_present(model: KnownModel, folder: Path) -> bool:
    """Whether this very file lies in the folder."""
    path = folder / model.name
    return path.is_file() and path.stat().st_size == model.size and _hash(path) == model.sha256


def download(model: KnownModel, folder: Path, progress: Progress = lambda done, total: None, *, base_url: str | None = None) -> Path:
    """The file in the folder, fetched if it is not there. Until it is whole and checked there is only a `.part` file beside it.

    folder: made if missing. progress: see `Progress`. base_url: where the file lies instead, under its own name; https, or http on 127.0.0.1.
    Raises: DownloadError: another file has that name, the disk is full or locked, no network, the server refuses, or what comes is not
    the file that was meant. Nothing is left behind then.
    """
    path = folder / model.name
    url = model.url if base_url is None else f"{base_url.rstrip('/')}/{urllib.parse.quote(model.name)}"
    _check_url(url)
    with _told(model, folder):
        if is_present(model, folder):
            return path
        if path.exists():
            raise DownloadError(f"{path} is there already, and it is another file than '{model.name}' of {model.origin.split(',')[0]}; move it away "
                                f"or give it another name")
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
        if free < model.size + _SPARE:
            raise OSError(errno.ENOSPC, "")
        _fetch(url, model, path, progress)
    return path


def _fetch(url: str, model: KnownModel, path: Path, progress: Progress) -> None:
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with part.open("xb") as file, _open(url) as answer:
            _copy(answer, file, model, progress)
        os.replace(part, path)
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


class _Sink(Protocol):
    def write(self, data: bytes, /) -> int: ...


def _copy(answer: Any, file: _Sink, model: KnownModel, progress: Progress) -> None:
    length = answer.headers.get("Content-Length")
    if length is not None and length.strip() != str(model.size):
        raise DownloadError(f"the server has another file than '{model.name}': {length.strip()[:20]} bytes instead of {model.size}; nothing was kept")
    digest, done = hashlib.sha256(), 0
    progress(0, model.size)
    while piece := answer.read(min(_PIECE, model.size + 1 - done)):
        done += len(piece)
        if done > model.size:
            raise DownloadError(f"the server sends more than the {model.size} bytes of '{model.name}'; nothing was kept")
        digest.update(piece)
        file.write(piece)
        progress(done, model.size)
    if done < model.size:
        raise DownloadError(f"the connection ended after {done} of the {model.size} bytes of '{model.name}'; try again")
    if digest.hexdigest() != model.sha256:
        raise DownloadError(f"what came is not '{model.name}': its SHA-256 is {digest.hexdigest()} instead of {model.sha256}; nothing was kept")


@contextlib.contextmanager
def _told(model: KnownModel, folder: Path) -> Any:
    """What goes wrong with the network or the disk as a DownloadError that says what to do."""
    try:
        yield
    except urllib.error.HTTPError as error:
        with error:
            raise DownloadError(f"the server refuses '{model.name}': {error.code} {error.reason}; try again later, or fetch {model.url} "
                                f"and put it into {folder}") from error
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", None) or error
        raise DownloadError(f"'{model.name}' could not be fetched: {reason}; check the network, or fetch {model.url} and put it into "
                            f"{folder}") from error
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DownloadError(f"the disk is full: '{model.name}' needs {model.size / 2**20:.1f} MiB in {folder}") from error
        raise DownloadError(f"'{model.name}' cannot be written to {folder}: {error.strerror or error}") from error


def _check_url(url: str) -> None:
    """Raises: DownloadError unless it is https, or http on this very machine."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname == "127.0.0.1"):
        raise DownloadError(f"'{url[:200]}' is not fetched: only https is; what comes another way could have been changed on its way")


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows the server to another address only if that is as safe."""

    def redirect_request(self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> urllib.request.Request | None:
        _check_url(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _open(url: str) -> Any:
    handlers: list[urllib.request.BaseHandler] = [_Redirects()]
    if urllib.parse.urlsplit(url).hostname == "127.0.0.1":
        handlers.append(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(url, headers={"User-Agent": "Detailer"})
    return urllib.request.build_opener(*handlers).open(request, timeout=_SECONDS)


def _hash(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()
