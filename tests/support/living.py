"""Decides whether a process is alive, by psutil and not by the code under test."""

from __future__ import annotations

import psutil


def lives(process: psutil.Process) -> bool:
    """Return whether a process has not ended; a zombie has ended, and waits to be reaped."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
