"""Processes that misbehave, and who of them lives: judged by psutil, not by the code under test."""

from __future__ import annotations

import contextlib
import shlex
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from gracefulexitcmd.posix.cgroup import PREFIX

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
    "forks_anew",
)

MANY = 200
"""How many processes the shape `many` is."""

ALL = len(SHAPES) - 1 + MANY
"""How many processes the shapes are: one of each, but MANY of `many`; those that are born to wait come in addition."""


LOOKS = 20
"""How often to look for those that were born since the last look."""


class Crowd:
    """The processes that carry a mark in their arguments."""

    def __init__(self, mark: str | None = None) -> None:
        self.mark = mark or f"mark-{uuid.uuid4().hex}"

    def script(self, *shapes: str, status: int | None = None, in_cgroup: bool = False) -> str:
        """A script that starts the shapes, writes `ready`, and waits, or ends with a status.

        With `in_cgroup` it waits first until it was put into a control group.
        """
        words = shlex.join([sys.executable, "-I", "-S", str(PROGRAM), self.mark, "1", *(shapes or SHAPES)])
        own = f"{PREFIX}[0-9]+-[0-9a-f]{{16}}$"
        wait = f"until grep --quiet --extended-regexp '{own}' /proc/self/cgroup; do :; done\n" if in_cgroup else ""
        return wait + (words if status is None else f"STATUS={status} {words}")

    def living(self) -> list[psutil.Process]:
        """Those that live, or lived a moment ago and may have left another one in their place."""
        return [process for process, _ in self._found()]

    def lives(self) -> bool:
        """Whether one of them was seen; those that fork anew all the time can be missed by every look."""
        return next(self._found(), None) is not None

    def told(self) -> list[str]:
        """What those that live were called with, also one that has ended since it was seen."""
        return [" ".join(arguments[-3:]) for _, arguments in self._found()]

    def kill(self) -> None:
        """Kill those that are left; they are gone then, or wait as zombies for a parent of theirs to be reaped."""
        while self._killed():
            pass

    def _killed(self) -> int:
        """How many of those that were found have been killed."""
        return sum(_kill(process) for process, _ in self._found())

    def _found(self) -> Iterator[tuple[psutil.Process, list[str]]]:
        """Each as soon as it is seen, the youngest first: a process that forks anew all the time lives for 10 ms."""
        seen: set[int] = set()
        for _ in range(LOOKS):
            for pid in sorted(set(psutil.pids()) - seen, reverse=True):
                seen.add(pid)
                if (found := self._one(pid)) is not None:
                    yield found

    def _one(self, pid: int) -> tuple[psutil.Process, list[str]] | None:
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(pid)
            arguments = process.cmdline()
            if any(self.mark in word for word in arguments) and process.status() != psutil.STATUS_ZOMBIE:
                return process, arguments
        return None


def _kill(process: psutil.Process) -> int:
    with contextlib.suppress(psutil.Error):
        process.kill()
    return 1
