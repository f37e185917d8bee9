"""A blocking client of the service."""

from __future__ import annotations

import contextlib
import shlex
import sys
from typing import TYPE_CHECKING

import grpc

from step_runner.api import convert
from step_runner.api.pb import step_pb2 as pb
from step_runner.api.pb.step_pb2_grpc import StepRunnerStub
from step_runner.errors import InputError, StepRunnerError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from step_runner.model import JobStatus, RunRequest


AROUND = 20
"""Characters that a message shows before and after a character that cannot be sent."""

ANSWER = 30.0
"""Seconds that a server may take to answer: many times what a busy server needs."""

CLOSED = 86_400.0
"""Seconds to wait for the end of a job: more than any grace period."""


BEHIND_EVERYTHING = 1 << 62
"""A byte offset that no log reaches: a follower from there receives only the end."""


class Client(contextlib.AbstractContextManager["Client"]):
    """The calls of a server on a unix socket; each raises StepRunnerError if the server refuses it.

    The server must run as this user, as root or as the user with the number `owner`.
    """

    def __init__(self, path: str, owner: int | None = None) -> None:
        """Check the server. Raise StepRunnerError if no such server listens."""
        self._path = path
        self._held = contextlib.ExitStack()
        self._channel = self._held.enter_context(_channel(path, owner))
        self._was_there = False
        self._stub = StepRunnerStub(self._channel)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.close()

    def run(self, request: RunRequest) -> None:
        """Start a job, and return without waiting for it."""
        with self._explained():
            self._stub.Run(convert.run_message(request), timeout=ANSWER)

    def follow(self, job_id: str, offset: int = 0, *, wait: bool = True) -> Iterator[bytes]:
        """Yield the job's log from a byte offset on until the job has ended, or to its present end without `wait`."""
        request = pb.FollowLogsRequest(id=job_id, offset=offset, no_wait=not wait)
        with self._explained():
            for reply in self._stub.FollowLogs(request):
                self._was_there = True
                yield reply.data

    def status(self, job_id: str) -> JobStatus:
        """Return the state of one job."""
        with self._explained():
            return convert.job_status(self._stub.Status(pb.StatusRequest(id=job_id), timeout=ANSWER).jobs[0])

    def jobs(self) -> list[JobStatus]:
        """Return the states of all jobs."""
        with self._explained():
            return [convert.job_status(job) for job in self._stub.Status(pb.StatusRequest(), timeout=ANSWER).jobs]

    def cancel(self, job_id: str) -> None:
        """Ask a job to stop, and return without waiting for its end."""
        with self._explained():
            self._stub.Cancel(pb.CancelRequest(id=job_id), timeout=ANSWER)

    def close(self, job_id: str) -> None:
        """Stop a job, wait for its end and remove all its data."""
        with self._explained():
            self._stub.Close(pb.CloseRequest(id=job_id), timeout=CLOSED)

    def find(self, job_id: str) -> JobStatus:
        """Return the state of one job. Raise InputError if no job has this id."""
        for job in self.jobs():
            if job.id == job_id:
                return job
        advice = f"list the jobs with: step-runner jobs --socket {shlex.quote(self._path)}"
        raise InputError(f'no job with id "{job_id}": {advice}')

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

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except grpc.RpcError as error:
            raise StepRunnerError(self._reason(error)) from error
        except UnicodeEncodeError as error:
            text = str(error.object)[max(0, error.start - AROUND) : error.end + AROUND]
            raise InputError(f"{text!a} is not valid UTF-8: a server accepts only UTF-8") from None
        self._was_there = True

    def _reason(self, error: grpc.RpcError) -> str:
        if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
            return f"the server on {self._path} does not answer: end it, and start another one"
        if error.code() is not grpc.StatusCode.UNAVAILABLE:
            return str(error.details())
        if self._was_there:
            return f"the server on {self._path} has ended, and its jobs with it"
        return _no_server(self._path)


def _no_server(path: str) -> str:
    return f"no server listens on {path}: start one with: step-runner serve --socket {shlex.quote(path)}"


if sys.platform == "win32":

    @contextlib.contextmanager
    def _channel(path: str, _owner: int | None) -> Iterator[grpc.Channel]:
        from step_runner.api.token_auth import channel

        with channel(path) as opened:
            yield opened

else:

    @contextlib.contextmanager
    def _channel(path: str, owner: int | None) -> Iterator[grpc.Channel]:
        """Check the user of a server once, and yield a channel to it. Raise StepRunnerError if it is not trusted."""
        from step_runner.api import peer_credentials
        from step_runner.api.socket import check_length, target

        check_length(path)
        with contextlib.ExitStack() as held:
            try:
                place = held.enter_context(peer_credentials.checked(path, owner))
            except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError) as error:
                raise StepRunnerError(_no_server(path)) from error
            except BlockingIOError as error:
                raise StepRunnerError(
                    f"the server on {path} takes no connections: end it, and start another"
                ) from error
            except OSError as error:
                raise StepRunnerError(f"connecting to {path}: {(error.strerror or str(error)).lower()}") from error
            yield held.enter_context(grpc.insecure_channel(target(place)))
