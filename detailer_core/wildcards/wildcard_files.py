"""Wildcard folders: which names they hold, and the lines of one file.

A `.txt` file is one wildcard, one option per line; blank lines and lines that start with `#` are dropped. A `.yaml` or `.yml` file
holds nested mappings of lists; the keys joined by `/` are the names. Everything is UTF-8 (a byte-order mark is allowed); a file
that is not valid UTF-8 is read as Latin-1, because many older wildcard collections are.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias, cast

from ..errors import PromptError

Lines: TypeAlias = tuple[str, ...]

MAX_TEXT_FILE_BYTES = 16 * 2**20
MAX_YAML_FILE_BYTES = 4 * 2**20
MAX_YAML_NODES = 500_000
MAX_YAML_DEPTH = 32


def normalise_name(name: str) -> str:
    """The name under which a wildcard is kept: forward slashes, `-` for spaces, lower case."""
    return name.replace("\\", "/").replace(" ", "-").lower()


def read_text_lines(path: Path) -> Lines:
    """The options of a `.txt` wildcard file.

    Raises: PromptError if the file cannot be read, is too large, or is not text.
    """
    lines = _read(path, MAX_TEXT_FILE_BYTES).splitlines()
    return tuple(line for line in lines if line.strip() and not line.lstrip().startswith("#"))


def read_yaml_lines(path: Path) -> dict[str, Lines]:
    """The wildcards of a `.yaml` file by name. Every value is kept as the text that was written (`yes` stays `yes`).

    Raises: PromptError if the file cannot be read, is too large, is not YAML, or is not a mapping.
    """
    import yaml  # only here, so that a folder of text files does not need PyYAML

    loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
    try:
        tree: object = yaml.load(_read(path, MAX_YAML_FILE_BYTES), Loader=loader)
    except (yaml.YAMLError, RecursionError) as error:
        problem = " ".join(str(error).split())
        raise PromptError(f"wildcard file '{path}' is not valid YAML ({problem}); correct it or take it away") from error
    if tree in (None, ""):
        return {}
    if not isinstance(tree, dict):
        raise PromptError(f"wildcard file '{path}' holds a {type(tree).__name__} at its top, not names with lists; "
                          "write `name:` and below it lines that start with `- `")
    return _flatten(path, cast("dict[object, object]", tree))


def _flatten(path: Path, tree: dict[object, object]) -> dict[str, Lines]:
    """Nested mappings as one, names joined by `/`. Aliases can make a small file endless, hence the two limits."""
    found: dict[str, Lines] = {}
    waiting: list[tuple[str, object, int]] = [("", tree, 0)]
    nodes = 0
    while waiting:
        name, node, depth = waiting.pop()
        children = len(cast("dict[object, object] | list[object]", node)) if isinstance(node, (dict, list)) else 0
        nodes += 1 + children
        if nodes > MAX_YAML_NODES or depth > MAX_YAML_DEPTH:
            raise PromptError(f"wildcard file '{path}' holds more than {MAX_YAML_NODES} entries or nests deeper than "
                              f"{MAX_YAML_DEPTH} levels; split it into smaller files")
        if isinstance(node, dict):
            items = [(f"{name}/{key}" if name else str(key), value, depth + 1)
                     for key, value in cast("dict[object, object]", node).items()]
            waiting.extend(reversed(items))
        elif isinstance(node, list):
            found[normalise_name(name)] = tuple(item for item in cast("list[object]", node) if isinstance(item, str) and item.strip())
        elif isinstance(node, str) and node.strip():
            found[normalise_name(name)] = (node,)
    return found


def scan(folder: Path) -> Iterator[tuple[str, Path | Lines] | PromptError]:
    """The wildcards of a folder in the order of their paths: name and either its file or its lines; an error for what is left out.

    Links that lead out of the folder are left out.
    """
    root = folder.resolve()
    if not root.is_dir():
        yield PromptError(f"wildcard folder '{folder}' not found; create it, or take it out of the settings")
        return
    for path in _files(root):
        if not path.resolve().is_relative_to(root):
            yield PromptError(f"wildcard file '{path}' is a link that leads out of '{folder}'; "
                              "copy the file, or add its folder to the settings")
        elif path.suffix.lower() == ".txt":
            yield normalise_name(path.relative_to(root).with_suffix("").as_posix()), path
        else:
            try:
                yield from read_yaml_lines(path).items()
            except PromptError as error:
                yield error


def _files(root: Path) -> list[Path]:
    """The wildcard files below a folder, in the order of their paths, without entering linked folders."""
    found = (Path(parent, name) for parent, _, names in os.walk(root) for name in names)
    return sorted(path for path in found if path.suffix.lower() in (".txt", ".yaml", ".yml") and path.is_file())


def _read(path: Path, max_bytes: int) -> str:
    try:
        size = path.stat().st_size
        if size > max_bytes:
            raise PromptError(f"wildcard file '{path}' has {size} bytes, more than the limit of {max_bytes}; split it into smaller files")
        raw = path.read_bytes()
    except OSError as error:
        raise PromptError(f"wildcard file '{path}' cannot be read ({error.strerror}); check that it exists and may be read") from error
    if b"\0" in raw:
        raise PromptError(f"wildcard file '{path}' is not UTF-8 text; save it as UTF-8")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("latin-1")
