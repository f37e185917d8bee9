"""Signals the process group of a command."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Protocol

from gracefulexitcmd.posix import linux, process_table

if TYPE_CHECKING:
    from gracefulexitcmd.posix.spawn import Child


class Group(Protocol):
    """The process group of a started command; it keeps descriptors open until `close`."""

    pid: int
    exit_descriptor: int
    """Readable once the leader has exited."""

    def collect(self) -> int | None:
        """Return the leader's status once it has exited, as in `subprocess`; None if another thread reaped it."""

    def signal(self, number: int) -> bool:
        """Send a signal to every member; return whether any member is left."""

    def signal_leader(self, number: int) -> None:
        """Send a signal to the leader alone, if it has not been reaped."""

    def close(self) -> bool:
        """Close the descriptors and return whether the group is empty; it must not be signalled afterwards."""


def open_group(process: Child) -> Group:
    """Return the group of a command that was started with `process_group=0`."""
    if process_table.portable:
        return NumberedGroup(process, _exit_pipe(process.pid))
    try:
        pidfd = os.pidfd_open(process.pid)
    except ProcessLookupError:
        # It was reaped already, for example because SIGCHLD is ignored: there is no exit to wait for.
        return NumberedGroup(process, _exit_pipe(process.pid))
    if linux.can_signal_group(pidfd):
        return PidfdGroup(process, pidfd)
    return NumberedGroup(process, pidfd)


class PidfdGroup:
    """A group that is signalled through its leader's pidfd, which stays valid after the leader was reaped."""

    def __init__(self, process: Child, pidfd: int) -> None:
        self.pid = process.pid
        self.exit_descriptor = pidfd
        self._process = process

    def collect(self) -> int | None:
        return _reap(self._process)

    def signal(self, number: int) -> bool:
        try:
            return linux.signal_group(self.exit_descriptor, number)
        except PermissionError:  # kill(2): this user may not signal any member
            return True

    def signal_leader(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            signal.pidfd_send_signal(self.exit_descriptor, number)

    def close(self) -> bool:
        empty = not self.signal(0)
        os.close(self.exit_descriptor)
        return empty


class NumberedGroup:
    """A group that is signalled by its number, which is safe only while the leader is not reaped.

    So the leader's status is read without reaping it, and the leader stays a zombie until `close`.
    """

    def __init__(self, process: Child, exit_descriptor: int) -> None:
        self.pid = process.pid
        self.exit_descriptor = exit_descriptor
        self._process = process
        self._exited = False

    def collect(self) -> int | None:
        self._exited = True
        try:
            result = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        except ChildProcessError:
            return None
        assert result is not None
        return result.si_status if result.si_code == os.CLD_EXITED else -result.si_status

    def signal(self, number: int) -> bool:
        if self._process.returncode is not None or self._reaped_by_others():
            return False
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            return False
        except PermissionError:
            # Linux: some member belongs to another user. macOS: only zombies are left.
            return sys.platform == "linux"
        return True

    def signal_leader(self, number: int) -> None:
        if self._process.returncode is None and not self._reaped_by_others():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(self.pid, number)

    def close(self) -> bool:
        if self._exited:
            _reap(self._process)
        os.close(self.exit_descriptor)
        # Signal 0 only tests the number, kill(2): another group may have it by now.
        return not _exists(self.pid)

    def _reaped_by_others(self) -> bool:
        try:
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
        except ChildProcessError:
            return True
        return False


def _exists(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _reap(process: Child) -> int | None:
    """Reap a child that has exited and return its status; unlike `Popen.wait` return None if another thread did."""
    try:
        _, status = os.waitpid(process.pid, 0)
    except ChildProcessError:
        process.returncode = 0
        return None
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode


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
