"""What Linux tells of processes: `/proc` and pidfds. Numbers and field names are those of proc(5)."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from typing import TYPE_CHECKING, TypeAlias

from gracefulexitcmd.named_tuple import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PIDFD_SIGNAL_PROCESS_GROUP = 4
"""Flag of pidfd_send_signal(2), Linux 6.9: the signal goes to the group whose leader the pidfd names."""

GONE = (FileNotFoundError, ProcessLookupError, PermissionError)
"""What reading from `/proc` raises for a process that is gone, or hidden; not for want of a descriptor."""

MOST_LOOKS = 100
"""Scans for processes born since the last scan, on a system that never stops starting processes."""

MOST_READ = 1 << 16
"""Bytes asked for at once; a list of `/proc` comes in pieces of a page (seq_read_iter in fs/seq_file.c)."""


_first_seen: dict[int, int] = {}
"""When children were first seen that `/proc` hides, in clock ticks since boot."""

Identity: TypeAlias = tuple[int, int]
"""Pid and start time, in clock ticks since boot: a pid alone can be given away."""


class Process(NamedTuple):
    """A process as `/proc/PID/stat` shows it; `start_time` is in clock ticks since boot."""

    pid: int
    state: str
    parent: int
    group: int
    session: int
    start_time: int
    threads: int = 1

    @property
    def identity(self) -> Identity:
        """What no other process has."""
        return self.pid, self.start_time

    @property
    def alive(self) -> bool:
        """Whether it can still do something: zombies cannot, unless it is only their first thread that has ended."""
        return self.state not in "ZX" or self.threads > 1


def process(pid: int) -> Process | None:
    """The process with this number, None if there is none; OSError where no descriptor is free.

    One that `/proc` hides is seen only if it is a child of this process.
    """
    try:
        text = _content(f"/proc/{pid}/stat")
    except GONE:
        return _hidden_child(pid)
    # The command's name stands in parentheses and may itself hold blanks and parentheses.
    fields = text[text.rindex(b")") + 2 :].split(None, 20)
    state, parent, group, session = chr(fields[0][0]), int(fields[1]), int(fields[2]), int(fields[3])
    return Process(pid, state, parent, group, session, start_time=int(fields[19]), threads=int(fields[17]))


def _hidden_child(pid: int) -> Process | None:
    """A child that `/proc` does not show: with `hidepid` those that are not dumpable, prctl(2), even of our own user.

    Its number cannot be given away before this process has reaped it, so the time at which it is first seen does for
    its start time.
    """
    try:
        ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        group, session = os.getpgid(pid), os.getsid(pid)
    except OSError:  # it is not a child
        _first_seen.pop(pid, None)
        return None
    since = _first_seen.setdefault(pid, ticks_since_boot())
    return Process(pid, "S" if ended is None else "Z", os.getpid(), group, session, since)


def exists(pid: int) -> bool:
    """Whether there is a process with this number, shown by `/proc` or not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def again(identity: Identity) -> Process | None:
    """The process with this identity as it is now, None if it is gone; OSError where no descriptor is free."""
    now = process(identity[0])
    return now if now is not None and now.identity == identity else None


def processes() -> Iterator[Process]:
    """All processes that this one can see; those that end meanwhile are left out, those born meanwhile are not.

    All that are alive at the end were seen alive: they were listed before the last scan, which found no new one.
    """
    seen: set[str] = set()
    for _ in range(MOST_LOOKS):
        born = {name for name in os.listdir("/proc") if name.isdecimal()} - seen
        if not born:
            return
        seen |= born
        yield from _existing(born)


def _existing(names: Iterable[str]) -> Iterator[Process]:
    for name in names:
        if (found := process(int(name))) is not None:
            yield found


def children(pid: int) -> Iterator[int]:
    """The numbers of a process's children, of all its threads (needs CONFIG_PROC_CHILDREN; else none).

    Raises OSError where no descriptor is free.
    """
    with contextlib.suppress(*GONE):
        for task in os.listdir(f"/proc/{pid}/task"):
            yield from _children_of_task(pid, task)


def _children_of_task(pid: int, task: str) -> list[int]:
    return [int(child) for child in children_text(pid, task).split()]


def children_text(pid: int, task: int | str) -> bytes:
    """Return the numbers of the children of one thread, with blanks between, the oldest first; empty if it is gone."""
    try:
        return _content(f"/proc/{pid}/task/{task}/children")
    except GONE:
        return b""


def descendants(pid: int) -> Iterator[int]:
    """Return the numbers of a process's children, their children and so on."""
    return (found.pid for found in trees([pid]) if found.pid != pid)


def trees(roots: Iterable[int]) -> Iterator[Process]:
    """Return the processes with these numbers and all their descendants, each once and before its children."""
    waiting, seen = list(roots), set[int]()
    while waiting:
        pid = waiting.pop()
        if pid not in seen and (found := process(pid)) is not None:
            seen.add(pid)
            yield found
            waiting += _children_of(found)


def _children_of(found: Process) -> Iterable[int]:
    """Return the children of a process without a list of its threads where it has only one."""
    if not found.alive:  # its children have another parent by now
        return ()
    return children(found.pid) if found.threads > 1 else _children_of_task(found.pid, str(found.pid))


def _content(path: str) -> bytes:
    """Read a file of `/proc` with as few calls as possible. Raise OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        parts = []
        while part := os.read(descriptor, MOST_READ):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(descriptor)


def argv(pid: int) -> tuple[str, ...]:
    """A process's arguments; the kernel's name for it in brackets when it has none (a zombie, a kernel thread)."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
        if text := file.read():
            first, *others = (os.fsdecode(word) for word in text.removesuffix(b"\0").split(b"\0"))
            # A title that is shorter than the arguments it stands over is followed by zeros.
            return (first, *others) if any(others) else (first,)
    name = comm(pid)
    return (f"[{name}]",) if name else ()


def comm(pid: int) -> str:
    """The kernel's name for a process, at most 15 bytes; empty if it is gone."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
        return file.read().rstrip()
    return ""


def exe(pid: int) -> str:
    """The path of the program that a process runs; empty if it is gone, or another user's."""
    with contextlib.suppress(OSError):
        return os.readlink(f"/proc/{pid}/exe")
    return ""


def holders(inodes: Iterable[int]) -> Iterator[int]:
    """The numbers of the processes, this one left out, that hold a pipe with one of these inodes open."""
    wanted = {f"pipe:[{inode}]" for inode in inodes}
    for name in os.listdir("/proc"):
        if name.isdecimal() and int(name) != os.getpid() and wanted.intersection(_open_files(name)):
            yield int(name)


def _open_files(pid: str) -> Iterator[str]:
    with contextlib.suppress(OSError):
        for descriptor in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                yield os.readlink(f"/proc/{pid}/fd/{descriptor}")


def open_pidfd(found: Process) -> int | None:
    """A pidfd of exactly this process, None if it is gone: its number may have been given to another one.

    Raises OSError where no descriptor is free.
    """
    try:
        descriptor = os.pidfd_open(found.pid)
    except ProcessLookupError:
        return None
    try:
        is_same = again(found.identity) is not None
    except OSError:
        os.close(descriptor)
        raise
    if is_same:
        return descriptor
    os.close(descriptor)
    return None


def signal_process(found: Process, number: int) -> None:
    """Send a signal to exactly this process. Raises ProcessLookupError or PermissionError where it cannot be sent."""
    if (pidfd := open_pidfd(found)) is not None:
        try:
            signal.pidfd_send_signal(pidfd, number)
        finally:
            os.close(pidfd)


def has_pidfd() -> bool:
    """Whether the kernel gives out pidfds (Linux 5.3, and not forbidden by a seccomp filter)."""
    if sys.platform != "linux" or not hasattr(os, "pidfd_open"):
        return False
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError:
        return False
    return True


def signal_group(pidfd: int, number: int) -> bool:
    """Send a signal to the whole group whose leader the pidfd names; return whether a process is in it.

    It works, and cannot reach a foreign group, even after the leader was reaped and its number given away.
    """
    try:
        signal.pidfd_send_signal(pidfd, number, None, PIDFD_SIGNAL_PROCESS_GROUP)
    except ProcessLookupError:
        return False
    return True


def can_signal_group(pidfd: int) -> bool:
    """Whether the kernel knows PIDFD_SIGNAL_PROCESS_GROUP (Linux 6.9)."""
    try:
        return signal_group(pidfd, 0)
    except PermissionError:  # the leader runs as another user already
        return True
    except OSError:
        return False


def environ(pid: int) -> bytes:
    """The environment that a process was started with, with NUL bytes between; empty where none is seen.

    None is seen of other users, and while a program is being executed. Raises OSError where no descriptor is free.
    """
    try:
        return _content(f"/proc/{pid}/environ")
    except GONE:
        return b""


def ticks_since_boot() -> int:
    """Now, on the clock of a process's start time."""
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK"))


def owner(pid: int) -> int | None:
    """The real user of a process, None where it is gone or hidden. Raises OSError where no descriptor is free."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            return next((int(line.split()[1]) for line in file if line.startswith(b"Uid:")), None)
    except GONE:
        return None


def file_system(descriptor: int) -> int:
    """The magic number of the file system that a file lies in, statfs(2). Raises OSError."""
    import ctypes

    status = (ctypes.c_uint32 * 128)()  # larger than struct statfs on every machine; f_type comes first
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.fstatfs(descriptor, status) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return int(status[0])
