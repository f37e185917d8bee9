"""Descriptors 0 to 2, which every program takes for stdin, stdout and stderr."""

from __future__ import annotations

import os
import sys

LAST = 2


def fill_closed() -> None:
    """Open the null device as each closed one of the three, also for Python's own file objects.

    Otherwise the next opened file gets that number, open(2), and text for stderr is written into it.
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
