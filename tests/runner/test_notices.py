"""Log lines that report how processes were stopped."""

from __future__ import annotations

import signal

from gracefulexitcmd import Cause, EndedProcess, Exit, Reason, SignalSent, Stage, To, Why
from step_runner.runner import notices


def test_killed_processes_are_grouped_by_reason() -> None:
    """A process that could not be ended has its own line; without a known reason no reason is given."""
    ignored, kernel = Why(Reason.IGNORED, "SIGTERM"), Why(Reason.IN_KERNEL, "nfs_wait")
    census = (
        EndedProcess(1, ("redis-server",), "session", "SIGKILL", why=ignored),
        EndedProcess(2, ("a",), "leader", "SIGKILL", why=Why(Reason.UNFINISHED, "SIGTERM")),
        EndedProcess(3, ("b",), "group", "SIGKILL", why=ignored),
        EndedProcess(4, ("c",), "group", "SIGKILL"),
        EndedProcess(5, ("d",), "group", None, why=kernel),
        EndedProcess(6, ("e",), "group", "SIGTERM"),
    )
    assert notices.ended(Exit(Cause.CANCELLED, -9, 1.0, census=census)) == (
        "Ended 2 processes that ignored SIGTERM: redis-server (pid 1, detached), b (pid 3)",
        "Ended 1 process that handled SIGTERM, but had not finished: a (pid 2)",
        "Ended 1 process by force: c (pid 4)",
        "Could not end 1 process that waited in the kernel in nfs_wait: d (pid 5)",
    )


def test_line_of_a_stage_names_remaining_stages() -> None:
    stages = (
        Stage(signal.SIGINT, 10.0, To.LEADER),
        Stage(signal.SIGTERM, 2.5, To.GROUP),
        Stage(signal.SIGQUIT, 1.0, To.OWN),
        Stage(signal.SIGKILL, 6.0, To.OWN),
    )
    line = 'Stopping step "x": SIGINT to its leader, 10 s; then SIGTERM to its group, 2.5 s; then SIGQUIT to all, 1 s'
    assert notices.stopping_stage('step "x"', SignalSent("SIGINT", 0.0, 1), stages) == (line,)
    assert notices.stopping_stage('step "x"', SignalSent("SIGKILL", 13.5, 1), stages[3:]) == ()
