"""Runs the work in a second process; the two watch each other, so that the death of either leaves no orphan.

The supervisor keeps the pid, the process group and the terminal that its caller knows. It only forwards signals. The
worker does the work in a session of its own. When the worker is killed, the supervisor adopts its orphans and ends
them gracefully. When the supervisor is killed, even with its whole process group, a pipe informs the worker, which can
then stop gracefully.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable

from gracefulexitcmd.handlers import ignore
from gracefulexitcmd.posix import process_table, subreaper, suspension, takeover
from gracefulexitcmd.posix.container import ManualContainer
from gracefulexitcmd.posix.orphans import COOKIE
from gracefulexitcmd.posix.suspension import Suspension
from gracefulexitcmd.stop_request import STOP_SIGNALS, Answer, StopRequest
from gracefulexitcmd.termination import Termination

TYPE_CHECKING = False

if TYPE_CHECKING:
    from types import FrameType
    from typing import TypeAlias

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
"""A function that does the work and returns the exit status.

Its argument is a descriptor that becomes readable when the supervisor has ended; None if there is no supervisor.
"""

Killed: TypeAlias = Callable[[int, "Exit | None"], object]
"""A function that the supervisor calls after a signal killed the worker.

Its arguments are the signal, and how the worker's orphans were ended; None if there were none.
"""


def supervise(work: Work, grace: float | Callable[[], float], killed: Killed, *, suspends: bool = False) -> int:
    """Do the work in a second process; return, in either process, the exit status of the work.

    With `suspends` SIGTSTP is forwarded, too. The work then calls `suspend_all`, which stops all that it runs and this
    process. SIGCONT continues everything.

    Call it before the first thread starts. When the worker is killed, its orphans get SIGTERM, `grace` seconds, then
    SIGKILL; the status is 128 plus the signal that killed it. A function as `grace` is called when the worker has
    ended. When the worker ends by itself, only processes that certainly come from it are ended, because the worker has
    decided about the others. Without subreapers or pidfds the work runs in this process, without a supervisor.
    """
    if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
        # If it is inherited as ignored, the kernel reaps every child, wait(2), and the worker's status would be lost.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if process_table.portable or not subreaper.become():
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        return work(None)
    orphaned = ManualContainer()
    # A process can leave a session but never enter one, setsid(2): no process of this session comes from the worker.
    orphaned.spared_session = os.getsid(0)
    supervisor_ended, supervisor_lives = os.pipe()
    copies, offers = takeover.pair()
    # A signal that arrives before the handlers are set would end the supervisor alone, so block these signals. Later
    # the mask is emptied, even of signals that we inherited as blocked: the caller must be able to stop us.
    signal.pthread_sigmask(signal.SIG_SETMASK, (*FORWARDED, signal.SIGTSTP))
    worker = os.fork()
    if worker != 0:
        os.close(supervisor_ended)
        offers.forget()
        return _Supervisor(worker, orphaned, grace, copies, suspends=suspends).watch(killed)
    os.close(supervisor_lives)
    copies.forget()
    takeover.offers = offers
    os.environ[COOKIE] = orphaned.cookies
    orphaned.close()
    os.setsid()
    _note_supervisor(os.getppid())
    if suspends:
        _stop_with_supervisor()
    subreaper.become()
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    return work(supervisor_ended)


def _note_supervisor(pid: int) -> None:
    """Note the supervisor as an owner in later ledgers: none of them is abandoned while it lives."""
    process = process_table.process(pid)
    subreaper.supervisor = None if process is None else process.identity


def _stop_with_supervisor() -> None:
    """Stop this worker when the supervisor sends SIGTSTP, and continue it if the supervisor is killed meanwhile."""
    suspension.has_supervisor = True
    if signal.getsignal(signal.SIGTSTP) is not signal.SIG_IGN:
        signal.signal(signal.SIGTSTP, lambda *_: suspension.stop_worker())
    subreaper.signal_at_parents_death(signal.SIGCONT)


class _Supervisor:
    """The supervisor: the process that the caller knows."""

    def __init__(
        self,
        worker: int,
        orphaned: ManualContainer,
        grace: float | Callable[[], float],
        copies: takeover.Copies,
        *,
        suspends: bool,
    ) -> None:
        self._worker = worker
        self._copies = copies
        self._pidfd = os.pidfd_open(worker)
        self._orphaned = orphaned
        self._grace = grace
        self._termination: Termination | None = None
        """The end of the orphans, once the worker has ended."""
        self._reaping = False
        self._ended = False
        self._suspends = suspends
        self._suspension = Suspension()
        self._request = StopRequest()

    def watch(self, killed: Killed) -> int:
        """Wait until the worker ends, end its orphans, and return its exit status."""
        for number in FORWARDED:
            # A signal that was inherited as ignored, as by nohup(1), stays so, except SIGTERM: CI cancels jobs by it.
            if number is signal.SIGTERM or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._forward)
        if self._suspends:
            self._suspension.listen(self._suspend)
        signal.signal(signal.SIGCHLD, self._child_changed)
        self._reap()  # children that ended before the handler was set
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        self._wait()
        self._termination = Termination(self._orphaned, self._grace() if callable(self._grace) else self._grace)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        _, status = os.waitpid(self._worker, 0)
        code = os.waitstatus_to_exitcode(status)
        self._orphaned.suspicious = code < 0
        if self._request.hurried is not None:
            self._termination.cancel(grace=0, hurried=self._request.hurried)
        with self._copies.read_on():
            left = None if self._orphaned.surely_empty() else self._termination.run()
        if self._request.at is not None:
            ignore(STOP_SIGNALS)
        if code >= 0:
            return code
        killed(-code, left)
        return 128 - code

    def _wait(self) -> None:
        """Wait until the worker ends; receive the pipes that it sends meanwhile.

        Each signal also writes to a pipe: the handler of one that arrives just before poll(2) would run after the wait.
        """
        poll = select.poll()  # not select(2), which takes no descriptor above 1023
        woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        for descriptor in (self._pidfd, self._copies.fileno(), woken):
            poll.register(descriptor, select.POLLIN)
        while self._pidfd not in (ready := [descriptor for descriptor, _ in poll.poll()]):
            if woken in ready:
                os.read(woken, 4096)
            self._copies.receive()
        signal.set_wakeup_fd(-1)
        os.close(woken)
        os.close(wake)

    def _reap(self, *_: object) -> None:
        """Reap orphans, and children that this process started before it became the supervisor.

        A handler may interrupt itself, as often as children end. Then the first call reaps once more.
        """
        self._ended = True
        while self._ended and not self._reaping:
            self._ended, self._reaping = False, True
            with contextlib.suppress(OSError):  # no descriptor is free: reap them when the next child ends
                for child in process_table.children(os.getpid()):
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
        """Have the worker stop all that it runs and itself; then this process stops, so that its shell sees it."""
        if self._termination is not None:
            suspension.suspend(self._suspension.stop)
        else:
            signal.pidfd_send_signal(self._pidfd, signal.SIGTSTP)

    def _forward(self, number: int, _frame: FrameType | None) -> None:
        """Send a signal to the worker; after the worker's end it can only shorten the grace period of the orphans."""
        answer = Answer.NOTHING
        if number in STOP_SIGNALS:
            self._request, answer = self._request.after(number, time.monotonic())
            self._copies.abandon()
        if self._termination is None:
            if number in STOP_SIGNALS:
                # A stopped process could not act. SIGCONT comes first, as it would discard a SIGTSTP whose handler
                # interrupts this one.
                signal.pidfd_send_signal(self._pidfd, signal.SIGCONT)
            signal.pidfd_send_signal(self._pidfd, number)
        elif answer is Answer.HURRY:
            self._termination.cancel(grace=0, hurried=self._request.hurried)
