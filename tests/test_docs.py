"""Every promise of the docs names a test that exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = ("guarantees.md", "security.md")
NAMED = re.compile(r"`((?:packages/gracefulexitcmd/)?tests/[\w/]+\.py)(?:::(\w+))?`")


@pytest.mark.parametrize("page", PAGES)
def test_every_row_of_promises_names_tests_that_exist(page: str) -> None:
    rows = [line for line in (ROOT / "docs" / page).read_text().splitlines() if NAMED.search(line)]
    for row in rows:
        for path, name in NAMED.findall(row):
            assert (ROOT / path).is_file(), row
            assert not name or f"def {name}(" in (ROOT / path).read_text(), row
    assert rows
