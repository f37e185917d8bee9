"""The surroundings of a program at its start: its environment, and `/proc`."""

from __future__ import annotations

import os
import sys

LOCALE = "LC_CTYPE"

NO_PROC = "/proc is not mounted here, or belongs to another PID namespace: mount it, as processes are found through it"


def undo_locale_coercion() -> None:
    """Restore the LC_CTYPE in `os.environ` that the program was started with, or remove it.

    Python sets it to C.UTF-8 for itself in the locales C and POSIX (PEP 538), and every child would inherit that: for
    grep(1) some bytes would then not be text. The kernel keeps the initial environment of a process,
    proc_pid_environ(5). Without `/proc` this changes nothing.
    """
    if LOCALE not in os.environ or sys.platform != "linux":
        return
    try:
        with open("/proc/self/environ", "rb") as file:
            variables = file.read().split(b"\0")
    except OSError:
        return
    start = f"{LOCALE}=".encode()
    given = next((variable[len(start) :] for variable in variables if variable.startswith(start)), None)
    if given is None:
        del os.environ[LOCALE]
    else:
        os.environ[LOCALE] = os.fsdecode(given)


def complaint() -> str | None:
    """Return the missing precondition for finding all processes of a program; None if there is none."""
    if sys.platform == "linux" and not os.path.exists("/proc/self/stat"):
        return NO_PROC
    return None
