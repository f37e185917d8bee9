"""Shells between a stop and a program."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import pytest
from tests.tools.stopping import PAYLOAD, stopped
from tests.tools.toolbox import debian

if TYPE_CHECKING:
    from pathlib import Path

BUSYBOX = "busybox-static=1:1.35.0-4+deb12u1+b1"
SHELLS = ("bash", "dash", "ash")

NOTES = 'note() { echo "$*" >>"$PAYLOAD_LOG"; }\n'
TRAPS_TERM = NOTES + "trap 'note SIGTERM; note cleaned up; exit 0' TERM\n"
CHILD = """sh -c 'echo ready $$ >>"$PAYLOAD_LOG"; sleep 2; echo child ended >>"$PAYLOAD_LOG"'
"""
TRAPS_SLOWLY = NOTES + "trap 'sleep 0.5; echo bye; note cleaned up; exit 0' TERM\n"
SERVICE = TRAPS_SLOWLY + "note ready $$\nwhile :; do sleep 0.1; done\n"
SCRIPT = shlex.join(PAYLOAD)


def shell(name: str) -> tuple[str, ...]:
    """Return the command of a shell."""
    return (str(debian(BUSYBOX) / "bin/busybox"), "ash") if name == "ash" else (name,)


@pytest.mark.parametrize("name", SHELLS)
def test_trap_waits_for_foreground_child(name: str, log: Path) -> None:
    """Signalled alone, a shell runs its trap when its foreground child has ended by itself; the child hears nothing."""
    seen = stopped((*shell(name), "-c", TRAPS_TERM + CHILD), "leader", log)
    assert log.read_text().splitlines()[1:] == ["child ended", "SIGTERM", "cleaned up"]
    assert seen.status == 0


@pytest.mark.parametrize("how", ["group", "product"])
@pytest.mark.parametrize("name", SHELLS)
def test_trap_runs_at_once_when_all_get_signal(name: str, how: str, log: Path) -> None:
    """The child gets the signal too and ends, so the trap runs at once."""
    seen = stopped((*shell(name), "-c", TRAPS_TERM + CHILD), how, log)
    assert log.read_text().splitlines()[1:] == ["SIGTERM", "cleaned up"]
    assert seen.status == 0


@pytest.mark.parametrize(("name", "runs"), [("bash", True), ("dash", False), ("ash", False)])
def test_exit_trap_runs_at_sigterm_only_in_bash(name: str, runs: bool, log: Path) -> None:
    """`trap ... EXIT` without one for TERM is run by bash, not by dash and busybox."""
    script = NOTES + "trap 'note cleaned up' EXIT\nnote ready $$\nsleep 5\nnote after\n"
    seen = stopped((*shell(name), "-c", script), "product", log)
    assert seen.cleaned is runs
    assert seen.status == -15


@pytest.mark.parametrize("name", SHELLS)
def test_exit_trap_runs_after_exit_in_term_trap(name: str, log: Path) -> None:
    """With `trap 'exit 143' TERM` added, every shell runs it."""
    script = NOTES + "trap 'note cleaned up' EXIT\ntrap 'exit 143' TERM\nnote ready $$\nsleep 5\nnote after\n"
    seen = stopped((*shell(name), "-c", script), "product", log)
    assert (seen.cleaned, seen.status) == (True, 143)


@pytest.mark.parametrize(
    ("reader", "cleans"), [("tee copy", False), ("(trap '' TERM; exec tee copy)", True)], ids=["tee", "deaf tee"]
)
def test_reader_of_a_pipe_dies_first(reader: str, cleans: bool, log: Path, tmp_path: Path) -> None:
    """The trap's first line kills the script where `tee` has ended; one that ignores SIGTERM reads to the end."""
    (tmp_path / "service").write_text(SERVICE)
    seen = stopped(("sh", "-c", f"bash service | {reader}"), "product", log, cwd=tmp_path)
    assert seen.cleaned is cleans
    assert not seen.lives


@pytest.mark.parametrize(("name", "goes_on"), [("bash", True), ("dash", False), ("ash", False)])
def test_handled_sigint_ends_dash_but_not_bash(name: str, goes_on: bool, log: Path) -> None:
    """bash sees that its command handled SIGINT, and runs the next line; dash and busybox die of it."""
    seen = stopped((*shell(name), "-c", f"{NOTES}{SCRIPT}; note next line"), "interrupt", log)
    assert (seen.received, seen.cleaned) == (1, True)
    assert ("next line" in log.read_text()) is goes_on
    assert seen.status == (0 if goes_on else -2)


@pytest.mark.parametrize("name", SHELLS)
def test_background_command_ignores_sigint(name: str, log: Path) -> None:
    """A command that a shell starts with `&` runs to its own end."""
    stopped((*shell(name), "-c", f"{CHILD.strip()} & wait"), "interrupt", log)
    assert "child ended" in log.read_text()


@pytest.mark.parametrize("name", SHELLS)
def test_background_command_with_handler_gets_sigint(name: str, log: Path) -> None:
    """A handler for SIGINT counts also where the shell has it ignored."""
    seen = stopped((*shell(name), "-c", f"{SCRIPT} & wait"), "interrupt", log)
    assert (seen.signals, seen.cleaned) == (("SIGINT",), True)
