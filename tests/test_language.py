"""The words that `make lint` refuses in pages and in the texts that users see."""

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
    """What is found, without the advice."""
    path.write_text(text)
    return [finding.rpartition(": ")[0].partition(":")[2].partition(": ")[2] for finding in language.findings(path)]


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


def test_docstrings_of_commands_are_read(root: Path) -> None:
    text = '''
"""Nobody reads this."""
import click
FAULT = f"{1} is no value"
@click.command("x")
def command() -> None:
    """Nobody knows what this help says."""
def other() -> None:
    """Nobody reads this either."""
'''
    assert len(found(root / "code.py", text)) == 2
