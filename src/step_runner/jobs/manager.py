"""All jobs of a server, by id."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from step_runner.errors import InputError, StepRunnerError
from step_runner.proc import Proc

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from step_runner.jobs.job import Job
    from step_runner.jobs.log import JobLog
    from step_runner.model import JobStatus, RunRequest


class _Start(NamedTuple):
    """A job that is being started, by which it can be stopped already, and the end of that."""

    proc: Proc
    over: asyncio.Event


class JobManager:
    """The jobs of one server, running or finished, until they are closed.

    `delay` is the graceful exit delay, in seconds, of jobs whose request does not say one; `environment` what the
    steps of every job get. It belongs to the event loop in which it was made.
    """

    def __init__(self, delay: float, environment: Mapping[str, str]) -> None:
        self._delay = delay
        self._environment = environment
        self._jobs: dict[str, Job[JobLog]] = {}
        self._starting: dict[str, _Start] = {}
        self._shut = False

    async def run(self, request: RunRequest) -> None:
        """Start a job, unless there is one with its id already, and return.

        Raises StepRunnerError where it cannot be started; nothing is left of it then.
        """
        await self._until_started(request.id)
        if request.id in self._jobs:
            return
        if self._shut:
            raise StepRunnerError("the server is stopping: it takes no more jobs")
        delay = self._delay if request.graceful_exit_delay is None else request.graceful_exit_delay
        start = self._starting[request.id] = _Start(Proc(delay), asyncio.Event())
        try:
            await self._start(request, start.proc)
        finally:
            del self._starting[request.id]
            start.over.set()

    def status(self, job_id: str) -> JobStatus:
        """The state of a job. Raises InputError when there is none with this id."""
        return self._job(job_id).status

    def all(self) -> list[JobStatus]:
        """The state of every job."""
        return [job.status for job in self._jobs.values()]

    def follow(self, job_id: str, offset: int) -> AsyncGenerator[bytes, None]:
        """The job's log from a byte offset on, until its end.

        Raises InputError when there is no such job or the offset is negative.
        """
        if offset < 0:
            raise InputError(f'following logs for job "{job_id}": the offset is {offset}, it cannot be negative')
        return self._job(job_id).log.follow(offset)

    def cancel(self, job_id: str) -> None:
        """Ask a job to stop, also while it is being started; an unknown one has nothing to stop."""
        if job_id in self._jobs:
            self._jobs[job_id].cancel()
        elif job_id in self._starting:
            self._starting[job_id].proc.cancel()

    async def close(self, job_id: str) -> None:
        """Stop a job and remove everything of it, even if the caller is cancelled meanwhile.

        An unknown one has nothing to remove.
        """
        if job_id in self._jobs:
            await asyncio.shield(self._remove(job_id, self._jobs[job_id]))
        elif job_id in self._starting:
            self.cancel(job_id)
            await asyncio.shield(self._remove_started(job_id, self._starting[job_id]))

    async def shut_down(self) -> None:
        """Close all jobs at once, and the manager, which takes no more. Raises what one of them raised, in the end."""
        self._shut = True
        faults: list[BaseException] = []
        while ids := {*self._jobs, *self._starting}:
            closed = await asyncio.gather(*map(self.close, ids), return_exceptions=True)
            faults += filter(None, closed)
        if faults:
            raise faults[0]

    def kill(self, hurried: str) -> None:
        """End what all jobs run without any more delay, for this reason."""
        for start in self._starting.values():
            start.proc.kill(hurried)
        for job in self._jobs.values():
            job.kill(hurried)

    async def _remove_started(self, job_id: str, start: _Start) -> None:
        await start.over.wait()
        if job_id in self._jobs:  # else it could not be started
            await self._remove(job_id, self._jobs[job_id])

    async def _remove(self, job_id: str, job: Job[JobLog]) -> None:
        try:
            await job.close()
        finally:
            if self._jobs.get(job_id) is job:
                del self._jobs[job_id]

    async def _until_started(self, job_id: str) -> None:
        while job_id in self._starting:
            await self._starting[job_id].over.wait()

    def _job(self, job_id: str) -> Job[JobLog]:
        if job_id not in self._jobs:
            raise InputError(f'no job with id "{job_id}"')
        return self._jobs[job_id]

    async def _start(self, request: RunRequest, proc: Proc) -> None:
        # What a job needs is imported while the server listens already: it takes longer than all the rest.
        from step_runner.jobs.factory import make_job, plan_of
        from step_runner.jobs.log import JobLog

        plan = await plan_of(request, self._environment)
        job, context = make_job(plan, proc, lambda workspace: JobLog(workspace.log))
        self._jobs[request.id] = job
        job.start(plan.function, context, request.timeout)
