"""Reads the signals of a process from `/proc/PID/status`, and why it has not ended: proc_pid_status(5)."""

from __future__ import annotations

import contextlib
import os

from gracefulexitcmd.posix import process_table
from gracefulexitcmd.reason import Reason, Why
from gracefulexitcmd.typed import NamedTuple

TYPE_CHECKING = False

if TYPE_CHECKING:
    import signal
    from collections.abc import Iterator, Sequence

MOST_THREADS = 100
"""Threads of one process that are read at most: SIGKILL must not be delayed for long."""


class Task(NamedTuple):
    """One thread; bit N - 1 of each signal set is signal N.

    `pending` holds the signals of the thread and of the process. `ignored` and `caught` are the same in all threads.
    """

    state: str
    pending: int
    blocked: int
    ignored: int
    caught: int
    waits_in: str = ""


def parse(text: bytes, waits_in: str = "") -> Task:
    """Return the thread that a status file describes. Raise ValueError or KeyError if the text is not one."""
    fields = dict(line.split(b":", 1) for line in text.splitlines() if b":" in line)
    own, shared, blocked, ignored, caught = (
        int(fields[name], 16) for name in (b"SigPnd", b"ShdPnd", b"SigBlk", b"SigIgn", b"SigCgt")
    )
    return Task(fields[b"State"].strip()[:1].decode(), own | shared, blocked, ignored, caught, waits_in)


def why(tasks: Sequence[Task], sent: signal.Signals) -> Why | None:
    """Return why the last signal has not ended a process with these threads; None if the reason is unknown.

    A signal that is blocked and not pending was accepted by sigwait(3) or signalfd(2), so the process handles it. A
    signal with its default action ends a process, unless that is stopped or waits in the kernel.
    """
    bit = 1 << (sent - 1)
    living = [task for task in tasks if task.state not in "ZX"]
    if not living:
        return None
    blocked, pending = all(task.blocked & bit for task in living), any(task.pending & bit for task in living)
    if living[0].ignored & bit:
        return Why(Reason.IGNORED, sent.name)
    if blocked and pending:
        return Why(Reason.BLOCKED, sent.name)
    if all(task.state in "Tt" for task in living):
        return Why(Reason.STOPPED, sent.name)
    waiting = [task for task in living if task.state == "D"]
    if waiting and pending:
        return Why(Reason.IN_KERNEL, waiting[0].waits_in)
    return Why(Reason.UNFINISHED, sent.name) if blocked or living[0].caught & bit else None


def tasks(pid: int) -> list[Task]:
    """Return at most MOST_THREADS threads of a process; an empty list if it is gone or hidden."""
    with contextlib.suppress(OSError):
        return list(_tasks(f"/proc/{pid}/task"))
    return []


def _tasks(directory: str) -> Iterator[Task]:
    for name in os.listdir(directory)[:MOST_THREADS]:
        with contextlib.suppress(OSError, ValueError, KeyError):
            task = parse(process_table.content(f"{directory}/{name}/status"))
            yield task._replace(waits_in=_waits_in(f"{directory}/{name}/wchan")) if task.state == "D" else task


def _waits_in(path: str) -> str:
    """Return the kernel function that a thread waits in; empty if this user may not read it, proc_pid_wchan(5)."""
    with contextlib.suppress(OSError):
        name = process_table.content(path).decode(errors="replace")
        return "" if name == "0" else name
    return ""
