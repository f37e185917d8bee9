"""Keeps a part of what a user may have for the step runner, so that a step which uses up the rest ends nobody else."""

from __future__ import annotations

import contextlib
import functools
import sys

from gracefulexitcmd import linux

RESERVED = 32
"""Processes and threads, at most a quarter of all that the user may have."""


def reserve(pid: int) -> None:
    """Let a command that was just started, and what it starts, have fewer processes than the user may have in all.

    The limit is soft, and counts all of a user's, setrlimit(2): whoever has a lower one is refused first. The server
    needs threads to go on, and to end the step. Only Linux can set the limits of another process.
    """
    if sys.platform == "linux" and (limit := _lowered()) is not None:
        import resource

        for number in (pid, *linux.descendants(pid)):
            with contextlib.suppress(OSError):  # it has ended, or runs as another user
                resource.prlimit(number, resource.RLIMIT_NPROC, limit)


@functools.cache
def _lowered() -> tuple[int, int] | None:
    """The soft and the hard limit for commands; None where there is no limit."""
    if sys.platform != "linux":
        return None
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    return None if soft == resource.RLIM_INFINITY else (soft - min(RESERVED, soft // 4), hard)
