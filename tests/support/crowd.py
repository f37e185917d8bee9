"""Processes that misbehave, and who of them lives: judged by psutil, not by the code under test."""

from __future__ import annotations

import shlex
import sys
import uuid
from pathlib import Path

import psutil

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


class Crowd:
    """The processes that carry a mark in their arguments."""

    def __init__(self, mark: str | None = None) -> None:
        self.mark = mark or f"mark-{uuid.uuid4().hex}"

    def script(self, *shapes: str, status: int | None = None) -> str:
        """A script that starts the shapes, writes `ready`, and waits, or ends with a status."""
        words = shlex.join([sys.executable, "-I", "-S", str(PROGRAM), self.mark, "1", *(shapes or SHAPES)])
        return words if status is None else f"STATUS={status} {words}"

    def living(self) -> list[psutil.Process]:
        """Those that live."""
        return [process for process in psutil.process_iter() if self._is_one(process)]

    def told(self) -> list[str]:
        """What those that live were called with."""
        return [" ".join(process.cmdline()[-3:]) for process in self.living()]

    def kill(self) -> None:
        """Kill those that a failed test has left."""
        while left := self.living():
            for process in left:
                process.kill()
            psutil.wait_procs(left)

    def _is_one(self, process: psutil.Process) -> bool:
        try:
            return any(self.mark in word for word in process.cmdline()) and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False
