"""Runs one function as a job of this process, without a server."""

from __future__ import annotations

import asyncio
import signal
import sys
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from gracefulexitcmd import OrphanReaper
from step_runner.errors import exit_status
from step_runner.jobs.factory import start_job
from step_runner.jobs.hangup import watched
from step_runner.jobs.level import with_log_level
from step_runner.jobs.signals import on_stop, on_suspend
from step_runner.model import JobStatus, Status, StepResult, Variable
from step_runner.proc import Proc
from step_runner.runner.masks import Masks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from step_runner.jobs.factory import Plan
    from step_runner.jobs.job import Job
    from step_runner.runner.context import Listener, Sink

if sys.platform == "win32":
    READER_GONE = signal.SIGTERM
else:
    READER_GONE = signal.SIGPIPE


class LocalRun(NamedTuple):
    """A plan to run in this process, its job variables, and its grace period in seconds.

    `stop_when_gone` are descriptors of pipes and sockets. The function is stopped when the peer of one of them goes
    away: a killed peer can send no signal.
    """

    plan: Plan
    variables: Mapping[str, str]
    graceful_exit_delay: float
    stop_when_gone: tuple[int, ...] = ()


class LocalResult(NamedTuple):
    """The result of a local run, and the exit status; `masks` hide the secrets of its steps."""

    status: JobStatus
    result: StepResult | None
    exit_status: int
    masks: Masks = Masks()


async def run_here(run: LocalRun, sink: Sink, listener: Listener) -> LocalResult:
    """Run a function to its end.

    SIGINT, SIGTERM and SIGHUP (on Windows: Ctrl-C and Ctrl-Break) stop it gracefully. A second Ctrl-C at least one
    second later, or SIGQUIT, kills it at once.

    The exit status is 0, or that of the failed command. It is 128 plus the signal number when a signal stopped the
    function, READER_GONE when the peer of a pipe went away, and 1 for anything else. Raise StepRunnerError when the
    function cannot start.
    """
    variables = [Variable(key=key, value=value) for key, value in run.variables.items()]
    plan = run.plan._replace(env=with_log_level(run.plan.env, run.variables), variables=variables)
    job = start_job(plan, Proc(run.graceful_exit_delay), lambda _: sink, listener)
    stopper = _Stopper(job, run.graceful_exit_delay, listener)
    listener.when_gone(partial(stopper.stop, READER_GONE))
    with (
        on_stop(stopper.stop, stopper.kill),
        on_suspend(listener.suspending),
        OrphanReaper(),
        watched(run.stop_when_gone, partial(stopper.stop, READER_GONE)),
    ):
        try:
            await job.finished.wait()
        finally:
            await job.close()
    return LocalResult(job.status, job.result, _exit_status(job, stopper.stopped_by), job.masks)


class _Stopper:
    """Stops a job at the first request."""

    def __init__(self, job: Job[Sink], grace: float, listener: Listener) -> None:
        self.stopped_by = signal.SIGTERM
        self._job = job
        self._grace = grace
        self._listener = listener
        self._stopped = False

    def stop(self, number: signal.Signals) -> None:
        """Stop the job gracefully, as for this signal. Only the first call counts."""
        if not self._stopped:
            self._stopped = True
            self.stopped_by = number
            self._listener.stopping(self._grace)
            self._job.cancel()
            asyncio.get_running_loop().call_later(self._grace, self._listener.abandon)

    def kill(self, reason: str) -> None:
        """Kill all processes of the job without further grace."""
        self._job.kill(reason)
        self._listener.abandon()


def _exit_status(job: Job[Sink], stopped_by: signal.Signals) -> int:
    if job.status.status is Status.SUCCESS:
        return 0
    if job.status.status is Status.CANCELLED:
        return 128 + stopped_by
    return 1 if job.error is None else exit_status(job.error)
