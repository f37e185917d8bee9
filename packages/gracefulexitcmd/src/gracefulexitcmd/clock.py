"""The clock of all deadlines: monotonic, but it does not run while this program and its commands are suspended."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Clock:
    """A clock that can be stopped; any thread may read it."""

    def __init__(self, source: Callable[[], float] = time.monotonic) -> None:
        self._source = source
        # When it was stopped, None while it runs, and how long it has been stopped before. A reader takes both at once.
        self._state: tuple[float | None, float] = (None, 0.0)

    def now(self) -> float:
        """Return the seconds that this program has not been suspended."""
        stopped_at, lost = self._state
        return (self._source() if stopped_at is None else stopped_at) - lost

    def stop(self) -> None:
        """Stop it; nothing happens when it is stopped."""
        stopped_at, lost = self._state
        if stopped_at is None:
            self._state = (self._source(), lost)

    def go_on(self) -> None:
        """Let it run again; nothing happens when it does."""
        stopped_at, lost = self._state
        if stopped_at is not None:
            self._state = (None, lost + self._source() - stopped_at)


CLOCK = Clock()
"""The clock of this program."""

now = CLOCK.now

__all__ = ["CLOCK", "Clock", "now"]
