"""A server on a unix socket, from its first call to its end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import sys
import threading
from functools import partial
from typing import TYPE_CHECKING

import grpc

from gracefulexitcmd import OrphanReaper
from step_runner import shown
from step_runner.api.service import Service, add_service
from step_runner.jobs.manager import JobManager
from step_runner.jobs.signals import on_stop
from step_runner.runner import notices

if sys.platform == "win32":
    from step_runner.api.token_auth import TokenAuth as Access
else:
    from step_runner.api.socket import OwnerOnly as Access

if TYPE_CHECKING:
    import signal
    from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from step_runner.api.sidecar import Sidecar

STDERR = 2

COLLECTION = 2000
"""New objects before the garbage collector runs: few, so that a closed job does not stay in memory for long."""

LAST_READ = 1.0
"""Seconds that clients have to read what was sent: gRPC waits until each has answered a ping."""

OPTIONS = (
    ("grpc.http2.max_ping_strikes", 0),  # no limit
    ("grpc.http2.min_ping_interval_without_data_ms", 0),
    ("grpc.keepalive_permit_without_calls", 1),
)
"""Options of the server: a client may ping without limit, because only the owner can connect.

gRPC's defaults close a connection after more than two pings within 5 minutes without data. GitLab Runner pings every
10 s, and a step may be silent for hours.
"""


async def serve(
    path: str,
    delay: float,
    environment: Mapping[str, str],
    sidecar: Sidecar | None = None,
    supervisor_gone: tuple[int, ...] = (),
    *,
    verbose: bool = False,
) -> int:
    """Serve on the socket `path` until SIGTERM, SIGINT or SIGHUP, on Windows Ctrl-C or Ctrl-Break; return the status.

    On a system without unix sockets a file at `path` replaces the socket; the owner's clients find the server by it.

    After its start the server also ends orphans: processes that jobs of a killed step runner have left. It finds them
    through the directory for temporary files.

    The server also stops when a descriptor of `supervisor_gone` becomes readable. To stop, it refuses new calls,
    cancels all jobs gracefully, sends followers the end of their logs, and removes the socket and all temporary files.
    Repeats of a signal change nothing. A second Ctrl-C at least one second later, or SIGQUIT, kills the rest at once.

    stderr gets the ready line and errors; if `verbose`, also the server's own actions. Raise StepRunnerError if the
    socket cannot be made.
    """
    jobs = JobManager(delay, environment)
    with _listening(path, jobs) as (server, service):
        await server.start()
        shut_down = partial(_shut_down, server, service)
        # GitLab Runner's instance executor shows stderr as the output of the job.
        tell = _say if verbose else lambda line: None
        return await _serve(shut_down, jobs, path, sidecar, supervisor_gone, tell)


async def _serve(
    shut_down: Callable[[], Awaitable[None]],
    jobs: JobManager,
    path: str,
    sidecar: Sidecar | None,
    supervisor_gone: tuple[int, ...],
    tell: Callable[[str], None],
) -> int:
    kills = [jobs.kill, *([sidecar.kill] if sidecar is not None else [])]
    finishing: asyncio.Task[None] | None = None
    stopping = asyncio.Event()
    for descriptor in supervisor_gone:
        _stop_when_gone(descriptor, stopping)
    with _stop_on_signals(kills, stopping, tell), OrphanReaper():
        _say(f"step-runner is listening on socket {path}")
        if sys.platform != "win32":  # Windows has ended them with the killed runner
            from step_runner.jobs.recovery import Recovery

            recovery = Recovery(tell, _say)
            kills.append(recovery.kill)
            finishing = asyncio.get_running_loop().create_task(recovery.finish())
        with contextlib.suppress(RuntimeError):  # no thread can be started: the first job imports it
            threading.Thread(target=_import_the_rest, daemon=True).start()
        try:
            if sidecar is not None:
                return await sidecar.run(stopping)
            await stopping.wait()
            return 0
        finally:
            await shut_down()
            if finishing is not None:
                await finishing


def _import_the_rest() -> None:
    """Import the modules that jobs need while the server listens, so that the first call waits less.

    These objects stay as long as the server, so the garbage collector need not visit them again.
    """
    import step_runner.jobs.factory  # noqa: F401

    gc.freeze()
    gc.set_threshold(COLLECTION)


@contextlib.contextmanager
def _listening(path: str, jobs: JobManager) -> Iterator[tuple[grpc.aio.Server, Service]]:
    """Yield a server that listens but is not yet started, and what it serves."""
    access = Access()
    server = grpc.aio.server(options=OPTIONS)
    service = Service(jobs, access.check)
    add_service(service, server)
    with access.opened(server, path):
        yield server, service


def _stop_on_signals(
    kills: Sequence[Callable[[str], None]], stopping: asyncio.Event, tell: Callable[[str], None]
) -> AbstractContextManager[None]:
    def stop(number: signal.Signals) -> None:
        stopping.set()
        tell(f"received {number.name}: stopping all jobs")

    def kill(hurried: str) -> None:
        tell(notices.hurried(hurried))
        for kill_one in kills:
            kill_one(hurried)

    return on_stop(stop, kill)


def _stop_when_gone(descriptor: int, stopping: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()

    def stop() -> None:
        loop.remove_reader(descriptor)  # after its end it stays readable
        stopping.set()

    loop.add_reader(descriptor, stop)


def _say(line: str) -> None:
    """Write one line to stderr if it still has a reader. The line can hold file names chosen by other users."""
    with contextlib.suppress(OSError):
        os.write(STDERR, f"{shown.name(line)}\n".encode())


async def _shut_down(server: grpc.aio.Server, service: Service) -> None:
    """End all jobs and calls, then the connections.

    The order matters. Once `server.stop` was called, gRPC closes a connection as soon as its last reply is written. A
    client that then writes, such as a ping, gets EPIPE and drops what it has not read yet.
    """
    try:
        await service.shut_down()
    finally:  # else the server would never end
        with contextlib.suppress(TimeoutError):  # gRPC waits for threads that it sometimes cannot start
            async with asyncio.timeout(2 * LAST_READ):
                await server.stop(LAST_READ)
