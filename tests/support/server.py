"""A server of its own for a test, with the two processes that it consists of."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, NamedTuple

import psutil
from tests.support.steps import script

from step_runner.api.client import Client
from step_runner.model import RunRequest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DELAY = 1.0
"""Seconds between SIGTERM and SIGKILL."""

TIMEOUTS = (1.0, 4.0, 16.0)
"""Seconds that jobs get whose time is to be over: the next where the one before was not enough to be ready."""


STEP_RUNNER = ("-m", "step_runner")
"""The program, as Python is told to run it."""


class Runner(NamedTuple):
    """A command of the step runner, which leads a process group: the front, and the worker below it.

    Where the system has no subreapers they are one process.
    """

    front: subprocess.Popen[bytes]
    worker: psutil.Process


def started(
    prefix: Sequence[str], *arguments: str, program: Sequence[str] = STEP_RUNNER, **options: int
) -> subprocess.Popen[bytes]:
    """The program with these arguments, behind a prefix that becomes it; it leads a process group."""
    command = [*prefix, sys.executable, *program, *arguments, "--graceful-exit-delay", f"{DELAY}s"]
    errors = options.pop("stderr", subprocess.DEVNULL)
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stderr=errors, stdout=options.pop("stdout"), process_group=0
    )


def with_worker(front: subprocess.Popen[bytes]) -> Runner:
    """A program that was started, and its worker."""
    process = psutil.Process(front.pid)
    (worker,) = process.children() or [process]
    return Runner(front, worker)


def _user(process: psutil.Process) -> int | None:
    """The number of the user that a process runs as."""
    return process.uids().real if hasattr(process, "uids") else None


class Server:
    """`step-runner serve`, and a client of it; its socket is in `directory`. `told` is what it writes to stderr."""

    def __init__(self, directory: str, prefix: Sequence[str] = (), program: Sequence[str] = STEP_RUNNER) -> None:
        self.path = path = os.path.join(directory, "s.sock")
        serve = ("serve", "--verbose", "--socket", path)
        front = started(prefix, *serve, program=program, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        assert front.stderr is not None
        self.told = front.stderr
        assert b"listening" in self.told.readline()
        self.runner = with_worker(front)
        self.client = Client(path, _user(self.runner.worker))

    def start(self, *scripts: str, job_id: str = "1", timeout: float | None = None, delay: float | None = None) -> None:
        """Start a job with these scripts as its steps; `delay` are the seconds between SIGTERM and SIGKILL."""
        steps = script(*scripts)
        self.client.run(RunRequest(id=job_id, steps=steps, work_dir="/", timeout=timeout, graceful_exit_delay=delay))

    def start_timed(self, scripts: Mapping[str, str], ready: str) -> float:
        """Start a job for each id, which has a time that is over after all are ready; returns it in seconds."""
        for timeout in TIMEOUTS:
            for job_id, text in scripts.items():
                self.start(text, job_id=job_id, timeout=timeout)
            if all(self._wrote(ready, job_id)[0] for job_id in scripts):
                return timeout
            for job_id in scripts:
                self.client.close(job_id)
        raise AssertionError("never ready in time")

    def wait_for(self, text: str, job_id: str = "1") -> None:
        """Wait until the job's log holds a line."""
        wrote, log = self._wrote(text, job_id)
        assert wrote, log

    def _wrote(self, line: str, job_id: str) -> tuple[bool, str]:
        """Whether the job's log holds a line, as soon as that is known, and the log so far."""
        log = b""
        for data in self.client.follow(job_id):
            log += data
            if f"\n{line}\n" in f"\n{log.decode()}":
                return True, log.decode()
        return False, log.decode()

    def wait_for_end(self, job_id: str = "1") -> None:
        """Wait until the job's log has ended."""
        for _ in self.client.follow(job_id):
            pass

    def close(self) -> None:
        """Stop the server and wait for its end."""
        self.client.__exit__(None, None, None)
        with self.runner.front:
            self.runner.front.terminate()
