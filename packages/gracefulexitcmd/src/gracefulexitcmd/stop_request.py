"""What a signal asks of a program that runs commands: to stop, to hurry, or nothing that it was not asked before.

Wrappers such as timeout(1), make and `uv run` forward a signal, 1 to 200 ms later, that its process group has had
already. A repeat therefore changes nothing; only a person, or SIGQUIT, hurries.
"""

from __future__ import annotations

import enum
import signal
import sys

from gracefulexitcmd.named_tuple import NamedTuple

HURRY_AFTER = 1.0
"""Seconds after the request from which SIGINT is a person's second Ctrl-C."""

SECOND_CTRL_C = "second Ctrl-C"

if sys.platform == "win32":
    STOP_SIGNALS: tuple[signal.Signals, ...] = (signal.SIGINT, signal.SIGBREAK, signal.SIGTERM)
    QUIT: signal.Signals | None = None
else:
    STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
    QUIT = signal.SIGQUIT


class Answer(enum.Enum):
    """What is to be done about a signal."""

    STOP = "stop gracefully"
    HURRY = "kill at once"
    NOTHING = "it was asked for before"


class StopRequest(NamedTuple):
    """When the stop was asked for, on a monotonic clock, and why it was hurried; None as long as that was not."""

    at: float | None = None
    hurried: str | None = None

    def after(self, number: int, now: float) -> tuple[StopRequest, Answer]:
        """The request after one of STOP_SIGNALS came, and what to do."""
        if self.hurried is not None:
            return self, Answer.NOTHING
        at = now if self.at is None else self.at
        if number == QUIT:
            return StopRequest(at, "SIGQUIT"), Answer.HURRY
        if number == signal.SIGINT and now - at >= HURRY_AFTER:
            return StopRequest(at, SECOND_CTRL_C), Answer.HURRY
        return StopRequest(at), Answer.STOP if self.at is None else Answer.NOTHING
