"""Checks that the user's limits leave room for a server: without room gRPC ends the whole process."""

from __future__ import annotations

import os
import resource
import threading

from step_runner.errors import StepRunnerError

DESCRIPTORS = 32
THREADS = 12 + (os.cpu_count() or 1)
"""Descriptors and threads of a server that answers, and some more: gRPC has a few threads for each processor."""


def check_limits() -> None:
    """Raise StepRunnerError if fewer descriptors or threads are available than a server needs."""
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and most - len(os.listdir("/dev/fd")) < DESCRIPTORS:
        raise StepRunnerError(
            f"starting the server: too few open files are allowed (ulimit -n is {most}): allow 256 or more"
        )
    _check_threads()


def _check_threads() -> None:
    """Start as many threads: the limits of a user and of a control group do not show how many are left."""
    enough = threading.Event()
    threads = [threading.Thread(target=enough.wait) for _ in range(THREADS)]
    try:
        for thread in threads:
            thread.start()
    except RuntimeError as error:
        most, _ = resource.getrlimit(resource.RLIMIT_NPROC)
        raise StepRunnerError(
            f"starting the server: no more processes and threads can be started (ulimit -u is {most}): allow more"
        ) from error
    finally:
        enough.set()
        for thread in filter(threading.Thread.is_alive, threads):
            thread.join()
