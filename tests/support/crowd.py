"""Processes that misbehave. psutil finds the live ones, not the code under test."""

from __future__ import annotations

import contextlib
import shlex
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAM = Path(__file__).parents[1] / "programs" / "shapes.py"

SHAPES = (
    "in_group",
    "setsid",
    "double_fork",
    "hidden",
    "nohup",
    "ignores_term",
    "stopped",
    "closed",
    "many",
    "reforks",
)

MANY = 200
"""The number of processes of the shape `many`."""

ALL = len(SHAPES) - 1 + MANY
"""The number of processes of all shapes: one of each, but MANY of `many`, without the program that starts them."""


LOOKS = 20
"""The number of scans, each of which finds the processes started since the previous one."""


class Crowd:
    """The processes that carry a mark in their arguments."""

    def __init__(self, mark: str | None = None) -> None:
        self.mark = mark or f"mark-{uuid.uuid4().hex}"

    def script(self, *shapes: str, status: int | None = None, in_cgroup: bool = False) -> str:
        """Return a script that starts the shapes, writes `ready`, and waits, or exits with `status`.

        With `in_cgroup` it first waits until it is in a control group of the library.
        """
        words = shlex.join([sys.executable, "-I", "-S", str(PROGRAM), self.mark, "1", *(shapes or SHAPES)])
        own = "gracefulexitcmd-[0-9]+-[0-9]+-[0-9a-f]{16}$"
        wait = f"until grep --quiet --extended-regexp '{own}' /proc/self/cgroup; do :; done\n" if in_cgroup else ""
        return wait + (words if status is None else f"STATUS={status} {words}")

    def living(self) -> list[psutil.Process]:
        """Return the live processes; one of them may have ended since, and left a new child in its place."""
        return [process for process, _ in self._found()]

    def lives(self) -> bool:
        """Return whether the scans found a live process; a process that re-forks all the time may evade every scan."""
        return next(self._found(), None) is not None

    def survivors(self) -> list[str]:
        """Return the last three arguments of each live process, joined; one of them may have ended since."""
        return [" ".join(arguments[-3:]) for _, arguments in self._found()]

    def kill(self) -> None:
        """Kill the remaining processes; afterwards they are gone, or zombies until their parent reaps them."""
        while self._killed():
            pass

    def _killed(self) -> int:
        """Kill each process that the scans find; return their number."""
        return sum(_kill(process) for process, _ in self._found())

    def _found(self) -> Iterator[tuple[psutil.Process, list[str]]]:
        """Yield each process at once, the youngest first: a process that re-forks all the time lives for 10 ms."""
        seen: set[int] = set()
        for _ in range(LOOKS):
            for pid in sorted(set(psutil.pids()) - seen, reverse=True):
                seen.add(pid)
                if (found := self._one(pid)) is not None:
                    yield found

    def _one(self, pid: int) -> tuple[psutil.Process, list[str]] | None:
        with contextlib.suppress(psutil.Error, OSError):
            if not self._may_carry_mark(pid):
                return None
            process = psutil.Process(pid)
            arguments = process.cmdline()
            if any(self.mark in word for word in arguments) and process.status() != psutil.STATUS_ZOMBIE:
                return process, arguments
        return None

    def _may_carry_mark(self, pid: int) -> bool:
        """Return False for most other processes, quickly: psutil reads two more files of each process."""
        if sys.platform != "linux":
            return True
        with open(f"/proc/{pid}/cmdline", "rb", buffering=0) as file:
            return self.mark.encode() in file.read()


def _kill(process: psutil.Process) -> int:
    with contextlib.suppress(psutil.Error):
        process.kill()
    return 1
