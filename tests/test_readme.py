"""The README says what the code does."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_models
from PIL import Image

from detailer_core.settings import make_settings, markdown_table, options

README = Path(__file__).resolve().parent.parent / "README.md"


def test_settings_table_is_the_code_s() -> None:
    """The table between the marks is generated; `python tests/test_readme.py` writes it anew."""
    text = README.read_text(encoding="utf-8")
    assert _between_marks(text).strip() == markdown_table().strip()


def test_api_example_holds_known_settings() -> None:
    """The JSON example is valid, and its units are accepted."""
    block = re.search(r"```json\n(.*?)```", README.read_text(encoding="utf-8"), re.S)
    assert block is not None
    switch, *units = json.loads(block[1])["alwayson_scripts"]["Detailer"]["args"]
    assert switch is True
    assert [make_settings(unit).detector for unit in units] == ["face_yolov8n.pt", "hand_yolov8n.pt"]


def test_troubleshooting_tells_what_is_there() -> None:
    """Each message in the table is one of the code's, each setting one of the page's, each option one of the settings page's."""
    text = README.read_text(encoding="utf-8")
    table = text[text.index("## Troubleshooting"):text.index("## On the command line")]
    rows = [line.split("|")[1:4] for line in table.splitlines() if line.startswith("|")][2:]
    code = "".join(path.read_text(encoding="utf-8") for room in ("detailer_core", "detailer_webui") for path in (README.parent / room).rglob("*.py"))
    code = re.sub(r"[{][^{}]*[}]", "", code)  # what is filled in
    messages = [part.strip() for seen, _, _ in rows for quoted in re.findall(r"`([^`]+)`", seen) for part in re.split(r"\.\.\.|'|:| 1 ", quoted)]
    assert [part for part in messages if part.strip(" _") and part not in code] == []
    page = {option.label for option in options().values()} | {"Preview of detections", "Rescan", "Safety of model files", "Prompts for single parts"}
    names = {name for name in re.findall(r"\*([A-Z][^*]+)\*", table) if "→" not in name} - {"Detailer note"}
    assert {name for name in names - page if name not in code} == set() and len(rows) > 15
    assert all(name.split(" → ")[2] in code for name in re.findall(r"\*(Settings → Detailer → [^*]+)\*", table))


def python_examples() -> dict[str, str]:
    """The README's Python programs, by the name in the mark before them."""
    return dict(re.findall(r"<!-- python: (\w+) -->\n```python\n(.*?)```", README.read_text(encoding="utf-8"), re.S))


def test_every_python_example_has_a_name() -> None:
    """So that none is left untried; the one of the API, which needs a host, is tried in `tests/host/test_readme_api.py`."""
    text = README.read_text(encoding="utf-8")
    api = text[text.index("## API"):text.index("## Moving over")].count("```python")
    assert api == 1 and text.count("```python") == len(python_examples()) + api == 3


@pytest.mark.parametrize("name", python_examples())
def test_python_examples_run(name: str, tmp_path: Path) -> None:
    """Each runs as it stands, in a folder that has the files it names, and writes a picture that differs from the one it was given."""
    if name == "diffusers":
        pytest.importorskip("diffusers", reason="the extra 'diffusers' is not installed")
        tiny_models.save_sd(tmp_path / "models" / "my-model")
    levels = np.random.default_rng(3).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    mask = np.zeros((96, 128), np.uint8)
    mask[30:60, 40:80] = 255
    Image.fromarray(levels).save(tmp_path / "photo.png")
    Image.fromarray(mask).save(tmp_path / "mask.png")
    (tmp_path / "example.py").write_text(python_examples()[name], encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(README.parent), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "example.py"], cwd=tmp_path, env=environment, capture_output=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr.decode()
    with Image.open(tmp_path / "detailed.png") as picture:
        after = np.asarray(picture)
    assert after.shape == levels.shape and (after != levels).any()
    if name == "filter":
        assert done.stdout.decode().splitlines() == ["1 done", "done (40, 30, 80, 60) "]
        assert (after[mask == 0] == levels[mask == 0]).mean() > 0.8


def _between_marks(text: str) -> str:
    return text.split("<!-- settings -->")[1].split("<!-- /settings -->")[0]


if __name__ == "__main__":
    old = README.read_text(encoding="utf-8")
    head, rest = old.split("<!-- settings -->")
    README.write_text(f"{head}<!-- settings -->\n{markdown_table()}<!-- /settings -->" + rest.split("<!-- /settings -->")[1], encoding="utf-8")
