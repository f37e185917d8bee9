"""No process of a job survives its end. psutil finds the survivors, not the code under test.

This holds for root and for an ordinary user, with and without a control group.
"""

from __future__ import annotations

import json
import os
import select
import shlex
import signal
import subprocess
import sys
import time
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.support.cells import CELLS, Cell, entered
from tests.support.cgroups import needs_birth
from tests.support.crowd import ALL, SHAPES, Crowd
from tests.support.neighbour import ENDINGS, Neighbour
from tests.support.server import DELAY, Runner, Server, started, with_worker
from tests.support.steps import script

from gracefulexitcmd.posix import cgroup
from step_runner.model import ErrorKind, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    import psutil

PATIENCE = DELAY + 25
"""Seconds after which no process may be left: many times the usual time, because the machine may be busy."""


@pytest.fixture
def crowds() -> Iterator[Callable[[], Crowd]]:
    """Return a function that makes crowds; kill the processes that a failed test leaves."""
    made: list[Crowd] = []

    def make() -> Crowd:
        made.append(Crowd())
        return made[-1]

    yield make
    for crowd in made:
        crowd.kill()


@pytest.fixture
def crowd(crowds: Callable[[], Crowd]) -> Crowd:
    return crowds()


@pytest.fixture(params=CELLS, autouse=True)
def cell(request: pytest.FixtureRequest, temporary: str) -> Iterator[Cell]:
    """Run each test under each of the four conditions."""
    with entered(request.param, temporary) as cell:
        yield cell


@pytest.fixture
def server(cell: Cell, temporary: str) -> Iterator[Server]:
    server = Server(temporary, cell.prefix)
    yield server
    server.close()


def gone(*processes: psutil.Process) -> None:
    """Assert that processes have ended. They need not be reaped: their parents or the system do that later."""
    for process in processes:
        try:
            pidfd = os.pidfd_open(process.pid)
        except ProcessLookupError:
            continue
        ended, _, _ = select.select([pidfd], [], [], PATIENCE)
        os.close(pidfd)
        assert ended, process


def assert_none_survives(crowd: Crowd, since: float) -> None:
    """Assert that no process of the crowd is alive, and that this took less than PATIENCE."""
    assert crowd.survivors() == []
    assert time.monotonic() - since < PATIENCE


@pytest.mark.parametrize("status", [0, 3], ids=["success", "failure"])
def test_nothing_survives_when_job_ends_by_itself(server: Server, crowd: Crowd, status: int) -> None:
    """The step's own process exits as soon as its background processes are ready."""
    server.start(crowd.script(status=status))
    server.wait_for("ready")
    since = time.monotonic()
    server.wait_for_end()
    assert_none_survives(crowd, since)
    assert server.client.status("1").status is (Status.FAILURE if status else Status.SUCCESS)


@pytest.mark.parametrize("ending", ["cancel", "close"])
def test_nothing_survives_when_job_is_stopped(server: Server, crowd: Crowd, ending: str) -> None:
    server.start(crowd.script())
    server.wait_for("ready")
    assert len(crowd.living()) >= ALL
    since = time.monotonic()
    if ending == "close":
        server.client.close("1")
    else:
        server.client.cancel("1")
        server.wait_for_end()
    assert_none_survives(crowd, since)


def test_nothing_survives_when_job_times_out(server: Server, crowd: Crowd) -> None:
    timeout = server.start_timed({"1": crowd.script()}, "ready")
    since = time.monotonic() + timeout
    server.wait_for_end()
    assert_none_survives(crowd, since)
    assert server.client.status("1").kind is ErrorKind.TIMEOUT


def _terminate(runner: Runner) -> None:
    runner.supervisor.terminate()


def _kill_worker(runner: Runner) -> None:
    runner.worker.kill()


def _kill_supervisor(runner: Runner) -> None:
    runner.supervisor.kill()


def _kill_group(runner: Runner) -> None:
    os.killpg(runner.supervisor.pid, signal.SIGKILL)


@pytest.mark.parametrize("end", [_terminate, _kill_worker, _kill_supervisor, _kill_group])
def test_nothing_survives_when_server_ends(server: Server, crowd: Crowd, end: Callable[[Runner], None]) -> None:
    server.start(crowd.script())
    server.wait_for("ready")
    assert len(crowd.living()) >= ALL
    since = time.monotonic()
    end(server.runner)
    server.runner.supervisor.wait(PATIENCE)
    gone(server.runner.worker)
    assert_none_survives(crowd, since)


def _kill_both(runner: Runner) -> None:
    runner.worker.suspend()  # so that it cannot act on the death of the other
    runner.supervisor.kill()
    runner.worker.kill()
    runner.supervisor.wait(PATIENCE)
    gone(runner.worker)


def _messages_of_next_server(cell: Cell, temporary: str) -> list[bytes]:
    """Start a server with the same directory for temporary files; return its messages until it has removed job 1."""
    serve = ("serve", "--verbose", "--socket", f"{temporary}/t.sock")
    with started(cell.prefix, *serve, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as following:
        assert following.stderr is not None
        messages: list[bytes] = []
        while not any(line.startswith(b'removed the files of job "1"') for line in messages):
            messages.append(following.stderr.readline())
            assert messages[-1], messages
        following.terminate()
    return messages


def test_next_server_ends_processes_of_killed_server(cell: Cell, server: Server, crowd: Crowd, temporary: str) -> None:
    """The next server finds them in the same directory for temporary files.

    Without a control group, a process of the shape `hidden` survives, and one that re-forks ends only with luck.
    """
    shapes = [shape for shape in SHAPES if cell.cgroup or shape != "reforks"]
    server.start(crowd.script(*shapes, in_cgroup=cell.cgroup))
    server.wait_for("ready")
    _kill_both(server.runner)
    messages = _messages_of_next_server(cell, temporary)
    assert any(
        line.startswith(b'Stopping background processes of job "1" of a killed step runner') for line in messages
    )
    assert [name.split()[-1] for name in crowd.survivors()] == ([] if cell.cgroup else ["hidden"])
    assert glob(f"{temporary}/step-runner-output-*") == []


@pytest.fixture
def protected(crowd: Crowd) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Return a function that adds to the crowd's control group a process that the step runner's user may not signal."""
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        (member,) = crowd.living()
        groups, mounts = Path(f"/proc/{member.pid}/cgroup"), Path("/proc/self/mountinfo")
        place = cgroup.mounted(groups.read_text(), mounts.read_text())
        assert place is not None
        started.append(subprocess.Popen(["sleep", "1000"]))
        assert cgroup.Cgroup(place.directory).add(started[0].pid)
        return started[0]

    yield start
    for process in started:
        process.kill()
        process.wait()


by_another_user = pytest.mark.parametrize(
    "cell",
    [pytest.param("user, cgroup", marks=pytest.mark.skipif(os.getuid() != 0, reason="only root has two users"))],
    indirect=True,
)


@by_another_user
def test_unsignallable_process_ends_with_control_group(
    server: Server, crowd: Crowd, protected: Callable[[], subprocess.Popen[bytes]]
) -> None:
    server.start(crowd.script("in_group", status=0, in_cgroup=True), "echo background; sleep 1000")
    server.wait_for("background")
    process = protected()
    server.client.cancel("1")
    assert process.wait(PATIENCE) == -signal.SIGKILL
    server.wait_for_end()
    assert crowd.survivors() == []


@by_another_user
def test_unsignallable_orphan_ends_with_control_group(
    cell: Cell, server: Server, crowd: Crowd, protected: Callable[[], subprocess.Popen[bytes]], temporary: str
) -> None:
    server.start(crowd.script("in_group", status=0, in_cgroup=True), "echo background; sleep 1000")
    server.wait_for("background")
    process = protected()
    _kill_both(server.runner)
    _messages_of_next_server(cell, temporary)
    assert process.wait(PATIENCE) == -signal.SIGKILL
    assert crowd.survivors() == []


def _interrupt(runner: Runner) -> None:
    runner.supervisor.send_signal(signal.SIGINT)


@pytest.mark.parametrize(
    ("name", "end"),
    [
        ("run", _interrupt),
        ("run", _kill_worker),
        ("run", _kill_group),
        ("ci", _terminate),
        ("ci", _kill_supervisor),
        ("ci", None),
    ],
    ids=["run, SIGINT", "run, worker", "run, group", "ci, SIGTERM", "ci, supervisor", "ci, closed output"],
)
def test_nothing_survives_when_local_run_ends(
    cell: Cell,
    tmp_path: Path,
    crowd: Crowd,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    end: Callable[[Runner], None] | None,
) -> None:
    (tmp_path / "job.yml").write_text(script(crowd.script()))
    monkeypatch.setenv("STEPS", json.dumps([{"name": "work", "script": crowd.script()}]))
    reader, writer = os.pipe()
    with started(
        cell.prefix, name, *([str(tmp_path / "job.yml")] if name == "run" else []), stdout=writer
    ) as supervisor:
        os.close(writer)
        with open(reader, "rb") as output:
            assert output.readline() == b"ready\n"
            assert len(crowd.living()) >= ALL
            runner = with_worker(supervisor)
            since = time.monotonic()
            if end is not None:
                end(runner)
        supervisor.wait(PATIENCE)
        gone(runner.worker)
        assert_none_survives(crowd, since)


def test_end_of_one_job_spares_processes_of_another(
    cell: Cell, server: Server, crowds: Callable[[], Crowd], temporary: str
) -> None:
    """Jobs end one after another. Without a control group a hidden process may belong to any job: it ends last."""

    def neighbour(job_id: str, crowd: Crowd, shapes: Collection[str], and_then: str = "") -> Neighbour:
        script = crowd.script(*shapes, status=0, in_cgroup=cell.cgroup)
        return Neighbour(server, temporary, job_id, crowd, f"{script}\n{and_then}")

    reforking = crowds()
    lasting = [shape for shape in SHAPES if shape != "reforks"]
    few = [shape for shape in lasting if shape != "many"]
    jobs = [neighbour("last", crowds(), lasting, reforking.script("reforks", status=0))]
    jobs += [neighbour(ending, crowds(), few) for ending in ENDINGS]
    for job in jobs:
        job.start()
    assert [job.is_ready() for job in jobs] == [True] * len(jobs)
    for number, ending in reversed(list(enumerate(jobs))[1:]):
        ending.end()
        assert ending.left() == (set() if cell.cgroup else {"hidden"})
        assert [job.job_id for job in jobs[:number] if not job.is_untouched()] == []
        while not reforking.lives():
            """A scan can miss them, because each lives for 10 ms."""
    jobs[0].end()
    assert [job.left() for job in jobs] == [set()] * len(jobs)
    assert reforking.survivors() == []


def test_reforking_process_ends_among_many_processes(cell: Cell, server: Server, crowds: Callable[[], Crowd]) -> None:
    """A scan of many processes takes longer than a re-forking process lives, but still ends it."""
    many, reforking = crowds(), crowds()
    server.start(many.script("many", status=0), "echo background; sleep 1000", job_id="other")
    server.wait_for("background", "other")
    server.start(reforking.script("reforks", status=0, in_cgroup=cell.cgroup), "echo background; sleep 1000")
    server.wait_for("background")
    server.client.cancel("1")
    server.wait_for_end()
    assert reforking.survivors() == []


def test_hidden_process_ends_with_last_possible_job(cell: Cell, server: Server, crowds: Callable[[], Crowd]) -> None:
    """Without a control group it may belong to either job; with one it ends with its own."""
    ours, theirs = crowds(), crowds()
    for job_id, crowd in (("1", ours), ("2", theirs)):
        server.start("echo begun", crowd.script("hidden", in_cgroup=cell.cgroup), job_id=job_id)
    for job_id in ("1", "2"):
        server.wait_for("ready", job_id)
    server.client.close("1")
    assert (len(ours.living()), len(theirs.living())) == (0 if cell.cgroup else 1, 2)
    server.client.close("2")
    assert ours.survivors() == theirs.survivors() == []


@needs_birth
@pytest.mark.parametrize("cell", [cell for cell in CELLS if "cgroup" in cell], indirect=True)
def test_hidden_process_of_short_job_ends_with_it(server: Server, crowds: Callable[[], Crowd]) -> None:
    """A command is born in the control group of its job, so even the first second has no way out."""
    ours, theirs = crowds(), crowds()
    server.start(theirs.script("hidden", status=0), "echo background; sleep 1000", job_id="other")
    server.wait_for("background", "other")
    server.start(ours.script("hidden", status=0))
    server.wait_for_end()
    assert (len(ours.living()), len(theirs.living())) == (0, 1)


SERVICE = "import http.server; s = http.server.HTTPServer(('127.0.0.1', 0), http.server.SimpleHTTPRequestHandler)"


def test_service_of_one_step_answers_next_step(server: Server, crowd: Crowd, temporary: str) -> None:
    directory = Path(temporary)
    port = shlex.quote(str(directory / "port"))
    serves = f"{SERVICE}; open({str(directory / 'new')!r}, 'w').write(str(s.server_port)); "
    serves += f"import os; os.rename({str(directory / 'new')!r}, {str(directory / 'port')!r}); s.serve_forever()"
    start = shlex.join([sys.executable, "-c", serves, crowd.mark])
    asks = "import sys, urllib.request as u; print('answer', u.urlopen('http://127.0.0.1:' + sys.argv[1]).status)"
    ask = f'{shlex.join([sys.executable, "-c", asks])} "$(cat {port})"'
    server.start(f"setsid {start} & while [ ! -e {port} ]; do sleep 0.01; done", ask)
    server.wait_for("answer 200")
    server.wait_for_end()
    assert crowd.survivors() == []
