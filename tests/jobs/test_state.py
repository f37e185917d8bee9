"""The final state of a job for each error."""

from __future__ import annotations

import pytest

from gracefulexitcmd import Cause, EndedProcess, Exit, SignalSent
from step_runner.errors import CommandError, InputError, InternalError, StepError, StoppedError
from step_runner.jobs import state
from step_runner.model import ErrorKind, JobStatus, Status, Termination

FAILED = CommandError("exec: exit status 3", 3)
STOPPED = StoppedError("stopped on request")
TIME_OVER = StoppedError("stopped because the job's timeout was reached", timeout=True)


@pytest.mark.parametrize(
    ("error", "status", "kind", "message"),
    [
        (None, Status.SUCCESS, None, ""),
        (FAILED, Status.FAILURE, ErrorKind.STEP_FAILURE, "exec: exit status 3"),
        (StepError("s", FAILED), Status.FAILURE, ErrorKind.STEP_FAILURE, 'step "s": exec: exit status 3'),
        (InputError("x"), Status.FAILURE, ErrorKind.STEP_FAILURE, "x"),
        (InternalError("x"), Status.FAILURE, ErrorKind.INTERNAL, "x"),
        (KeyError("x"), Status.FAILURE, ErrorKind.INTERNAL, "'x'"),
        (STOPPED, Status.CANCELLED, ErrorKind.CANCELLED, 'job "1" cancelled: stopped on request'),
        (
            StepError("s", ExceptionGroup("stopped", [STOPPED, FAILED])),
            Status.CANCELLED,
            ErrorKind.CANCELLED,
            'job "1" cancelled: step "s": stopped on request; exec: exit status 3',
        ),
        (
            StepError("s", ExceptionGroup("stopped", [TIME_OVER])),
            Status.CANCELLED,
            ErrorKind.TIMEOUT,
            'job "1" cancelled: step "s": stopped because the job\'s timeout was reached',
        ),
    ],
)
def test_error_decides_status_of_job(
    error: Exception | None, status: Status, kind: ErrorKind | None, message: str
) -> None:
    running = state.started(JobStatus(id="1"), 1.0)
    ended = state.ended(running, error, 2.0)
    assert ended == JobStatus(id="1", status=status, message=message, kind=kind, start_time=1.0, end_time=2.0)


def test_only_first_end_counts() -> None:
    ended = state.ended(JobStatus(id="1"), STOPPED, 1.0)
    assert state.ended(ended, None, 2.0) is ended
    assert state.started(ended, 2.0) is ended
    assert state.stopped_step(ended, Termination(step="s", ended=Exit(Cause.CANCELLED, 0, 1.0))) is ended


def test_second_start_changes_nothing() -> None:
    running = state.started(JobStatus(id="1"), 1.0)
    assert state.started(running, 2.0) is running


def test_record_of_stop_is_extended_by_later_ends() -> None:
    """The later signals count from the start of the step's stop; its cause and status do not change."""
    first = Exit(Cause.CANCELLED, -15, 2.0, signals=(SignalSent("SIGTERM", 0.5, 1),))
    census = (EndedProcess(7, ("server",), "cookie", "SIGKILL"),)
    left = Exit(Cause.EXITED, None, 1.0, forced=True, signals=(SignalSent("SIGKILL", 0.25, 1),), census=census)
    both = state.extended(Termination(step="build", ended=first, start_time=1.0), left)
    assert (both.step, both.start_time, both.ended.cause, both.ended.returncode) == ("build", 1.0, Cause.CANCELLED, -15)
    assert [(sent.name, sent.after) for sent in both.ended.signals] == [("SIGTERM", 0.5), ("SIGKILL", 2.25)]
    assert (both.ended.forced, both.ended.census) == (True, census)
