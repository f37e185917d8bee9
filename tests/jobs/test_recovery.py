"""Orphaned jobs of a killed step runner, which the next one ends and removes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import psutil
import pytest
from tests.support.crowd import Crowd
from tests.support.server import Server, started
from tests.support.steps import script

from gracefulexitcmd.posix import ledger
from gracefulexitcmd.posix.ledger import Entry, Ledger
from step_runner.jobs import recovery
from step_runner.jobs.workspace import REMOVED, Workspace
from step_runner.model import RunRequest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

STUBBORN = recovery.AT_ONCE + 2
"""Number of orphaned jobs whose processes ignore SIGTERM."""

NEVER = 1000.0
"""Seconds of a grace period that no test waits for."""

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="other systems have no supervisor to kill")


@pytest.fixture
def crowd() -> Iterator[Crowd]:
    crowd = Crowd()
    yield crowd
    crowd.kill()


def _kill(server: Server) -> None:
    """Kill both processes of a server, so that neither can act on the death of the other."""
    server.runner.worker.suspend()
    for process in (server.runner.supervisor, server.runner.worker):
        process.kill()
        process.wait()
    server.client.__exit__(None, None, None)
    server.stderr.close()


def _lines(told: Iterable[bytes], beginning: str, number: int) -> list[str]:
    """Return the lines up to and including the given number of lines with this beginning."""
    lines: list[str] = []
    for line in told:
        lines.append(line.decode())
        if sum(one.startswith(beginning) for one in lines) == number:
            return lines
    raise AssertionError(lines)


@on_linux
def test_jobs_ignoring_the_signal_delay_no_other_job(temporary: str) -> None:
    """All grace periods begin at once, not one after the other; SIGQUIT then ends them all."""
    killed = Server(temporary)
    for number in range(STUBBORN):
        steps = script("trap '' TERM; echo ready; sleep 1000")
        killed.client.run(RunRequest(id=str(number), steps=steps, work_dir="/", graceful_exit_delay=NEVER))
        killed.wait_for("ready", str(number))
    _kill(killed)

    serve = ("serve", "--verbose", "--socket", killed.path)
    with started((), *serve, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as following:
        assert following.stderr is not None
        told = _lines(following.stderr, "Stopping background processes of job", STUBBORN)
        following.send_signal(signal.SIGQUIT)
        _lines(following.stderr, "removed the files of job", STUBBORN)
    assert not any("removed" in line for line in told)
    assert os.listdir(temporary) == []


@on_linux
def test_orphaned_processes_have_grace_period_of_their_job(temporary: str) -> None:
    """It does not have the grace period of the server that ends it."""
    killed = Server(temporary)
    killed.start("trap '' TERM; echo ready; sleep 1000", delay=0)
    killed.wait_for("ready")
    _kill(killed)
    serve = ("serve", "--verbose", "--socket", killed.path)
    with started((), *serve, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as following:
        assert following.stderr is not None
        told = _lines(following.stderr, "removed the files of job", 1)
        following.terminate()
    (stopping,) = (line for line in told if line.startswith("Stopping background processes of job"))
    assert stopping.endswith(", 0 s to finish\n")


@on_linux
def test_killed_worker_leaves_its_jobs_to_supervisor(temporary: str, crowd: Crowd) -> None:
    """The live supervisor ends them: in this test once it resumes.

    A server that stops meanwhile still scans all places.
    """
    killed = Server(temporary)
    killed.start(crowd.script("in_group", "setsid", "hidden", "closed"))
    killed.wait_for("ready")
    before = set(crowd.living())
    supervisor = psutil.Process(killed.runner.supervisor.pid)
    supervisor.suspend()
    killed.runner.worker.kill()
    serve = ("serve", "--verbose", "--socket", f"{temporary}/t.sock")
    with started((), *serve, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as beside:
        assert beside.stderr is not None
        assert b"listening" in beside.stderr.readline()
        beside.terminate()
        assert beside.stderr.readlines() == [b"received SIGTERM: stopping all jobs\n"]
    assert set(crowd.living()) == before
    supervisor.resume()
    assert killed.runner.supervisor.wait() == 128 + signal.SIGKILL
    killed.close()
    assert crowd.survivors() == []
    assert os.listdir(temporary) == []


def _forged(temporary: str, leader: psutil.Process) -> str:
    """Make a job's directory with a ledger that names a process, sealed with a key that is not ours."""
    directory = f"{temporary}/step-runner-output-forged"
    os.mkdir(directory, 0o700)
    gone = (4_194_300, 1)
    entry = Entry("forged", ledger.place(), "0123456789abcdef", 1, 0.0, None, (gone,))
    written = Ledger(f"{directory}/ledger", entry, b"another key")
    written.started(leader.pid)
    return directory


@on_linux
def test_forged_ledger_ends_no_process_and_removes_nothing(temporary: str) -> None:
    """Root in a container that shares TMPDIR can write one, with the same user id as ours."""
    with subprocess.Popen(["sleep", "1000"], env={}) as bystander:
        directory = _forged(temporary, psutil.Process(bystander.pid))
        # The real orphans are ended after that: by then both ledgers have been read.
        killed = Server(temporary)
        killed.start("echo ready; sleep 1000")
        killed.wait_for("ready")
        _kill(killed)
        serve = ("serve", "--verbose", "--socket", killed.path)
        with started((), *serve, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as following:
            assert following.stderr is not None
            _lines(following.stderr, 'removed the files of job "1"', 1)
            following.terminate()
            told = following.stderr.read()
        left = bystander.poll()
        bystander.kill()
    assert left is None
    assert b"forged" not in told
    assert os.listdir(directory) == ["ledger"]


@on_linux
def test_foreign_directory_forges_no_line_of_server(temporary: str) -> None:
    """Root in a container that shares TMPDIR can choose any name.

    Without a seal the next start removes the directory.
    """
    directory = f"{temporary}/step-runner-output-\x1b[2J\nforged"
    os.mkdir(directory, 0o700)
    entry = Entry("old", "a boot of the past 4026531836", "0123456789abcdef", 1, 0.0, None, ((4_194_300, 1),))
    Ledger(f"{directory}/ledger", entry, b"another key")
    serve = ("serve", "--verbose", "--socket", f"{temporary}/t.sock")
    with started((), *serve, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as server:
        assert server.stderr is not None
        *_, removed = _lines(server.stderr, "removed the files of job", 1)
        server.terminate()
    assert removed.endswith("step-runner-output-\\x1b[2J\\nforged\n")


async def test_next_start_finishes_interrupted_removal(temporary: str) -> None:
    """Its ledger may be gone already, so only its name shows that it is no longer needed."""
    for finish in (recovery.Recovery(print, print).finish, recovery.remove_own):
        workspace = Workspace("1")
        os.rename(workspace.directory, f"{temporary}/{REMOVED}x")
        finished = finish()
        if finished is not None:
            await finished
        assert os.listdir(temporary) == []
