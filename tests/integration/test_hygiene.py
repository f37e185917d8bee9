"""A server is afterwards as it was before, whatever it had to do: descriptors, children, threads, temporary files."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

import pytest
from tests.support.server import Server
from tests.support.steps import command

from step_runner.model import RunRequest, Status

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE = 20.0
"""Seconds after which what is still held is a leak."""

POOL = 9 + min(32, (os.cpu_count() or 1) + 4)
"""Threads that a server may have: those of gRPC, and the pool of asyncio, which grows to its size with time."""

QUICK_JOBS = 1000
AT_ONCE = 100
FOLLOWERS = 200

FOLLOWER = """\
import sys, grpc
from step_runner.api.client import Client
with Client(sys.argv[1]) as client:
    streams = [client.follow("1") for _ in range(int(sys.argv[2]))]
    print(all([next(stream) for stream in streams]), flush=True)
    sys.stdin.read()
"""
"""Follows a job many times, and waits."""


class Held(NamedTuple):
    """What a server holds."""

    descriptors: int
    children: int
    threads: int
    temporary: int


@pytest.fixture
def server(temporary: str) -> Iterator[Server]:
    """It has done everything once: some of what a library makes at the first call stays for ever."""
    server = Server(temporary)
    _run_quick_jobs(server, 20)
    _follow(server, 5)
    yield server
    server.close()


def held(server: Server, temporary: str) -> Held:
    worker = server.runner.worker
    children, threads = len(worker.children(recursive=True)), max(POOL, worker.num_threads())
    return Held(worker.num_fds(), children, threads, len(os.listdir(temporary)))


def settled(server: Server, temporary: str, before: Held) -> None:
    """Wait until the server holds no more than before: it hears of a client's leave a moment later."""
    deadline = time.monotonic() + PATIENCE
    while any(now > then for now, then in zip(held(server, temporary), before, strict=True)):
        assert time.monotonic() < deadline, (before, held(server, temporary), os.listdir(temporary))
        time.sleep(0.01)


def _start(server: Server, job_id: str, text: str) -> None:
    server.client.run(RunRequest(id=job_id, steps=text, work_dir="/"))


def _run_quick_jobs(server: Server, number: int) -> None:
    for first in range(0, number, AT_ONCE):
        ids = [str(job) for job in range(first, min(number, first + AT_ONCE))]
        for job_id in ids:
            _start(server, job_id, command("true"))
        for job_id in ids:
            server.wait_for_end(job_id)
            assert server.client.status(job_id).status is Status.SUCCESS
            server.client.close(job_id)


def _follow(server: Server, number: int) -> None:
    """Followers that are killed while they follow."""
    server.start("echo begun; sleep 1000")
    argv = [sys.executable, "-c", FOLLOWER, server.path, str(number)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"True\n"
        process.kill()
    server.client.close("1")


@pytest.mark.timeout(180)
def test_a_thousand_quick_jobs_leave_nothing(server: Server, temporary: str) -> None:
    before = held(server, temporary)
    _run_quick_jobs(server, QUICK_JOBS)
    settled(server, temporary, before)


def test_two_hundred_abandoned_followers_leave_nothing(server: Server, temporary: str) -> None:
    before = held(server, temporary)
    _follow(server, FOLLOWERS)
    settled(server, temporary, before)


def test_a_hundred_jobs_cancelled_at_once_leave_nothing(server: Server, temporary: str) -> None:
    before = held(server, temporary)
    ids = [str(number) for number in range(AT_ONCE)]
    for job_id in ids:
        server.start("sleep 1000 & setsid sleep 1000 & echo begun; wait", job_id=job_id)
    for job_id in ids:
        server.wait_for("begun", job_id)
    for job_id in ids:
        server.client.cancel(job_id)
    for job_id in ids:
        server.wait_for_end(job_id)
        assert server.client.status(job_id).status is Status.CANCELLED
        server.client.close(job_id)
    settled(server, temporary, before)
