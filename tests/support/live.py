"""Drives a live server at random, and checks its promises after each step.

The steps depend on the seed alone, and not on the server; only their moments differ from run to run. A state machine of
hypothesis does not fit: it reports a run that it cannot repeat exactly as flaky, and searches long for a shorter one.
"""

from __future__ import annotations

import contextlib
import os
import random
import threading
from collections import defaultdict, deque
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import psutil
from tests.support import expected
from tests.support.crowd import Crowd
from tests.support.expected import FINAL, Expected
from tests.support.follower import Follower, follower
from tests.support.held import held, settled
from tests.support.kinds import KINDS, Kind, log_is_whole
from tests.support.server import Server

from step_runner.errors import StepRunnerError
from step_runner.model import ErrorKind, JobStatus, Status

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

IDS = ("a", "b/../c", "d e", "42")

WEIGHTS = {
    "run": 30,
    "status": 12,
    "list": 4,
    "follow": 10,
    "attend": 14,
    "cancel": 10,
    "close": 12,
    "follow from a process": 4,
    "kill a process that follows": 4,
    "kill the worker": 0.3,
}
"""The relative frequency of each step."""

MOST_OFFSET = 12
"""The limit of byte offsets: less than the length of the first line, which each job writes at once."""

LAST_STEPS = 40
"""The number of steps that a failure shows."""

LAST_BYTES = 500
"""The number of bytes of each log that a failure shows."""

PATIENCE = 30.0
"""Seconds after which a thread or a process that should end counts as hung."""


class Step(NamedTuple):
    """One random step; some kinds of steps ignore some fields."""

    what: str
    job_id: str
    kind: str
    offset: int


def steps(seed: int) -> Iterator[Step]:
    """Yield steps without end; equal seeds give equal steps."""
    choice = random.Random(seed)
    while True:
        (what,) = choice.choices(list(WEIGHTS), list(WEIGHTS.values()))
        offset = choice.choice([0, choice.randrange(MOST_OFFSET)])
        yield Step(what, choice.choice(IDS), choice.choice(list(KINDS)), offset)


class Job(NamedTuple):
    """A job that the last Run of its id has certainly started."""

    kind: Kind
    crowd: Crowd


class Instance(NamedTuple):
    """The identity of a job; later jobs may have the same id."""

    server: int
    job_id: str
    start_time: float | None


class Live:
    """A server with its clients. A broken promise raises an error; then `history` holds the last steps."""

    def __init__(self, directory: str) -> None:
        self.steps = 0
        self.history: deque[str] = deque(maxlen=LAST_STEPS)
        self._directory = directory
        self._processes_of_jobs = Crowd()
        self._runs = 0
        self._servers = 1
        self._finals: dict[Instance, JobStatus] = {}
        self._logs: dict[Instance, bytes] = {}
        self._processes: list[subprocess.Popen[bytes]] = []
        self._server = Server(directory)

    def begin(self) -> None:
        """Do everything once: the first call of some kinds allocates resources that stay for ever."""
        self.history.append(f"server {self._servers}")
        self._expected: dict[str, Expected] = defaultdict(Expected)
        self._jobs: dict[str, Job | None] = {}
        self._followers: list[_Followed] = []
        self._closers: list[_Closer] = []
        self._run(IDS[0], KINDS["leaves"])
        self._attend(IDS[0])
        self._close(IDS[0])
        self._join()
        self._before = held(self._server, self._directory)

    def take(self, step: Step) -> None:
        """Take a step, and check the promises of the server."""
        self.steps += 1
        self.history.append(f"{self.steps}. {step.what}: {step.job_id!r}, {step.kind!r}, {step.offset}")
        match step.what:
            case "run":
                self._run(step.job_id, KINDS[step.kind])
            case "status":
                self._state(step.job_id)
            case "list":
                self._list()
            case "follow":
                self._follow(step.job_id, step.offset)
            case "attend":
                self._attend(step.job_id)
            case "cancel":
                self._server.client.cancel(step.job_id)
                self._expect(step.job_id, expected.cancelled(self._expected[step.job_id]))
            case "close":
                self._close(step.job_id)
            case "follow from a process":
                self._processes.append(follower(self._server.path, step.job_id, 1))
            case "kill a process that follows":
                self._kill_processes(1)
            case _:
                assert step.what == "kill the worker"
                self._kill_worker()
        self._look_around()

    def end(self) -> None:
        """Close all jobs and stop the server; check that no process is left, and that it holds no more than before."""
        self._kill_processes(len(self._processes))
        for job_id in IDS:
            self._close(job_id)
        self._join()
        self._list()
        assert self._processes_of_jobs.survivors() == []
        settled(self._server, self._directory, self._before)
        self._server.runner.supervisor.terminate()
        self._read_to_end()
        assert self._server.runner.supervisor.wait(PATIENCE) == 0
        self._server.close()
        assert os.listdir(self._directory) == []

    def scene(self) -> Iterator[str]:
        """Yield the state after a failure: the last steps, the jobs with their logs, and the live processes."""
        yield from self.history
        with contextlib.suppress(StepRunnerError):
            yield from map(str, self._server.client.jobs())
        for log in Path(self._directory).glob("*/logs"):
            yield f"{log}: {log.read_bytes()[-LAST_BYTES:]!r}"
        for process in self._processes_of_jobs.living():
            with contextlib.suppress(psutil.Error):
                yield f"{process.pid} {process.status()} {process.cmdline()[-3:]}"

    def abandon(self) -> str:
        """Kill all processes after a failure; return the server's text on stderr."""
        for process in self._processes:
            process.kill()
            process.communicate()
        self._server.runner.supervisor.terminate()
        self._processes_of_jobs.kill()
        errors = self._server.stderr.read().decode(errors="replace")
        self._server.close()
        return errors

    def _expect(self, job_id: str, now: Expected) -> None:
        self._expected[job_id] = now

    def _run(self, job_id: str, kind: Kind) -> None:
        self._runs += 1
        crowd = Crowd(f"{self._processes_of_jobs.mark}-{self._runs:06}")
        before = self._expected[job_id]
        try:
            self._server.client.run(kind.request(job_id, crowd))
        except StepRunnerError:
            assert kind is KINDS["cannot be read"]
            self._expect(job_id, expected.said(before, None))
            return
        assert kind is not KINDS["cannot be read"] or not before.unknown, "an unreadable step file was run"
        if kind is not KINDS["cannot be read"]:
            self._expect(job_id, expected.ran(before, kind.ends))
        if not before.known:
            self._jobs[job_id] = Job(kind, crowd) if before.unknown else None

    def _state(self, job_id: str) -> JobStatus | None:
        """Ask for the status of one job and check it; None for an unknown job."""
        status, refusal = None, None
        try:
            status = self._server.client.status(job_id)
        except StepRunnerError as error:
            refusal = str(error)
        assert refusal in (None, _unknown(job_id)), refusal
        self._said(job_id, status)
        return status

    def _list(self) -> None:
        found = {status.id: status for status in self._server.client.jobs()}
        assert found.keys() <= set(IDS)
        for job_id in IDS:
            self._said(job_id, found.get(job_id))

    def _said(self, job_id: str, status: JobStatus | None) -> None:
        self.history[-1] += f" -> {'unknown' if status is None else status.status.name}"
        self._expect(job_id, expected.said(self._expected[job_id], None if status is None else status.status))
        if status is not None:
            _fits_together(status)
            self._stays(status)

    def _stays(self, status: JobStatus) -> None:
        """Check that the status of a job never changes after its end."""
        instance = self._instance(status)
        final = self._finals.get(instance, status)
        assert status == final, f"{final} has become {status}"
        if status.finished:
            self._finals[instance] = final

    def _instance(self, status: JobStatus) -> Instance:
        return Instance(self._servers, status.id, status.start_time)

    def _follow(self, job_id: str, offset: int) -> Follower | None:
        """Follow the log in a thread, and wait for its first bytes; check that an unknown job is refused."""
        status = self._state(job_id)
        following = Follower(self._server.client, job_id, offset)
        following.start()
        assert following.begun.wait(PATIENCE)
        if status is None:
            following.join(PATIENCE)
            assert str(following.error) == _unknown(job_id), following.error
            return None
        surely = bool(following.data) or not self._expected[job_id].closing
        self._followers.append(_Followed(following, self._instance(status), self._jobs.get(job_id), surely))
        return following

    def _attend(self, job_id: str) -> None:
        """Follow a job that ends to the end of its log; check that no process is left, except `hidden` ones."""
        if not self._expected[job_id].ends:
            return
        following = self._follow(job_id, 0)
        if following is None:
            return
        following.join(PATIENCE)
        assert not following.is_alive(), "the log does not end"
        self._check_no_process_is_left(job_id)

    def _check_no_process_is_left(self, job_id: str) -> None:
        job = self._jobs.get(job_id)
        if job is not None:
            assert [left for left in job.crowd.survivors() if not left.endswith(" hidden")] == [], "outlived the job"

    def _close(self, job_id: str) -> None:
        before = self._expected[job_id]
        self._closers.append(_Closer(self._server, job_id, before.runs))
        self._closers[-1].start()
        self._expect(job_id, expected.close_began(before))

    def _kill_processes(self, number: int) -> None:
        """Kill the oldest following processes, after each has begun or failed."""
        for process in self._processes[:number]:
            assert process.stdout is not None
            process.stdout.readline()
            process.kill()
            process.communicate()
        del self._processes[:number]

    def _kill_worker(self) -> None:
        """Kill the worker; check that all processes are gone, and start a new server with the same socket."""
        self._server.runner.worker.kill()
        self._read_to_end()
        assert self._server.runner.supervisor.wait(PATIENCE) == 128 + 9
        assert self._processes_of_jobs.survivors() == []
        self._kill_processes(len(self._processes))
        self._wait_for_threads()
        self._server.close()
        assert os.listdir(self._directory) == []
        self._server = Server(self._directory)
        self._servers += 1
        self.begin()

    def _read_to_end(self) -> None:
        errors = self._server.stderr.read().decode(errors="replace")
        assert "Traceback" not in errors, errors

    def _join(self) -> None:
        """Wait for all threads, and check their results."""
        self._wait_for_threads()
        self._look_around()

    def _wait_for_threads(self) -> None:
        for thread in (*self._closers, *(one.by for one in self._followers)):
            thread.join(PATIENCE)
            assert not thread.is_alive(), f"{thread.name} does not end"

    def _look_around(self) -> None:
        """Check the results of the threads that have ended since the last time."""
        for closer in [closer for closer in self._closers if not closer.is_alive()]:
            self._closers.remove(closer)
            self._closed(closer)
        for one in [one for one in self._followers if not one.by.is_alive()]:
            self._followers.remove(one)
            self._followed(*one)

    def _closed(self, closer: _Closer) -> None:
        assert closer.error is None, closer.error
        self._expect(closer.job_id, expected.close_ended(self._expected[closer.job_id], closer.runs))
        if self._expected[closer.job_id].unknown:
            self._check_no_process_is_left(closer.job_id)

    def _followed(self, following: Follower, instance: Instance, job: Job | None, surely: bool) -> None:
        """Check that the log was whole, and that the status was final at its end, unless the job was closed."""
        status = following.status
        if not surely:
            return
        assert following.error is None, following.error
        if following.offset == 0:
            assert self._logs.setdefault(instance, following.data) == following.data, f"{instance} has two logs"
        elif instance in self._logs:
            assert following.data == self._logs[instance][following.offset :], f"{instance} has two logs"
        if status is None or self._instance(status) != instance:
            return
        assert status.status in FINAL, "the log has ended, but not the job"
        self._stays(status)
        if job is not None and following.offset == 0:
            assert log_is_whole(job.kind, status.status, following.data), (status, following.data)


class _Followed(NamedTuple):
    by: Follower
    instance: Instance
    job: Job | None
    """The job of that time: a later one may have the same id when the result is looked at."""
    surely: bool
    """Whether it certainly began to follow before the job was closed."""


class _Closer(threading.Thread):
    """Closes a job, which waits for its end; `runs` is the number of earlier Runs with its id."""

    def __init__(self, server: Server, job_id: str, runs: int) -> None:
        super().__init__(name=f"close {job_id}", daemon=True)
        self.job_id = job_id
        self.runs = runs
        self.error: StepRunnerError | None = None
        self._client = server.client

    def run(self) -> None:
        try:
            self._client.close(self.job_id)
        except StepRunnerError as error:
            self.error = error


def _unknown(job_id: str) -> str:
    return f'no job with id "{job_id}"'


def _fits_together(status: JobStatus) -> None:
    """Check that the fields of a status are consistent."""
    assert (status.end_time is not None) == status.finished, status
    assert (status.start_time is None) == (status.status is Status.UNSPECIFIED), status
    assert (status.kind is not None) == (status.status in (Status.FAILURE, Status.CANCELLED)), status
    assert (status.message != "") == (status.kind is not None), status
    assert (status.status is Status.CANCELLED) == (status.kind in (ErrorKind.CANCELLED, ErrorKind.TIMEOUT)), status
    assert not status.finished or (status.kill_time is None and status.step == ""), status
