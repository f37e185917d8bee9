"""Handles Ctrl-Z: stops every process of this program's containers, then this process, and continues them."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import threading
import time

from gracefulexitcmd.clock import CLOCK
from gracefulexitcmd.handlers import harmless
from gracefulexitcmd.posix import process_table
from gracefulexitcmd.posix.container import open_containers

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from gracefulexitcmd.posix.process_table import Identity, Process

PATIENCE = 0.1
"""Seconds that SIGTSTP, which a program may handle, has to stop a process before SIGSTOP, which none can handle."""

SCAN_AGAIN = 0.005
"""Seconds between two scans for processes that are not stopped yet."""

MOST_SCANS = 100
"""Scans before giving up on a process that never stops, such as one in uninterruptible sleep (state D)."""

TOGETHER = 0.01
"""Seconds after SIGCONT in which a SIGTSTP is taken for an older one, which SIGCONT discards, signal(7).

Python calls the handlers of signals that arrive together in the order of their numbers: SIGCONT first.
"""

has_supervisor = False
"""Whether a supervisor watches this process and continues it; set by `supervise`."""


class Suspension:
    """Records the last request by SIGTSTP or SIGCONT; SIGTSTP stays ignored if it was inherited so."""

    def __init__(self) -> None:
        self._continued_at = -math.inf
        self.wanted = False
        """Whether SIGTSTP arrived and no SIGCONT since."""

    def listen(self, asked: Callable[[], object]) -> None:
        """Call `asked` whenever SIGTSTP arrives."""

        def suspend(*_: object) -> None:
            if time.monotonic() - self._continued_at >= TOGETHER:
                self.wanted = True
                asked()

        if signal.getsignal(signal.SIGTSTP) is not signal.SIG_IGN:
            signal.signal(signal.SIGTSTP, suspend)
            signal.signal(signal.SIGCONT, self._continued)
            # This handler is never deferred: a SIGTSTP deferred before it would not see that SIGCONT came.
            harmless.append(self._continued)

    def stop(self) -> None:
        """Stop this process until SIGCONT, unless SIGCONT has already arrived."""
        stop_by_default(lambda: self.wanted)
        self.wanted = False

    def _continued(self, *_: object) -> None:
        self.wanted = False
        self._continued_at = time.monotonic()


def stop_by_default(wanted: Callable[[], bool] = lambda: True) -> None:
    """Stop this process until SIGCONT, as SIGTSTP does by default, so that its shell sees a stopped job.

    SIGCONT discards a pending SIGTSTP, signal(7), so a SIGCONT at any moment of this call is not missed. Nothing
    happens in an orphaned process group, because no shell would continue it.
    """
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTSTP])
    handler = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
    signal.pthread_kill(threading.get_ident(), signal.SIGTSTP)
    try:
        if not wanted():
            signal.signal(signal.SIGTSTP, signal.SIG_IGN)  # to ignore it discards a pending one, too
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    finally:
        signal.signal(signal.SIGTSTP, handler)


def stop_worker() -> None:
    """Stop this process until its supervisor continues it.

    SIGTSTP would not stop it. No process of its group has its parent in the same session, so the group is orphaned.
    """
    os.kill(os.getpid(), signal.SIGSTOP)


def suspend_all() -> None:
    """Stop every process of every container, then this process and its supervisor if it has one.

    SIGCONT continues all of them. Deadlines do not advance meanwhile. A process that was stopped before stays stopped.
    """
    suspend(stop_worker if has_supervisor else stop_by_default)


def suspend(stop_self: Callable[[], object]) -> None:
    """Stop every process of every container, then this process by `stop_self`; continue them after it.

    Deadlines do not advance meanwhile. A process that was stopped before stays stopped.
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
    """Stop all members, first by SIGTSTP: it lets a nested program that uses this library stop its own clock."""
    asked: set[Identity] = set()
    give_up = time.monotonic() + PATIENCE
    for _ in range(MOST_SCANS):
        left = [one for one in _members() if one.state not in "TtZX" and one.identity not in stopped_before]
        if not left:
            return
        force = time.monotonic() >= give_up
        for process in left:
            if force or process.identity not in asked:
                process_table.signal_process(process, signal.SIGSTOP if force else signal.SIGTSTP)
                asked.add(process.identity)
        time.sleep(SCAN_AGAIN)


def _members() -> Iterator[Process]:
    for container in open_containers():
        with contextlib.suppress(OSError):  # no descriptor is free
            yield from container.members()
