"""Lists processes and signals single ones on any POSIX system."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from gracefulexitcmd.posix import linux, naming
from gracefulexitcmd.posix.membership import UNKNOWN_SESSION

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

portable = not linux.has_pidfd()
"""Whether to work without pidfds; tests set it to exercise the code for systems that lack them."""

has_proc = sys.platform == "linux"
"""Whether `/proc` lists the processes; otherwise ps(1) does."""


def processes() -> Iterator[linux.Process]:
    """Yield all processes that this one can see."""
    return linux.processes() if has_proc else _listed_processes()


def _listed_processes() -> Iterator[linux.Process]:
    """Yield all processes from ps(1), for systems without `/proc`; start times are seconds since the epoch."""
    listed = _ps("-A", "-o", "pid=", "-o", "stat=", "-o", "ppid=", "-o", "pgid=", "-o", "lstart=")
    for line in listed.splitlines():
        pid, state, parent, group, started = line.split(None, 4)
        start_time = int(time.mktime(time.strptime(started.strip(), "%a %b %d %H:%M:%S %Y")))
        yield linux.Process(int(pid), state[0], int(parent), int(group), UNKNOWN_SESSION, start_time)


def now() -> int:
    """Return the time on the clock of start times, never later than the start time of any process started after it."""
    # ps(1) computes a start time from the age in whole seconds, so it can be one second too early.
    return linux.ticks_since_boot() if has_proc else int(time.time()) - 1


def signal_process(found: linux.Process, number: int) -> None:
    """Send a signal to exactly this process; do nothing if it is gone or may not be signalled.

    Do nothing either if no descriptor is free: without one a new process with the same pid might get the signal. The
    next scan finds the process again.
    """
    assert found.pid > 1, "0 and -1 are groups and all processes, 1 is the system's"
    with contextlib.suppress(OSError):
        if not portable:
            linux.signal_process(found, number)
        elif not has_proc or linux.again(found.identity) is not None:
            os.kill(found.pid, number)


def may_signal(found: linux.Process) -> bool:
    """Return whether this user may signal a process; True if it is gone."""
    try:
        os.kill(found.pid, 0)
    except PermissionError:
        return False
    except ProcessLookupError:
        return True
    return True


def trees(roots: Iterable[int]) -> Iterator[linux.Process]:
    """Yield the processes with these pids and their descendants; without `/proc` yield all processes."""
    return linux.trees(roots) if has_proc else _listed_processes()


def argv(pid: int) -> tuple[str, ...]:
    """Return the arguments of a process as far as the system shows them; empty if it is gone."""
    if has_proc:
        return linux.argv(pid)
    with contextlib.suppress(OSError):
        return tuple(_ps("-ww", "-o", "command=", "-p", str(pid)).split())
    return ()


def title_holder(pid: int, argv: tuple[str, ...]) -> str:
    """Return the name of a process's program if its arguments are a title; empty if they are not, or if unknown."""
    return naming.program(argv, linux.exe(pid), linux.comm(pid)) if has_proc and naming.may_be_title(argv) else ""


def _ps(*options: str) -> str:
    """Return the output of ps(1). Raise OSError if it fails, as it does for a process that is gone."""
    env = {**os.environ, "LC_ALL": "C"}
    listing = subprocess.run(["ps", *options], stdin=subprocess.DEVNULL, capture_output=True, env=env)
    if listing.returncode != 0:
        raise OSError(f"ps ended with status {listing.returncode}")
    return listing.stdout.decode(errors="replace")
