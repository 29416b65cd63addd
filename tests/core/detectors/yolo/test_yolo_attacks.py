"""Files made to attack: each is refused with an error that names the culprit, fast, in little memory, and nothing in it runs."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import detailer_core

TORCH = b"ctorch._utils\n_rebuild_tensor_v2\n"
MEBI = 1 << 20


def text(value: str) -> bytes:
    """The opcode that pushes a text."""
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def call(module: str, name: str, argument: str) -> bytes:
    """A pickle that calls a function with one text."""
    return b"\x80\x02c" + f"{module}\n{name}\n".encode() + text(argument) + b"\x85R."


def stored(pickled: bytes, *extra: tuple[str, bytes], folder: str = "m/") -> bytes:
    """An archive as torch writes it, around a pickle."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(f"{folder}data.pkl", pickled)
        for name, data in extra:
            archive.writestr(name, data)
    return buffer.getvalue()


def tensor(count: int, key: str, offset: int, shape: str, strides: str) -> bytes:
    """A pickle of one tensor; shape and strides as Python tuples."""
    shapes = b"".join(b"(" + b"".join(b"J" + struct.pack("<i", side) for side in eval(numbers)) + b"t" for numbers in (shape, strides))
    storage = b"(" + text("storage") + b"ctorch\nHalfStorage\n" + text(key) + text("cpu") + b"J" + struct.pack("<i", count) + b"tQ"
    return b"\x80\x02" + TORCH + b"(" + storage + b"J" + struct.pack("<i", offset) + shapes + b"\x89}tR."


def patched(data: bytes, old: bytes, new: bytes) -> bytes:
    """The bytes with one piece replaced everywhere."""
    assert old in data
    return data.replace(old, new)


def packed(method: int) -> bytes:
    """An archive whose pickle is compressed: 200 MB of zeros."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr("m/data.pkl", bytes(200 * MEBI))
    return buffer.getvalue()


def overlapping() -> bytes:
    """An archive of 1000 members that are all the same megabyte."""
    data = stored(b"\x80\x02N.", ("m/data/0", bytes(MEBI)))
    start = data.index(b"PK\x01\x02")
    second = data.index(b"PK\x01\x02", start + 4)
    end = data.index(b"PK\x05\x06")
    entries = [data[second:end].replace(b"m/data/0", b"m/d/%04d" % index) for index in range(1000)]
    directory = data[start:second] + b"".join(entries)
    return data[:start] + directory + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1001, 1001, len(directory), start, 0)


def safetensors_file(header: bytes, length: int | None = None) -> bytes:
    """A safetensors file with that header."""
    return struct.pack("<Q", len(header) if length is None else length) + header


def described(layers: object) -> bytes:
    """A safetensors file with our description of a network."""
    description = json.dumps({"family": "yolov8", "task": "detect", "stride": 32, "image_size": 640, "class_names": ["a"],
                              "layers": layers})
    return safetensors_file(json.dumps({"__metadata__": {"detailer_yolo": "1", "description": description}}).encode())


def thing(name: str, *state: tuple[str, bytes], memory: int | None = None) -> bytes:
    """The opcodes of an object with these attributes, kept under a number before it gets them."""
    kept = b"" if memory is None else b"q" + bytes([memory])
    attributes = b"".join(text(key) + value + b"s" for key, value in state)
    return b"c" + name.replace(" ", "\n").encode() + b"\n)\x81" + kept + b"}" + attributes + b"b"


def model_of(layer: bytes) -> bytes:
    """A pickled model with a single layer."""
    body = thing(LIST, ("_modules", b"}" + text("0") + layer + b"s"))
    model = thing("ultralytics.nn.tasks DetectionModel", ("_modules", b"}" + text("model") + body + b"s"))
    return GOOD_HEAD + model + b"s."


LIST = "torch.nn.modules.container Sequential"
CROWD = b"}(" + b"".join(text(str(index)) + b"h\x01" for index in range(10_000)) + b"u"
GOOD_HEAD = b"\x80\x02}" + text("model")
MAPPING = b"ccollections\nOrderedDict\n"
PICKLES: dict[str, tuple[bytes, str]] = {
    "posix system": (call("posix", "system", "touch MARKER"), "posix.system"),
    "nt system": (call("nt", "system", "echo > MARKER"), "nt.system"),
    "os popen": (call("os", "popen", "touch MARKER"), "os.popen"),
    "subprocess": (call("subprocess", "Popen", "touch MARKER"), "subprocess.Popen"),
    "eval": (call("builtins", "eval", "open('MARKER', 'w')"), "builtins.eval"),
    "exec in protocol 2": (call("__builtin__", "exec", "open('MARKER', 'w')"), "builtins.exec"),
    "open": (call("io", "open", "MARKER"), "io.open"),
    "import": (call("builtins", "__import__", "this"), "builtins.__import__"),
    "importlib": (call("importlib", "import_module", "antigravity"), "importlib.import_module"),
    "runpy": (call("runpy", "run_path", "MARKER.py"), "runpy.run_path"),
    "getattr": (call("builtins", "getattr", "MARKER"), "builtins.getattr"),
    "getattr of a type name": (b"\x80\x02cbuiltins\ngetattr\nctorch\nfloat32\n" + text("__class__") + b"\x86R.", "builtins.getattr"),
    "getattr of an object": (b"\x80\x02cbuiltins\ngetattr\n" + b"cmodels.x\nY\n)\x81" + text("__class__") + b"\x86R.", "builtins.getattr"),
    "getattr by a path": (b"\x80\x02cbuiltins\ngetattr\n" + b"cmodels.x\nY\n" + text("__init__.__globals__") + b"\x86R.",
                          "builtins.getattr"),
    "getattr of getattr": (b"\x80\x02cbuiltins\ngetattr\ncbuiltins\ngetattr\n" + text("__self__") + b"\x86R.", "builtins.getattr"),
    "rmtree": (call("shutil", "rmtree", "MARKER"), "shutil.rmtree"),
    "torch load": (call("torch", "load", "MARKER"), "torch.load"),
    "torch hub": (call("torch.hub", "load", "MARKER"), "torch.hub.load"),
    "torch extension": (call("torch.utils.cpp_extension", "load", "MARKER"), "torch.utils.cpp_extension.load"),
    "pickle in pickle": (call("_pickle", "loads", "MARKER"), "_pickle.loads"),
    "socket": (call("socket", "create_connection", "localhost"), "socket.create_connection"),
    "a class of the program": (call("detailer_core.detectors.yolo.detector", "YoloDetector", "x"), "YoloDetector"),
    "named by the stack": (b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x01x\x85R.", "posix.system"),
    "dotted name": (b"\x80\x04\x8c\x08builtins\x8c\x0dstr.__class__\x93\x8c\x01x\x85R.", "builtins.str.__class__"),
    "opcode inst": (b"(" + text("touch MARKER") + b"iposix\nsystem\n.", "posix.system"),
    "opcode obj": (b"(cposix\nsystem\n" + text("touch MARKER") + b"o.", "posix.system"),
    "opcode obj of an allowed class": (b"(cultralytics.nn.tasks\nDetectionModel\no.", "opcode 'o'"),
    "opcode ext": (b"\x80\x02\x82\x01.", "opcode"),
    "text protocol": (b"cposix\nsystem\n(S'touch MARKER'\ntR.", "posix.system"),
    "real pickle of a reducer": (pickle.dumps(type("Reducer", (), {"__reduce__": lambda self: (os.system, ("touch MARKER",))})(), 2),
                                 f"{os.system.__module__}.system"),
    "call of a download function": (GOOD_HEAD + b"cultralytics.utils.downloads\nsafe_download\n" + text("x") + b"\x85Rs.", "safe_download"),
    "attributes of a class": (b"\x80\x02ctorch.nn\nModule\n}" + text("__setstate__") + b"ctorch.nn\nModule\nsb.", "torch.nn.Module"),
    "call of a type name": (b"\x80\x02ctorch\nfloat32\n)R.", "torch.float32"),
    "call of a number": (b"\x80\x02K\x01)R.", "calls a int"),
    "deep lists on the stack": (b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + b".", "nests too deeply"),
    "deep marks": (b"\x80\x02" + b"(" * 200_000 + b"t" * 200_000 + b".", "nests too deeply"),
    "deep lists by memory": (b"\x80\x02]q\x000" + b"]h\x00aq\x000" * 150_000 + b"h\x00.", "no pickled model"),
    "tuples that double": (GOOD_HEAD + b")" + b"2\x86" * 2000 + b"s.", "no pickled model"),
    "key that doubles": (b"\x80\x02})" + b"2\x86" * 200 + b"Ns.", "no pickled model"),
    "keys that collide": (b"\x80\x02}(" + b"".join(b"\x8a\x0f" + (index * ((1 << 61) - 1)).to_bytes(15, "little") + b"N"
                                                   for index in range(20_000)) + b"u.", "no pickled model"),
    "program without end": (b"\x80\x02" + b"N0" * 2_000_000 + b".", "steps"),
    "copies of a large list": (b"\x80\x02](" + b"N" * 40_000 + b"eq\x01\x85q\x020" + (b"cbuiltins\nlist\nh\x02R0" * 50_000) + b"N.",
                               "steps"),
    "copies of a large dictionary": (b"\x80\x02](" + b"NN\x86" * 10_000 + b"eq\x01\x85q\x020" + (MAPPING + b"h\x02R0") * 50_000 + b"N.",
                                     "steps"),
    "memory index": (b"\x80\x02Nr\xff\xff\xff\xff.", "no pickled model"),
    "length of a text": (b"\x80\x04\x8d" + struct.pack("<Q", 1 << 62) + b"x.", "damaged"),
    "a number of a gigabyte": (b"\x80\x02\x8b" + struct.pack("<i", (1 << 31) - 1) + b".", "opcode"),
    "no end": (b"\x80\x02}", "damaged"),
    "empty stack": (b"\x80\x02R.", "damaged"),
    "unknown memory": (b"\x80\x02h\x07.", "damaged"),
    "empty pickle": (b"", "damaged"),
    "noise": (bytes(range(256)) * 10, "refused"),
    "large pickle": (b"\x80\x02" + b"B" + struct.pack("<I", 40 * MEBI) + bytes(40 * MEBI) + b".", "at most"),
    "numbers from a file": (b"\x80\x02" + text("file") + text("/etc/passwd") + b"\x86Q.", "names numbers"),
    "numbers outside of the archive": (tensor(1, "../../etc/passwd", 0, "(1,)", "(1,)"), "names numbers"),
    "tensor beyond its numbers": (tensor(4, "0", 2, "(4,)", "(1,)"), "does not fit"),
    "tensor before its numbers": (tensor(4, "0", -2, "(1,)", "(1,)"), "does not fit"),
    "tensor of a billion": (tensor(4, "0", 0, "(100000, 100000)", "(0, 0)"), "does not fit"),
    "weights only": (b"\x80\x02" + MAPPING + b")R" + text("conv.weight") + b"Ns.", "conv.weight"),
    "original YOLOv5": (GOOD_HEAD + b"cmodels.yolo\nDetectionModel\n)\x81s.", "original YOLOv5"),
    "module that holds itself": (model_of(thing(LIST, ("_modules", b"}" + text("0") + b"h\x01s"), memory=1)), "beyond measure"),
    "crowded module many times": (model_of(thing(LIST, ("_modules", CROWD), memory=1)), "beyond measure"),
    "long name of a module": (model_of(thing(LIST, ("_modules", b"}" + text("x" * MEBI) + thing(LIST) + b"s"))), "beyond measure"),
    "source that doubles": (model_of(thing(LIST, ("f", b")" + b"2\x86" * 2000))), "takes its input from"),
    "source that is deep": (model_of(thing(LIST, ("f", b")" + b"\x85" * 100_000))), "takes its input from"),
    "layer that is not known": (model_of(thing("ultralytics.nn.modules.block A2C2f", ("f", b"J\xff\xff\xff\xff"))), "'A2C2f'"),
}
GARBLED = stored(b"\x80\x02N.", ("m/data/0", bytes(64)))
FILES: dict[str, tuple[str, bytes, str]] = {
    "zip bomb": ("bomb.pt", b"DEFLATED", "compressed"),
    "zip bomb, bzip2": ("bzip.pt", b"BZIP2", "compressed"),
    "overlapping members": ("overlap.pt", b"OVERLAPPING", "declared"),
    "too large member": ("large.pt", patched(GARBLED, struct.pack("<2L", 64, 64), struct.pack("<2L", 1 << 30, 1 << 30)), "declared"),
    "too many members": ("many.pt", b"MANY", "table of contents"),
    "cut at the end": ("cut.pt", stored(b"\x80\x02N.", ("m/data/0", bytes(1000)))[:-200], "download"),
    "cut at the start": ("behead.pt", stored(b"\x80\x02N.", ("m/data/0", bytes(1000)))[50:], "something else"),
    "cut in the middle": ("middle.pt", GARBLED[:80] + GARBLED[100:], "damaged"),
    "flipped bit": ("flipped.pt", patched(stored(b"\x80\x02N.abcdefgh"), b"N.abc", b"N.abd"), "checksum"),
    "directory elsewhere": ("elsewhere.pt", GARBLED[:-6] + b"\xff\xff\xff\x7f\0\0", "damaged"),
    "garbled table of contents": ("table.pt", patched(GARBLED, b"PK\x01\x02", b"PK\x01\x03"), "garbled"),
    "name that leads up": ("up.pt", stored(b"\x80\x02N.", ("../../evil", b"x")), "'../../evil'"),
    "name that leads up by backslash": ("back.pt", stored(b"\x80\x02N.", ("m\\..\\..\\evil", b"x")), "leads out"),
    "absolute name": ("absolute.pt", stored(b"\x80\x02N.", ("/etc/evil", b"x")), "'/etc/evil'"),
    "name with a drive": ("drive.pt", stored(b"\x80\x02N.", ("c:/evil", b"x")), "'c:/evil'"),
    "name twice": ("twice.pt", patched(stored(b"\x80\x02N.", ("m/data.pkx", b"x")), b"m/data.pkx", b"m/data.pkl"), "twice"),
    "encrypted": ("encrypted.pt", b"ENCRYPTED", "encrypted"),
    "two pickles": ("two.pt", stored(b"\x80\x02N.", ("n/data.pkl", b"\x80\x02N.")), "2 parts"),
    "no pickle": ("none.pt", patched(GARBLED, b"data.pkl", b"data.pkx"), "0 parts"),
    "TorchScript": ("script.pt", stored(b"\x80\x02N.", ("m/constants.pkl", b"x"), ("m/code/__torch__.py", b"x")), "TorchScript"),
    "big-endian": ("endian.pt", stored(b"\x80\x02N.", ("m/byteorder", b"big")), "little-endian"),
    "7z": ("seven.pt", b"7z\xbc\xaf\x27\x1c" + bytes(100), "7z"),
    "rar": ("rar.pt", b"Rar!\x1a\x07\x00" + bytes(100), "RAR"),
    "gzip": ("gzip.pt", b"\x1f\x8b\x08" + bytes(100), "gzip"),
    "old torch file that runs a command": ("legacy.pt", call("posix", "system", "touch MARKER"), "bare pickle"),
    "web page": ("page.pt", b"<!DOCTYPE html><html>not found</html>", "web page"),
    "git-lfs pointer": ("pointer.pt", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git-lfs"),
    "program": ("program.pt", b"\x7fELF" + bytes(100), "Linux program"),
    "script with another ending": ("run.py", b"open('MARKER', 'w')", "'.py' is not known"),
    "empty file": ("empty.pt", b"", "empty"),
    "safetensors, header of exabytes": ("exa.safetensors", safetensors_file(b"{}", 1 << 62), "damaged"),
    "safetensors, no header": ("short.safetensors", b"\x01", "damaged"),
    "safetensors of something else": ("other.safetensors", safetensors_file(b"{}      "), "without our description"),
    "safetensors, nested description": ("nested.safetensors", safetensors_file(json.dumps({"__metadata__": {
        "detailer_yolo": "1", "description": "[" * 200_000}}).encode()), "damaged"),
    "safetensors, unknown layer": ("layer.safetensors", described([{"kind": "os.system", "options": {}, "parts": {}, "sources": [-1]}]),
                                   "os.system"),
    "safetensors, layer from the future": ("future.safetensors", described(
        [{"kind": "upsample", "options": {"factor": 2}, "parts": {}, "sources": [7]}] * 2), "later one"),
    "safetensors, giant factor": ("giant.safetensors", described(
        [{"kind": "upsample", "options": {"factor": 100000}, "parts": {}, "sources": [-1]}] * 2), "100000"),
    "onnx, noise": ("noise.onnx", bytes(1000), "no ONNX file"),
    "onnx, empty": ("empty.onnx", b"", "0 bytes"),
    "onnx, cut": ("cut.onnx", b"\x3a\xff\xff\xff\x7f" + bytes(100), "cut off"),
    "onnx, numbers in other files": ("external.onnx", b"\x3a\x18\x2a\x16\x6a\x14\x0a\x08location\x12\x08../../xx", "other files"),
    "onnx, no graph": ("graph.onnx", b"\x08\x07", "no graph"),
}


def many_members() -> bytes:
    """An archive with 60 000 names of 100 letters."""
    entry = struct.pack("<4s6H3L5H2L", b"PK\x01\x02", 20, 20, 0, 0, 0, 0, 0, 0, 0, 100, 0, 0, 0, 0, 0, 0)
    directory = b"".join(entry + b"%0100d" % index for index in range(60_000))
    return b"PK\x03\x04" + directory + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 60_000, 60_000, len(directory), 4, 0)


def encrypted() -> bytes:
    """An archive whose members say that they are encrypted."""
    data = bytearray(GARBLED)
    data[data.index(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


MADE: dict[bytes, Callable[[], bytes]] = {b"DEFLATED": lambda: packed(zipfile.ZIP_DEFLATED), b"BZIP2": lambda: packed(zipfile.ZIP_BZIP2),
                                          b"OVERLAPPING": overlapping, b"MANY": many_members, b"ENCRYPTED": encrypted}


def odd_paths(folder: Path) -> dict[str, tuple[Path, Path | None, str]]:
    """Things that are no plain files inside of the folder: path, root and what the error must say."""
    inside = folder / "inside"
    inside.mkdir()
    (folder / "folder.pt").mkdir()
    with (folder / "sparse.pt").open("wb") as file:
        file.truncate(6 << 30)
    with (folder / "sparse.onnx").open("wb") as file:
        file.truncate((1 << 30) - 1)
    found: dict[str, tuple[Path, Path | None, str]] = {
        "folder": (folder / "folder.pt", None, "a folder"), "6 GB": (folder / "sparse.pt", None, "at most"),
        "onnx of 1 GB of zeros": (folder / "sparse.onnx", None, "no ONNX file"),
        "path that leads up": (inside / ".." / "good.pt", inside, "outside of its folder"),
        "absolute path elsewhere": (folder / "good.pt", inside, "outside of its folder"),
        "missing": (folder / "missing.pt", None, "not found"), "path with a zero": (folder / "a\0b.pt", None, "cannot be opened")}
    try:
        (inside / "link.pt").symlink_to(folder / "good.pt")
        (inside / "loop.pt").symlink_to(inside / "loop.pt")
        (inside / "linked").symlink_to(folder, target_is_directory=True)
    except OSError:
        return found
    found["link that leads out"] = (inside / "link.pt", inside, "outside of its folder")
    found["folder link that leads out"] = (inside / "linked" / "good.pt", inside, "outside of its folder")
    found["link to itself"] = (inside / "loop.pt", None, "loop.pt")
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / "pipe.pt")
        found["pipe"] = (folder / "pipe.pt", None, "a pipe")
    return found


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory, write_model: Callable[[Path], Path]) -> dict[str, dict[str, Any]]:
    """What happened to each attack; all are tried in one process of their own."""
    folder = tmp_path_factory.mktemp("attacks")
    expected: dict[str, tuple[Path, Path | None, str]] = {}
    for name, (pickled, culprit) in PICKLES.items():
        path = folder / f"pickle-{len(expected)}.pt"
        path.write_bytes(stored(pickled, ("m/data/0", bytes(8))))
        expected[name] = (path, None, culprit)
    for name, (file_name, data, culprit) in FILES.items():
        (folder / file_name).write_bytes(MADE[data]() if data in MADE else data)
        expected[name] = (folder / file_name, None, culprit)
    write_model(folder / "good.pt")
    expected.update(odd_paths(folder))
    listed = {name: {"path": str(path), "root": str(root) if root else ""} for name, (path, root, _) in expected.items()}
    (folder / "attacks.json").write_text(json.dumps(listed), encoding="utf-8")
    source = str(Path(detailer_core.__file__).parent.parent)
    runner = str(Path(__file__).with_name("yolo_attack_runner.py"))
    done = subprocess.run([sys.executable, runner, str(folder)], capture_output=True, text=True, cwd=folder,
                          env={**os.environ, "PYTHONPATH": source}, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    results = json.loads(done.stdout)
    for name, (_, _, culprit) in expected.items():
        results[name]["culprit"] = culprit
    results["marker"] = {"exists": (folder / "MARKER").exists()}
    return results


NAMES = [*PICKLES, *FILES, "folder", "6 GB", "onnx of 1 GB of zeros", "path that leads up", "absolute path elsewhere", "missing",
         "path with a zero", "link that leads out", "folder link that leads out", "link to itself", "pipe"]


@pytest.mark.parametrize("name", NAMES)
def test_attack_is_refused(outcome: dict[str, dict[str, Any]], name: str) -> None:
    """The error is ours and names the culprit, within 2 seconds and 500 MB, and nothing was run, imported or opened."""
    if name not in outcome:
        pytest.skip("this system makes no such files")
    result = outcome[name]
    # Only a file against which nothing speaks but its architecture may be run by another library, if the user allows it.
    assert result["error"] in (("UnknownArchitectureError",) if name == "layer that is not known" else ("ModelFileError", "DetectorNotFoundError"))
    assert result["culprit"] in result["text"]
    assert result["work"] < 2  # seconds of the processor, so that a busy machine does not fail the test
    assert result["seconds"] < 10
    assert result["bytes"] < 500 * MEBI
    assert result["events"] == []


def test_nothing_ran(outcome: dict[str, dict[str, Any]]) -> None:
    """The file that many of the attacks try to make is not there."""
    assert not outcome["marker"]["exists"]


def test_there_are_enough_attacks() -> None:
    """The issue asks for 30 at least."""
    assert len(set(NAMES)) >= 30
