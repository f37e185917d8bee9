"""Who can still do something: judged by psutil, not by the code under test."""

from __future__ import annotations

import psutil


def lives(process: psutil.Process) -> bool:
    """Whether it has not ended; a zombie has, which waits for a parent to reap it."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
