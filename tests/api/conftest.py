"""A real server process on a real socket, with operations for tests."""

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
"""Seconds far above the duration of any call in a test: it ends a test that hangs."""

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
        with contextlib.suppress(StepRunnerError):  # a server with a sidecar command without input ends at once
            self.client = Client(self.path)
        self.channel = grpc.insecure_channel(target(self.path))
        self.stub = StepRunnerStub(self.channel)
        self.rest: bytes | None = None

    def start(
        self, steps: str, *, variables: dict[str, str] | None = None, job_id: str | None = None, **fields: Any
    ) -> str:
        """Start a job with these steps, a script or the text of two documents; return its id."""
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
        """Start a job and wait until it has written `ready`; return its id."""
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
        """Wait for the end of a job and return its log."""
        return b"".join(self.client.follow(job_id, offset))

    def run(self, steps: str, **fields: Any) -> tuple[JobStatus, bytes]:
        """Run a job to its end; return its final status, and its log without the runner's own first line."""
        job_id = self.start(steps, **fields)
        log = self.log(job_id)
        return self.client.status(job_id), log.partition(b"\n")[2]

    def ended(self, job_id: str) -> JobStatus:
        """Wait for the end of a job and return its status."""
        self.log(job_id)
        return self.client.status(job_id)

    @property
    def worker(self) -> psutil.Process:
        """The process that serves: the child of the supervisor, which the test has started."""
        (worker,) = psutil.Process(self.process.pid).children()
        return worker

    def jobs_processes(self) -> list[psutil.Process]:
        """Return the running descendants of the worker; zombies are left out, as they are reaped a moment later."""
        return [process for process in self.worker.children(recursive=True) if lives(process)]

    def descriptors(self) -> int:
        """Return the number of descriptors that the server has open."""
        return self.worker.num_fds()

    def wait_for_descriptors(self, most: int) -> None:
        """Wait until the server has at most that many descriptors open: it notices a client's end a moment later."""
        deadline = time.monotonic() + LONG
        while self.descriptors() > most:
            assert time.monotonic() < deadline, f"{self.descriptors()} descriptors, not {most}"
            time.sleep(0.01)

    def wait(self) -> int:
        """Wait for the end of the server and return its exit status; `rest` gets its output after the first line."""
        with getattr(self, "client", contextlib.nullcontext()), self.channel:
            _, self.rest = self.process.communicate(timeout=LONG)
        return self.process.returncode

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send the server a signal, wait for its end and return its exit status."""
        self.process.send_signal(number)
        return self.wait()

    def clean(self) -> None:
        """Close all jobs, and check that nothing of them is left."""
        for job in self.client.jobs():
            self.client.close(job.id)
        assert (self.jobs_processes(), os.listdir(self.temporary)) == ([], [])


@pytest.fixture(scope="session")
def shared_server() -> Iterator[Server]:
    """Yield one server for all tests that leave it unchanged: a start takes a third of a second."""
    directory = tempfile.mkdtemp(prefix="s-")
    server = Server(directory)
    yield server
    assert (server.stop(), server.rest) == (0, b"")
    assert not os.path.exists(server.path)
    shutil.rmtree(directory)


@pytest.fixture
def server(shared_server: Server) -> Iterator[Server]:
    """Yield a running server; at the end close all jobs, and check that nothing of them is left."""
    yield shared_server
    shared_server.clean()


@pytest.fixture
def serve(temporary: str) -> Iterator[Callable[..., Server]]:
    """Yield a function that starts a new server: `serve(*arguments, name="s.sock", env=None, **options_of_Popen)`."""
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
    """Return an empty directory, the work dir of jobs."""
    directory = Path(temporary, "work")
    directory.mkdir()
    return directory
