"""Clients that follow a job: in a process of their own, to be killed, or in a thread, to see the end."""

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
    """A process that follows a job a number of times at once; it says `True` when it does, and waits to be killed."""
    command = [sys.executable, str(PROGRAM), path, job_id, str(number)]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, process_group=0
    )


class Follower(threading.Thread):
    """Follows a job from a byte offset on, and asks for its status right after the end of the log.

    `error` is what the server or the connection has refused it with.
    """

    def __init__(self, client: Client, job_id: str, offset: int) -> None:
        super().__init__(name=f"follow {job_id}", daemon=True)
        self.job_id = job_id
        self.offset = offset
        self.data = b""
        self.error: StepRunnerError | None = None
        self.status: JobStatus | None = None
        """What the job was right after the end of its log, None where it was closed by then."""
        self.begun = threading.Event()
        """Set when there was something in the log, or the log has ended, or there was an error."""
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
    """The state of a job; None when there is no such job or nobody to ask."""
    try:
        return client.status(job_id)
    except StepRunnerError:
        return None
