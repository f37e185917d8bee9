"""What a program finds around it when it starts: its environment, and `/proc`."""

from __future__ import annotations

import os
import sys

LOCALE = "LC_CTYPE"

NO_PROC = "/proc is not mounted here, or belongs to another PID namespace: mount it, as processes are found through it"


def undo_locale_coercion() -> None:
    """Give `os.environ` the LC_CTYPE back that the program was started with, or none.

    Python sets it to C.UTF-8 for itself where the locale is C or POSIX, PEP 538, and every child would inherit that:
    to grep(1) bytes are no text then. The kernel keeps what a process was started with, proc_pid_environ(5). Without
    `/proc` nothing is changed.
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
    """Return what is missing around a program that has to find all its processes; None if nothing is."""
    if sys.platform == "linux" and not os.path.exists("/proc/self/stat"):
        return NO_PROC
    return None
