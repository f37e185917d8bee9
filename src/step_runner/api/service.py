"""The five calls of the service, each of which calls the jobs."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import grpc

from step_runner.api import convert
from step_runner.api.pb import step_pb2 as pb
from step_runner.api.pb.step_pb2_grpc import StepRunnerServicer, add_StepRunnerServicer_to_server
from step_runner.errors import StepRunnerError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from step_runner.jobs.manager import JobManager

Request = TypeVar("Request")
Reply = TypeVar("Reply")
Context: TypeAlias = grpc.aio.ServicerContext

LAST_CALLS = 1.0
"""Seconds that calls still have after the end of all jobs, to send the end of a log."""

LONGEST_DETAILS = 2048
"""Bytes of an error's text: gRPC refuses headers above 8 KiB, and a byte can take three characters there."""


def unary(
    call: Callable[[Any, Request, Context], Awaitable[Reply]],
) -> Callable[[Any, Request, Context], Awaitable[Reply]]:
    """Return a handler that turns errors into a code: UNKNOWN for a mistake of the caller, INTERNAL for a bug here."""

    @functools.wraps(call)
    async def answer(service: Any, request: Request, context: Context) -> Reply:
        async with service.answering(context, call.__name__):
            return await call(service, request, context)
        raise AssertionError("abort always raises")

    return answer


async def _refuse(context: Context, name: str, error: Exception) -> None:
    if isinstance(error, StepRunnerError):
        await context.abort(grpc.StatusCode.UNKNOWN, convert.shortened(str(error), LONGEST_DETAILS))
    logging.getLogger(__name__).error("%s failed", name, exc_info=error)
    await context.abort(
        grpc.StatusCode.INTERNAL, convert.shortened(f"{type(error).__name__}: {error}", LONGEST_DETAILS)
    )


class Service(StepRunnerServicer):
    """The service `proto.StepRunner` for the jobs of one manager."""

    def __init__(self, jobs: JobManager, check: Callable[[Context], Awaitable[None]]) -> None:
        self._jobs = jobs
        self._check = check
        self._calls = 0
        self._ended: asyncio.Event | None = None

    @contextlib.asynccontextmanager
    async def answering(self, context: Context, name: str) -> AsyncIterator[None]:
        """Count a call as running during the block, and abort it with a code for an error of the block.

        Refuse it before if its token is wrong, or with UNAVAILABLE if the server is stopping.
        """
        await self._check(context)
        if self._ended is not None:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the server is stopping: it takes no more calls")
        self._calls += 1
        try:
            yield
        except Exception as error:
            await _refuse(context, name, error)
        finally:
            self._calls -= 1
            if self._ended is not None and not self._calls:
                self._ended.set()

    async def shut_down(self) -> None:
        """Refuse new calls, cancel all jobs gracefully, and let running calls send the ends of logs.

        Return when no call is running, at most LAST_CALLS after the last job has ended.
        """
        self._ended = asyncio.Event()
        if not self._calls:
            self._ended.set()
        try:
            await self._jobs.shut_down()
        finally:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), LAST_CALLS)

    @unary
    async def Run(self, request: pb.RunRequest, context: Context) -> pb.RunResponse:  # noqa: N802
        await self._jobs.run(convert.run_request(request))
        return pb.RunResponse()

    async def FollowLogs(self, request: pb.FollowLogsRequest, context: Context) -> AsyncIterator[bytes]:  # noqa: N802
        async with self.answering(context, "FollowLogs"):
            async for chunk in self._jobs.follow(request.id, request.offset):
                if chunk:
                    yield log_reply(chunk)
                elif request.no_wait:
                    return

    @unary
    async def Status(self, request: pb.StatusRequest, context: Context) -> pb.StatusResponse:  # noqa: N802
        jobs = [self._jobs.status(request.id)] if request.id else self._jobs.all()
        return convert.status_response(jobs)

    @unary
    async def Cancel(self, request: pb.CancelRequest, context: Context) -> pb.CancelResponse:  # noqa: N802
        self._jobs.cancel(request.id)
        return pb.CancelResponse()

    @unary
    async def Close(self, request: pb.CloseRequest, context: Context) -> pb.CloseResponse:  # noqa: N802
        await self._jobs.close(request.id)
        return pb.CloseResponse()


SERVICE = pb.DESCRIPTOR.services_by_name["StepRunner"].full_name


def add_service(service: Service, server: grpc.aio.Server) -> None:
    """Add the calls to the server; the replies of FollowLogs are serialized already.

    The first generic handler that knows a call answers it. A registered handler should come before all of them, but
    grpcio 1.76 ignores it.
    """
    follow = {"FollowLogs": grpc.unary_stream_rpc_method_handler(service.FollowLogs, pb.FollowLogsRequest.FromString)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, follow),))
    add_StepRunnerServicer_to_server(service, server)
    server.add_registered_method_handlers(SERVICE, follow)


def log_reply(data: bytes) -> bytes:
    """Return a serialized FollowLogsResponse; protobuf itself would copy a long `data` once more.

    The tag is 0x0a: field 1 of the type LEN. The length is a varint: seven bits a byte, the lowest first.
    """
    length, head = len(data), bytearray(b"\x0a")
    while length > 0x7F:
        head.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes(head) + bytes((length,)) + data
