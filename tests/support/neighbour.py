"""A job with background processes, which runs at the same time as other jobs."""

from __future__ import annotations

import contextlib
import os
import shlex
from itertools import accumulate
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from tests.support.crowd import Crowd
    from tests.support.server import Server

ENDINGS = ("success", "failure", "cancel", "close", "timeout")
"""The ways in which a job ends; the id of a job is the name of its way."""

DELAY = 0.2
"""The grace period in seconds; it always expires, because some processes ignore SIGTERM."""

TIMEOUT = 2.0
"""The first timeout, in seconds, of a job that ends by its timeout; `start` doubles it if it is too short."""

DYING = 20.0
"""Seconds after which a process that should end counts as a survivor."""


class Neighbour:
    """A job whose first step runs a script, and whose second step waits until the job is ended."""

    def __init__(self, server: Server, directory: str, job_id: str, crowd: Crowd, leaves: str) -> None:
        """Make the job, but do not start it; `crowd` are the processes that are checked, `leaves` is the script."""
        self.job_id = job_id
        self._server = server
        self._crowd = crowd
        self._leaves = leaves
        self._living: list[psutil.Process] = []
        self._gate = os.path.join(directory, job_id)
        os.mkfifo(self._gate)

    def start(self) -> None:
        """Start it. If it ends by a timeout, double the timeout until its processes are ready in time."""
        if self.job_id != "timeout":
            self._start(None)
            return
        timeout = TIMEOUT
        self._start(timeout)
        while not self.is_ready():
            self._server.client.close(self.job_id)
            timeout *= 2
            self._start(timeout)

    def is_ready(self) -> bool:
        """Wait until its processes are ready; return False if it ends before."""
        log = accumulate(self._server.client.follow(self.job_id))
        ready = any(b"\nbackground\n" in text for text in log)
        self._living = self._crowd.living()
        return ready

    def end(self) -> None:
        """End it in the way of its id, and wait for the end; a process of the shape `hidden` may survive."""
        dying = [process for process in self._living if not _hides(process)]
        if self.job_id == "cancel":
            self._server.client.cancel(self.job_id)
        if self.job_id in ("success", "failure"):
            with open(self._gate, "w") as gate:
                gate.write("go on\n")
        if self.job_id in ENDINGS and self.job_id != "close":
            self._server.wait_for_end(self.job_id)
        self._server.client.close(self.job_id)
        psutil.wait_procs(dying, timeout=DYING)  # Close waits for half a second after SIGKILL, and no longer

    def left(self) -> set[str]:
        """Return the shapes of its live processes."""
        return {arguments.split()[-1] for arguments in self._crowd.survivors()}

    def is_untouched(self) -> bool:
        """Return whether all processes of its start are alive."""
        return all(map(_lives, self._living))

    def _start(self, timeout: float | None) -> None:
        wait = f"echo background; read -r line <{shlex.quote(self._gate)}; exit {int(self.job_id != 'success')}"
        self._server.start(self._leaves, wait, job_id=self.job_id, timeout=timeout, delay=DELAY)


def _hides(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.cmdline()[-1:] == ["hidden"]
    return False


def _lives(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
