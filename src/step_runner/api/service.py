"""The five calls of the service, each handed on to the jobs."""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import grpc

from step_runner.api import convert
from step_runner.api.pb import step_pb2 as pb
from step_runner.api.pb.step_pb2_grpc import StepRunnerServicer
from step_runner.errors import StepRunnerError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from step_runner.jobs.manager import JobManager

Request = TypeVar("Request")
Reply = TypeVar("Reply")
Context: TypeAlias = grpc.aio.ServicerContext


def unary(
    call: Callable[[Any, Request, Context], Awaitable[Reply]],
) -> Callable[[Any, Request, Context], Awaitable[Reply]]:
    """Answers errors with a code: UNKNOWN for what a caller did wrong, INTERNAL for a fault of ours."""

    @functools.wraps(call)
    async def answer(service: Any, request: Request, context: Context) -> Reply:
        try:
            return await call(service, request, context)
        except StepRunnerError as error:
            await context.abort(grpc.StatusCode.UNKNOWN, str(error))
        except Exception as fault:
            logging.getLogger(__name__).exception("%s failed", call.__name__)
            await context.abort(grpc.StatusCode.INTERNAL, f"{type(fault).__name__}: {fault}")
        raise AssertionError("abort always raises")

    return answer


class Service(StepRunnerServicer):
    """The service `proto.StepRunner` for the jobs of one manager."""

    def __init__(self, jobs: JobManager) -> None:
        self._jobs = jobs

    @unary
    async def Run(self, request: pb.RunRequest, context: Context) -> pb.RunResponse:  # noqa: N802
        await self._jobs.run(convert.run_request(request))
        return pb.RunResponse()

    async def FollowLogs(  # noqa: N802
        self, request: pb.FollowLogsRequest, context: Context
    ) -> AsyncIterator[pb.FollowLogsResponse]:
        try:
            async for chunk in self._jobs.follow(request.id, request.offset, wait=not request.no_wait):
                yield pb.FollowLogsResponse(data=chunk)
        except StepRunnerError as error:
            await context.abort(grpc.StatusCode.UNKNOWN, str(error))

    @unary
    async def Status(self, request: pb.StatusRequest, context: Context) -> pb.StatusResponse:  # noqa: N802
        jobs = [self._jobs.status(request.id)] if request.id else self._jobs.all()
        return pb.StatusResponse(jobs=map(convert.status_message, jobs))

    @unary
    async def Cancel(self, request: pb.CancelRequest, context: Context) -> pb.CancelResponse:  # noqa: N802
        return convert.cancel_response(self._jobs.cancel(request.id))

    @unary
    async def Close(self, request: pb.CloseRequest, context: Context) -> pb.CloseResponse:  # noqa: N802
        await self._jobs.close(request.id)
        return pb.CloseResponse()
