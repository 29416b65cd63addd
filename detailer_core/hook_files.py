"""A user's own hook, from a Python file that defines `make_hook(**arguments) -> DetailerHook`.

Such a file is a program and may do what any program may: load only what the person at the machine (the command line) or its administrator (one
folder) has put there. Its errors become one HookError that names the file, the line and what to do.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from .errors import HookError, SettingsError
from .hooks import DetailerHook

_HOW = "define `def make_hook(**arguments)` that returns a DetailerHook (from detailer_core.hooks import DetailerHook)"


def load_hook(path: Path, arguments: Mapping[str, Any] | None = None) -> DetailerHook:
    """The hook that the file's `make_hook` makes of the arguments. The file is read anew at each call.

    Raises: HookError if the file cannot be read or run, has no `make_hook`, or that raises or returns something else.
    """
    module = _run_file(path, _read_source(path))
    make = getattr(module, "make_hook", None)
    if not callable(make):
        raise HookError(f"hook file {path} has no function make_hook; {_HOW}")
    line = getattr(getattr(make, "__code__", None), "co_firstlineno", 1)
    try:
        hook = make(**(arguments or {}))
    except (Exception, SystemExit) as error:  # a user's own code: whatever it raises has to reach the user as one clear message
        raise _failed(path, error, line, "make_hook failed", "correct it, or the arguments that it is given") from error
    if isinstance(hook, DetailerHook):
        return hook
    got = f"the class {hook.__name__}, return an object of it" if isinstance(hook, type) else type(hook).__name__
    raise HookError(f"hook file {path}, line {line}: make_hook returned {got}; {_HOW}")


def hook_file_names(folder: Path | None) -> tuple[str, ...]:
    """What `load_hook_from_folder` can load, sorted; nothing without a folder."""
    if folder is None or not folder.is_dir():
        return ()
    return tuple(sorted(path.name for path in folder.glob("*.py") if not path.name.startswith(("_", ".")) and _inside(folder, path)))


def load_hook_from_folder(folder: Path | None, name: str, arguments: Mapping[str, Any] | None = None) -> DetailerHook:
    """As `load_hook`, for a plain file name in the one folder that an administrator chose; None = hook files are switched off.

    Raises: HookError also for a name that could lead elsewhere (separators, "..", a link that leaves the folder).
    """
    if folder is None:
        raise HookError(f"hook file '{name}': hook files are switched off in settings; on the command line use --hook, elsewhere whoever "
                        "runs the machine has to choose a folder for them")
    if not _is_plain(name):
        raise HookError(f"hook file '{name[:80]}': expected the plain name of a .py file, without folders; put the file into {folder}")
    if not folder.is_dir():
        raise HookError(f"hook file '{name}': the folder {folder} for hook files does not exist; make it, or choose another")
    path = folder / name
    if not path.is_file():
        raise HookError(f"hook file '{name}' not found in {folder}; there are: {', '.join(hook_file_names(folder)) or 'none'}")
    if not _inside(folder, path):
        raise HookError(f"hook file '{name}' is a link that leads out of {folder}; put the file itself there")
    return load_hook(path.resolve(), arguments)


def parse_arguments(text: str) -> dict[str, Any]:
    """The arguments of a hook from a JSON object; empty text = none. Raises: SettingsError if it is no JSON object."""
    if not text.strip():
        return {}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"hook arguments '{text[:80]}': {error}; write a JSON object, for example {{\"strength\": 0.5}}", field="hook") from None
    if not isinstance(value, dict):
        raise SettingsError(f"hook arguments '{text[:80]}': write a JSON object, for example {{\"strength\": 0.5}}", field="hook")
    return value


def _is_plain(name: str) -> bool:
    """Whether it can only be a file in the folder itself, on any system: ":" is a drive or a hidden stream of Windows."""
    return name.endswith(".py") and not name.startswith(".") and name.isprintable() and not any(c in name for c in "/\\:")


def _inside(folder: Path, path: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())


def _read_source(path: Path) -> str:
    if not path.is_file():
        raise HookError(f"hook file {path} not found; give the path of a Python file")
    try:
        return importlib.util.decode_source(path.read_bytes())
    except OSError as error:
        raise HookError(f"hook file {path} cannot be read: {error.strerror or error}; check its permissions") from error
    except (UnicodeDecodeError, SyntaxError) as error:
        raise HookError(f"hook file {path} cannot be read as text: {error}; save it as UTF-8") from error


def _run_file(path: Path, source: str) -> ModuleType:
    """The file as a module of its own. Not by `import`, which would write a cache beside it and may run an old one."""
    name = f"detailer_hook_{hashlib.blake2b(str(path).encode(errors='surrogatepass'), digest_size=8).hexdigest()}"
    module = ModuleType(name)
    module.__file__ = str(path)
    before = sys.modules.get(name)
    sys.modules[name] = module  # dataclasses and pickle look a class's module up there
    try:
        exec(compile(source, str(path), "exec", dont_inherit=True), module.__dict__)
    except (Exception, SystemExit) as error:
        if before is None:
            del sys.modules[name]
        else:
            sys.modules[name] = before
        if isinstance(error, SyntaxError) and error.filename == str(path):
            raise HookError(f"hook file {path}, line {error.lineno or 1}: {error.msg}; correct the file") from error
        raise _failed(path, error, 1, "it cannot be run", "correct the file") from error
    return module


def _failed(path: Path, error: BaseException, line: int, what: str, advice: str) -> HookError:
    """The last line of the file itself that the error passed through, `line` if there is none."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path) and frame.lineno]
    return HookError(f"hook file {path}, line {lines[-1] if lines else line}: {what}: {type(error).__name__}: {error}; {advice}")
