"""The status of a job, as pure functions: each gives the next status, and a final one never changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from step_runner.errors import InternalError, StepRunnerError, StoppedError, causes, message
from step_runner.model import ErrorKind, JobStatus, Status, Termination

if TYPE_CHECKING:
    from gracefulexitcmd import Exit


def started(job: JobStatus, now: float) -> JobStatus:
    """Return the job after the start of its run."""
    if job.status is not Status.UNSPECIFIED:
        return job
    return msgspec.structs.replace(job, status=Status.RUNNING, start_time=now)


def started_step(job: JobStatus, step: str) -> JobStatus:
    """Return the job at the start of this step."""
    return job if job.finished else msgspec.structs.replace(job, step=step)


def stopping(job: JobStatus, kill_time: float) -> JobStatus:
    """Return the job after its stop signal; SIGKILL follows at `kill_time`."""
    return job if job.finished else msgspec.structs.replace(job, kill_time=kill_time)


def stopped_step(job: JobStatus, termination: Termination) -> JobStatus:
    """Return the job after its running step was stopped."""
    return job if job.finished else msgspec.structs.replace(job, termination=termination)


def extended(before: Termination, left: Exit) -> Termination:
    """Return the record of a stopped step, extended by that of the background processes stopped after it."""
    first = before.ended
    sent = tuple(signal.replace(after=signal.after + first.duration) for signal in left.signals)
    both = first.replace(
        forced=first.forced or left.forced,
        signals=first.signals + sent,
        census=first.census + left.census,
        hurried=first.hurried or left.hurried,
    )
    return msgspec.structs.replace(before, ended=both)


def ended(job: JobStatus, error: BaseException | None, now: float) -> JobStatus:
    """Return the job after its run: it has ended, or the wait for it was given up. Only the first end counts."""
    if job.finished:
        return job
    status, kind = _verdict(error)
    text = "" if error is None else message(error)
    if status is Status.CANCELLED:
        text = f'job "{job.id}" cancelled: {text}'
    final = {"status": status, "kind": kind, "message": text, "end_time": now}
    return msgspec.structs.replace(job, step="", kill_time=None, **final)


def _verdict(error: BaseException | None) -> tuple[Status, ErrorKind | None]:
    """Return the final status. A stopped step makes the job cancelled, whatever else failed."""
    if error is None:
        return Status.SUCCESS, None
    behind = tuple(causes(error))
    for cause in behind:
        if isinstance(cause, StoppedError):
            return Status.CANCELLED, ErrorKind.TIMEOUT if cause.timeout else ErrorKind.CANCELLED
    if isinstance(error, InternalError) or not isinstance(error, StepRunnerError | ExceptionGroup):
        return Status.FAILURE, ErrorKind.INTERNAL
    return Status.FAILURE, ErrorKind.STEP_FAILURE
