"""A command and its process group, on any POSIX system."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Protocol

from gracefulexitcmd import linux

if TYPE_CHECKING:
    from collections.abc import Iterator

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

    def members(self) -> list[linux.Process]:
        """The members that are alive; OSError where they cannot be listed because no descriptor is free."""

    def close(self) -> None:
        """Give back what is held; the group must not be signalled afterwards."""


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

    def members(self) -> list[linux.Process]:
        return _group_members(self.pid) if self.signal(0) else []

    def close(self) -> None:
        os.close(self.exit_descriptor)


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

    def members(self) -> list[linux.Process]:
        return _group_members(self.pid)

    def close(self) -> None:
        if self._exited:
            _reap(self._process)
        os.close(self.exit_descriptor)

    def _reaped_by_others(self) -> bool:
        try:
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
        except ChildProcessError:
            return True
        return False


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


def _group_members(group: int) -> list[linux.Process]:
    # ps can miss a process that is born meanwhile and whose parent ends meanwhile, hence the second look.
    return _one_pass(group) if has_proc else _one_pass(group) or _one_pass(group)


def _one_pass(group: int) -> list[linux.Process]:
    return [process for process in processes() if process.group == group and process.alive]


def processes() -> Iterator[linux.Process]:
    """All processes that this one can see."""
    return linux.processes() if has_proc else _listed_processes()


def _listed_processes() -> Iterator[linux.Process]:
    """All processes as ps(1) lists them, for systems without `/proc`."""
    for line in _ps("-A", "-o", "pid=", "-o", "stat=", "-o", "ppid=", "-o", "pgid=").splitlines():
        pid, state, parent, group = line.split()
        yield linux.Process(int(pid), state[0], int(parent), int(group), session=0, start_time=0)


def tree(leader: int) -> list[linux.Process]:
    """The leader and those of its descendants that are in its group, as far as that is quickly known."""
    if not has_proc:
        return _one_pass(leader)
    found = map(linux.process, (leader, *linux.descendants(leader)))
    return [process for process in found if process is not None and process.group == leader and process.alive]


def argv(pid: int) -> tuple[str, ...]:
    """A process's arguments as far as the system tells them."""
    if has_proc:
        return linux.argv(pid)
    with contextlib.suppress(OSError):
        return tuple(_ps("-ww", "-o", "command=", "-p", str(pid)).split())
    return ()


def _ps(*options: str) -> str:
    """What ps(1) prints; OSError where it fails, as it does for a process that is gone."""
    listing = subprocess.run(["ps", *options], stdin=subprocess.DEVNULL, capture_output=True)
    if listing.returncode != 0:
        raise OSError(f"ps ended with status {listing.returncode}")
    return listing.stdout.decode(errors="replace")
