"""The house rules that a program can check: who imports whom, how large a file is, what a file may not hold."""

from __future__ import annotations

import ast
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CORE = ROOT / "detailer_core"
SHIPPED = sorted(path for folder in ("detailer_core", "detailer_webui", "scripts") for path in (ROOT / folder).rglob("*.py"))
OURS = sorted([*SHIPPED, ROOT / "install.py", *(path for folder in ("tests", "benchmarks") for path in (ROOT / folder).rglob("*.py"))])

HOSTS = {"modules", "modules_forge", "backend", "launch", "scripts", "gradio", "fastapi", "starlette", "pydantic", "detailer_webui"}
"""What the core never imports: the hosts' own names, what only hosts bring, and our adapter."""

ROOMS = ("errors", "version", "geometry", "sampling", "image_ops", "masked_fill", "resample", "segments", "masks", "mask_segments", "pictures",
         "preview", "contact_sheet", "settings", "sizing", "waves", "wave_memory", "wildcards", "plan", "hooks", "hook_files", "hook_library",
         "engines", "detectors", "run", "summary", "unit", "picture_kinds", "api", "cli", "__main__")
"""The core from the ground up: a room imports only what stands before it, or itself."""

MAX_LINES = 500
LONGER = {"tests/core/test_pictures.py"}
"""Files that are longer than they should be and wait for being cut."""


def imports(source: str, package: tuple[str, ...]) -> set[str]:
    """Full names of all modules and names that a file imports, wherever in it, also by `import_module` or `__import__` with a plain text.

    package: names of the packages that the file lies in.
    """
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = [*package[: len(package) - node.level + 1]] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            found |= {module} | {f"{module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, str):
            function = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if function in ("import_module", "__import__"):
                found.add(node.args[0].value)
    return found


def wrong_hosts(source: str, package: tuple[str, ...]) -> set[str]:
    """Imports of a core file that only the host adapter may have."""
    return {name for name in imports(source, package) if name.split(".")[0] in HOSTS}


def wrong_rooms(source: str, package: tuple[str, ...], room: str) -> set[str]:
    """Rooms of the core that a file imports although they stand above its own."""
    used = {name.split(".")[1] for name in imports(source, package) if name.startswith("detailer_core.")}
    return {other for other in used if other in ROOMS and ROOMS.index(other) > ROOMS.index(room)}


def core_files() -> Iterator[tuple[Path, tuple[str, ...], str]]:
    """Each file of the core with its packages and its room."""
    for path in sorted(CORE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if parts != ("detailer_core", "__init__"):
            yield path, parts[:-1], parts[1]


def text_of(path: Path) -> str:
    """The file's source."""
    return path.read_text(encoding="utf-8")


def test_core_knows_no_host() -> None:
    """No file of the core imports a host, gradio, fastapi or the adapter."""
    wrong = {str(path.relative_to(ROOT)): names for path, package, _ in core_files() if (names := wrong_hosts(text_of(path), package))}
    assert wrong == {}


def test_every_room_has_its_place() -> None:
    """A new file or package of the core is put into `ROOMS`, and none of those that are there is forgotten."""
    assert {room for _, _, room in core_files()} == set(ROOMS)


def test_lower_rooms_never_import_higher_ones() -> None:
    """The order of `ROOMS` holds for every import, also those inside of functions."""
    wrong = {str(path.relative_to(ROOT)): rooms for path, package, room in core_files() if (rooms := wrong_rooms(text_of(path), package, room))}
    assert wrong == {}


@pytest.mark.parametrize("line", ["import modules", "import modules.shared as s", "from modules import processing", "from gradio import Blocks",
                                  "def f():\n    import fastapi", "if True:\n    from detailer_webui.job import run",
                                  "import importlib\nimportlib.import_module('modules.shared')", "__import__('gradio')"])
def test_the_check_sees_hosts(line: str) -> None:
    """Each way to import a host is caught, and nothing else in the line is."""
    assert len({name.split(".")[0] for name in wrong_hosts(line, ("detailer_core",))}) == 1


@pytest.mark.parametrize(("line", "package"), [("from .run import x", ("detailer_core",)), ("from ..run import x", ("detailer_core", "masks")),
                                               ("from . import run", ("detailer_core",)), ("from detailer_core import run", ("other",)),
                                               ("import detailer_core.run", ()), ("def f():\n    from .run import x", ("detailer_core",))])
def test_the_check_sees_higher_rooms(line: str, package: tuple[str, ...]) -> None:
    """Each way to import a higher room is caught; for a room above it the same line is right."""
    assert wrong_rooms(line, package, "masks") == {"run"}
    assert wrong_rooms(line, package, "unit") == set()


def test_what_the_host_loads_is_small_and_alone() -> None:
    """`scripts/detailer.py` holds at most 20 lines and lies alone: the host runs every file of that folder."""
    assert [path.name for path in (ROOT / "scripts").iterdir() if path.name != "__pycache__"] == ["detailer.py"]
    assert len(text_of(ROOT / "scripts" / "detailer.py").splitlines()) <= 20


def test_no_file_is_too_long() -> None:
    """A file is about one thing; none has over 500 lines but those that are known, and these still have."""
    files = [*OURS, *(ROOT / "javascript").glob("*.js")]
    assert {path.relative_to(ROOT).as_posix() for path in files if len(text_of(path).splitlines()) > MAX_LINES} == LONGER


def test_only_the_command_line_prints() -> None:
    """All else logs: in a host nobody reads what is printed."""
    printing = [path for path in SHIPPED for node in ast.walk(ast.parse(text_of(path)))
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"]
    assert {path.parent.relative_to(ROOT).as_posix() for path in printing} == {"detailer_core/cli"}


def test_nothing_is_left_to_do() -> None:
    """What is not done is an issue and not a comment."""
    marks = {"TO" + "DO", "FIX" + "ME", "X" * 3}
    left = [f"{path.relative_to(ROOT)}:{token.start[0]}" for path in OURS for token in _comments(path) if marks & set(_words(token.string))]
    assert left == []


def test_install_pins_nothing() -> None:
    """The host's versions are the host's to choose: no version, no upgrade, and nothing that a package would pull in."""
    nodes = ast.walk(ast.parse(text_of(ROOT / "install.py")))
    texts = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    commands = [text for text in texts if text.startswith("install ")]
    assert commands
    assert all("--no-deps" in command for command in commands)
    wrong = ("==", ">=", "<=", "~=", "!=", "--upgrade", "-U ", "--force-reinstall", "http")
    assert [text for text in texts for sign in wrong if sign in text] == []


def _comments(path: Path) -> Iterator[tokenize.TokenInfo]:
    with tokenize.open(path) as file:
        yield from (token for token in tokenize.generate_tokens(file.readline) if token.type in (tokenize.COMMENT, tokenize.STRING))


def _words(text: str) -> list[str]:
    return "".join(c if c.isalnum() else " " for c in text).split()
