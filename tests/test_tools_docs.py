"""docs/tools.md and the rows that are run."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROWS = ROOT / "tests/tools"


def _named_by_page() -> set[str]:
    return set(re.findall(r"`(test_\w+)`", (ROOT / "docs/tools.md").read_text(encoding="utf-8")))


def _defined() -> set[str]:
    texts = (path.read_text(encoding="utf-8") for path in ROWS.glob("test_*.py"))
    return {name for text in texts for name in re.findall(r"^def (test_\w+)\([^)]*: ", text, re.MULTILINE)}


def test_page_of_tools_names_tests_that_exist() -> None:
    """Each test that docs/tools.md names is in tests/tools."""
    assert _named_by_page() - _defined() == set()


def test_tested_rows_are_on_the_page() -> None:
    """Each test of tests/tools is named in docs/tools.md."""
    assert _defined() - _named_by_page() == set()


def test_findings_are_all_in_their_table() -> None:
    """Each script of findings/ is linked in its README, and no other."""
    page = (ROOT / "findings/README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\]\(([\w-]+\.sh)\)", page)) == {path.name for path in (ROOT / "findings").glob("*.sh")}
