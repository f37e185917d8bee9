"""What the jobs of a killed step runner have left, and the next one ends and removes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from tests.support.server import Server, started
from tests.support.steps import script

from step_runner.jobs import leftovers
from step_runner.jobs.workspace import REMOVED, Workspace
from step_runner.model import RunRequest

if TYPE_CHECKING:
    from collections.abc import Iterable

STUBBORN = leftovers.AT_ONCE + 2
"""How many jobs are left whose processes ignore SIGTERM."""

NEVER = 1000.0
"""Seconds of grace that no test waits for."""


def _kill(server: Server) -> None:
    """Kill both processes of a server, so that neither can act on the death of the other."""
    server.runner.worker.suspend()
    for process in (server.runner.front, server.runner.worker):
        process.kill()
        process.wait()
    server.client.__exit__(None, None, None)
    server.told.close()


def _lines(told: Iterable[bytes], beginning: str, number: int) -> list[str]:
    """What is told until so many lines have begun like this."""
    lines: list[str] = []
    for line in told:
        lines.append(line.decode())
        if sum(one.startswith(beginning) for one in lines) == number:
            return lines
    raise AssertionError(lines)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is no front to kill")
def test_jobs_whose_processes_ignore_the_signal_keep_no_other_waiting(temporary: str) -> None:
    """Every job's delay begins at once, not when an earlier one's is over; a second signal then ends them all."""
    killed = Server(temporary)
    for number in range(STUBBORN):
        steps = script("trap '' TERM; echo ready; sleep 1000")
        killed.client.run(RunRequest(id=str(number), steps=steps, work_dir="/", graceful_exit_delay=NEVER))
        killed.wait_for("ready", str(number))
    _kill(killed)

    serve = ("serve", "--socket", killed.path)
    with started((), *serve, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as following:
        assert following.stderr is not None
        told = _lines(following.stderr, "Stopping what job", STUBBORN)
        for signal_ in (signal.SIGINT, signal.SIGTERM):  # two of one kind could arrive as one
            following.send_signal(signal_)
        _lines(following.stderr, "removed what job", STUBBORN)
    assert not any("removed" in line for line in told)
    assert os.listdir(temporary) == []


async def test_what_was_being_removed_by_a_step_runner_that_was_killed_is_removed_by_the_next(temporary: str) -> None:
    """Its ledger may have gone first, so its name alone tells that nobody needs it."""
    for finish in (leftovers.Leftovers(print).finish, leftovers.remove_own):
        workspace = Workspace("1")
        os.rename(workspace.directory, f"{temporary}/{REMOVED}x")
        finished = finish()
        if finished is not None:
            await finished
        assert os.listdir(temporary) == []
