"""A client for commands at a terminal, which list jobs and wait for their end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc

from step_runner.api.client import Client
from step_runner.api.pb import step_pb2 as pb
from step_runner.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from step_runner.model import JobStatus

BEHIND_EVERYTHING = 1 << 62
"""A byte offset that no log reaches: a follower from there receives only the end."""


class JobClient(Client):
    """The calls of a server, and further operations that the commands need."""

    def find(self, job_id: str) -> JobStatus:
        """Return the state of one job. Raise InputError if no job has this id."""
        for job in self.jobs():
            if job.id == job_id:
                return job
        raise InputError(f'no job with id "{job_id}": list those there are with: step-runner jobs')

    def stored(self, job_id: str, offset: int = 0) -> Iterator[bytes]:
        """Yield the job's log from a byte offset to its present end."""
        request = pb.FollowLogsRequest(id=job_id, offset=offset, no_wait=True)
        with self._explained():
            for reply in self._stub.FollowLogs(request):
                yield reply.data

    def until_end(self, job_id: str, tick: float) -> Iterator[None]:
        """Yield every `tick` seconds until the job has ended; its final status is known then."""
        with self._explained():
            call = self._stub.FollowLogs(pb.FollowLogsRequest(id=job_id, offset=BEHIND_EVERYTHING))
            while True:
                try:
                    call.result(timeout=tick)
                except grpc.FutureTimeoutError:
                    yield
                else:
                    return
