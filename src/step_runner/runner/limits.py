"""Reserves a part of the user's process limit for the step runner, against a step that uses up the rest.

Only Linux can set the limits of another process.
"""

from __future__ import annotations

import contextlib
import functools
import resource

from gracefulexitcmd.program import descendants, has_children

RESERVED = 32
"""Reserved processes and threads; at most a quarter of the user's limit."""

QUIET_LOOKS = 2
"""Scans in a row that must find no new process: proc(5) warns that a scan can miss a child when another one ends."""


def reserve(pid: int) -> None:
    """Give a command that has just started, and its descendants, a lower process limit than the user's.

    The limit is soft, and counts all processes of the user, setrlimit(2): fork fails first for the process with the
    lowest limit. The server needs threads to go on, and to end the step.
    """
    if (most := _most()) is not None:
        # Children inherit the limit: once the command has it, only descendants that were forked before need it.
        _lower(pid, most)
        quiet = 0
        with contextlib.suppress(OSError):  # no descriptor is free
            while quiet < QUIET_LOOKS and has_children(pid):  # it nearly never has one yet
                lowered = [_lower(born, most) for born in descendants(pid)]
                quiet = 0 if any(lowered) else quiet + 1


def _lower(pid: int, most: int) -> bool:
    """Lower the limit of a process; return whether it was higher. Never raise a limit."""
    with contextlib.suppress(OSError):  # the process has ended, or runs as another user
        soft, hard = resource.prlimit(pid, resource.RLIMIT_NPROC)
        if soft == resource.RLIM_INFINITY or soft > most:
            resource.prlimit(pid, resource.RLIMIT_NPROC, (most, hard))
            return True
    return False


@functools.cache
def _most() -> int | None:
    """Return the most processes for a command's user; None if there is no limit."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    return None if soft == resource.RLIM_INFINITY else soft - min(RESERVED, soft // 4)
