"""Descriptors 0 to 2, which every program takes for stdin, stdout and stderr."""

from __future__ import annotations

import os
import sys

LAST = 2


def fill_closed() -> None:
    """Open the null device as each of the three that is closed, and as what Python knows by its name.

    Else the next thing that is opened gets its number, open(2), and what is written to stderr lands there.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= LAST:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    if sys.stdin is None:
        sys.stdin = os.fdopen(0, closefd=False)
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", closefd=False)
