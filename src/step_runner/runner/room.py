"""How much a process can be given when it starts, execve(2): its arguments and its environment."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NamedTuple

from step_runner.runner.environment import LONGEST_SHOWN

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LONGEST_TEXT = 128 * 1024 - 1
"""Bytes that one argument or variable may have on Linux: MAX_ARG_STRLEN, less the final NUL."""

MOST_ON_LINUX = 6 * 1024 * 1024
"""Bytes of all of them together, however large the stack may be: three quarters of _STK_LIM, fs/exec.c."""

POINTER = 8


class Complaint(NamedTuple):
    """The variable that is to blame, and what is wrong."""

    name: str
    sentence: str


def complaint(added: Mapping[str, str], total: Callable[[Mapping[str, str]], int]) -> Complaint | None:
    """Return what keeps a process from starting with the variables `added`, None if one can start.

    `total` gives the bytes of the whole environment with these. The complaint is about the largest of those added.
    """
    if sys.platform == "win32" or not added:
        return None
    name, size = largest(added)
    if sys.platform == "linux" and size > LONGEST_TEXT:
        return Complaint(name, f"{_told(name, size)}, and one variable can have {LONGEST_TEXT}: write it to a file")
    # What is there already may leave no room by itself, which is no fault of what is added.
    taken = total(added)
    if taken > most():
        together = f"the environment {taken} bytes large, and a process can get {most()}"
        return Complaint(name, f"the exports make {together}; {_told(name, size)}: write it to a file")
    return None


def needed(name: str, value: str) -> int:
    """Return how many bytes of that a variable takes."""
    return _size(name, value) + 1 + POINTER


def largest(env: Mapping[str, str]) -> tuple[str, int]:
    """Return the largest variable and its size in bytes."""
    return max(((name, _size(name, value)) for name, value in env.items()), key=lambda one: one[1])


def most() -> int:
    """Return how many bytes a process can get; on Linux it depends on the limit of the stack."""
    if sys.platform == "win32":
        raise OSError("only each variable has a limit")
    limit = os.sysconf("SC_ARG_MAX")
    return min(limit, MOST_ON_LINUX) if sys.platform == "linux" else limit


def _told(name: str, size: int) -> str:
    return f'"{name[:LONGEST_SHOWN]}" has {size} bytes'


def _size(name: str, value: str) -> int:
    return len(os.fsencode(name)) + len("=") + len(os.fsencode(value))
