"""What `/proc/PID/status` tells of a process and its signals, and why it has not ended: proc_pid_status(5)."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from gracefulexitcmd.named_tuple import NamedTuple
from gracefulexitcmd.reason import Reason, Why

if TYPE_CHECKING:
    import signal
    from collections.abc import Iterator, Sequence

MOST_THREADS = 100
"""Threads of a process that are looked at: SIGKILL must not wait for long."""


class Task(NamedTuple):
    """One thread; the sets of signals have bit N - 1 for signal N.

    `pending` holds those of the thread and of the process. `ignored` and `caught` are the same in all threads.
    """

    state: str
    pending: int
    blocked: int
    ignored: int
    caught: int
    waits_in: str = ""


def parse(text: bytes, waits_in: str = "") -> Task:
    """Return what a status file says. Raises ValueError or KeyError where it is not one."""
    fields = dict(line.split(b":", 1) for line in text.splitlines() if b":" in line)
    own, shared, blocked, ignored, caught = (
        int(fields[name], 16) for name in (b"SigPnd", b"ShdPnd", b"SigBlk", b"SigIgn", b"SigCgt")
    )
    return Task(fields[b"State"].strip()[:1].decode(), own | shared, blocked, ignored, caught, waits_in)


def why(tasks: Sequence[Task], sent: signal.Signals) -> Why | None:
    """Return why a process with these threads has not ended by the last signal that it was sent; None if nothing tells.

    A signal that is blocked and no longer pending was taken by sigwait(3) or signalfd(2), so the process handles it.
    One with its default action ends a process that is not stopped and does not wait in the kernel.
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
    """Return the threads of a process as they are now, at most MOST_THREADS; none if it is gone or hidden."""
    with contextlib.suppress(OSError):
        return list(_tasks(f"/proc/{pid}/task"))
    return []


def _tasks(directory: str) -> Iterator[Task]:
    for name in os.listdir(directory)[:MOST_THREADS]:
        with contextlib.suppress(OSError, ValueError, KeyError):
            task = parse(_content(f"{directory}/{name}/status"))
            yield task._replace(waits_in=_waits_in(f"{directory}/{name}/wchan")) if task.state == "D" else task


def _waits_in(path: str) -> str:
    """The kernel's function that a thread waits in; empty where this user may not know, proc_pid_wchan(5)."""
    with contextlib.suppress(OSError):
        name = _content(path).decode(errors="replace")
        return "" if name == "0" else name
    return ""


def _content(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()
