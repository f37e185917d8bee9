"""A command and its process group, on any POSIX system."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Protocol

from gracefulexitcmd import linux
from gracefulexitcmd.belonging import UNKNOWN_SESSION

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

portable = not linux.has_pidfd()
"""Whether to do without pidfds; tests set it to try the path of the systems that have none."""

has_proc = sys.platform == "linux"
"""Whether `/proc` lists the processes; where it does not, ps(1) does."""


class Group(Protocol):
    """The process group of a command that was started; it holds descriptors until `close`."""

    pid: int
    exit_descriptor: int
    """Readable once the leader has exited."""

    def collect(self) -> int | None:
        """The leader's status once it has exited, as in `subprocess`; None when somebody else took it."""

    def signal(self, number: int) -> bool:
        """Send a signal to every member; False when nobody is left."""

    def close(self) -> bool:
        """Give back what is held, and tell whether nobody is left; it must not be signalled afterwards."""


def open_group(process: subprocess.Popen[bytes]) -> Group:
    """The group of a command started with `process_group=0`."""
    if portable:
        return NumberedGroup(process, _exit_pipe(process.pid))
    try:
        pidfd = os.pidfd_open(process.pid)
    except ProcessLookupError:
        # Somebody reaped it already (SIGCHLD is ignored, say): there is nothing left to wait for.
        return NumberedGroup(process, _exit_pipe(process.pid))
    if linux.can_signal_group(pidfd):
        return PidfdGroup(process, pidfd)
    return NumberedGroup(process, pidfd)


class PidfdGroup:
    """A group that is signalled through its leader's pidfd, which stays right after the leader was reaped."""

    def __init__(self, process: subprocess.Popen[bytes], pidfd: int) -> None:
        self.pid = process.pid
        self.exit_descriptor = pidfd
        self._process = process

    def collect(self) -> int | None:
        return _reap(self._process)

    def signal(self, number: int) -> bool:
        try:
            return linux.signal_group(self.exit_descriptor, number)
        except PermissionError:  # kill(2): no member may be signalled by this user
            return True

    def close(self) -> bool:
        empty = not self.signal(0)
        os.close(self.exit_descriptor)
        return empty


class NumberedGroup:
    """A group that is signalled by its number, which is safe only while the leader is not reaped.

    The leader's status is therefore read without reaping it, and it stays a zombie until `close`.
    """

    def __init__(self, process: subprocess.Popen[bytes], exit_descriptor: int) -> None:
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

    def close(self) -> bool:
        if self._exited:
            _reap(self._process)
        os.close(self.exit_descriptor)
        # Nobody can be signalled by this: the number may be another group's by now.
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


def _reap(process: subprocess.Popen[bytes]) -> int | None:
    """Take the status of a child that has exited; unlike `Popen.wait` this tells when somebody else took it."""
    try:
        _, status = os.waitpid(process.pid, 0)
    except ChildProcessError:
        process.returncode = 0
        return None
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode


def _exit_pipe(pid: int) -> int:
    """A descriptor that becomes readable when a child has exited, by a thread that waits for it."""
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


def processes() -> Iterator[linux.Process]:
    """All processes that this one can see."""
    return linux.processes() if has_proc else _listed_processes()


def _listed_processes() -> Iterator[linux.Process]:
    """All processes as ps(1) lists them, for systems without `/proc`; start times are seconds since the epoch."""
    listed = _ps("-A", "-o", "pid=", "-o", "stat=", "-o", "ppid=", "-o", "pgid=", "-o", "lstart=")
    for line in listed.splitlines():
        pid, state, parent, group, started = line.split(None, 4)
        start_time = int(time.mktime(time.strptime(started.strip(), "%a %b %d %H:%M:%S %Y")))
        yield linux.Process(int(pid), state[0], int(parent), int(group), UNKNOWN_SESSION, start_time)


def now() -> int:
    """Now, on the clock of processes' start times; never later than that of a process started after this."""
    # ps(1) works a start time out from the age in whole seconds, so it can be one too early.
    return linux.ticks_since_boot() if has_proc else int(time.time()) - 1


def signal_process(found: linux.Process, number: int) -> None:
    """Send a signal to exactly this process; nothing happens when it is gone or may not be signalled."""
    assert found.pid > 1, "0 and -1 are groups and everybody, 1 is the system's"
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if not portable:
            linux.signal_process(found, number)
        elif not has_proc or _is_still(found):
            os.kill(found.pid, number)


def _is_still(found: linux.Process) -> bool:
    now = linux.process(found.pid)
    return now is not None and now.start_time == found.start_time


def may_signal(found: linux.Process) -> bool:
    """Whether this user may signal a process."""
    try:
        os.kill(found.pid, 0)
    except PermissionError:
        return False
    except ProcessLookupError:
        return True
    return True


def trees(roots: Iterable[int]) -> Iterator[linux.Process]:
    """The processes with these numbers and their descendants, found quickly; all there are, where that is not."""
    return linux.trees(roots) if has_proc else _listed_processes()


def argv(pid: int) -> tuple[str, ...]:
    """A process's arguments as far as the system tells them."""
    if has_proc:
        return linux.argv(pid)
    with contextlib.suppress(OSError):
        return tuple(_ps("-ww", "-o", "command=", "-p", str(pid)).split())
    return ()


def _ps(*options: str) -> str:
    """What ps(1) prints; OSError where it fails, as it does for a process that is gone."""
    env = {**os.environ, "LC_ALL": "C"}
    listing = subprocess.run(["ps", *options], stdin=subprocess.DEVNULL, capture_output=True, env=env)
    if listing.returncode != 0:
        raise OSError(f"ps ended with status {listing.returncode}")
    return listing.stdout.decode(errors="replace")
