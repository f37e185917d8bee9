"""Lists processes, reads what `/proc` shows of them, and signals single ones by pidfd.

Numbers and field names are those of proc(5). Systems without `/proc` have ps(1), those without pidfds have kill(2).
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time

from gracefulexitcmd.posix import naming
from gracefulexitcmd.typed import NamedTuple

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import TypeAlias

GONE = (FileNotFoundError, ProcessLookupError, PermissionError)
"""Errors of reading from `/proc` if a process is gone or hidden; a lack of descriptors is another error."""

MOST_SCANS = 100
"""Scans for new processes at most, on a system that never stops starting processes."""

MOST_READ = 1 << 16
"""Bytes of one read(2); a list in `/proc` comes in pieces of a page (seq_read_iter in fs/seq_file.c)."""

PF_FORKNOEXEC = 0x40
"""The flag of a process that has not executed a program since its fork, in include/linux/sched.h and proc(5)."""

UNKNOWN_SESSION = 0
"""The session of a process if the system does not report it."""

_first_seen: dict[int, int] = {}
"""Clock ticks since boot at which each child that `/proc` hides was first seen, by pid."""

Identity: TypeAlias = tuple[int, int]
"""Pid and start time, in clock ticks since boot: the kernel may reuse a pid alone."""


def _has_pidfd() -> bool:
    """Return whether pidfds can be opened: from Linux 5.3, unless a seccomp filter forbids it."""
    if sys.platform != "linux" or not hasattr(os, "pidfd_open"):
        return False
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError:
        return False
    return True


portable = not _has_pidfd()
"""Whether to work without pidfds; tests set it to exercise the code for systems that lack them."""

has_proc = sys.platform == "linux"
"""Whether `/proc` lists the processes; otherwise ps(1) does."""

TICKS = os.sysconf("SC_CLK_TCK")
"""Clock ticks in a second, the unit of start times in `/proc`: proc(5)."""


class Process(NamedTuple):
    """A process as `/proc/PID/stat` shows it; `start_time` is in clock ticks since boot.

    `executed` is whether it has executed a program since its fork, or true if that is not known.
    """

    pid: int
    state: str
    parent: int
    group: int
    session: int
    start_time: int
    threads: int = 1
    executed: bool = True

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
        text = content(f"/proc/{pid}/stat")
    except GONE:
        return _hidden_child(pid)
    # The program's name is in parentheses, and may itself contain spaces and parentheses.
    fields = text[text.rindex(b")") + 2 :].split(None, 20)
    state, parent, group, session = chr(fields[0][0]), int(fields[1]), int(fields[2]), int(fields[3])
    executed = not int(fields[6]) & PF_FORKNOEXEC
    return Process(pid, state, parent, group, session, int(fields[19]), int(fields[17]), executed)


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
    if not has_proc:
        yield from _listed_by_ps()
        return
    seen: set[str] = set()
    for _ in range(MOST_SCANS):
        born = {name for name in os.listdir("/proc") if name.isdecimal()} - seen
        if not born:
            return
        seen |= born
        yield from filter(None, map(process, map(int, born)))


def trees(roots: Iterable[int]) -> Iterator[Process]:
    """Yield the processes with these pids and all their descendants, each once and before its children.

    Without `/proc` yield all processes.
    """
    if not has_proc:
        yield from _listed_by_ps()
        return
    waiting, seen = list(roots), set[int]()
    while waiting:
        pid = waiting.pop()
        if pid not in seen and (found := process(pid)) is not None:
            seen.add(pid)
            yield found
            if found.alive:  # the children of a process that has ended have another parent by now
                waiting += children(pid) if found.threads > 1 else _numbers(children_text(pid, pid))


def descendants(pid: int) -> Iterator[int]:
    """Yield the pids of a process's children, their children and so on."""
    return (found.pid for found in trees([pid]) if found.pid != pid)


def children(pid: int) -> list[int]:
    """Return the pids of the children of all threads of a process; none if the kernel lacks CONFIG_PROC_CHILDREN.

    Raise OSError if no descriptor is free.
    """
    with contextlib.suppress(*GONE):
        return [child for task in os.listdir(f"/proc/{pid}/task") for child in _numbers(children_text(pid, task))]
    return []


def children_text(pid: int, task: int | str) -> bytes:
    """Return the pids of one thread's children, separated by spaces, the oldest first; empty if it is gone."""
    return _content_or_nothing(f"/proc/{pid}/task/{task}/children")


def has_children(pid: int) -> bool:
    """Return whether a process may have children: False is certain, if the kernel has CONFIG_PROC_CHILDREN.

    The directory of its threads has one link for each and two more (proc_task_getattr in fs/proc/base.c). Raise OSError
    if no descriptor is free.
    """
    try:
        return os.stat(f"/proc/{pid}/task").st_nlink > 3 or children_text(pid, pid) != b""
    except GONE:
        return False


def _numbers(text: bytes) -> list[int]:
    return [int(word) for word in text.split()]


def argv(pid: int) -> tuple[str, ...]:
    """Return the arguments of a process; the kernel's name in brackets if it has none, as a zombie or kernel thread.

    Return an empty tuple if it is gone.
    """
    if not has_proc:
        with contextlib.suppress(OSError):
            return tuple(_ps("-ww", "-o", "command=", "-p", str(pid)).split())
        return ()
    if text := _content_or_nothing(f"/proc/{pid}/cmdline", OSError):
        first, *others = (os.fsdecode(word) for word in text.removesuffix(b"\0").split(b"\0"))
        # A title that is shorter than the arguments that it overwrites is followed by zero bytes.
        return (first, *others) if any(others) else (first,)
    name = comm(pid)
    return (f"[{name}]",) if name else ()


def comm(pid: int) -> str:
    """Return the kernel's name for a process, at most 15 bytes; empty if it is gone."""
    return _content_or_nothing(f"/proc/{pid}/comm", OSError).decode(errors="replace").rstrip()


def title_holder(pid: int, argv: tuple[str, ...]) -> str:
    """Return the name of a process's program if its arguments are a title; empty if they are not, or if unknown."""
    if not has_proc or not naming.may_be_title(argv):
        return ""
    exe = ""
    with contextlib.suppress(OSError):  # it is gone or belongs to another user
        exe = os.readlink(f"/proc/{pid}/exe")
    return naming.program(argv, exe, comm(pid))


def environ(pid: int) -> bytes:
    """Return the environment that a process was started with, separated by NUL bytes; empty if it cannot be read.

    It cannot be read for processes of other users, and while a process executes a new program. Raise OSError if no
    descriptor is free.
    """
    return _content_or_nothing(f"/proc/{pid}/environ")


def owner(pid: int) -> int | None:
    """Return the real user ID of a process; None if it is gone or hidden. Raise OSError if no descriptor is free."""
    lines = _content_or_nothing(f"/proc/{pid}/status").splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith(b"Uid:")), None)


def now() -> int:
    """Return the time on the clock of start times, never later than the start time of any process started after it."""
    # ps(1) computes a start time from the age in whole seconds, so it can be one second too early.
    return ticks_since_boot() if has_proc else int(time.time()) - 1


def ticks_since_boot() -> int:
    """Return the present time on the clock of start times of `/proc`, in clock ticks since boot."""
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * TICKS)


def open_pidfd(found: Process) -> int | None:
    """Return a pidfd of exactly this process; None if it is gone, even if its pid was reused.

    Raise OSError if no descriptor is free.
    """
    try:
        descriptor = os.pidfd_open(found.pid)
    except ProcessLookupError:
        return None
    with contextlib.ExitStack() as undo:
        undo.callback(os.close, descriptor)
        if again(found.identity) is None:
            return None
        undo.pop_all()
        return descriptor


def signal_process(found: Process, number: int) -> None:
    """Send a signal to exactly this process; do nothing if it is gone or may not be signalled.

    Do nothing either if no descriptor is free: without one a new process with the same pid might get the signal. The
    next scan finds the process again.
    """
    assert found.pid > 1, "0 and -1 are groups and all processes, 1 is the system's"
    with contextlib.suppress(OSError):
        if portable:
            if not has_proc or again(found.identity) is not None:
                os.kill(found.pid, number)
        elif (pidfd := open_pidfd(found)) is not None:
            try:
                signal.pidfd_send_signal(pidfd, number)
            finally:
                os.close(pidfd)


def can_signal(pid: int) -> bool | None:
    """Return whether this user may signal a process, shown by `/proc` or not; None if there is none, kill(2).

    A negative number is that of a process group.
    """
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        return False
    return True


def content(path: str) -> bytes:
    """Return a file of `/proc` or a control group, read with few system calls. Raise OSError if it cannot be read."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        parts = []
        while part := os.read(descriptor, MOST_READ):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(descriptor)


def _content_or_nothing(path: str, errors: type[OSError] | tuple[type[OSError], ...] = GONE) -> bytes:
    """Return a file of `/proc`; empty if reading it fails with one of `errors`."""
    try:
        return content(path)
    except errors:
        return b""


def _listed_by_ps() -> Iterator[Process]:
    """Yield all processes from ps(1), for systems without `/proc`; start times are seconds since the epoch."""
    listed = _ps("-A", "-o", "pid=", "-o", "stat=", "-o", "ppid=", "-o", "pgid=", "-o", "lstart=")
    for line in listed.splitlines():
        pid, state, parent, group, started = line.split(None, 4)
        start_time = int(time.mktime(time.strptime(started.strip(), "%a %b %d %H:%M:%S %Y")))
        yield Process(int(pid), state[0], int(parent), int(group), UNKNOWN_SESSION, start_time)


def _ps(*options: str) -> str:
    """Return the output of ps(1). Raise OSError if it fails, as it does for a process that is gone."""
    env = {**os.environ, "LC_ALL": "C"}
    listing = subprocess.run(["ps", *options], stdin=subprocess.DEVNULL, capture_output=True, env=env)
    if listing.returncode != 0:
        raise OSError(f"ps ended with status {listing.returncode}")
    return listing.stdout.decode(errors="replace")
