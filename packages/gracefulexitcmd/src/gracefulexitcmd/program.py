"""Signals, surroundings and exit status of a program that runs commands for its user."""

from __future__ import annotations

import sys

from gracefulexitcmd.descriptors import fill_closed
from gracefulexitcmd.exit import exit_code, printable
from gracefulexitcmd.handlers import ignore
from gracefulexitcmd.stop_request import HURRY_AFTER, STOP_SIGNALS, Answer, StopRequest
from gracefulexitcmd.surroundings import complaint, undo_locale_coercion

if sys.platform == "win32":
    from gracefulexitcmd.windows.program import find
else:
    from gracefulexitcmd.posix.process_table import descendants, has_children
    from gracefulexitcmd.posix.suspension import suspend_all

__all__ = [
    "HURRY_AFTER",
    "STOP_SIGNALS",
    "Answer",
    "StopRequest",
    "complaint",
    "descendants",
    "exit_code",
    "fill_closed",
    "find",
    "has_children",
    "ignore",
    "printable",
    "suspend_all",
    "undo_locale_coercion",
]
