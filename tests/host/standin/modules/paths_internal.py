"""Plays `modules.paths_internal`: the host's folders."""

import os

from modules._standin import _world

script_path = str(_world.folder)
data_path = script_path
models_path = os.path.join(data_path, "models")
extensions_dir = os.path.join(data_path, "extensions")
extensions_builtin_dir = os.path.join(script_path, "extensions-builtin")
default_output_dir = os.path.join(data_path, "outputs")
cwd = script_path
