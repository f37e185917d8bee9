"""Makes this process the one that orphans among its descendants come to, and reaps them when they have ended."""

from __future__ import annotations

import os
import sys

from gracefulexitcmd.posix import linux
from gracefulexitcmd.posix.membership import Reaper

PR_SET_CHILD_SUBREAPER = 36
"""prctl(2), Linux 3.4."""

PR_SET_PDEATHSIG = 1
"""prctl(2)."""

active = False
"""Whether orphans come to this process."""


def become() -> bool:
    """Have orphans come to this process from now on; False where the system cannot do that."""
    import ctypes

    global active
    if sys.platform != "linux":
        return False
    active = active or ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    return active


def signal_at_parents_death(number: int) -> None:
    """Have the kernel send this process a signal when the thread that forked it has ended."""
    import ctypes

    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number, 0, 0, 0)


def _forget() -> None:
    """A process that was forked is no subreaper, prctl(2)."""
    global active
    active = False


os.register_at_fork(after_in_child=_forget)


def reaper() -> Reaper:
    """This process as the one that holds containers."""
    return Reaper(os.getpid(), os.getpgrp(), os.getsid(0))


def children() -> list[int]:
    """The numbers of the children, also of those that have ended."""
    return list(linux.children(os.getpid()))


def reap(pid: int) -> bool:
    """Take the status of a child that has ended and is not waited for; return whether there was one to take."""
    try:
        return os.waitpid(pid, os.WNOHANG) != (0, 0)
    except ChildProcessError:
        return False
