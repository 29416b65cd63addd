"""The served page, and a browser to drive it with."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from chromium import Browser, find_programs
from served import Served


@pytest.fixture(scope="session")
def programs() -> tuple[str, str]:
    """Chromium and its driver. Without them the tests that need them are skipped, but not where all is to be tested."""
    found = find_programs()
    if found is None:
        reason = "needs Chromium and chromedriver (Debian: apt-get install chromium chromium-driver)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


@pytest.fixture(scope="module")
def served(request: pytest.FixtureRequest, programs: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One server for all tests of a file. It is asked for after the programs: without a browser it need not start."""
    served = Served(tmp_path_factory.mktemp("served"), remember=getattr(request.module, "REMEMBER", False))
    yield served
    served.end()


@pytest.fixture(scope="module")
def browser(programs: tuple[str, str], served: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One browser for all tests of a file."""
    browser = Browser(programs, tmp_path_factory.mktemp("browser"))
    try:
        yield browser
    finally:
        browser.quit()
