"""Two processes that watch each other, so that neither can die and leave something behind.

The front one keeps the number, the group and the terminal that its caller knows, forwards signals and does nothing
else. The worker runs in a session of its own and does the work. When the worker is killed, the front, to which all
orphans come then, ends gracefully what is left. When the front is killed, even with its whole process group, the
worker is told, and can stop gracefully.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from gracefulexitcmd.handlers import ignore
from gracefulexitcmd.posix import linux, process_table, subreaper, suspension, takeover
from gracefulexitcmd.posix.container import Container
from gracefulexitcmd.posix.orphans import COOKIE
from gracefulexitcmd.posix.suspension import Suspension
from gracefulexitcmd.roundup import Roundup
from gracefulexitcmd.stop_request import STOP_SIGNALS, Answer, StopRequest

if TYPE_CHECKING:
    from types import FrameType

    from gracefulexitcmd.exit import Exit

FORWARDED = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGWINCH,
)

Work: TypeAlias = Callable[["int | None"], int]
"""Does the work and returns the exit status.

Its argument is a descriptor that becomes readable when the front is gone; None where nobody watches.
"""

Killed: TypeAlias = Callable[[int, "Exit | None"], object]
"""Told by the front which signal killed the worker, and how what it left behind was ended, if it left anything."""


def supervise(work: Work, grace: float, killed: Killed, *, suspends: bool = False) -> int:
    """Do the work in a second process; returns, in either process, the exit status of the work.

    With `suspends` SIGTSTP is forwarded as well: the work then calls `suspend_all`, which stops all that it runs, and
    this process. SIGCONT continues everything.

    It must be called before there are threads. When the worker is killed, what it leaves behind gets SIGTERM,
    `grace` seconds, then SIGKILL; the status is 128 plus the signal that killed it. When the worker has ended by
    itself, only what is known to come from it is ended, as it has looked after the rest. Where the system has no
    subreapers or no pidfds there is one process, and nobody watches.
    """
    if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
        # Inherited, it has the system reap every child, wait(2), and nobody would know how the worker ended.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if process_table.portable or not subreaper.become():
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        return work(None)
    left_behind = Container()
    # A process can leave a session, but never enter one, setsid(2): nobody in this one comes from the worker.
    left_behind.spared_session = os.getsid(0)
    front_is_gone, front_is_here = os.pipe()
    copies, offers = takeover.pair()
    # A signal that comes before the handlers are there would end the front alone. What the caller has blocked, and we
    # have inherited, is unblocked with it: whoever started us wants to be able to stop us.
    signal.pthread_sigmask(signal.SIG_SETMASK, (*FORWARDED, signal.SIGTSTP))
    worker = os.fork()
    if worker != 0:
        os.close(front_is_gone)
        offers.forget()
        return _Front(worker, left_behind, grace, copies, suspends=suspends).watch(killed)
    os.close(front_is_here)
    copies.forget()
    takeover.offers = offers
    os.environ[COOKIE] = left_behind.cookies
    left_behind.close()
    os.setsid()
    _note_front(os.getppid())
    if suspends:
        _stop_with_front()
    subreaper.become()
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    return work(front_is_gone)


def _note_front(pid: int) -> None:
    """What it watches over is not abandoned as long as it lives."""
    from gracefulexitcmd.posix import ledger

    process = linux.process(pid)
    ledger.front = None if process is None else process.identity


def _stop_with_front() -> None:
    """Have this worker stop when the front asks for it, and go on when that is killed meanwhile."""
    suspension.has_front = True
    if signal.getsignal(signal.SIGTSTP) is not signal.SIG_IGN:
        signal.signal(signal.SIGTSTP, lambda *_: suspension.stop_worker())
    subreaper.signal_at_parents_death(signal.SIGCONT)


class _Front:
    """The process that its caller knows."""

    def __init__(
        self, worker: int, left_behind: Container, grace: float, copies: takeover.Copies, *, suspends: bool
    ) -> None:
        self._worker = worker
        self._copies = copies
        self._pidfd = os.pidfd_open(worker)
        self._left_behind = left_behind
        self._roundup = Roundup(left_behind, grace)
        self._worker_is_gone = False
        self._reaping = False
        self._ended = False
        self._suspends = suspends
        self._suspension = Suspension()
        self._request = StopRequest()

    def watch(self, killed: Killed) -> int:
        """Wait for the worker's end, end what it left behind, and return its exit status."""
        for number in FORWARDED:
            # What was ignored from the start, as nohup(1) has it, stays so; SIGTERM is how CI cancels a job.
            if number is signal.SIGTERM or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._forward)
        if self._suspends:
            self._suspension.listen(self._suspend)
        signal.signal(signal.SIGCHLD, self._child_changed)
        self._reap()  # those that have ended before
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        self._wait()
        self._worker_is_gone = True
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        _, status = os.waitpid(self._worker, 0)
        code = os.waitstatus_to_exitcode(status)
        self._left_behind.suspicious = code < 0
        if self._request.hurried is not None:
            self._roundup.cancel(grace=0, hurried=self._request.hurried)
        with self._copies.read_on():
            left = None if self._left_behind.surely_empty() else self._roundup.run()
        if self._request.at is not None:
            ignore(STOP_SIGNALS)
        if code >= 0:
            return code
        killed(-code, left)
        return 128 - code

    def _wait(self) -> None:
        """Wait for the worker's end; take meanwhile the pipes that it sends."""
        poll = select.poll()  # not select(2), which takes no descriptor above 1023
        poll.register(self._pidfd, select.POLLIN)
        poll.register(self._copies, select.POLLIN)
        while self._pidfd not in (ready := [descriptor for descriptor, _ in poll.poll()]):
            if ready:
                self._copies.receive()

    def _reap(self, *_: object) -> None:
        """Take the status of orphans and of what this process has started before it became the front.

        A handler may interrupt itself, as often as children end: then the first one looks once more.
        """
        self._ended = True
        while self._ended and not self._reaping:
            self._ended, self._reaping = False, True
            with contextlib.suppress(OSError):  # no descriptor is free: they are reaped when the next one ends
                for child in subreaper.children():
                    if child != self._worker:
                        subreaper.reap(child)
            self._reaping = False

    def _child_changed(self, *_: object) -> None:
        self._reap()
        if self._suspends and self._worker_has_stopped():
            if self._suspension.wanted:
                self._suspension.stop()
            signal.pidfd_send_signal(self._pidfd, signal.SIGCONT)

    def _worker_has_stopped(self) -> bool:
        with contextlib.suppress(ChildProcessError):  # it has ended
            return os.waitid(os.P_PID, self._worker, os.WSTOPPED | os.WNOHANG) is not None
        return False

    def _suspend(self) -> None:
        """Have the worker stop all that it runs, and itself: then this process stops, and its shell sees that."""
        if self._worker_is_gone:
            suspension.suspend(self._suspension.stop)
        else:
            signal.pidfd_send_signal(self._pidfd, signal.SIGTSTP)

    def _forward(self, number: int, _frame: FrameType | None) -> None:
        """Send a signal to the worker; when that is gone, it can only hurry the end of what is left."""
        answer = Answer.NOTHING
        if number in STOP_SIGNALS:
            self._request, answer = self._request.after(number, time.monotonic())
            self._copies.abandon()
        if not self._worker_is_gone:
            signal.pidfd_send_signal(self._pidfd, number)
            if number in STOP_SIGNALS:  # a stopped process could not act
                signal.pidfd_send_signal(self._pidfd, signal.SIGCONT)
        elif answer is Answer.HURRY:
            self._roundup.cancel(grace=0, hurried=self._request.hurried)
