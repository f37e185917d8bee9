"""Makes this process the subreaper of its descendants: it adopts their orphans and reaps those that have ended."""

from __future__ import annotations

import os
import sys

from gracefulexitcmd.posix.membership import Reaper

TYPE_CHECKING = False

if TYPE_CHECKING:
    from gracefulexitcmd.posix.process_table import Identity

PR_SET_CHILD_SUBREAPER = 36
"""prctl(2), Linux 3.4."""

PR_SET_PDEATHSIG = 1
"""prctl(2)."""

active = False
"""Whether this process is a subreaper."""

supervisor: Identity | None = None
"""The process that adopts the orphans of this one after its death; `supervise` sets it in the worker."""


def become() -> bool:
    """Make this process a subreaper; return False if the system has none."""
    import ctypes

    global active
    if sys.platform != "linux":
        return False
    active = active or ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    return active


def signal_at_parents_death(number: int) -> None:
    """Have the kernel send this process a signal when the thread that forked it ends, prctl(2)."""
    import ctypes

    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number, 0, 0, 0)


def _forget() -> None:
    """Reset `active` after a fork: a child does not inherit the setting, prctl(2)."""
    global active
    active = False


os.register_at_fork(after_in_child=_forget)


def reaper() -> Reaper:
    """Return this process as the one that holds the containers."""
    return Reaper(os.getpid(), os.getsid(0))


def reap(pid: int) -> bool:
    """Reap a child if it has ended; return whether it had a status to collect."""
    try:
        return os.waitpid(pid, os.WNOHANG) != (0, 0)
    except ChildProcessError:
        return False
