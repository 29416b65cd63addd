"""Plays `modules.util`: names of files."""

import os
import re


def natural_sort_key(s, regex=re.compile("([0-9]+)")):
    """A key that sorts numbers in names by their value."""
    return [int(text) if text.isdigit() else text.lower() for text in regex.split(s)]


def listfiles(dirname):
    """The files in a folder, sorted, hidden ones left out."""
    names = sorted((name for name in os.listdir(dirname) if not name.startswith(".")), key=natural_sort_key)
    return [path for path in (os.path.join(dirname, name) for name in names) if os.path.isfile(path)]


def walk_files(path, allowed_extensions=None):
    """Every file below a folder, those with an allowed ending if any are given."""
    wanted = None if allowed_extensions is None else set(allowed_extensions)
    for root, _, names in sorted(os.walk(path, followlinks=True), key=lambda entry: natural_sort_key(entry[0])):
        for name in sorted(names, key=natural_sort_key):
            if wanted is None or os.path.splitext(name)[1].lower() in wanted:
                yield os.path.join(root, name)
