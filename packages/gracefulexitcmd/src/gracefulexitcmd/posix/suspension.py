"""Ctrl-Z: stops all that this program runs, then the program itself, and continues both."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import threading
import time
from typing import TYPE_CHECKING

from gracefulexitcmd.clock import CLOCK
from gracefulexitcmd.handlers import harmless
from gracefulexitcmd.posix import process_table
from gracefulexitcmd.posix.container import open_containers

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from gracefulexitcmd.posix.linux import Identity, Process

PATIENCE = 0.1
"""Seconds for SIGTSTP, which a program may handle, to stop a process; then comes SIGSTOP, which it cannot."""

LOOK_AGAIN = 0.005
"""Seconds between two looks at who is not stopped yet."""

MOST_LOOKS = 100
"""Looks at processes of which one is never seen stopped, such as one that waits in the kernel (state D)."""

TOGETHER = 0.01
"""Seconds after SIGCONT in which SIGTSTP counts as older, which SIGCONT takes back, signal(7).

Python calls the handlers of signals that came together by their numbers, SIGCONT first, whichever came last.
"""

has_front = False
"""Whether another process watches this one, which then continues it; set by `supervise`."""


class Suspension:
    """What SIGTSTP and SIGCONT have asked for; where the former was ignored from the start it stays so."""

    def __init__(self) -> None:
        self._continued_at = -math.inf
        self.wanted = False
        """Whether no SIGCONT came since the last SIGTSTP."""

    def listen(self, asked: Callable[[], object]) -> None:
        """Have `asked` called when SIGTSTP comes."""

        def suspend(*_: object) -> None:
            if time.monotonic() - self._continued_at >= TOGETHER:
                self.wanted = True
                asked()

        if signal.getsignal(signal.SIGTSTP) is not signal.SIG_IGN:
            signal.signal(signal.SIGTSTP, suspend)
            signal.signal(signal.SIGCONT, self._continued)
            harmless.append(self._continued)  # held back, it would be missed by a SIGTSTP that was held back before it

    def stop(self) -> None:
        """Stop this process until SIGCONT, unless that came meanwhile."""
        stop_by_default(lambda: self.wanted)
        self.wanted = False

    def _continued(self, *_: object) -> None:
        self.wanted = False
        self._continued_at = time.monotonic()


def stop_by_default(wanted: Callable[[], bool] = lambda: True) -> None:
    """Stop this process until SIGCONT, as SIGTSTP does by default, so that its shell sees a stopped job.

    SIGCONT discards a pending SIGTSTP, signal(7): one that comes at any moment of this is not missed. Nothing happens
    in an orphaned process group, as nobody would continue it.
    """
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTSTP])
    handler = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
    signal.pthread_kill(threading.get_ident(), signal.SIGTSTP)
    try:
        if not wanted():
            signal.signal(signal.SIGTSTP, signal.SIG_IGN)  # which discards it as well
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    finally:
        signal.signal(signal.SIGTSTP, handler)


def stop_worker() -> None:
    """Stop this process until its front continues it.

    SIGTSTP would not do: nobody of its process group has a parent in the same session, which makes it orphaned.
    """
    os.kill(os.getpid(), signal.SIGSTOP)


def suspend_all() -> None:
    """Stop every process of every container, then this one, and its supervisor if it has one.

    When SIGCONT comes, all go on; no time has passed then for deadlines. A process that was stopped before stays so.
    """
    suspend(stop_worker if has_front else stop_by_default)


def suspend(stop_self: Callable[[], object]) -> None:
    """Stop every process of every container, then this one; when it goes on, they do.

    No time has passed then for deadlines. A process that was stopped before stays so.
    """
    CLOCK.stop()
    stopped_before = {process.identity for process in _members() if process.state == "T"}
    try:
        _stop_all(stopped_before)
        stop_self()
    finally:
        for process in _members():
            if process.state == "T" and process.identity not in stopped_before:
                process_table.signal_process(process, signal.SIGCONT)
        CLOCK.go_on()


def _stop_all(stopped_before: Collection[Identity]) -> None:
    """Stop all members: first by SIGTSTP, on which an inner program like this one stops its own clock."""
    asked: set[Identity] = set()
    give_up = time.monotonic() + PATIENCE
    for _ in range(MOST_LOOKS):
        left = [one for one in _members() if one.state not in "TtZX" and one.identity not in stopped_before]
        if not left:
            return
        force = time.monotonic() >= give_up
        for process in left:
            if force or process.identity not in asked:
                process_table.signal_process(process, signal.SIGSTOP if force else signal.SIGTSTP)
                asked.add(process.identity)
        time.sleep(LOOK_AGAIN)


def _members() -> Iterator[Process]:
    for container in open_containers():
        with contextlib.suppress(OSError):  # no descriptor is free
            yield from container.members()
