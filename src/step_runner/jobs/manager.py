"""All jobs of a server, by id."""

from __future__ import annotations

import asyncio
import os
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from step_runner.errors import InputError, StepRunnerError
from step_runner.expression import Secret
from step_runner.functions.load import load_function
from step_runner.jobs.job import Job
from step_runner.jobs.log import JobLog
from step_runner.jobs.resolver import resolve
from step_runner.jobs.workspace import Workspace
from step_runner.runner.binding import assign
from step_runner.runner.context import GlobalContext
from step_runner.runner.masks import Masks
from step_runner.runner.proc import Proc

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from step_runner.model import Function, JobStatus, RunRequest

LARGE_TEXT = 64 * 1024
"""Characters of a steps text from which on it is read in a thread, so that other calls are answered meanwhile."""

LOG_LEVEL = "CI_STEPS_LOG_LEVEL"
LOG_LEVELS = ("debug", "info", "warn", "error")


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

    def follow(self, job_id: str, offset: int) -> AsyncIterator[bytes]:
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
        work_dir = _absolute(request.work_dir)
        function = await _load(request.steps, work_dir)
        _make_directory(work_dir)
        level = log_level({variable.key: variable.value for variable in request.variables}, self._environment)
        with ExitStack() as undo:
            workspace = Workspace(request.id)
            undo.callback(workspace.remove)
            variables = workspace.variables(request.variables)
            log = JobLog(workspace.log)
            undo.callback(log.end)
            job = Job(request.id, proc, workspace, log)
            undo.pop_all()
        context = GlobalContext(
            proc=proc,
            container=job.container,
            work_dir=work_dir,
            env={**self._environment, LOG_LEVEL: level, **request.env},
            variables=_masked(request, variables),
            masks=Masks(variable.value for variable in request.variables if variable.masked),
            sink=log,
            scratch=workspace.directory,
            resolve=partial(resolve, proc),
            observer=job,
            debug=is_debugging(self._environment),
        )
        self._jobs[request.id] = job
        job.start(function, context, request.timeout)


async def _load(text: str, directory: str) -> Function:
    try:
        load = partial(load_function, text, file="steps", directory=directory)
        function, _ = load() if len(text) < LARGE_TEXT else await asyncio.to_thread(load)
    except StepRunnerError as error:
        raise InputError(f"loading step: {error}") from error
    try:
        assign({}, function.spec)
    except StepRunnerError as error:
        raise InputError(f"failed to start step runner service: {error}") from error
    return function


def _absolute(path: str) -> str:
    return os.path.abspath(path)


def _make_directory(path: str) -> None:
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
    except (OSError, ValueError) as error:  # ValueError: a NUL character
        reason = getattr(error, "strerror", None) or error
        raise StepRunnerError(f'initializing request: making the work dir "{path}": {reason}') from error


def log_level(variables: Mapping[str, str], environment: Mapping[str, str]) -> str:
    """The level at which builtin functions log: the job variable, else the environment, else info.

    Raises InputError for a level that does not exist.
    """
    level = (variables.get(LOG_LEVEL) or environment.get(LOG_LEVEL) or "info").strip().lower() or "info"
    if level not in LOG_LEVELS:
        raise InputError(
            f"initializing global environment: log level: {level} not supported: use one of {', '.join(LOG_LEVELS)}"
        )
    return level


def is_debugging(environment: Mapping[str, str]) -> bool:
    """Whether CI_STEPS_DEBUG asks for more to be told."""
    return environment.get("CI_STEPS_DEBUG", "").strip().lower() in ("1", "t", "true")


def _masked(request: RunRequest, variables: Mapping[str, str]) -> dict[str, str | Secret]:
    masked = {variable.key for variable in request.variables if variable.masked}
    return {key: Secret(value) if key in masked else value for key, value in variables.items()}
