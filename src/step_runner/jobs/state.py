"""What becomes of a job, as pure functions: from one status to the next, never out of a final one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from step_runner.errors import InternalError, StepRunnerError, StoppedError, causes, message
from step_runner.model import ErrorKind, JobStatus, Status, Termination

if TYPE_CHECKING:
    from gracefulexitcmd import Exit


def started(job: JobStatus, now: float) -> JobStatus:
    """The job after its run began."""
    if job.status is not Status.UNSPECIFIED:
        return job
    return msgspec.structs.replace(job, status=Status.RUNNING, start_time=now)


def started_step(job: JobStatus, step: str) -> JobStatus:
    """The job while this step runs."""
    return job if job.finished else msgspec.structs.replace(job, step=step)


def stopping(job: JobStatus, kill_time: float) -> JobStatus:
    """The job after what runs was told to stop; it gets SIGKILL at `kill_time`."""
    return job if job.finished else msgspec.structs.replace(job, kill_time=kill_time)


def stopped_step(job: JobStatus, termination: Termination) -> JobStatus:
    """The job after the step that was running was stopped."""
    return job if job.finished else msgspec.structs.replace(job, termination=termination)


def extended(before: Termination, left: Exit) -> Termination:
    """Return the record of a step's stop with that of the processes that were left and were stopped after it."""
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
    """The job after its run ended, by itself or because nobody waits for it any more; only the first end counts."""
    if job.finished:
        return job
    status, kind = _verdict(error)
    text = "" if error is None else message(error)
    if status is Status.CANCELLED:
        text = f'job "{job.id}" cancelled: {text}'
    final = {"status": status, "kind": kind, "message": text, "end_time": now}
    return msgspec.structs.replace(job, step="", kill_time=None, **final)


def _verdict(error: BaseException | None) -> tuple[Status, ErrorKind | None]:
    """A step that was told to stop makes the job cancelled, whatever else went wrong."""
    if error is None:
        return Status.SUCCESS, None
    behind = tuple(causes(error))
    for cause in behind:
        if isinstance(cause, StoppedError):
            return Status.CANCELLED, ErrorKind.TIMEOUT if cause.timeout else ErrorKind.CANCELLED
    if isinstance(error, InternalError) or not isinstance(error, StepRunnerError | ExceptionGroup):
        return Status.FAILURE, ErrorKind.INTERNAL
    return Status.FAILURE, ErrorKind.STEP_FAILURE
