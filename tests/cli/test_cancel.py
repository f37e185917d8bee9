from __future__ import annotations

import re
import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from step_runner.model import Status

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    from tests.cli.conftest import Server, Terminal

    Command = Callable[..., subprocess.CompletedProcess[str]]

POLITE = "trap '{finish}; kill -KILL $child; exit 0' TERM\nsleep 60 & child=$!\necho ready\nwait"
"""The child may not be `sleep` yet when SIGTERM comes, and then survives it."""

STUBBORN = "trap '' TERM\nsleep 60 &\necho ready\nwait"

AGES = ("1", "--graceful-exit-delay", "1m")
"""An id, and a delay that no job of a test makes use of."""


def finishes_at(go: Path) -> str:
    """Return a script whose clean-up takes until the file exists."""
    return POLITE.format(finish=f"until test -e {go}; do sleep 0.02; done")


def test_cancel_returns_at_once_and_keeps_job(
    command: Command, server: Server, step_file: Callable[..., Path], tmp_path: Path
) -> None:
    job = server.started(step_file(finishes_at(tmp_path / "go")), *AGES)
    ended = command("cancel", job, "--socket", server.path)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith('asked job "1" to stop; follow it: step-runner logs 1 --follow')
    assert server.client.status(job).status is Status.RUNNING
    (tmp_path / "go").touch()


def test_cancel_with_wait_reports_end_of_job(command: Command, server: Server, step_file: Callable[..., Path]) -> None:
    job = server.started(step_file(POLITE.format(finish="echo cleaned")), *AGES)
    ended = command("cancel", job, "--wait", "--socket", server.path)
    assert ended.returncode == 0
    asked, told, signals, force = ended.stdout.splitlines()
    assert re.fullmatch(r'asked job "1" to stop(: step "work" has \d\d\.\d s to finish)?', asked)
    assert told == 'job "1" has ended: cancelled'
    assert signals.startswith('step "work": SIGTERM to ')
    assert force == "no process had to be killed"


def test_cancel_with_wait_names_killed_processes(
    command: Command, server: Server, step_file: Callable[..., Path]
) -> None:
    job = server.started(step_file(STUBBORN), "1", "--graceful-exit-delay", "200ms")
    lines = command("cancel", job, "--wait", "--socket", server.path).stdout.splitlines()
    assert "SIGKILL to " in lines[2]
    assert "no process had to be killed" not in lines
    assert any(line.startswith("had to be killed: ") and "sleep 60 (pid " in line for line in lines)


def test_cancel_shows_time_in_one_line_on_terminal(
    terminal: Callable[..., Terminal], server: Server, step_file: Callable[..., Path]
) -> None:
    job = server.started(step_file(STUBBORN))
    shown = terminal("cancel", job, "--wait", "--socket", server.path)
    text = shown.finish()
    assert shown.process.returncode == 0
    line, told = text.split("\r\x1b[Kjob", 1)
    assert "\n" not in line
    assert re.search(r'asked job "1" to stop: step "work" has [01]\.\d s to finish', line)
    assert told.startswith(' "1" has ended: cancelled\r\n')


def test_ctrl_c_only_ends_waiting(
    terminal: Callable[..., Terminal], server: Server, step_file: Callable[..., Path], tmp_path: Path
) -> None:
    job = server.started(step_file(finishes_at(tmp_path / "go")), *AGES)
    shown = terminal("cancel", job, "--wait", "--socket", server.path)
    shown.read_until("s to finish")
    shown.process.send_signal(signal.SIGINT)
    shown.finish()
    assert shown.process.returncode == 128 + signal.SIGINT
    assert server.client.status(job).status is Status.RUNNING
    (tmp_path / "go").touch()
    list(server.client.follow(job))
    assert server.client.status(job).status is Status.CANCELLED


def test_cancel_of_ended_job_changes_nothing(command: Command, server: Server, step_file: Callable[..., Path]) -> None:
    job = server.started(step_file("echo ready"))
    list(server.client.follow(job))
    ended = command("cancel", job, "--wait", "--socket", server.path)
    assert (ended.returncode, ended.stdout) == (0, 'job "1" has already ended\n')


def test_job_without_its_directory_can_be_stopped_and_followed(
    command: Command, server: Server, step_file: Callable[..., Path]
) -> None:
    """A cleaner of the directory for temporary files may have removed it."""
    job = server.started(step_file(STUBBORN), "1", "--graceful-exit-delay", "200ms")
    before = server.client.follow(job)
    log = next(before)
    (directory,) = Path(server.temporary).glob("step-runner-*")
    shutil.rmtree(directory)
    afterwards = server.client.follow(job)
    assert next(afterwards) == log
    ended = command("cancel", job, "--wait", "--socket", server.path)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert 'job "1" has ended: cancelled' in ended.stdout.splitlines()
    rest = b"".join(before)
    assert b"Stopping step" in rest
    assert b"that ignored SIGTERM" in rest
    assert b"".join(afterwards) == rest
    server.client.close(job)
    assert server.client.jobs() == []


@pytest.mark.parametrize("options", [[], ["--wait"]], ids=["at once", "wait"])
def test_cancel_of_unknown_job_is_an_error(command: Command, server: Server, options: list[str]) -> None:
    ended = command("cancel", "x", *options, "--socket", server.path)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == f'Error: no job with id "x": list the jobs with: step-runner jobs --socket {server.path}\n'
