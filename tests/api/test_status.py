"""The status of many jobs in one reply."""

from __future__ import annotations

from typing import TYPE_CHECKING

from step_runner.model import Status

if TYPE_CHECKING:
    from tests.api.conftest import Server

MANY = 200
"""Number of jobs that are not closed: with twice 16 KiB of message for each, they would not fit into 4 MiB."""


def test_status_lists_many_jobs_with_long_messages(server: Server) -> None:
    """All jobs are listed with a part of their message; the status of a single job shows more of it."""
    steps = f"{{}}\n---\nexec: {{command: [echo], work_dir: /{'x' * 50_000}}}\n"
    ids = {server.start(steps) for _ in range(MANY)}
    for job_id in ids:
        server.log(job_id)
    jobs = server.client.jobs()
    assert {job.id for job in jobs} == ids
    assert {job.status for job in jobs} == {Status.FAILURE}
    assert {len(job.message) < 1200 for job in jobs} == {True}
    assert len(server.client.status(jobs[0].id).message) > 16_000
