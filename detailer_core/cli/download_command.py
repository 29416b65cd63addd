"""Command `download`: the known detector models, or fetching some of them."""

from __future__ import annotations

import argparse
from pathlib import Path

from tqdm import tqdm

from ..detectors.downloads import KNOWN, KnownModel, download, is_present, known_model


def download_command(args: argparse.Namespace) -> int:
    """Print the list, or fetch what is named; exit code 0 if all of it is there."""
    folder: Path = args.models / "detailer"
    models = [known_model(name) for name in args.names]  # first: a misspelt name should not cost a download
    if not models:
        _list(folder)
    for model in models:
        _fetch(model, folder)
    return 0


def _list(folder: Path) -> None:
    print(f"Models that 'download NAME' fetches into {folder}, each checked by size and SHA-256:")
    for model in KNOWN:
        there = "  (there)" if is_present(model, folder) else ""
        print(f"  {model.name:34} {model.size / 2**20:6.1f} MiB  {model.what}; {model.origin}{there}")


def _fetch(model: KnownModel, folder: Path) -> None:
    if is_present(model, folder):
        print(f"{folder / model.name}: there already")
        return
    print(f"{model.name}: from {model.url}")
    with tqdm(total=model.size, unit="B", unit_scale=True, unit_divisor=1024, disable=None, dynamic_ncols=True) as bar:
        def advance(done: int, _: int) -> None:
            bar.update(done - bar.n)

        path = download(model, folder, advance)
    print(f"{path}: fetched and checked")
