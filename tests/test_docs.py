"""Every promise of the pages names a test, and every test that they name exists."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/**/*.md", "packages/*/*.md", "*/README.md")
    for path in ROOT.glob(pattern)
)
RUNNERS = ("Makefile", ".ci/windows", ".github/workflows/windows-macos.yml")
PROMISES = ("docs/guarantees.md", "docs/security.md")

NAMED = re.compile(r"(?P<path>(?:packages/[\w-]+/)?tests/[\w/]+\.py)(?:::(?P<name>\w+))?")
"""The id of a test, or the file of several."""

TABLE = re.compile(r"^\|.*\| Test \|\n\|[-|]+\|\n((?:\|.*\|\n)+)", re.MULTILINE)
"""A table whose last column is for tests, and its rows."""

LINKED = re.compile(r"\]\(([^()\s]+)\)")
"""The target of a link."""


def _text(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", [*PAGES, *RUNNERS])
def test_page_names_tests_that_exist(page: str) -> None:
    """Each id of a test and each file of tests is there."""
    for path, name in NAMED.findall(_text(page)):
        assert (ROOT / path).is_file(), path
        assert not name or f"def {name}(" in _text(path), f"{path}::{name}"


def test_help_of_make_lists_targets_of_the_page() -> None:
    """`make help` prints each target of CONTRIBUTING.md with a description."""
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    names = {name for line in listed.splitlines() for name in line.partition(":")[0].split()}
    targets = re.findall(r"^make ([\w-]+) ", _text("CONTRIBUTING.md"), re.MULTILINE)
    assert targets
    assert set(targets) <= names


@pytest.mark.parametrize("page", PROMISES)
def test_each_promise_names_a_test(page: str) -> None:
    """A row of a table of promises holds the id or the file of a test in its last cell."""
    tables = TABLE.findall(f"{_text(page)}\n")
    rows = [row for table in tables for row in table.splitlines()]
    assert rows
    assert [row for row in rows if not NAMED.search(row.rstrip("| ").rpartition(" | ")[2])] == []


@pytest.mark.parametrize("page", PROMISES)
def test_each_table_of_promises_is_read(page: str) -> None:
    """No table that names tests escapes the pattern."""
    inside = "".join(TABLE.findall(f"{_text(page)}\n"))
    rows = [line for line in _text(page).splitlines() if line.startswith("|") and NAMED.search(line)]
    assert [row for row in rows if row not in inside] == []


@pytest.mark.parametrize("page", PAGES)
def test_links_of_page_have_targets(page: str) -> None:
    """Each relative link names a file of the repository, and its anchor a heading there."""
    for target in LINKED.findall(_text(page)):
        if re.match(r"\w+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = ((ROOT / page).parent / path).resolve() if path else ROOT / page
        assert file.exists(), target
        assert not anchor or anchor in _anchors(file), target


def _anchors(page: Path) -> set[str]:
    """The anchors of the headings of a page, as GitLab, GitHub and the site make them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
