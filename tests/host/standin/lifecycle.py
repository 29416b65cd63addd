"""Puts a fresh fake `modules` into `sys.modules` and takes it out again."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from .hosts import HOSTS
from .world import World

_PLAYED = ("modules", "detailer_webui")
"""Packages that belong to one played host; what is bound to the host must not outlive it."""

_FAKE_MODULES = Path(__file__).parent / "modules"


def _belongs(name: str) -> bool:
    return name.split(".", 1)[0] in _PLAYED


@contextmanager
def _without_stub_files() -> Iterator[None]:
    """Keeps gradio 4 from writing a `.pyi` file beside each file that derives a component; Forge's host does so too."""
    try:
        from gradio import component_meta
    except ImportError:  # gradio 3 writes none
        yield
        return
    original = component_meta.create_or_modify_pyi
    component_meta.create_or_modify_pyi = lambda *args, **kwargs: None
    try:
        yield
    finally:
        component_meta.create_or_modify_pyi = original


@contextmanager
def install(host: str = "a1111-1.10.1", *, tmp_path: Path | str) -> Iterator[World]:
    """A played host, for the length of the `with` block; `tmp_path` becomes the host's folder.

    Raises: KeyError for a host that the stand-in cannot play.
    """
    if host not in HOSTS:
        raise KeyError(f"no host {host!r} in the stand-in; choose one of {', '.join(HOSTS)}")
    world = World(host=HOSTS[host], folder=Path(tmp_path))
    hidden = {name: sys.modules.pop(name) for name in list(sys.modules) if _belongs(name)}
    search_path = list(sys.path)
    try:
        _enter(world)
        yield world
    finally:
        for name in [name for name in sys.modules if _belongs(name)]:
            del sys.modules[name]
        sys.modules.update(hidden)
        sys.path[:] = search_path


def _enter(world: World) -> None:
    package: Any = ModuleType("modules")
    package.__path__ = [str(_FAKE_MODULES)]
    world_module: Any = ModuleType("modules._standin")
    world_module._world = world
    sys.modules.update({"modules": package, "modules._standin": world_module})
    package._standin = world_module
    for name, there in (("sd_schedulers", world.host.has_schedulers), ("sd_hijack", not world.host.new_backend)):
        if not there:
            sys.modules[f"modules.{name}"] = None  # type: ignore[assignment]  # this is how Python marks "not there"
    for name in ("models", "outputs", "extensions", "models/Stable-diffusion"):
        (world.folder / name).mkdir(parents=True, exist_ok=True)
    with _without_stub_files():
        _import_all(world)


def _import_all(world: World) -> None:
    for name in sorted(path.stem for path in _FAKE_MODULES.glob("[!_]*.py")):
        if sys.modules.get(f"modules.{name}", world) is not None:
            import_module(f"modules.{name}")
    import_module("modules.api.api")
