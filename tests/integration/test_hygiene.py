"""A server leaks no descriptors, children, threads or temporary files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.support.follower import follower
from tests.support.held import held, settled
from tests.support.server import Server
from tests.support.steps import command

from step_runner.model import RunRequest, Status

if TYPE_CHECKING:
    from collections.abc import Iterator

QUICK_JOBS = 1000
AT_ONCE = 100
FOLLOWERS = 200


@pytest.fixture
def server(temporary: str) -> Iterator[Server]:
    """Start a server and do everything once: the first call of some libraries allocates resources for ever."""
    server = Server(temporary)
    _run_quick_jobs(server, 20)
    _follow(server, 5)
    yield server
    server.close()


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
    """Start followers, and kill them while they follow."""
    server.start("echo begun; sleep 1000")
    with follower(server.path, "1", number) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"True\n"
        process.kill()
    server.client.close("1")


@pytest.mark.timeout(180)
def test_thousand_quick_jobs_leave_no_resources(server: Server, temporary: str) -> None:
    before = held(server, temporary)
    _run_quick_jobs(server, QUICK_JOBS)
    settled(server, temporary, before)


def test_killed_followers_leave_no_resources(server: Server, temporary: str) -> None:
    before = held(server, temporary)
    _follow(server, FOLLOWERS)
    settled(server, temporary, before)


def test_hundred_cancelled_jobs_leave_no_resources(server: Server, temporary: str) -> None:
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
