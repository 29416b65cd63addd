"""Plays `modules.extensions`: the one extension that is being tested."""

import os

from modules._standin import _world

extensions = []
if not _world.host.classic:
    extension_paths = {}
    loaded_extensions = {}


class Extension:
    """One extension's folder."""

    def __init__(self, name, path, enabled=True, is_builtin=False, metadata=None):
        """Keeps what it is given."""
        self.name = name
        self.path = path
        self.enabled = enabled
        self.is_builtin = is_builtin
        self.canonical_name = name.lower()
        self.status = self.version = self.remote = self.branch = self.commit_hash = ""
        self.commit_date = None

    def list_files(self, subdir, extension):
        """The files of a subfolder with that ending, sorted by name."""
        from modules import scripts

        folder = os.path.join(self.path, subdir)
        names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
        files = [scripts.ScriptFile(self.path, name, os.path.join(folder, name)) for name in names]
        return [file for file in files if os.path.splitext(file.path)[1].lower() == extension and os.path.isfile(file.path)]


def active():
    """The extensions that are switched on."""
    return [extension for extension in extensions if extension.enabled]
