"""The supervisor has the facts for the end of a killed worker, though it reads no arguments itself."""

from __future__ import annotations

import pytest

from step_runner.cli.supervision import DEFAULT_GRACE, LONGEST_NOTE, Supervisor, _Notes, _suspends


@pytest.mark.parametrize("socket", ["", "/run/steps.sock", "/tmp/a b/\udcff.sock"])
def test_note_of_worker_reaches_supervisor(socket: str) -> None:
    notes = _Notes()
    Supervisor((), notes).note(1.5, socket)
    assert (notes.grace, notes.socket) == (1.5, socket)


def test_default_grace_period_applies_without_a_note() -> None:
    """A worker can be killed before it has read its arguments; a note never waits for room in the pipe."""
    notes = _Notes()
    Supervisor((), notes).note(1.5, "x" * LONGEST_NOTE)
    assert (notes.grace, notes.socket) == (DEFAULT_GRACE, "")


@pytest.mark.parametrize(
    ("words", "suspends"),
    [
        (["run", "hello.yml"], True),
        (["ci"], True),
        (["serve"], False),
        (["steps", "serve", "/run"], False),
        (["run", "-h"], None),
        (["steps", "serve", "--help"], None),
        (["run", "x", "--help"], True),
        (["steps"], None),
        (["jobs"], None),
        ([], None),
    ],
    ids=str,
)
def test_commands_that_run_jobs_have_a_supervisor(words: list[str], suspends: bool | None) -> None:
    assert _suspends(words) is suspends
