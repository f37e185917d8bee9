"""Runs one function as a job of this process, without a server."""

from __future__ import annotations

import asyncio
import signal
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Protocol

from step_runner.errors import exit_status
from step_runner.jobs.job import Job
from step_runner.jobs.resolver import resolve
from step_runner.jobs.workspace import Workspace
from step_runner.model import Function, JobStatus, Status, StepResult
from step_runner.runner.context import GlobalContext, Observer, Sink
from step_runner.runner.proc import Proc

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gracefulexitcmd import Exit

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class LocalRun(NamedTuple):
    """A function to run here; durations are in seconds."""

    function: Function
    work_dir: str
    env: Mapping[str, str]
    variables: Mapping[str, str]
    graceful_exit_delay: float
    timeout: float | None = None


class LocalResult(NamedTuple):
    """What became of it, and the status to exit with."""

    status: JobStatus
    result: StepResult | None
    exit_status: int


class Watcher(Observer, Protocol):
    """Shows a person what is going on."""

    def stopping(self, grace: float) -> None:
        """The job was asked to stop; what is left of it is killed after `grace` seconds."""


async def run_here(run: LocalRun, sink: Sink, watcher: Watcher) -> LocalResult:
    """Run a function to its end.

    The first SIGINT, SIGTERM or SIGHUP stops it gracefully, the second at once. The exit status is 0, that of the
    command that failed, 128 plus the signal when it was stopped, 1 for anything else.
    """
    proc = Proc(run.graceful_exit_delay)
    workspace = Workspace("run")
    job = Job("run", proc, workspace, sink)
    context = GlobalContext(
        proc=proc,
        work_dir=run.work_dir,
        env=run.env,
        variables=run.variables,
        sink=sink,
        scratch=workspace.scratch,
        resolve=partial(resolve, proc),
        observer=_Both(job, watcher),
    )
    received = _stop_on_signals(job, run.graceful_exit_delay, watcher)
    try:
        job.start(run.function, context, run.timeout)
        await job.finished.wait()
    finally:
        await job.close()
    return LocalResult(job.status, job.result, _exit_status(job, received))


def _stop_on_signals(job: Job[Sink], grace: float, watcher: Watcher) -> list[signal.Signals]:
    """Returns a list of the signals received so far, which grows."""
    received: list[signal.Signals] = []

    def stop(number: signal.Signals) -> None:
        received.append(number)
        if len(received) == 1:
            job.cancel()
            watcher.stopping(grace)
        else:
            job.kill()

    for number in STOP_SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, stop, number)
    return received


def _exit_status(job: Job[Sink], received: list[signal.Signals]) -> int:
    if job.status.status is Status.SUCCESS:
        return 0
    if job.status.status is Status.CANCELLED:
        return 128 + (received[0] if received else signal.SIGTERM)
    return 1 if job.error is None else exit_status(job.error)


class _Both(NamedTuple):
    """Tells the job and the watcher."""

    job: Job[Sink]
    watcher: Watcher

    def step_started(self, names: tuple[str, ...]) -> None:
        self.job.step_started(names)
        self.watcher.step_started(names)

    def step_stopped(self, names: tuple[str, ...], ended: Exit) -> None:
        self.job.step_stopped(names, ended)
        self.watcher.step_stopped(names, ended)
