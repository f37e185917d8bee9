"""A server on a unix socket, from its first call to its end."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

import grpc

from step_runner.api import socket
from step_runner.api.pb.step_pb2_grpc import add_StepRunnerServicer_to_server
from step_runner.api.service import Service
from step_runner.errors import StepRunnerError
from step_runner.jobs.manager import JobManager

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

LAST_CALLS = 1.0
"""Seconds that calls still have when all jobs have ended, to hand on the end of a log."""

Companion: TypeAlias = Callable[[asyncio.Event], Awaitable[int]]
"""Runs beside the server: it is told by the event when to stop, its end stops the server, it gives the exit status."""


async def serve(path: str, delay: float, environment: Mapping[str, str], companion: Companion | None = None) -> int:
    """Serve on the socket `path` until SIGTERM, SIGINT or SIGHUP; returns the exit status.

    Then no new calls are taken, all jobs are cancelled gracefully, followers get the end of their logs, and the
    socket and all temporary files are removed; a second signal kills what is left at once. Raises StepRunnerError
    where the socket cannot be had.
    """
    jobs = JobManager(delay, environment)
    server = grpc.aio.server()
    add_StepRunnerServicer_to_server(Service(jobs), server)
    _listen(server, path)
    await server.start()
    stopping = _stop_on_signals(jobs)
    print(f"step-runner is listening on socket {path}", file=sys.stderr, flush=True)
    try:
        return await _until_stopped(stopping, companion)
    finally:
        await _shut_down(server, jobs, delay)


def _listen(server: grpc.aio.Server, path: str) -> None:
    socket.make_free(path)
    # The socket lets in whoever may write to it, and a call can run anything: it is its owner's alone from the start.
    before = os.umask(0o177)
    try:
        server.add_insecure_port(f"unix:{path}")
    except RuntimeError as error:
        raise StepRunnerError(f"opening socket: {path}: {error}") from error
    finally:
        os.umask(before)


def _stop_on_signals(jobs: JobManager) -> asyncio.Event:
    stopping = asyncio.Event()

    def stop(number: signal.Signals) -> None:
        if stopping.is_set():
            jobs.kill()
        else:
            print(f"received {number.name}: stopping all jobs", file=sys.stderr, flush=True)
            stopping.set()

    for number in STOP_SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, stop, number)
    return stopping


async def _until_stopped(stopping: asyncio.Event, companion: Companion | None) -> int:
    if companion is None:
        await stopping.wait()
        return 0
    return await companion(stopping)


async def _shut_down(server: grpc.aio.Server, jobs: JobManager, delay: float) -> None:
    """Refuse new calls at once; let those under way see the end of their jobs."""
    refusing = asyncio.get_running_loop().create_task(server.stop(delay + LAST_CALLS))
    await jobs.shut_down()
    await server.stop(LAST_CALLS)
    await refusing
