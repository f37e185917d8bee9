"""A client of the service, for programs that wait for each call."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

import grpc

from step_runner.api import convert
from step_runner.api.pb import step_pb2 as pb
from step_runner.api.pb.step_pb2_grpc import StepRunnerStub
from step_runner.errors import StepRunnerError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Self

    from step_runner.model import JobStatus, RunRequest


class Client:
    """The calls of a server on a unix socket; every one raises StepRunnerError where the server refuses it."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._channel = _channel(path)
        self._was_there = False
        self._stub = StepRunnerStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._channel.close()

    def run(self, request: RunRequest) -> None:
        """Start a job; returns at once."""
        with self._explained():
            self._stub.Run(convert.run_message(request))

    def follow(self, job_id: str, offset: int = 0) -> Iterator[bytes]:
        """The job's log from a byte offset on, until the job has ended."""
        with self._explained():
            for reply in self._stub.FollowLogs(pb.FollowLogsRequest(id=job_id, offset=offset)):
                self._was_there = True
                yield reply.data

    def status(self, job_id: str) -> JobStatus:
        """The state of one job."""
        with self._explained():
            return convert.job_status(self._stub.Status(pb.StatusRequest(id=job_id)).jobs[0])

    def jobs(self) -> list[JobStatus]:
        """The state of all jobs."""
        with self._explained():
            return [convert.job_status(job) for job in self._stub.Status(pb.StatusRequest()).jobs]

    def cancel(self, job_id: str) -> None:
        """Ask a job to stop; returns at once."""
        with self._explained():
            self._stub.Cancel(pb.CancelRequest(id=job_id))

    def close(self, job_id: str) -> None:
        """Stop a job, wait for its end and have everything of it removed."""
        with self._explained():
            self._stub.Close(pb.CloseRequest(id=job_id))

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except grpc.RpcError as error:
            raise StepRunnerError(self._reason(error)) from error
        self._was_there = True

    def _reason(self, error: grpc.RpcError) -> str:
        if error.code() is not grpc.StatusCode.UNAVAILABLE:
            return str(error.details())
        if self._was_there:
            return f"the server on {self._path} has ended, and its jobs with it"
        return f"no server listens on {self._path}: start one with: step-runner serve --socket {self._path}"


def _channel(path: str) -> grpc.Channel:
    if sys.platform == "win32":
        from step_runner.api.door import channel

        return channel(path)
    from step_runner.api.socket import check_length, target

    check_length(path)
    return grpc.insecure_channel(target(path))
