"""A real server process on a real socket, and what tests ask of it."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import psutil
import pytest
from tests.support.living import lives
from tests.support.steps import script

from step_runner.api.client import Client
from step_runner.api.pb.step_pb2_grpc import StepRunnerStub
from step_runner.api.socket import target
from step_runner.errors import StepRunnerError
from step_runner.model import JobStatus, RunRequest, Variable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

READY = "step-runner is listening on socket "

LONG = 30.0
"""Seconds that no call of a test comes near to: it is there to have a test end that hangs."""

_ids = itertools.count(1)


class Server:
    """`step-runner serve` in a process of its own, ready for calls, with temporary files of its own."""

    client: Client

    def __init__(
        self,
        directory: str,
        *arguments: str,
        name: str = "s.sock",
        env: dict[str, str] | None = None,
        **options: Any,
    ) -> None:
        self.temporary = Path(directory, "tmp")
        self.temporary.mkdir(exist_ok=True)
        self.path = os.path.join(directory, name)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "step_runner", "serve", "--socket", self.path, *arguments],
            env={**os.environ, "TMPDIR": str(self.temporary), **(env or {})},
            cwd=directory,
            stderr=subprocess.PIPE,
            **{"stdin": subprocess.DEVNULL, **options},
        )
        assert self.process.stderr is not None
        self.first_line = os.fsdecode(self.process.stderr.readline())
        with contextlib.suppress(StepRunnerError):  # a server whose command gets no input ends at once
            self.client = Client(self.path)
        self.channel = grpc.insecure_channel(target(self.path))
        self.stub = StepRunnerStub(self.channel)
        self.rest: bytes | None = None

    def start(
        self, steps: str, *, variables: dict[str, str] | None = None, job_id: str | None = None, **fields: Any
    ) -> str:
        """Start a job with these steps, a script or the text of two documents; returns its id."""
        request = RunRequest(
            id=f"{next(_ids)}" if job_id is None else job_id,
            steps=steps if "\n---\n" in steps else script(steps),
            work_dir=fields.pop("work_dir", str(self.temporary.parent / "work")),
            variables=tuple(Variable(key=key, value=value) for key, value in (variables or {}).items()),
            **fields,
        )
        self.client.run(request)
        return request.id

    def start_ready(self, steps: str, **fields: Any) -> str:
        """Start a job and wait until it has written `ready`; returns its id."""
        job_id = self.start(steps, **fields)
        self.wait_for(job_id, b"ready\n")
        return job_id

    def wait_for(self, job_id: str, text: bytes) -> None:
        """Wait until the job has written a text."""
        log = b""
        for chunk in self.client.follow(job_id):
            log += chunk
            if text in log:
                return
        raise AssertionError(f"{text!r} is not in {log!r}")

    def log(self, job_id: str, offset: int = 0) -> bytes:
        """The job's log, once it has ended."""
        return b"".join(self.client.follow(job_id, offset))

    def run(self, steps: str, **fields: Any) -> tuple[JobStatus, bytes]:
        """Run a job to its end; returns its final status and its log without the runner's own first line."""
        job_id = self.start(steps, **fields)
        log = self.log(job_id)
        return self.client.status(job_id), log.partition(b"\n")[2]

    def ended(self, job_id: str) -> JobStatus:
        """The job's status, once it has ended."""
        self.log(job_id)
        return self.client.status(job_id)

    @property
    def worker(self) -> psutil.Process:
        """The process that serves; the one that was started looks after it."""
        (worker,) = psutil.Process(self.process.pid).children()
        return worker

    def jobs_processes(self) -> list[psutil.Process]:
        """Everything that the worker has started and that still runs; who has ended is reaped a moment later."""
        return [process for process in self.worker.children(recursive=True) if lives(process)]

    def descriptors(self) -> int:
        """How many descriptors the server holds."""
        return self.worker.num_fds()

    def wait_for_descriptors(self, most: int) -> None:
        """Wait until the server holds no more descriptors than that: it hears of a client's leave a moment later."""
        deadline = time.monotonic() + LONG
        while self.descriptors() > most:
            assert time.monotonic() < deadline, f"{self.descriptors()} descriptors, not {most}"
            time.sleep(0.01)

    def wait(self) -> int:
        """The exit status of the server, once it has ended by itself; `rest` is what it wrote after its first line."""
        with getattr(self, "client", contextlib.nullcontext()), self.channel:
            _, self.rest = self.process.communicate(timeout=LONG)
        return self.process.returncode

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send the server a signal; returns its exit status."""
        self.process.send_signal(number)
        return self.wait()

    def clean(self) -> None:
        """Close all jobs; then nothing of them may be left."""
        for job in self.client.jobs():
            self.client.close(job.id)
        assert (self.jobs_processes(), os.listdir(self.temporary)) == ([], [])


@pytest.fixture(scope="session")
def shared_server() -> Iterator[Server]:
    """One server for all tests that leave it as it was, because it takes a third of a second to start."""
    directory = tempfile.mkdtemp(prefix="s-")
    server = Server(directory)
    yield server
    assert (server.stop(), server.rest) == (0, b"")
    assert not os.path.exists(server.path)
    shutil.rmtree(directory)


@pytest.fixture
def server(shared_server: Server) -> Iterator[Server]:
    """A running server; at the end all jobs are closed, and nothing of them is left."""
    yield shared_server
    shared_server.clean()


@pytest.fixture
def serve(temporary: str) -> Iterator[Callable[..., Server]]:
    """Starts a server of the test's own: `serve(*arguments, name="s.sock", env=None, **options_of_Popen)`."""
    servers: list[Server] = []

    def start(*arguments: str, **options: Any) -> Server:
        servers.append(Server(temporary, *arguments, **options))
        return servers[-1]

    yield start
    for server in servers:
        if server.rest is None:
            server.stop()


@pytest.fixture
def work_dir(temporary: str) -> Path:
    """An empty directory, the work dir of jobs."""
    directory = Path(temporary, "work")
    directory.mkdir()
    return directory
