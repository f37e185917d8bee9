"""`make lint` refuses banned words in pages, texts, docstrings, comments and names of tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tools import language

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(language, "ROOT", tmp_path)
    return tmp_path


def found(path: Path, text: str) -> list[str]:
    """Return the forms that are found, without their places and the advice."""
    path.write_text(text)
    return [finding.split(": ")[1] for finding in language.findings(path)]


@pytest.mark.parametrize(
    "sentence",
    [
        "Nothing is left, as nobody waits.",
        '"x" is no function.',
        "It ends. What is left gets SIGKILL.",
        "Who forks too fast survives.",
        "- Where a group can be made, there is one.",
        "The server is told of it.",
        "Build the image anew.",
        "Needed are no privileges.",
        "It asks its server of tokens.",
        "The daemon lives on.",
        "| A cell. | What is left gets SIGKILL |",
    ],
)
def test_sentence_is_refused(root: Path, sentence: str) -> None:
    assert found(root / "page.md", sentence) != []


@pytest.mark.parametrize(
    "sentence",
    [
        "There is no server.",
        "It is no longer there.",
        "What happens on a cancel?",
        "Where is the socket?",
        "A stand-in for Windows.",
        "`nobody` and `what is told` are code.",
        "```sh\nnobody\n```",
        "[a test](tests/test_nobody_is_told.py)",
    ],
)
def test_sentence_is_accepted(root: Path, sentence: str) -> None:
    assert found(root / "page.md", sentence) == []


def test_strings_docstrings_and_comments_are_read(root: Path) -> None:
    """All strings and comments of the code are read; names and quoted code are not."""
    text = '''
"""Nobody reads this."""
FAULT = f"{1} is no value"
def nobody() -> None:
    """Return `nobody`.

    It is told later.
    """
    return None  # who stands there
'''
    assert found(root / "code.py", text) == ["'Nobody'", "'is no'", "'told'", "'stands'"]


def test_strings_of_tests_are_not_read(root: Path) -> None:
    """They hold programs and data; docstrings and comments of tests are read."""
    (root / "tests").mkdir()
    text = 'TEXT = "nobody"  # told\n"""Build it anew."""\n'
    assert found(root / "tests" / "test_x.py", text) == ["'told'", "'anew'"]


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("test_job_ends_after_cancel", []),
        ("test_nobody_waits", ["'nobody'"]),
        ("test_end_is_told", ["'told'"]),
        ("test_the_job_ends", ["'test_the'"]),
        (f"test_{'x' * 55}", []),
        (f"test_{'x' * 56}", [f"'test_{'x' * 56}'"]),
    ],
)
def test_names_of_tests_are_read(root: Path, name: str, wrong: list[str]) -> None:
    """A name has at most 60 characters, and none of the banned words."""
    (root / "tests").mkdir()
    assert found(root / "tests" / "test_x.py", f"def {name}(): pass") == wrong
