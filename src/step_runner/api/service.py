"""The five calls of the service, each handed on to the jobs."""

from __future__ import annotations

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

LONGEST_DETAILS = 2048
"""Bytes of an error's text; gRPC refuses more than 8 KiB of headers, in which a byte can take three characters."""


def unary(
    call: Callable[[Any, Request, Context], Awaitable[Reply]],
) -> Callable[[Any, Request, Context], Awaitable[Reply]]:
    """Answers errors with a code: UNKNOWN for what a caller did wrong, INTERNAL for a fault of ours."""

    @functools.wraps(call)
    async def answer(service: Any, request: Request, context: Context) -> Reply:
        try:
            return await call(service, request, context)
        except Exception as error:
            await _refuse(context, call.__name__, error)
        raise AssertionError("abort always raises")

    return answer


async def _refuse(context: Context, name: str, error: Exception) -> None:
    if isinstance(error, StepRunnerError):
        await context.abort(grpc.StatusCode.UNKNOWN, _details(str(error)))
    logging.getLogger(__name__).error("%s failed", name, exc_info=error)
    await context.abort(grpc.StatusCode.INTERNAL, _details(f"{type(error).__name__}: {error}"))


def _details(text: str) -> str:
    """The text, cut to what the headers of a reply can hold."""
    whole = text.encode(errors="replace")
    if len(whole) <= LONGEST_DETAILS:
        return whole.decode()
    return f"{whole[:LONGEST_DETAILS].decode(errors='ignore')} ... ({len(whole):,} bytes in all)"


class Service(StepRunnerServicer):
    """The service `proto.StepRunner` for the jobs of one manager."""

    def __init__(self, jobs: JobManager) -> None:
        self._jobs = jobs

    @unary
    async def Run(self, request: pb.RunRequest, context: Context) -> pb.RunResponse:  # noqa: N802
        await self._jobs.run(convert.run_request(request))
        return pb.RunResponse()

    async def FollowLogs(self, request: pb.FollowLogsRequest, context: Context) -> AsyncIterator[bytes]:  # noqa: N802
        try:
            async for chunk in self._jobs.follow(request.id, request.offset):
                if chunk:
                    yield log_reply(chunk)
                elif request.no_wait:
                    return
        except Exception as error:
            await _refuse(context, "FollowLogs", error)

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
    """Have the server answer calls; the replies of FollowLogs are bytes already.

    Of generic handlers the first one answers, and a registered one comes before them, which grpcio 1.76 ignores.
    """
    follow = {"FollowLogs": grpc.unary_stream_rpc_method_handler(service.FollowLogs, pb.FollowLogsRequest.FromString)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, follow),))
    add_StepRunnerServicer_to_server(service, server)
    server.add_registered_method_handlers(SERVICE, follow)


def log_reply(data: bytes) -> bytes:
    """Return a FollowLogsResponse as it is sent: protobuf itself would copy a long `data` once more.

    The tag is 0x0a, field 1 of the type LEN; the length is a varint, seven bits a byte and the lowest ones first.
    """
    length, head = len(data), bytearray(b"\x0a")
    while length > 0x7F:
        head.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes(head) + bytes((length,)) + data
