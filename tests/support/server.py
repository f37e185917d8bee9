"""A server for one test, with its two processes."""

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

DELAY = 0.3
"""The grace period in seconds: the time between SIGTERM and SIGKILL."""

TIMEOUTS = (1.0, 4.0, 16.0)
"""Timeouts, in seconds, of jobs that end by a timeout: the next one if a job was not ready within the previous one."""


STEP_RUNNER = ("-m", "step_runner")
"""The arguments with which Python runs the program."""


class Runner(NamedTuple):
    """A command of the step runner, which leads a process group: the supervisor and its child, the worker.

    On a system without subreapers they are one process.
    """

    supervisor: subprocess.Popen[bytes]
    worker: psutil.Process


def started(
    prefix: Sequence[str], *arguments: str, program: Sequence[str] = STEP_RUNNER, **options: int
) -> subprocess.Popen[bytes]:
    """Start the program with these arguments, through a prefix that executes it; it leads a process group."""
    command = [*prefix, sys.executable, *program, *arguments, "--graceful-exit-delay", f"{DELAY}s"]
    errors = options.pop("stderr", subprocess.DEVNULL)
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stderr=errors, stdout=options.pop("stdout"), process_group=0
    )


def with_worker(supervisor: subprocess.Popen[bytes]) -> Runner:
    """Return a started program with its worker."""
    process = psutil.Process(supervisor.pid)
    (worker,) = process.children() or [process]
    return Runner(supervisor, worker)


def _user(process: psutil.Process) -> int | None:
    """Return the user ID of a process."""
    return process.uids().real if hasattr(process, "uids") else None


class Server:
    """`step-runner serve` and a client of it; its socket is in `directory`. `stderr` is the read end of its stderr."""

    def __init__(self, directory: str, prefix: Sequence[str] = (), program: Sequence[str] = STEP_RUNNER) -> None:
        self.path = path = os.path.join(directory, "s.sock")
        serve = ("serve", "--verbose", "--socket", path)
        supervisor = started(prefix, *serve, program=program, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        assert supervisor.stderr is not None
        self.stderr = supervisor.stderr
        assert b"listening" in self.stderr.readline()
        self.runner = with_worker(supervisor)
        self.client = Client(path, _user(self.runner.worker))

    def start(self, *scripts: str, job_id: str = "1", timeout: float | None = None, delay: float | None = None) -> None:
        """Start a job with these scripts as its steps; `delay` is its grace period in seconds."""
        steps = script(*scripts)
        self.client.run(RunRequest(id=job_id, steps=steps, work_dir="/", timeout=timeout, graceful_exit_delay=delay))

    def start_timed(self, scripts: Mapping[str, str], ready: str) -> float:
        """Start a job for each id, with a timeout that expires after all are ready; return the timeout in seconds."""
        for timeout in TIMEOUTS:
            for job_id, text in scripts.items():
                self.start(text, job_id=job_id, timeout=timeout)
            if all(self._wrote(ready, job_id)[0] for job_id in scripts):
                return timeout
            for job_id in scripts:
                self.client.close(job_id)
        raise AssertionError("never ready in time")

    def wait_for(self, text: str, job_id: str = "1") -> None:
        """Wait until the job's log contains a line."""
        wrote, log = self._wrote(text, job_id)
        assert wrote, log

    def _wrote(self, line: str, job_id: str) -> tuple[bool, str]:
        """Wait for a line in the job's log or for the end of the log; return whether it came, and the log so far."""
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
        with self.runner.supervisor:
            self.runner.supervisor.terminate()
