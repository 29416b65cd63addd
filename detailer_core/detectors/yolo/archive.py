"""The zip archive that torch writes, read member by member with every size checked before a byte is read.

Nothing is extracted to disk. torch stores its members without compression, so an archive whose members add up to more than the
file itself, or that are compressed or encrypted, is refused: no archive can grow when it is read.
"""

from __future__ import annotations

import io
import os
import stat
import struct
import zlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from detailer_core.errors import DetectorNotFoundError, ModelFileError

MAX_FILE_BYTES = 4 << 30
"""Largest model file that is looked at; the largest YOLO with its optimizer stays below 3 GiB."""
MAX_DIRECTORY_BYTES = 4 << 20
"""Largest table of contents; a YOLO of the largest size has about 2000 members of 100 bytes."""

_END = struct.Struct("<4s4H2LH")
_END64_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_MAGICS = {b"7z\xbc\xaf": "a 7z archive", b"Rar!": "a RAR archive", b"\x1f\x8b": "a gzip file", b"\x80\x02": "a bare pickle, as torch "
           "wrote before version 1.6", b"\x89PNG": "a PNG picture", b"\xff\xd8": "a JPEG picture", b"MZ": "a Windows program",
           b"\x7fELF": "a Linux program", b"<": "a web page", b"version https://git-lfs": "a git-lfs pointer instead of the file"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """One file inside the archive: where its header starts and how many bytes it has, all in bytes."""

    name: str
    size: int
    checksum: int
    offset: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Archive:
    """An open archive: its members by name. Use `open_archive`; it is valid only inside that `with` block."""

    name: str
    file: io.BufferedReader
    members: dict[str, Member]

    def read(self, name: str, limit: int) -> bytearray:
        """The bytes of one member.

        limit: refuse before reading if it is larger, in bytes.

        Raises: ModelFileError if there is no such member, if it is too large or damaged.
        """
        member = self.members.get(name)
        if member is None:
            raise ModelFileError(f"model file '{self.name}' is damaged: '{name}' is missing in it; download it again")
        if member.size > limit:
            raise ModelFileError(f"model file '{self.name}' refused: its part '{name}' has {member.size} bytes, at most {limit} are read")
        self.file.seek(member.offset)
        header = self.file.read(_LOCAL.size)
        if len(header) < _LOCAL.size or not header.startswith(b"PK\x03\x04"):
            raise ModelFileError(f"model file '{self.name}' is damaged at '{name}'; download it again")
        name_bytes, extra_bytes = _LOCAL.unpack(header)[-2:]
        self.file.seek(name_bytes + extra_bytes, os.SEEK_CUR)
        data = bytearray(member.size)
        if self.file.readinto(data) != member.size or zlib.crc32(data) != member.checksum:
            raise ModelFileError(f"model file '{self.name}' is damaged: '{name}' is cut off or its checksum is wrong; download it again")
        return data


def check_model_file(path: Path, root: Path | None = None) -> Path:
    """The resolved path of a regular file of a bearable size.

    root: if given, the file must lie inside of this folder once links and `..` are followed.

    Raises: DetectorNotFoundError if there is no such file; ModelFileError if it is something else, outside of `root` or too large.
    """
    try:
        resolved = path.resolve(strict=True)
        if root is not None and not resolved.is_relative_to(root.resolve()):
            raise ModelFileError(f"model file '{path.name}' refused: it leads to '{resolved}', outside of its folder; put a copy into it")
        status = resolved.stat()
    except FileNotFoundError as error:
        raise DetectorNotFoundError(f"model file '{path}' not found; put it there or choose another") from error
    except (OSError, RuntimeError, ValueError) as error:
        raise ModelFileError(f"model file '{path}' cannot be opened: {error}") from error
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe or a device"
        raise ModelFileError(f"model file '{path.name}' refused: it is {kind}, not a file")
    if status.st_size > MAX_FILE_BYTES:
        raise ModelFileError(f"model file '{path.name}' refused: {status.st_size} bytes, at most {MAX_FILE_BYTES} are read")
    return resolved


@contextmanager
def open_archive(path: Path) -> Generator[Archive, None, None]:
    """The archive at `path`, closed at the end of the block.

    Raises: ModelFileError if it is not a zip archive as torch writes it, is damaged, or has members that do not add up.
    """
    try:
        with path.open("rb") as file:
            yield Archive(name=path.name, file=file, members=_read_members(file, path.name))
    except OSError as error:
        raise ModelFileError(f"model file '{path.name}' cannot be read: {error}") from error


def _read_members(file: io.BufferedReader, name: str) -> dict[str, Member]:
    """The table of contents, with every rule of this module checked."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    magic = file.read(32)
    if not magic.startswith(b"PK\x03\x04"):
        what = next((text for start, text in _MAGICS.items() if magic.startswith(start)), "empty" if not magic else "something else")
        raise ModelFileError(f"model file '{name}' refused: it is {what}, not the zip archive that torch writes")
    offset, length = _directory_span(file, size, name)
    if length > MAX_DIRECTORY_BYTES:
        raise ModelFileError(f"model file '{name}' refused: a table of contents of {length} bytes, at most {MAX_DIRECTORY_BYTES} are read")
    file.seek(offset)
    members: dict[str, Member] = {}
    for member in _entries(file.read(length), name):
        if member.name in members:
            raise ModelFileError(f"model file '{name}' refused: it holds '{member.name}' twice")
        members[member.name] = member
    declared = sum(member.size for member in members.values())
    if declared > size or any(member.offset + member.size > size for member in members.values()):
        raise ModelFileError(f"model file '{name}' refused: {declared} bytes declared in a file of {size} (a zip bomb, or cut off)")
    return members


def _directory_span(file: io.BufferedReader, size: int, name: str) -> tuple[int, int]:
    """Offset and length, in bytes, of the table of contents."""
    tail_start = max(0, size - _END.size - 0xFFFF)
    file.seek(tail_start)
    tail = file.read(size - tail_start)
    end = tail.rfind(b"PK\x05\x06")
    if end < 0 or len(tail) - end < _END.size:
        raise ModelFileError(f"model file '{name}' is damaged: it has no end, as if a download had stopped; download it again")
    *_, length, offset, _comment = _END.unpack_from(tail, end)
    locator = end - _END64_LOCATOR.size
    if locator >= 0 and tail.startswith(b"PK\x06\x07", locator):
        file.seek(min(size, _END64_LOCATOR.unpack_from(tail, locator)[2]))
        record = file.read(_END64.size)
        if len(record) < _END64.size or not record.startswith(b"PK\x06\x06"):
            raise ModelFileError(f"model file '{name}' is damaged: its table of contents is lost; download it again")
        *_, length, offset = _END64.unpack(record)
    if offset + length > size:
        raise ModelFileError(f"model file '{name}' is damaged: its table of contents lies outside of it; download it again")
    return offset, length


def _entries(directory: bytes, name: str) -> Iterator[Member]:
    """The members in a table of contents."""
    at = 0
    while at < len(directory):
        if len(directory) - at < _ENTRY.size or not directory.startswith(b"PK\x01\x02", at):
            raise ModelFileError(f"model file '{name}' is damaged: its table of contents is garbled; download it again")
        _, _, _, flags, method, _, _, checksum, packed, size, name_len, extra_len, comment_len, _, _, _, offset = _ENTRY.unpack_from(
            directory, at)
        at += _ENTRY.size
        entry = directory[at:at + name_len].decode("utf-8", "replace")
        size, packed, offset = _wide_numbers(directory[at + name_len:at + name_len + extra_len], size, packed, offset)
        at += name_len + extra_len + comment_len
        parts = entry.replace("\\", "/").split("/")
        if not entry or ".." in parts or parts[0] == "" or ":" in parts[0] or "\0" in entry:
            raise ModelFileError(f"model file '{name}' refused: it holds the name {entry[:200]!r}, which leads out of the archive")
        if method != 0 or packed != size:
            raise ModelFileError(f"model file '{name}' refused: its part '{entry[:200]}' is compressed, which torch never does")
        if flags & 1:
            raise ModelFileError(f"model file '{name}' refused: its part '{entry[:200]}' is encrypted")
        yield Member(name=entry, size=size, checksum=checksum, offset=offset)


def _wide_numbers(extra: bytes, size: int, packed: int, offset: int) -> tuple[int, int, int]:
    """Size, packed size and offset, with those of 64 bits taken from the zip64 field where the 32 bit ones say so."""
    numbers = [size, packed, offset]
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        field = extra[at + 4:at + 4 + length]
        if kind == 1:
            wide = iter(struct.unpack(f"<{len(field) // 8}Q", field[:len(field) // 8 * 8]))
            numbers = [next(wide, value) if value == 0xFFFFFFFF else value for value in numbers]
        at += 4 + length
    return numbers[0], numbers[1], numbers[2]
