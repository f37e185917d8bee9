"""The space for arguments and environment of a new process, execve(2)."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from step_runner.runner.environment import LONGEST_SHOWN

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LONGEST_TEXT = 128 * 1024 - 1
"""Most bytes of one argument or variable on Linux: MAX_ARG_STRLEN, less the final NUL."""

MOST_ON_LINUX = 6 * 1024 * 1024
"""Most bytes of all of them, whatever the stack limit: three quarters of _STK_LIM, fs/exec.c."""

POINTER = 8


def complaint(added: Mapping[str, str], total: Callable[[Mapping[str, str]], int]) -> str | None:
    """Return the reason why no process can start with the variables `added`, None if one can.

    `total` returns the bytes of the whole environment with them. The complaint is about the largest variable of
    `added`.
    """
    if sys.platform == "win32" or not added:
        return None
    name, size = largest(added)
    if sys.platform == "linux" and size > LONGEST_TEXT:
        return f"{_shown(name, size)}, and one variable can have {LONGEST_TEXT}: write it to a file"
    # The environment may be too large already, but only `added` can be at fault here.
    taken = total(added)
    if taken > most():
        together = f"the environment {taken} bytes large, and a process can get {most()}"
        return f"the exports make {together}; {_shown(name, size)}: write it to a file"
    return None


def needed(name: str, value: str) -> int:
    """Return the bytes that a variable takes of this space."""
    return _size(name, value) + 1 + POINTER


def largest(env: Mapping[str, str]) -> tuple[str, int]:
    """Return the largest variable and its size in bytes."""
    return max(((name, _size(name, value)) for name, value in env.items()), key=lambda one: one[1])


def most() -> int:
    """Return the most bytes that a process can get; on Linux this depends on the stack limit."""
    if sys.platform == "win32":
        raise OSError("only each variable has a limit")
    limit = os.sysconf("SC_ARG_MAX")
    return min(limit, MOST_ON_LINUX) if sys.platform == "linux" else limit


def _shown(name: str, size: int) -> str:
    return f'"{name[:LONGEST_SHOWN]}" has {size} bytes'


def _size(name: str, value: str) -> int:
    return len(os.fsencode(name)) + len("=") + len(os.fsencode(value))
