"""The end of a job by Cancel, Close or its timeout: real scripts, a real server, a real client."""

from __future__ import annotations

import os
import re
import shlex
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import psutil
import pytest
from tests.support.steps import command, script

from step_runner.api.pb import step_pb2 as pb
from step_runner.errors import StepRunnerError
from step_runner.model import ErrorKind, JobStatus, Status

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.api.conftest import Server

# A shell that waits for a background child is not used here: a SIGTERM to that child between fork(2) and execve(2)
# would be lost, because the child has no trap yet.
TRAP = "trap 'echo trapped >trapped; echo cleaned up; exit {status}' TERM; echo ready; while :; do sleep 0.02; done"
IGNORES_TERM = "trap '' TERM; sleep 1000 & echo ready; wait"
WAITS_IN_TRAP = (
    "trap 'echo cleaning; read line <gate; echo cleaned up; exit 0' TERM; echo ready; while :; do sleep 0.02; done"
)

DELAY = 0.3
"""Grace period in seconds for tests that wait for its end."""

ENOUGH = 2.0
"""Grace period in seconds for tests in which a process ends, or acts, before its end."""

PATIENCE = 0.5
"""Seconds that Close may take beyond the grace period."""

SLACK = 20.0
"""Seconds that a call may take longer than promised on a busy machine; less than the default grace period."""


def signals(status: JobStatus) -> dict[str, float]:
    """Return the time at which each signal was sent."""
    assert status.termination is not None
    return {sent.name: sent.after for sent in status.termination.ended.signals}


def is_cancelled(status: JobStatus) -> bool:
    return (status.status, status.kind) == (Status.CANCELLED, ErrorKind.CANCELLED)


@pytest.mark.parametrize("status", [0, 7])
def test_cancelled_script_runs_its_trap(server: Server, work_dir: Path, status: int) -> None:
    """The trap runs to its end, its output is in the log, and the job is cancelled whatever the exit status."""
    job = server.start_ready(TRAP.format(status=status), work_dir=str(work_dir))

    server.client.cancel(job)
    ended = server.ended(job)

    assert is_cancelled(ended)
    assert ended.message.startswith(f'job "{job}" cancelled: step "s1": stopped on request')
    assert ended.message.endswith("exec: exit status 7") is (status == 7)
    assert (work_dir / "trapped").read_text() == "trapped\n"
    assert b"cleaned up\n" in server.log(job)
    assert ended.termination is not None
    assert (ended.termination.step, ended.termination.ended.cause) == ("s1", "cancelled")
    assert (ended.termination.ended.forced, ended.termination.ended.returncode) == (False, status)


def test_log_lists_sent_signals_before_step_answers(server: Server) -> None:
    job = server.start_ready(TRAP.format(status=0), graceful_exit_delay=12)
    server.client.cancel(job)
    stopping = rb'Stopping step "s1": SIGTERM to \d process(es)?, 1[0-2](\.\d)? s to finish'
    # The shell prints "Terminated" if it had a child, bash 5.3 with the child's command.
    told = rb"Running step name=s1\nready\n%b\n(Terminated.*\n)?cleaned up\n" % stopping
    assert re.fullmatch(told, server.log(job))


def test_ten_megabytes_written_in_trap_arrive_whole(server: Server) -> None:
    """The log loses and changes no byte."""
    text = "trap 'yes 123456789 | head -c 10000000; exit 0' TERM; echo ready; while :; do sleep 0.02; done"
    job = server.start_ready(text)
    server.client.cancel(job)
    log = server.log(job)
    own, content = log.split(b" to finish\n")
    assert own.startswith(b'Running step name=s1\nready\nStopping step "s1": ')
    assert re.sub(rb"^Terminated.*\n", b"", content) == b"123456789\n" * 1_000_000


def test_script_ignoring_sigterm_is_killed_after_delay(server: Server) -> None:
    job = server.start_ready(IGNORES_TERM, graceful_exit_delay=DELAY)

    began = time.monotonic()
    server.client.cancel(job)
    ended = server.ended(job)

    assert DELAY <= time.monotonic() - began < DELAY + SLACK
    assert is_cancelled(ended)
    assert list(signals(ended)) == ["SIGTERM", "SIGCONT", "SIGKILL"]
    assert ended.message.endswith("exec: signal: killed")
    assert ended.termination is not None
    assert ended.termination.ended.forced
    assert [process.ended_by for process in ended.termination.ended.census] == ["SIGKILL", "SIGKILL"]
    assert b"Ended 2 processes that ignored SIGTERM: " in server.log(job)


def test_child_ignoring_sigterm_is_killed_after_delay(server: Server) -> None:
    """The delay holds for a child although its parent obeyed the signal."""
    child = shlex.join([sys.executable, "-I", "-S", "-c", "print('ready', flush=True); import signal; signal.pause()"])
    job = server.start_ready(f"(trap '' TERM; exec {child}) & wait", graceful_exit_delay=ENOUGH)

    began = time.monotonic()
    server.client.cancel(job)
    ended = server.ended(job)

    assert time.monotonic() - began >= ENOUGH
    assert ended.termination is not None
    assert (ended.termination.ended.forced, ended.termination.ended.returncode) == (True, -15)
    killed = [process for process in ended.termination.ended.census if process.ended_by == "SIGKILL"]
    assert [shlex.join(process.argv) for process in killed] == [child]
    assert server.jobs_processes() == []


def test_stopped_script_runs_its_trap(server: Server) -> None:
    """SIGCONT follows SIGTERM: a process stopped by SIGSTOP could not run its trap."""
    job = server.start_ready(
        "trap 'echo trapped; exit 0' TERM; echo ready; kill -STOP $$; while :; do sleep 0.02; done"
    )
    while psutil.STATUS_STOPPED not in [process.status() for process in server.jobs_processes()]:
        time.sleep(0.01)
    server.client.cancel(job)
    assert b"trapped\n" in server.log(job)


def test_later_steps_never_start(server: Server, work_dir: Path) -> None:
    steps = script("echo ready; sleep 1000 & wait", "touch second", "touch third")
    job = server.start_ready(steps, work_dir=str(work_dir))
    server.client.cancel(job)
    assert is_cancelled(server.ended(job))
    assert list(work_dir.iterdir()) == []
    assert b"s2" not in server.log(job)


def test_command_of_job_itself_is_cancelled(server: Server) -> None:
    """It has no step's name."""
    job = server.start_ready(command("sh", "-c", "echo ready; exec sleep 1000"))
    server.client.cancel(job)
    ended = server.ended(job)
    assert is_cancelled(ended)
    assert ended.message == f'job "{job}" cancelled: stopped on request; exec: signal: terminated'
    assert ended.termination is not None
    assert ended.termination.step == ""


def test_repeated_cancel_keeps_time_of_first(server: Server) -> None:
    job = server.start_ready(IGNORES_TERM, graceful_exit_delay=DELAY)
    for _ in range(3):
        server.client.cancel(job)
    ended = server.ended(job)
    assert ended.termination is not None
    assert [sent.name for sent in ended.termination.ended.signals] == ["SIGTERM", "SIGCONT", "SIGKILL"]


def test_cancel_right_after_run_cancels_job(server: Server, work_dir: Path) -> None:
    for _ in range(20):
        job = server.start(script("sleep 1000", "touch second"), work_dir=str(work_dir))
        server.client.cancel(job)
        assert is_cancelled(server.ended(job))
    assert list(work_dir.iterdir()) == []


def test_cancel_after_end_changes_nothing(server: Server) -> None:
    job = server.start("exit 3")
    before = server.ended(job)
    server.client.cancel(job)
    assert server.client.status(job) == before
    assert before.kind is ErrorKind.STEP_FAILURE


def test_cancel_of_unknown_job_succeeds(server: Server) -> None:
    server.client.cancel("unknown")
    with pytest.raises(StepRunnerError, match='no job with id "unknown"'):
        server.client.status("unknown")


def test_cancelled_job_still_answers(server: Server, work_dir: Path) -> None:
    """Status and FollowLogs answer during the grace period, and after the end until Close."""
    gate = work_dir / "gate"
    _make_gate(gate)
    job = server.start_ready(WAITS_IN_TRAP, work_dir=str(work_dir))

    server.client.cancel(job)
    server.wait_for(job, b"cleaning\n")
    during = server.client.status(job)
    gate.write_text("go on\n")

    assert during.status is Status.RUNNING
    assert is_cancelled(server.ended(job))
    assert server.log(job) == server.log(job)


def test_two_hundred_cancels_race_with_normal_end(server: Server) -> None:
    """Whether the cancel or the end comes first, the job ends at once, in one final state, and so does its log."""
    endings = set()
    for _ in range(200):
        job = server.start(command("true"))
        cancelling = threading.Thread(target=server.client.cancel, args=(job,))
        cancelling.start()
        ended = server.ended(job)
        cancelling.join()
        assert server.client.status(job) == ended
        endings.add((ended.status, ended.kind))
        server.client.close(job)
    assert endings <= {(Status.SUCCESS, None), (Status.CANCELLED, ErrorKind.CANCELLED)}


# The time that a job has


def test_timeout_stops_job_gracefully(server: Server) -> None:
    job = server.start(TRAP.format(status=0), timeout=3.0)
    ended = server.ended(job)
    assert (ended.status, ended.kind) == (Status.CANCELLED, ErrorKind.TIMEOUT)
    assert ended.message == f'job "{job}" cancelled: step "s1": stopped because the job\'s timeout was reached'
    assert b"cleaned up\n" in server.log(job)


def test_job_within_its_timeout_succeeds(server: Server) -> None:
    ended, _ = server.run("true", timeout=60)
    assert (ended.status, ended.kind) == (Status.SUCCESS, None)


# The delay


def test_delay_of_request_overrides_that_of_server(serve: Callable[..., Server]) -> None:
    server = serve("--graceful-exit-delay", "10s", env={"STEP_RUNNER_GRACEFUL_EXIT_DELAY": "60"})
    _check_delays(server)


def test_delay_of_option_overrides_that_of_environment(serve: Callable[..., Server]) -> None:
    """`serve --graceful-exit-delay` wins over STEP_RUNNER_GRACEFUL_EXIT_DELAY."""
    server = serve(env={"STEP_RUNNER_GRACEFUL_EXIT_DELAY": "10000ms"})
    _check_delays(server)


def _check_delays(server: Server) -> None:
    """Check the rest of the grace period in the log: nearly all of it is left when SIGTERM is sent."""
    trap = TRAP.format(status=0)
    jobs = {
        10: server.start_ready(trap),
        20: server.start_ready(trap, graceful_exit_delay=20),
        0: server.start_ready(IGNORES_TERM, graceful_exit_delay=0),
    }
    for delay, job in jobs.items():
        server.client.cancel(job)
        left = re.search(rb"Stopping step .*, ([\d.]+) s to finish\n", server.log(job))
        assert left is not None
        assert delay - 5 < float(left[1]) <= delay


@pytest.mark.parametrize("delay", [2.0**40, 2.0**31, 9_000_000_000_000_000_000])
def test_delay_of_centuries_is_accepted(server: Server, delay: float) -> None:
    job = server.start_ready(TRAP.format(status=0), graceful_exit_delay=min(delay, 9_000_000_000), timeout=2.0**33)
    server.client.cancel(job)
    assert is_cancelled(server.ended(job))


# Close


def test_close_waits_for_trap(server: Server, work_dir: Path) -> None:
    gate = work_dir / "gate"
    _make_gate(gate)
    job = server.start_ready(WAITS_IN_TRAP, work_dir=str(work_dir))
    with ThreadPoolExecutor() as threads:
        closing = threads.submit(server.client.close, job)
        server.wait_for(job, b"cleaning\n")
        chunks = server.client.follow(job)
        log = next(chunks)
        assert not closing.done()
        gate.write_text("go on\n")
        closing.result()
    assert (log + b"".join(chunks)).endswith(b"cleaned up\n")
    _assert_unknown(server, job)


def test_close_kills_after_delay(server: Server) -> None:
    job = server.start_ready(IGNORES_TERM, graceful_exit_delay=DELAY)
    began = time.monotonic()
    server.client.close(job)
    assert DELAY <= time.monotonic() - began < DELAY + PATIENCE + SLACK
    _assert_unknown(server, job)
    assert server.jobs_processes() == []


def test_simultaneous_closes_both_succeed(server: Server) -> None:
    job = server.start_ready(IGNORES_TERM, graceful_exit_delay=DELAY)
    began = time.monotonic()
    with ThreadPoolExecutor() as threads:
        both = [threads.submit(_closed_at, server, job) for _ in range(2)]
        ends = [closing.result() - began for closing in both]
    assert min(ends) >= DELAY
    assert max(ends) < DELAY + PATIENCE + SLACK
    _assert_unknown(server, job)


def test_close_during_grace_period_waits_for_its_end(server: Server) -> None:
    job = server.start_ready(IGNORES_TERM, graceful_exit_delay=DELAY)
    server.client.cancel(job)
    server.client.close(job)
    _assert_unknown(server, job)
    assert server.jobs_processes() == []


@pytest.mark.parametrize("job", ["unknown", ""])
def test_close_of_unknown_job_succeeds(server: Server, job: str) -> None:
    server.client.close(job)


def test_close_removes_finished_job(server: Server) -> None:
    job = server.start("echo x")
    server.ended(job)
    server.client.close(job)
    _assert_unknown(server, job)
    assert list(server.temporary.iterdir()) == []


def test_follower_gets_end_when_job_is_closed(server: Server) -> None:
    job = server.start_ready(TRAP.format(status=0))
    chunks = server.client.follow(job)
    log = next(chunks)
    server.client.close(job)
    assert b"ready\n" in log
    assert b"cleaned up\n" in b"".join(chunks)


def test_close_continues_after_its_client_has_gone(server: Server) -> None:
    """The client gives the call up, but the server still closes the job."""
    job = server.start_ready(IGNORES_TERM, graceful_exit_delay=ENOUGH)
    closing = server.stub.Close.future(pb.CloseRequest(id=job))
    server.wait_for(job, b"Stopping step")
    assert closing.cancel()
    server.log(job)
    while job in [known.id for known in server.client.jobs()]:
        """Its log ends a moment before it is removed."""
    _assert_unknown(server, job)


def _closed_at(server: Server, job: str) -> float:
    server.client.close(job)
    return time.monotonic()


def _make_gate(path: Path) -> None:
    """Make a named pipe: a script that reads from it waits for the test."""
    os.mkfifo(path)


def _assert_unknown(server: Server, job: str) -> None:
    with pytest.raises(StepRunnerError, match=f'no job with id "{job}"'):
        server.client.status(job)
    with pytest.raises(StepRunnerError, match=f'no job with id "{job}"'):
        server.log(job)
