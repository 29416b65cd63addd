"""Plays `modules.script_loading`: a script file becomes a module that `sys.modules` does not know."""

import importlib.util
import os

from modules._standin import _world

if not _world.host.classic:
    loaded_scripts = {}


def load_module(path):
    """The module of a script file, run anew."""
    spec = importlib.util.spec_from_file_location(os.path.basename(path), path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not _world.host.classic:
        loaded_scripts[path] = module
    return module
