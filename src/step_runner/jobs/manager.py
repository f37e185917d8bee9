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
    """A job that is starting: `proc` can stop it, and `over` is set at the end of the start."""

    proc: Proc
    over: asyncio.Event


class JobManager:
    """The jobs of one server, running or finished, until they are closed.

    `delay` is the grace period, in seconds, of jobs whose request has none. `environment` is that of the steps of every
    job. The manager belongs to the event loop that made it.
    """

    def __init__(self, delay: float, environment: Mapping[str, str]) -> None:
        self._delay = delay
        self._environment = environment
        self._jobs: dict[str, Job[JobLog]] = {}
        self._starting: dict[str, _Start] = {}
        self._shut = False

    async def run(self, request: RunRequest) -> None:
        """Start a job and return; do nothing when a job has its id already.

        Raise StepRunnerError when it cannot start; nothing of it remains then.
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

    def job(self, job_id: str) -> Job[JobLog]:
        """Return a job. Raise InputError for an unknown id."""
        if job_id not in self._jobs:
            raise InputError(f'no job with id "{job_id}"')
        return self._jobs[job_id]

    def status(self, job_id: str) -> JobStatus:
        """Return the state of a job. Raise InputError for an unknown id."""
        return self.job(job_id).status

    def all(self) -> list[JobStatus]:
        """Return the state of every job."""
        return [job.status for job in self._jobs.values()]

    def follow(self, job_id: str, offset: int) -> AsyncGenerator[bytes, None]:
        """Yield the job's log from a byte offset on, until its end.

        Raise InputError for an unknown job or a negative offset.
        """
        if offset < 0:
            raise InputError(f'following logs for job "{job_id}": the offset is {offset}, it cannot be negative')
        return self.job(job_id).log.follow(offset)

    def cancel(self, job_id: str) -> None:
        """Ask a job to stop, even while it starts. An unknown job is ignored."""
        if job_id in self._jobs:
            self._jobs[job_id].cancel()
        elif job_id in self._starting:
            self._starting[job_id].proc.cancel()

    async def close(self, job_id: str) -> None:
        """Stop a job and remove all its files, even if the caller is cancelled meanwhile.

        An unknown job is ignored.
        """
        await asyncio.shield(self._close(job_id))

    async def shut_down(self) -> None:
        """Close the manager and all jobs at once; accept no new job.

        At the end, raise the error of a job that could not be closed.
        """
        self._shut = True
        faults: list[BaseException] = []
        while ids := {*self._jobs, *self._starting}:
            closed = await asyncio.gather(*map(self.close, ids), return_exceptions=True)
            faults += filter(None, closed)
        if faults:
            raise faults[0]

    def kill(self, hurried: str) -> None:
        """Kill the processes of all jobs without further grace, for this reason."""
        for start in self._starting.values():
            start.proc.kill(hurried)
        for job in self._jobs.values():
            job.kill(hurried)

    async def _close(self, job_id: str) -> None:
        if (start := self._starting.get(job_id)) is not None:
            start.proc.cancel()
            await start.over.wait()
        if (job := self._jobs.get(job_id)) is not None:
            try:
                await job.close()
            finally:
                if self._jobs.get(job_id) is job:
                    del self._jobs[job_id]

    async def _until_started(self, job_id: str) -> None:
        while job_id in self._starting:
            await self._starting[job_id].over.wait()

    async def _start(self, request: RunRequest, proc: Proc) -> None:
        # Import what a job needs while the server already listens: this takes longer than the rest of the start.
        from step_runner.jobs.factory import plan_of, start_job
        from step_runner.jobs.log import JobLog

        plan = await plan_of(request, self._environment)
        self._jobs[request.id] = start_job(plan, proc, lambda workspace: JobLog(workspace.log))
