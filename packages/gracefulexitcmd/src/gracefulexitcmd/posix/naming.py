"""Finds the program's name of a process that has given itself a title, by pure functions.

A title overwrites the arguments in place. So `/proc/PID/cmdline` shows it as the first word, with spaces in it.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Sequence

INTERPRETERS = frozenset({"python", "perl", "ruby", "node", "php", "java", "bash", "dash", "sh", "busybox"})
"""Programs that run scripts. The kernel names such a process after its script, in `/proc/PID/comm`."""

DELETED = " (deleted)"
"""The suffix that the kernel adds to the path of a program if its file was deleted, proc_pid_exe(5)."""


def may_be_title(argv: Sequence[str]) -> bool:
    """Return whether the first word of a command line may be more than the name of a program."""
    return bool(argv) and (not argv[0] or " " in argv[0] or argv[0].startswith("--"))


def program(argv: Sequence[str], exe: str, comm: str) -> str:
    """Return the name of a process's program if its command line may be a title; empty if unknown.

    `exe` is the path of the program, `comm` the kernel's name for the process; both may be empty. Of a title only the
    beginning is used, if it is a name: the other words may be secrets.
    """
    exe = exe.removesuffix(DELETED)
    if exe and argv[0].startswith((exe, os.path.basename(exe))):
        return os.path.basename(exe)
    name, colon, _ = argv[0].partition(": ")  # as in `sshd: ci@pts/0` or `nginx: worker process`
    if colon and name[-1:].isalnum() and all(one.isalnum() or one in "_.+-" for one in name):
        return name
    by_script = os.path.basename(exe).rstrip("0123456789.") in INTERPRETERS
    return (comm if by_script else os.path.basename(exe)) or comm or os.path.basename(exe)
