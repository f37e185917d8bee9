"""The survivors of each ending on a system without subreapers, pidfds and control groups.

They match `docs/guarantees.md`: a promise that becomes better or worse fails here. There is no supervisor, so the step
runner is one process.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.support.crowd import SHAPES, Crowd
from tests.support.server import DELAY, Server, started
from tests.support.steps import script

from step_runner.model import ErrorKind

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc finds the processes")

PROGRAM = (str(Path(__file__).parents[1] / "programs" / "portable.py"),)

LEADER = "leader"
"""The step's own process, which waits until it is stopped."""

SHED_EVERYTHING = frozenset({"hidden"})
"""The shapes that have left their process group, session, environment and parents."""

ALL_SHAPES = frozenset(SHAPES) | {LEADER}

SURVIVORS = {
    "success": SHED_EVERYTHING,
    "failure": SHED_EVERYTHING,
    "cancel": SHED_EVERYTHING,
    "close": SHED_EVERYTHING,
    "timeout": SHED_EVERYTHING,
    "server, SIGTERM": SHED_EVERYTHING,
    "server, SIGKILL": ALL_SHAPES,
    "server, SIGKILL, the next server": SHED_EVERYTHING,
    "run, SIGINT": SHED_EVERYTHING,
    "run, SIGKILL": ALL_SHAPES,
    "ci, SIGTERM": SHED_EVERYTHING,
    "ci, SIGKILL": ALL_SHAPES,
    "ci, closed output": SHED_EVERYTHING,
}
"""The shapes that survive each ending."""

LUCK = {ending: frozenset({"stopped"} if ending.endswith("SIGKILL") else {"reforks"}) for ending in SURVIVORS}
"""The shapes that may or may not survive.

A process that re-forks every 10 ms may evade every scan of the process list. The kernel sends SIGHUP to a stopped
process whose process group becomes orphaned, setpgid(2); the session of the init process decides whether it does.
"""

PATIENCE = DELAY + 20
"""Seconds that the program may take to end."""


class Crowds(dict[str, Crowd]):
    """One crowd for each shape, and one for the step's own process."""

    def __init__(self) -> None:
        self._all = Crowd()
        super().__init__({name: Crowd(f"{self._all.mark}-{name}") for name in (*SHAPES, LEADER)})

    def script(self, shapes: Collection[str], status: int | None = None) -> str:
        """Return a script that starts the shapes, writes `all ready`, and waits, or exits with `status`."""
        lines = [f"({self[shape].script(shape, status=0)})" for shape in shapes]
        code = f"import signal; print('all ready', flush=True); {'signal.pause()' if status is None else ''}"
        leader = shlex.join([sys.executable, "-I", "-S", "-c", code, self[LEADER].mark])
        return "\n".join([*lines, f"exec {leader}" if status is None else f"{leader}\nexit {status}"])

    def survivors(self) -> set[str]:
        """Return the names of the crowds with a live process."""
        arguments = " ".join(self._all.survivors())
        return {name for name, crowd in self.items() if crowd.mark in arguments}

    def kill(self) -> None:
        self._all.kill()


@pytest.fixture
def crowds() -> Iterator[Crowds]:
    """Make the crowds, and kill the survivors at the end."""
    crowds = Crowds()
    yield crowds
    crowds.kill()


@pytest.fixture
def server(temporary: str) -> Iterator[Server]:
    server = Server(temporary, program=PROGRAM)
    assert server.runner.worker.pid == server.runner.supervisor.pid
    yield server
    server.close()


STOPPED = ("stopped",)
OTHERS = tuple(shape for shape in SHAPES if shape not in STOPPED)
"""The other shapes run in another process group, because the kernel's SIGHUP goes to a whole group."""

JOBS = {"1": OTHERS, "2": STOPPED}


def judge(ending: str, crowds: Crowds) -> None:
    assert crowds.survivors() - LUCK[ending] == SURVIVORS[ending] - LUCK[ending]


def start(server: Server, crowds: Crowds, status: int | None = None) -> None:
    for job_id, shapes in JOBS.items():
        server.start(crowds.script(shapes, status), job_id=job_id)
    for job_id in JOBS:
        server.wait_for("all ready", job_id)


@pytest.mark.parametrize(("ending", "status"), [("success", 0), ("failure", 3)], ids=["success", "failure"])
def test_survivors_are_as_documented_when_job_ends_by_itself(
    server: Server, crowds: Crowds, ending: str, status: int
) -> None:
    start(server, crowds, status)
    for job_id in JOBS:
        server.wait_for_end(job_id)
    judge(ending, crowds)


@pytest.mark.parametrize("ending", ["cancel", "close"])
def test_survivors_are_as_documented_when_job_is_stopped(server: Server, crowds: Crowds, ending: str) -> None:
    start(server, crowds)
    assert crowds.survivors() == ALL_SHAPES
    for job_id in JOBS:
        if ending == "close":
            server.client.close(job_id)
        else:
            server.client.cancel(job_id)
            server.wait_for_end(job_id)
    judge(ending, crowds)


def test_survivors_are_as_documented_when_job_times_out(server: Server, crowds: Crowds) -> None:
    server.start_timed({job_id: crowds.script(shapes) for job_id, shapes in JOBS.items()}, "all ready")
    for job_id in JOBS:
        server.wait_for_end(job_id)
        assert server.client.status(job_id).kind is ErrorKind.TIMEOUT
    judge("timeout", crowds)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_survivors_are_as_documented_when_server_ends(server: Server, crowds: Crowds, number: signal.Signals) -> None:
    start(server, crowds)
    server.runner.supervisor.send_signal(number)
    server.runner.supervisor.wait(PATIENCE)
    judge(f"server, {number.name}", crowds)


def test_next_server_ends_processes_of_killed_server(server: Server, crowds: Crowds, temporary: str) -> None:
    start(server, crowds)
    server.runner.supervisor.kill()
    server.runner.supervisor.wait(PATIENCE)
    following = Server(temporary, program=PROGRAM)
    removed = 0
    while removed < len(JOBS):
        line = following.stderr.readline()
        assert line
        removed += line.startswith(b"removed the files of job")
    following.close()
    judge("server, SIGKILL, the next server", crowds)


def _interrupt(supervisor: subprocess.Popen[bytes]) -> None:
    supervisor.send_signal(signal.SIGINT)


ENDS: dict[str, Callable[[subprocess.Popen[bytes]], None] | None] = {
    "run, SIGINT": _interrupt,
    "run, SIGKILL": subprocess.Popen.kill,
    "ci, SIGTERM": subprocess.Popen.terminate,
    "ci, SIGKILL": subprocess.Popen.kill,
    "ci, closed output": None,
}


@pytest.mark.parametrize("ending", ENDS)
def test_survivors_are_as_documented_when_local_run_ends(
    tmp_path: Path, crowds: Crowds, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    name, end, text = ending.partition(",")[0], ENDS[ending], crowds.script(OTHERS)
    (tmp_path / "job.yml").write_text(script(text))
    monkeypatch.setenv("STEPS", json.dumps([{"name": "work", "script": text}]))
    reader, writer = os.pipe()
    arguments = [str(tmp_path / "job.yml")] if name == "run" else []
    with started((), name, *arguments, program=PROGRAM, stdout=writer) as supervisor:
        os.close(writer)
        with open(reader, "rb") as output:
            while (line := output.readline()) != b"all ready\n":
                assert line
            if end is not None:
                end(supervisor)
        supervisor.wait(PATIENCE)
    judge(ending, crowds)
