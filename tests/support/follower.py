"""Clients that follow a job: a process, which can be killed, or a thread, which reads to the end of the log."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from step_runner.errors import StepRunnerError

if TYPE_CHECKING:
    from step_runner.api.client import Client
    from step_runner.model import JobStatus

PROGRAM = Path(__file__).parents[1] / "programs" / "follower.py"


def follower(path: str, job_id: str, number: int) -> subprocess.Popen[bytes]:
    """Start a process with a number of streams that follow a job; it writes `True` when all have begun, then waits."""
    command = [sys.executable, str(PROGRAM), path, job_id, str(number)]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, process_group=0
    )


class Follower(threading.Thread):
    """Follows a job from a byte offset on, and asks for its status right after the end of the log.

    `error` is the error of the stream, None if it has ended normally.
    """

    def __init__(self, client: Client, job_id: str, offset: int) -> None:
        super().__init__(name=f"follow {job_id}", daemon=True)
        self.job_id = job_id
        self.offset = offset
        self.data = b""
        self.error: StepRunnerError | None = None
        self.status: JobStatus | None = None
        """The status of the job right after the end of its log, None if the job was closed by then."""
        self.begun = threading.Event()
        """Set at the first bytes of the log, at its end, or at an error."""
        self._client = client

    def run(self) -> None:
        try:
            for data in self._client.follow(self.job_id, self.offset):
                self.data += data
                self.begun.set()
        except StepRunnerError as error:
            self.error = error
        else:
            self.status = asked(self._client, self.job_id)
        finally:
            self.begun.set()


def asked(client: Client, job_id: str) -> JobStatus | None:
    """Return the status of a job; None if there is no such job or no server."""
    try:
        return client.status(job_id)
    except StepRunnerError:
        return None
