"""The reasons why a process has not ended after its grace period."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

import psutil
import pytest

from gracefulexitcmd import Reason, Why
from gracefulexitcmd.posix import status
from gracefulexitcmd.posix.status import Task

if TYPE_CHECKING:
    from collections.abc import Callable

    from gracefulexitcmd import Exit
    from gracefulexitcmd.cmd import BaseCmd

    Launch = Callable[..., tuple[BaseCmd, str]]
    Wait = Callable[[BaseCmd], Exit]

TERM = 1 << (signal.SIGTERM - 1)

STATUS = b"""\
Name:\tsleep: 1\tSigIgn
Umask:\t0022
State:\tD (disk sleep)
Threads:\t1
SigQ:\t0/15262
SigPnd:\t0000000000000000
ShdPnd:\t0000000000004000
SigBlk:\t0000000000000001
SigIgn:\t0000000000001000
SigCgt:\t0000000180000002
"""


def test_status_file_is_read() -> None:
    assert status.parse(STATUS, "kernel_clone") == Task("D", TERM, 1, 0x1000, 0x180000002, "kernel_clone")


@pytest.mark.parametrize(
    ("tasks", "reason"),
    [
        ([Task("S", 0, 0, TERM, 0)], Reason.IGNORED),
        ([Task("T", TERM, TERM, TERM, 0)], Reason.IGNORED),
        ([Task("S", TERM, TERM, 0, 0)], Reason.BLOCKED),
        ([Task("S", TERM, TERM, 0, TERM), Task("S", TERM, TERM, 0, TERM)], Reason.BLOCKED),
        ([Task("S", TERM, TERM, 0, TERM), Task("R", TERM, 0, 0, TERM)], Reason.UNFINISHED),
        ([Task("S", 0, TERM, 0, 0)], Reason.UNFINISHED),
        ([Task("S", 0, 0, 0, TERM)], Reason.UNFINISHED),
        ([Task("T", TERM, 0, 0, 0)], Reason.STOPPED),
        ([Task("t", 0, 0, 0, TERM)], Reason.STOPPED),
        ([Task("Z", 0, 0, 0, TERM), Task("T", 0, 0, 0, TERM)], Reason.STOPPED),
        ([Task("T", 0, 0, 0, TERM), Task("S", 0, 0, 0, TERM)], Reason.UNFINISHED),
        ([Task("D", TERM, 0, 0, TERM, "nfs_wait")], Reason.IN_KERNEL),
        ([Task("D", TERM, 0, 0, 0)], Reason.IN_KERNEL),
        ([Task("D", 0, 0, 0, TERM)], Reason.UNFINISHED),
        ([Task("R", TERM, 0, 0, 0)], None),
        ([Task("Z", 0, 0, TERM, 0)], None),
        ([], None),
    ],
)
def test_reason_follows_from_signal_masks_of_threads(tasks: list[Task], reason: Reason | None) -> None:
    """The reason never says "ignored" for a signal that is not, and is empty without evidence."""
    why = status.why(tasks, signal.SIGTERM)
    assert (why and why.reason) == reason


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        (Why(Reason.IGNORED, "SIGINT"), "ignored SIGINT"),
        (Why(Reason.BLOCKED, "SIGTERM"), "blocked SIGTERM"),
        (Why(Reason.UNFINISHED, "SIGTERM"), "handled SIGTERM, but had not finished"),
        (Why(Reason.LATE, "SIGTERM"), "never received SIGTERM, as it started too late"),
        (Why(Reason.STOPPED, "SIGTERM"), "was stopped"),
        (Why(Reason.IN_KERNEL, "nfs_wait"), "waited in the kernel in nfs_wait"),
        (Why(Reason.IN_KERNEL, ""), "waited in the kernel"),
    ],
)
def test_reason_reads_as_the_end_of_a_sentence(reason: Why, text: str) -> None:
    assert str(reason) == text


def _process(command: BaseCmd) -> psutil.Process:
    assert command.pid is not None
    return psutil.Process(command.pid)


def _until(holds: Callable[[], bool]) -> None:
    while not holds():
        time.sleep(0.005)


def _reasons(command: BaseCmd, wait: Wait) -> list[Why | None]:
    """Return the reasons why the processes had not ended, the leader first."""
    command.cancel(grace=0)
    return [each.why for each in sorted(wait(command).census, key=lambda each: each.pid != command.pid)]


@pytest.mark.parametrize("reason", [Reason.IGNORED, Reason.BLOCKED, Reason.UNFINISHED])
def test_running_process_is_classified_by_its_masks(launch: Launch, wait: Wait, reason: Reason) -> None:
    command, _ = launch("reasons.py", reason)
    command.cancel()
    assert _reasons(command, wait) == [Why(reason, "SIGTERM")]


def test_process_waiting_for_blocked_signal_handles_it(launch: Launch, wait: Wait) -> None:
    """The signal is no longer pending: sigwait(3) has taken it."""
    command, _ = launch("reasons.py", "taken")
    command.cancel()
    _until(lambda: all(task.blocked & TERM and not task.pending for task in status.tasks(command.pid or 0)))
    assert _reasons(command, wait) == [Why(Reason.UNFINISHED, "SIGTERM")]


def test_process_started_after_signal_never_received_it(launch: Launch, wait: Wait) -> None:
    command, _ = launch("reasons.py", "late")
    command.cancel()
    _until(lambda: bool(_process(command).children()))
    assert _reasons(command, wait) == [Why(Reason.UNFINISHED, "SIGTERM"), Why(Reason.LATE, "SIGTERM")]


def test_self_stopped_process_is_reported_as_stopped(launch: Launch, wait: Wait) -> None:
    command, _ = launch("reasons.py", "stopped")
    command.cancel()
    _until(lambda: _process(command).status() == psutil.STATUS_STOPPED)
    assert _reasons(command, wait) == [Why(Reason.STOPPED, "SIGTERM")]


def test_process_waiting_in_kernel_is_reported(launch: Launch, wait: Wait) -> None:
    """A parent in vfork(2) waits there. The reason names the kernel's function if this user may see it."""
    command, _ = launch("reasons.py", "in_kernel")
    _until(lambda: _process(command).status() == psutil.STATUS_DISK_SLEEP)
    (child_process,) = _process(command).children()
    _until(lambda: any(task.ignored & TERM for task in status.tasks(child_process.pid)))
    command.cancel()
    leader, child = _reasons(command, wait)
    assert leader is not None
    assert (leader.reason, child) == (Reason.IN_KERNEL, Why(Reason.IGNORED, "SIGTERM"))
    assert leader.detail in ("", "kernel_clone", "do_fork", "_do_fork")


def test_reason_is_about_last_signal(launch: Launch, wait: Wait) -> None:
    """The process handles SIGTERM, but the last signal was SIGUSR1, which it ignores."""
    stop = [(signal.SIGTERM, 0.0), (signal.SIGUSR1, 0.1)]
    command, _ = launch("reasons.py", "ignored_usr1", stop=stop)
    command.cancel()
    assert [each.why for each in wait(command).census] == [Why(Reason.IGNORED, "SIGUSR1")]


def test_reason_is_empty_without_proc(launch: Launch, wait: Wait, monkeypatch: pytest.MonkeyPatch) -> None:
    from gracefulexitcmd.posix import process_table

    monkeypatch.setattr(process_table, "portable", True)
    monkeypatch.setattr(process_table, "has_proc", False)
    command, _ = launch("reasons.py", "ignored")
    command.cancel()
    assert _reasons(command, wait) == [None]


def test_reasons_are_read_only_before_a_kill(launch: Launch, wait: Wait, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    monkeypatch.setattr(status, "tasks", read.append)
    command, _ = launch("obeys.py", "TERM", "TERM")
    command.cancel()
    assert not wait(command).forced
    assert read == []
