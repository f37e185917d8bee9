"""Keeps a part of what a user may have for the step runner, so that a step which uses up the rest ends nobody else.

Only Linux can set the limits of another process.
"""

from __future__ import annotations

import contextlib
import functools
import resource

from gracefulexitcmd.program import descendants

RESERVED = 32
"""Processes and threads, at most a quarter of all that the user may have."""

QUIET_LOOKS = 2
"""Looks in a row that must find nobody new: proc(5) warns that one can miss a child when another one ends."""


def reserve(pid: int) -> None:
    """Let a command that was just started, and what it starts, have fewer processes than the user may have in all.

    The limit is soft, and counts all of a user's, setrlimit(2): whoever has a lower one is refused first. The server
    needs threads to go on, and to end the step.
    """
    if (most := _most()) is not None:
        # The limit is inherited, so after the command's own only those are to be found who were born before.
        _lower(pid, most)
        quiet = 0
        with contextlib.suppress(OSError):  # no descriptor is free
            while quiet < QUIET_LOOKS:
                lowered = [_lower(born, most) for born in descendants(pid)]
                quiet = 0 if any(lowered) else quiet + 1


def _lower(pid: int, most: int) -> bool:
    """Whether a process had a higher limit until now; nobody's is raised."""
    with contextlib.suppress(OSError):  # it has ended, or runs as another user
        soft, hard = resource.prlimit(pid, resource.RLIMIT_NPROC)
        if soft == resource.RLIM_INFINITY or soft > most:
            resource.prlimit(pid, resource.RLIMIT_NPROC, (most, hard))
            return True
    return False


@functools.cache
def _most() -> int | None:
    """How many processes the user of a command may have; None where there is no limit."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    return None if soft == resource.RLIM_INFINITY else soft - min(RESERVED, soft // 4)
