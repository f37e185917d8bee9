"""Signals the process group of a command."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading

from gracefulexitcmd.posix import process_table

TYPE_CHECKING = False

if TYPE_CHECKING:
    from gracefulexitcmd.posix.spawn import Child

PIDFD_SIGNAL_PROCESS_GROUP = 4
"""Flag of pidfd_send_signal(2), Linux 6.9: the signal goes to the group that the pidfd's process leads."""


class Group:
    """The process group of a command that was started with `process_group=0`; it must be closed.

    From Linux 6.9 the leader's pidfd identifies the group, even after the leader was reaped. Elsewhere only the number
    does. The kernel may give it to another group once the leader is reaped, so the leader stays a zombie until `close`.
    """

    def __init__(self, process: Child) -> None:
        """Open it. Raise OSError if no descriptor is free, and RuntimeError if no thread can be started."""
        self.pid = process.pid
        self._process = process
        self._exited = False
        pidfd = _open_pidfd(process.pid)
        self._by_pidfd = pidfd is not None and pidfd_signals_group(pidfd)
        self.exit_descriptor = _exit_pipe(process.pid) if pidfd is None else pidfd
        """Readable once the leader has exited."""

    def collect(self) -> int | None:
        """Return the leader's status once it has exited, as in `subprocess`; None if another thread reaped it."""
        self._exited = True
        if self._by_pidfd:
            return self._reap()
        try:
            result = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        except ChildProcessError:
            return None
        assert result is not None
        return result.si_status if result.si_code == os.CLD_EXITED else -result.si_status

    def signal(self, number: int) -> bool:
        """Send a signal to every member; return whether any member is left."""
        try:
            if self._by_pidfd:
                signal.pidfd_send_signal(self.exit_descriptor, number, None, PIDFD_SIGNAL_PROCESS_GROUP)
            elif self._is_reaped():
                return False
            else:
                os.killpg(self.pid, number)
        except ProcessLookupError:
            return False
        except PermissionError:
            # Linux: some member belongs to another user, kill(2). macOS: only zombies are left.
            return sys.platform == "linux"
        return True

    def signal_leader(self, number: int) -> None:
        """Send a signal to the leader alone, if it has not been reaped."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if self._by_pidfd:
                signal.pidfd_send_signal(self.exit_descriptor, number)
            elif not self._is_reaped():
                os.kill(self.pid, number)

    def is_empty(self) -> bool:
        """Reap the leader if it has exited, and return whether the group has no other member."""
        self._reap_exited()
        # By the number signal 0 only tests, kill(2): another group may have it by now.
        return not self.signal(0) if self._by_pidfd else process_table.can_signal(-self.pid) is None

    def close(self) -> None:
        """Reap the leader if it has exited, and close the descriptor."""
        self._reap_exited()
        os.close(self.exit_descriptor)

    def _reap_exited(self) -> None:
        if self._exited and self._process.returncode is None:
            self._reap()

    def _reap(self) -> int | None:
        """Reap the leader and return its status; unlike `Popen.wait` return None if another thread reaped it."""
        try:
            _, status = os.waitpid(self.pid, 0)
        except ChildProcessError:
            self._process.returncode = 0
            return None
        self._process.returncode = os.waitstatus_to_exitcode(status)
        return self._process.returncode

    def _is_reaped(self) -> bool:
        """Return whether the leader was reaped, here or by another thread."""
        if self._process.returncode is not None:
            return True
        try:
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
        except ChildProcessError:
            return True
        return False


_signals_group: bool | None = None


def pidfd_signals_group(pidfd: int) -> bool:
    """Return whether the kernel has PIDFD_SIGNAL_PROCESS_GROUP, as the first pidfd has shown."""
    global _signals_group
    if _signals_group is None:
        try:
            signal.pidfd_send_signal(pidfd, 0, None, PIDFD_SIGNAL_PROCESS_GROUP)
        except ProcessLookupError:  # the leader was reaped, as SIGCHLD is ignored: the next one may show it
            return False
        except OSError as error:
            _signals_group = isinstance(error, PermissionError)  # the leader runs as another user already
        else:
            _signals_group = True
    return _signals_group


def _open_pidfd(pid: int) -> int | None:
    """Return a pidfd of a child; None if the system has none, or if the child was reaped as SIGCHLD is ignored."""
    try:
        return None if process_table.portable else os.pidfd_open(pid)
    except ProcessLookupError:
        return None


def _exit_pipe(pid: int) -> int:
    """Return a descriptor that becomes readable when a child has exited; a thread waits for the child.

    Raise RuntimeError if no thread can be started.
    """
    reader, writer = os.pipe()

    def wait() -> None:
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        os.close(writer)

    try:
        threading.Thread(target=wait, name=f"wait for {pid}", daemon=True).start()
    except RuntimeError:  # no thread can be started
        os.close(reader)
        os.close(writer)
        raise
    return reader
