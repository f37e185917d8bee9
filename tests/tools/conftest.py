"""Fixtures for the rows of docs/tools.md: tools from the registries, and time to fetch them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

LONGEST = 300
"""Seconds that a row may take, with its tools being fetched and built."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip unless this is Debian and the user is root; give each row time."""
    here = Path(__file__).parent
    fits = shutil.which("dpkg") is not None and os.getuid() == 0
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.timeout(LONGEST))
            if not fits:
                item.add_marker(pytest.mark.skip(reason="the rows need Debian and root"))


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Return the file that the payload writes."""
    return tmp_path / "log"
