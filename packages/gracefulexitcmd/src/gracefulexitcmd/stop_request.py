"""The meaning of a signal for a program that runs commands: stop, hurry, or nothing new.

Wrappers such as timeout(1), make and `uv run` forward a signal 1 to 200 ms after its process group has got it. A repeat
therefore changes nothing; only a person, or SIGQUIT, hurries.
"""

from __future__ import annotations

import enum
import signal
import sys

from gracefulexitcmd.typed import NamedTuple

HURRY_AFTER = 1.0
"""Seconds after the request from which SIGINT counts as a person's second Ctrl-C."""

SECOND_CTRL_C = "second Ctrl-C"

if sys.platform == "win32":
    STOP_SIGNALS: tuple[signal.Signals, ...] = (signal.SIGINT, signal.SIGBREAK, signal.SIGTERM)
    QUIT: signal.Signals | None = None
else:
    STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
    QUIT = signal.SIGQUIT


class Answer(enum.Enum):
    """The action for a signal."""

    STOP = "stop gracefully"
    HURRY = "kill at once"
    NOTHING = "it was asked for before"


class StopRequest(NamedTuple):
    """The time of the stop request on a monotonic clock, and the reason for a hurry; None without one."""

    at: float | None = None
    hurried: str | None = None

    def after(self, number: int, now: float) -> tuple[StopRequest, Answer]:
        """Return the request after one of STOP_SIGNALS, and the action for it."""
        if self.hurried is not None:
            return self, Answer.NOTHING
        at = now if self.at is None else self.at
        if number == QUIT:
            return StopRequest(at, "SIGQUIT"), Answer.HURRY
        if number == signal.SIGINT and now - at >= HURRY_AFTER:
            return StopRequest(at, SECOND_CTRL_C), Answer.HURRY
        return StopRequest(at), Answer.STOP if self.at is None else Answer.NOTHING
