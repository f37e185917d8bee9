"""Exits the program without the time that the interpreter takes to free its memory."""

from __future__ import annotations

import atexit
import os
import sys
import threading
from typing import NoReturn


def leave(status: int) -> NoReturn:
    """Exit as sys.exit does: run atexit callbacks and flush output, but free no object.

    Call sys.exit, which takes tens of milliseconds longer, if a thread still runs or output cannot be flushed.
    """
    if not _threads_left():
        atexit._run_exitfuncs()
        if _flushed():
            os._exit(status)
    sys.exit(status)


def _threads_left() -> bool:
    """Return whether the interpreter would wait at its exit for a thread, or for the callbacks that end one."""
    main = threading.main_thread()
    return any(thread is not main and not thread.daemon for thread in threading.enumerate())


def _flushed() -> bool:
    try:
        for output in (sys.stdout, sys.stderr):
            if output is not None:
                output.flush()
    except (OSError, ValueError):
        return False
    return True
