"""The README says what the code does."""

from __future__ import annotations

import json
import re
from pathlib import Path

from detailer_core.settings import make_settings, markdown_table

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


def _between_marks(text: str) -> str:
    return text.split("<!-- settings -->")[1].split("<!-- /settings -->")[0]


if __name__ == "__main__":
    old = README.read_text(encoding="utf-8")
    head, rest = old.split("<!-- settings -->")
    README.write_text(f"{head}<!-- settings -->\n{markdown_table()}<!-- /settings -->" + rest.split("<!-- /settings -->")[1], encoding="utf-8")
