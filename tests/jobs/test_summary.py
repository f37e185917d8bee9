"""The report of an ended job by clients."""

from __future__ import annotations

from gracefulexitcmd import Cause, EndedProcess, Exit, Reason, SignalSent, Why
from step_runner.jobs.summary import summary
from step_runner.model import ErrorKind, JobStatus, Status, Termination


def test_summary_counts_from_first_signal() -> None:
    ended = Exit(
        cause=Cause.CANCELLED,
        returncode=-9,
        duration=12.5,
        forced=True,
        hurried="second Ctrl-C",
        signals=(SignalSent("SIGTERM", 10.0, 2), SignalSent("SIGCONT", 10.0, 2), SignalSent("SIGKILL", 12.0, 1)),
        census=(
            EndedProcess(7, ("sh",), "leader", "SIGTERM"),
            EndedProcess(8, ("sleep", "a  b", "x" * 100), "group", "SIGKILL", why=Why(Reason.BLOCKED, "SIGTERM")),
            EndedProcess(9, (), "group", None),
        ),
    )
    job = JobStatus(
        id="a",
        status=Status.CANCELLED,
        kind=ErrorKind.CANCELLED,
        message="stopped",
        termination=Termination(step="build", ended=ended),
    )
    assert list(summary(job)) == [
        'job "a" has ended: cancelled',
        'step "build": SIGTERM to 2 processes, SIGCONT to 2 processes, SIGKILL to 1 process after 2.0 s; '
        "ended after 2.5 s",
        "killed at once: second Ctrl-C",
        f"had to be killed: sleep 'a b' {'x' * 45}... (pid 8): it blocked SIGTERM",
        "could not be ended: a process without a name (pid 9)",
    ]


def test_summary_without_step_is_the_message() -> None:
    job = JobStatus(id="a", status=Status.CANCELLED, message="stopped on request")
    assert list(summary(job)) == ['job "a" has ended: cancelled', "stopped on request"]
