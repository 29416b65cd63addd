"""A reader of pickles that cannot execute them: an interpreter of the opcodes that build plain data, and of no others.

The values are None, bool, int, float, str, bytes, tuple, list, dict and the lifeless ones of `inert`. A set becomes a list. The standard
unpickler is not used: it calls what the file names, and a file can make it fill the memory. Opcodes: `pickletools` of Python.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import NoReturn, cast

from detailer_core.detectors.yolo import inert
from detailer_core.detectors.yolo.inert import Name, StorageRef, Stub, TensorRef
from detailer_core.errors import ModelFileError

MAX_PICKLE_BYTES = 16 << 20
"""Largest pickle that is read; that of the largest YOLO with its optimizer has about 1 MiB."""
MAX_STEPS = 1_000_000
"""Opcodes executed plus values copied; the largest YOLO with a copy and its optimizer takes about 400 000."""
MAX_STACK = 50_000
"""Values that may wait at one time: pickle writes containers in pieces of 1000."""
MAX_MARKS = 500
"""Containers that may be open inside of one another."""
MAX_NAME = 500
"""Longest class name, in bytes."""


def read_pickle(data: bytes | bytearray, file_name: str) -> object:
    """The value that a pickle describes.

    data: protocol 2 to 5, as torch writes it.
    file_name: for messages.

    Raises: ModelFileError, naming the culprit, if the pickle wants anything but plain data and tensors, is damaged or too large.
    """
    if len(data) > MAX_PICKLE_BYTES:
        raise ModelFileError(f"model file '{file_name}' refused: a pickle of {len(data)} bytes, at most {MAX_PICKLE_BYTES} are read")
    return _Machine(bytes(data), file_name).run()


class _Machine:
    """The stack, the open marks and the memo of one reading. Thrown away afterwards."""

    def __init__(self, data: bytes, file_name: str) -> None:
        self.data = data
        self.at = 0
        self.stack: list[object] = []
        self.marks: list[int] = []
        self.memo: dict[int, object] = {}
        self.steps = 0
        self.file_name = file_name

    def run(self) -> object:
        """Execute until STOP."""
        try:
            while True:
                self.spend(1)
                opcode = self.data[self.at]
                self.at += 1
                if opcode == 0x2E:
                    return self.stack.pop()
                handler = _HANDLERS.get(opcode)
                if handler is None:
                    self.refuse(f"it uses the pickle opcode {chr(opcode)!r}, which torch never writes")
                handler(self)
                if len(self.stack) > MAX_STACK or len(self.marks) > MAX_MARKS:
                    self.refuse("it nests too deeply")
        except (IndexError, KeyError, struct.error, UnicodeDecodeError) as error:
            raise ModelFileError(f"model file '{self.file_name}' is damaged at byte {self.at} of its pickle; download it again") from error

    def spend(self, steps: int) -> None:
        """Count work, so that a small file cannot ask for much of it."""
        self.steps += steps
        if self.steps > MAX_STEPS:
            self.refuse(f"its pickle takes more than {MAX_STEPS} steps")

    def refuse(self, why: str) -> NoReturn:
        """Raise the error."""
        raise ModelFileError(f"model file '{self.file_name}' refused: {why}; nothing of it was executed, get it from a source you trust")

    def take(self, count: int) -> bytes:
        """The next bytes."""
        end = self.at + count
        if end > len(self.data):
            raise IndexError(end)
        piece = self.data[self.at:end]
        self.at = end
        return piece

    def number(self, width: int, signed: bool = False) -> int:
        """The next little-endian integer of `width` bytes."""
        return int.from_bytes(self.take(width), "little", signed=signed)

    def line(self) -> str:
        """Text up to the next line break."""
        end = self.data.index(b"\n", self.at, self.at + MAX_NAME) if b"\n" in self.data[self.at:self.at + MAX_NAME] else -1
        if end < 0:
            raise IndexError(self.at)
        text = self.data[self.at:end].decode("utf-8")
        self.at = end + 1
        return text

    def pop_mark(self) -> list[object]:
        """The values above the last mark."""
        start = self.marks.pop()
        values = self.stack[start:]
        del self.stack[start:]
        return values

    def pop(self) -> object:
        """The last value; a mark protects those below it."""
        if self.marks and len(self.stack) <= self.marks[-1]:
            raise IndexError("mark")
        return self.stack.pop()

    def name(self, module: str, attribute: str) -> Name:
        """The name if a model may use it."""
        module = {"__builtin__": "builtins", "copy_reg": "copyreg"}.get(module, module)
        name = Name(text=f"{module}.{attribute}")
        if not name.is_allowed:
            self.refuse(f"it wants '{name.text[:MAX_NAME]}', which no detector needs")
        return name

    def build(self, callee: object, arguments: object) -> object:
        """What calling `callee` stands for; nothing is called."""
        given = inert.items(arguments)
        if not isinstance(callee, Name) or given is None:
            self.refuse(f"it calls a {type(callee).__name__}")
        text = callee.text
        if text == inert.REBUILD_TENSOR:
            view = inert.tensor_ref(*given[:4]) if len(given) >= 4 else None
            return view if view is not None else self.refuse("a tensor does not fit into its numbers")
        if text in inert.REBUILD_PARAMETER and given and isinstance(given[0], TensorRef):
            return given[0]
        if callee.is_stub:
            return Stub(name=text)
        if text == inert.METHOD:
            return self.method(given)
        if text in inert.MAPPINGS:
            return self.mapping(given[-1] if given else ())
        if text in inert.SEQUENCES:
            values = inert.items(given[0] if given else ())
            if values is None:
                self.refuse(f"it makes '{text}' of something else than a list")
            self.spend(len(values))
            return tuple(values) if text in ("torch.Size", "builtins.tuple") else list(values)
        if text == "torch.device":
            return Stub(name=text)
        self.refuse(f"it calls '{text}' in a way that is not known")

    def method(self, arguments: Sequence[object]) -> Name:
        """The name of a method of a class that is only a name here; looking up anything else is refused."""
        owner, attribute = arguments if len(arguments) == 2 else (None, None)
        if not isinstance(owner, Name) or not owner.is_stub or not isinstance(attribute, str) or not attribute.isidentifier():
            self.refuse(f"it wants '{inert.METHOD}' of something else than a layer, which no detector needs")
        return self.name(owner.text, attribute[:MAX_NAME])

    def mapping(self, pairs: object) -> dict[object, object]:
        """A dictionary of pairs, as OrderedDict is pickled."""
        result: dict[object, object] = {}
        for entry in inert.items(pairs) or ():
            self.spend(1)
            pair = inert.items(entry)
            if pair is None or len(pair) != 2:
                self.refuse("a dictionary is made of something else than pairs")
            _put(result, pair[0], pair[1])
        return result

    def storage(self, identity: object) -> StorageRef:
        """The numbers that a persistent id names: `("storage", class, key, device, count)`."""
        parts = inert.items(identity) or ()
        if len(parts) >= 5 and isinstance(parts[0], str) and parts[0] == "storage":
            _, kind, key, _, count = parts[:5]
            dtype = inert.STORAGE_TYPES.get(kind.text) if isinstance(kind, Name) else None
            if dtype and isinstance(key, str) and key.isalnum() and key.isascii() and type(count) is int and count >= 0:
                return StorageRef(dtype=dtype, key=key, count=count)
        self.refuse("it names numbers in a way that is not known")

    def set_state(self, state: object) -> None:
        """Attributes of the last value; only a stub keeps them, as plain entries."""
        target = self.stack[-1]
        if isinstance(target, Stub):
            for part in inert.items(state) or (state,):
                self.spend(1 + len(inert.entries(part)))
                target.state.update(inert.entries(part))
        elif not isinstance(target, dict | TensorRef):
            self.refuse(f"it sets attributes of {target.text if isinstance(target, Name) else type(target).__name__!r}")

    def set_items(self, flat: list[object]) -> None:
        """Entries of the last value, given as key, value, key, value."""
        target = self.stack[-1]
        if isinstance(target, dict):
            for key, value in zip(flat[::2], flat[1::2], strict=False):
                _put(cast("dict[object, object]", target), key, value)
        elif not isinstance(target, Stub):
            self.refuse(f"it sets entries of a {type(target).__name__}")

    def append(self, values: list[object]) -> None:
        """Elements of the last value."""
        target = self.stack[-1]
        if isinstance(target, list):
            cast("list[object]", target).extend(values)
        elif not isinstance(target, Stub):
            self.refuse(f"it appends to a {type(target).__name__}")


def _put(target: dict[object, object], key: object, value: object) -> None:
    """Store an entry; keys that could be made to collide or to hash for ever are left out, no model needs them."""
    if isinstance(key, str | bool) or key is None or (type(key) is int and abs(key) < 1 << 31):
        target[key] = value


def _push(read: Callable[[_Machine], object]) -> Callable[[_Machine], None]:
    """A handler that pushes what `read` returns."""
    def handler(m: _Machine) -> None:
        m.stack.append(read(m))
    return handler


def _pair(m: _Machine) -> list[object]:
    """The last two values."""
    value = m.pop()
    return [m.pop(), value]


def _tuple_of(count: int) -> Callable[[_Machine], object]:
    """A reader of a tuple of the last `count` values."""
    return lambda m: tuple([m.pop() for _ in range(count)][::-1])


def _text(width: int) -> Callable[[_Machine], object]:
    """A reader of text with a length of `width` bytes before it."""
    return lambda m: m.take(m.number(width)).decode("utf-8", "surrogatepass")


def _named(m: _Machine) -> Name:
    """A name from the last two values."""
    module, attribute = _pair(m)
    if not isinstance(module, str) or not isinstance(attribute, str):
        m.refuse("a name is not text")
    return m.name(module, attribute)


def _call(m: _Machine) -> object:
    """What REDUCE and NEWOBJ stand for."""
    callee, arguments = _pair(m)
    return m.build(callee, arguments)


def _memoize(width: int) -> Callable[[_Machine], None]:
    """A handler that remembers the last value; width 0 = under the next free number."""
    def handler(m: _Machine) -> None:
        m.memo[m.number(width) if width else len(m.memo)] = m.stack[-1]
    return handler


_OPCODES: dict[bytes, Callable[[_Machine], object]] = {
    b"\x80": lambda m: m.take(1),
    b"\x95": lambda m: m.take(8),
    b"(": lambda m: m.marks.append(len(m.stack)),
    b"0": lambda m: m.pop(),
    b"1": lambda m: m.pop_mark(),
    b"2": _push(lambda m: m.stack[-1]),
    b"N": _push(lambda m: None),
    b"\x88": _push(lambda m: True),
    b"\x89": _push(lambda m: False),
    b"K": _push(lambda m: m.number(1)),
    b"M": _push(lambda m: m.number(2)),
    b"J": _push(lambda m: m.number(4, signed=True)),
    b"\x8a": _push(lambda m: m.number(m.number(1), signed=True)),
    b"G": _push(lambda m: struct.unpack(">d", m.take(8))[0]),
    b"\x8c": _push(_text(1)),
    b"X": _push(_text(4)),
    b"\x8d": _push(_text(8)),
    b"C": _push(lambda m: m.take(m.number(1))),
    b"B": _push(lambda m: m.take(m.number(4))),
    b"\x8e": _push(lambda m: m.take(m.number(8))),
    b"}": _push(lambda m: {}),
    b"]": _push(lambda m: []),
    b"\x8f": _push(lambda m: []),
    b")": _push(lambda m: ()),
    b"\x85": _push(_tuple_of(1)),
    b"\x86": _push(_tuple_of(2)),
    b"\x87": _push(_tuple_of(3)),
    b"t": _push(lambda m: tuple(m.pop_mark())),
    b"l": _push(lambda m: m.pop_mark()),
    b"\x91": _push(lambda m: m.pop_mark()),
    b"a": lambda m: m.append([m.pop()]),
    b"e": lambda m: m.append(m.pop_mark()),
    b"\x90": lambda m: m.append(m.pop_mark()),
    b"s": lambda m: m.set_items(_pair(m)),
    b"u": lambda m: m.set_items(m.pop_mark()),
    b"q": _memoize(1),
    b"r": _memoize(4),
    b"\x94": _memoize(0),
    b"h": _push(lambda m: m.memo[m.number(1)]),
    b"j": _push(lambda m: m.memo[m.number(4)]),
    b"c": _push(lambda m: m.name(m.line(), m.line())),
    b"i": lambda m: m.name(m.line(), m.line()) and m.refuse("it uses the pickle opcode 'i', which torch never writes"),
    b"\x93": _push(_named),
    b"R": _push(_call),
    b"\x81": _push(_call),
    b"b": lambda m: m.set_state(m.pop()),
    b"Q": _push(lambda m: m.storage(m.pop())),
}
_HANDLERS = {code[0]: handler for code, handler in _OPCODES.items()}
