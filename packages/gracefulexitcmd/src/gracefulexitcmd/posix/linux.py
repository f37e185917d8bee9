"""Reads processes from `/proc` and signals them by pidfds. Numbers and field names are those of proc(5)."""

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
"""Flag of pidfd_send_signal(2), Linux 6.9: the signal goes to the group that the pidfd's process leads."""

GONE = (FileNotFoundError, ProcessLookupError, PermissionError)
"""Errors of reading from `/proc` if a process is gone or hidden; a lack of descriptors is another error."""

MOST_LOOKS = 100
"""Scans for new processes at most, on a system that never stops starting processes."""

MOST_READ = 1 << 16
"""Bytes of one read(2); a list in `/proc` comes in pieces of a page (seq_read_iter in fs/seq_file.c)."""


_first_seen: dict[int, int] = {}
"""Clock ticks since boot at which each child that `/proc` hides was first seen, by pid."""

Identity: TypeAlias = tuple[int, int]
"""Pid and start time, in clock ticks since boot: the kernel may reuse a pid alone."""


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
        """Pid and start time, which no other process shares."""
        return self.pid, self.start_time

    @property
    def alive(self) -> bool:
        """Whether it can still run. A zombie cannot, unless only its first thread has ended."""
        return self.state not in "ZX" or self.threads > 1


def process(pid: int) -> Process | None:
    """Return the process with this pid; None if there is none. Raise OSError if no descriptor is free.

    A process that `/proc` hides is found only if it is a child of this process.
    """
    try:
        text = _content(f"/proc/{pid}/stat")
    except GONE:
        return _hidden_child(pid)
    # The program's name is in parentheses, and may itself contain spaces and parentheses.
    fields = text[text.rindex(b")") + 2 :].split(None, 20)
    state, parent, group, session = chr(fields[0][0]), int(fields[1]), int(fields[2]), int(fields[3])
    return Process(pid, state, parent, group, session, start_time=int(fields[19]), threads=int(fields[17]))


def _hidden_child(pid: int) -> Process | None:
    """Return a child that `/proc` hides; None if the pid is not a child.

    With `hidepid` the kernel hides processes that are not dumpable, prctl(2), even those of this user. The pid of a
    child is not reused before this process has reaped it. So the time at which it was first seen can be its start time.
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
    """Return whether there is a process with this pid, shown by `/proc` or not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def again(identity: Identity) -> Process | None:
    """Return the process with this identity as it is now; None if it is gone.

    Raise OSError if no descriptor is free.
    """
    now = process(identity[0])
    return now if now is not None and now.identity == identity else None


def processes() -> Iterator[Process]:
    """Yield all processes that this one can see, with those born meanwhile, without those that end meanwhile.

    Every process that is alive at the end was yielded: the last scan found no new one.
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
    """Yield the pids of the children of all threads of a process; none if the kernel lacks CONFIG_PROC_CHILDREN.

    Raise OSError if no descriptor is free.
    """
    with contextlib.suppress(*GONE):
        for task in os.listdir(f"/proc/{pid}/task"):
            yield from _children_of_task(pid, task)


def _children_of_task(pid: int, task: str) -> list[int]:
    return [int(child) for child in children_text(pid, task).split()]


def children_text(pid: int, task: int | str) -> bytes:
    """Return the pids of one thread's children, separated by spaces, the oldest first; empty if it is gone."""
    try:
        return _content(f"/proc/{pid}/task/{task}/children")
    except GONE:
        return b""


def has_children(pid: int) -> bool:
    """Return whether a process may have children: False is certain, if the kernel has CONFIG_PROC_CHILDREN.

    The directory of its threads has one link for each and two more (proc_task_getattr in fs/proc/base.c). Raise OSError
    if no descriptor is free.
    """
    try:
        return os.stat(f"/proc/{pid}/task").st_nlink > 3 or children_text(pid, pid) != b""
    except GONE:
        return False


def descendants(pid: int) -> Iterator[int]:
    """Yield the pids of a process's children, their children and so on."""
    return (found.pid for found in trees([pid]) if found.pid != pid)


def trees(roots: Iterable[int]) -> Iterator[Process]:
    """Yield the processes with these pids and all their descendants, each once and before its children."""
    waiting, seen = list(roots), set[int]()
    while waiting:
        pid = waiting.pop()
        if pid not in seen and (found := process(pid)) is not None:
            seen.add(pid)
            yield found
            waiting += _children_of(found)


def _children_of(found: Process) -> Iterable[int]:
    """Return the pids of a process's children; do not list its threads if it has only one."""
    if not found.alive:  # its children have another parent by now
        return ()
    return children(found.pid) if found.threads > 1 else _children_of_task(found.pid, str(found.pid))


def _content(path: str) -> bytes:
    """Return a file of `/proc`, read with as few system calls as possible. Raise OSError if it cannot be read."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        parts = []
        while part := os.read(descriptor, MOST_READ):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(descriptor)


def argv(pid: int) -> tuple[str, ...]:
    """Return the arguments of a process; the kernel's name in brackets if it has none, as a zombie or kernel thread."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
        if text := file.read():
            first, *others = (os.fsdecode(word) for word in text.removesuffix(b"\0").split(b"\0"))
            # A title that is shorter than the arguments that it overwrites is followed by zero bytes.
            return (first, *others) if any(others) else (first,)
    name = comm(pid)
    return (f"[{name}]",) if name else ()


def comm(pid: int) -> str:
    """Return the kernel's name for a process, at most 15 bytes; empty if it is gone."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
        return file.read().rstrip()
    return ""


def exe(pid: int) -> str:
    """Return the path of the program that a process runs; empty if it is gone or belongs to another user."""
    with contextlib.suppress(OSError):
        return os.readlink(f"/proc/{pid}/exe")
    return ""


def holders(inodes: Iterable[int]) -> Iterator[int]:
    """Yield the pids of the other processes that hold a pipe with one of these inodes open."""
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
    """Return a pidfd of exactly this process; None if it is gone, even if its pid was reused.

    Raise OSError if no descriptor is free.
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
    """Send a signal to exactly this process. Raise ProcessLookupError or PermissionError if it cannot be sent."""
    if (pidfd := open_pidfd(found)) is not None:
        try:
            signal.pidfd_send_signal(pidfd, number)
        finally:
            os.close(pidfd)


def has_pidfd() -> bool:
    """Return whether pidfds can be opened: from Linux 5.3, unless a seccomp filter forbids it."""
    if sys.platform != "linux" or not hasattr(os, "pidfd_open"):
        return False
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError:
        return False
    return True


def signal_group(pidfd: int, number: int) -> bool:
    """Send a signal to the whole group that the pidfd's process leads; return whether a process is in it.

    It reaches this group and never a foreign one, even after the leader was reaped and its pid reused.
    """
    try:
        signal.pidfd_send_signal(pidfd, number, None, PIDFD_SIGNAL_PROCESS_GROUP)
    except ProcessLookupError:
        return False
    return True


def can_signal_group(pidfd: int) -> bool:
    """Return whether the kernel has PIDFD_SIGNAL_PROCESS_GROUP (Linux 6.9)."""
    try:
        return signal_group(pidfd, 0)
    except PermissionError:  # the leader runs as another user already
        return True
    except OSError:
        return False


def environ(pid: int) -> bytes:
    """Return the environment that a process was started with, separated by NUL bytes; empty if it cannot be read.

    It cannot be read for processes of other users, and while a process executes a new program. Raise OSError if no
    descriptor is free.
    """
    try:
        return _content(f"/proc/{pid}/environ")
    except GONE:
        return b""


def ticks_since_boot() -> int:
    """Return the present time on the clock of start times, in clock ticks since boot."""
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK"))


def owner(pid: int) -> int | None:
    """Return the real user ID of a process; None if it is gone or hidden. Raise OSError if no descriptor is free."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            return next((int(line.split()[1]) for line in file if line.startswith(b"Uid:")), None)
    except GONE:
        return None


def file_system(descriptor: int) -> int:
    """Return the magic number of the file system that holds a file, statfs(2). Raise OSError if the call fails."""
    import ctypes

    status = (ctypes.c_uint32 * 128)()  # larger than struct statfs on every machine; f_type comes first
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.fstatfs(descriptor, status) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return int(status[0])
