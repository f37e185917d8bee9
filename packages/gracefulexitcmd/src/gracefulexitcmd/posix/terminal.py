"""Handles the controlling terminal and commands that run in its foreground or that it stopped, termios(3)."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import termios
import threading

from gracefulexitcmd.clock import CLOCK

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

ADVICE = (
    "%s (pid %d) was stopped by %s, as it uses the terminal from the background: it waits until it is continued. "
    "Give foreground=True if it is to ask there, or start it in a way that does not ask"
)

STOPPED_BY_TERMINAL = (signal.SIGTTIN, signal.SIGTTOU)


_without: int | None = None
"""The session that was seen to have no terminal. Only its leader can give it one, which hardly ever happens later."""


def opened(*, needed: bool = False) -> int | None:
    """Open the controlling terminal and return its descriptor; None if this process has none.

    Without `needed` do not look again in a session that had none.
    """
    global _without
    session = os.getsid(0)
    if session == _without and not needed:
        return None
    try:
        return os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ENXIO:  # tty(4)
            _without = session
        return None


class Foreground:
    """Keeps a command's process group in the foreground of a terminal until `close`.

    It moves the group there only if this program is in the foreground itself.
    """

    def __init__(self, terminal: int, group: int) -> None:
        self._terminal: int | None = terminal
        self._group = group
        self._modes: list[Any] = termios.tcgetattr(terminal)
        self._lock = threading.Lock()
        self._give()

    def close(self, *, restore: bool) -> None:
        """Return the foreground to this program.

        With `restore` also reset the terminal's modes, which a killed program may have left changed.
        """
        with self._lock:
            if self._terminal is not None:
                self._take(self._modes if restore else None)
                os.close(self._terminal)
                self._terminal = None

    def suspend(self) -> None:
        """Stop this program after Ctrl-Z stopped the command, so that the shell sees it; then continue the command.

        Deadlines do not advance meanwhile. In an orphaned process group the kernel ignores SIGTSTP, and nothing stops.
        """
        with self._lock:
            if self._terminal is None:
                return
            modes = termios.tcgetattr(self._terminal)
            self._take(self._modes)
            CLOCK.stop()
            # A signal to the calling thread takes effect before the call returns: the process stops here, signal(7).
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTSTP])
            signal.pthread_kill(threading.get_ident(), signal.SIGTSTP)
            CLOCK.go_on()
            if self._give():
                _quietly(lambda terminal: termios.tcsetattr(terminal, termios.TCSADRAIN, modes), self._terminal)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._group, signal.SIGCONT)

    def _give(self) -> bool:
        """Put the command into the foreground and continue it, as the terminal may have stopped it already.

        Return whether that was done.
        """
        assert self._terminal is not None
        with contextlib.suppress(OSError):  # the terminal has hung up
            if os.tcgetpgrp(self._terminal) == os.getpgrp():
                _quietly(lambda terminal: os.tcsetpgrp(terminal, self._group), self._terminal)
                if _stopped_by(self._group) != signal.SIGTSTP:  # else Ctrl-Z came already: `_watch` will see it
                    os.killpg(self._group, signal.SIGCONT)
                return True
        return False

    def _take(self, modes: list[Any] | None) -> None:
        assert self._terminal is not None
        with contextlib.suppress(OSError):
            if os.tcgetpgrp(self._terminal) == self._group:
                _quietly(lambda terminal: os.tcsetpgrp(terminal, os.getpgrp()), self._terminal)
                if modes is not None:
                    _quietly(lambda terminal: termios.tcsetattr(terminal, termios.TCSADRAIN, modes), self._terminal)


def foreground(terminal: int, group: int) -> Foreground | None:
    """Put a command's group into the foreground of a terminal; return None if the terminal has hung up."""
    with contextlib.suppress(termios.error):
        return Foreground(terminal, group)
    return None


def watch(pid: int, argv: str, foreground: Foreground | None) -> None:
    """Watch in a new thread for a stop of the command: Ctrl-Z in the foreground stops this program as well.

    Log a warning if the terminal stops a background command, which would otherwise wait for ever in silence.
    """
    with contextlib.suppress(RuntimeError):  # no thread can be started
        threading.Thread(target=_watch, args=(pid, argv, foreground), name=f"watch {pid}", daemon=True).start()


def _stopped_by(pid: int) -> int | None:
    """Return the signal that has stopped a child, unless `_watch` has seen it; None if it runs or was reaped."""
    with contextlib.suppress(ChildProcessError):
        stopped = os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT)
        return None if stopped is None else stopped.si_status
    return None


def _watch(pid: int, argv: str, foreground: Foreground | None) -> None:
    with contextlib.suppress(ChildProcessError):  # it was reaped
        while True:
            changed = os.waitid(os.P_PID, pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
            if changed is None or changed.si_code not in (os.CLD_STOPPED, os.CLD_TRAPPED):
                return
            os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOHANG)  # consume it: WNOWAIT would report the same stop again
            if foreground is not None and changed.si_status == signal.SIGTSTP:
                foreground.suspend()
            elif changed.si_status in STOPPED_BY_TERMINAL:
                _warn(pid, argv, signal.Signals(changed.si_status))


def _warn(pid: int, argv: str, number: signal.Signals) -> None:
    import logging  # few commands need it

    logging.getLogger("gracefulexitcmd").warning(ADVICE, argv, pid, number.name)


def _quietly(change: Callable[[int], None], terminal: int) -> None:
    """Change a setting of the terminal with SIGTTOU blocked, which would stop a background process, tcsetpgrp(3)."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTTOU])
    try:
        with contextlib.suppress(OSError, termios.error):  # the terminal has hung up, or the group has gone
            change(terminal)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
