"""The clock of all deadlines: monotonic, but paused while this program and its commands are suspended."""

from __future__ import annotations

import time

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Callable


class Clock:
    """A clock that can be paused; any thread may read it."""

    def __init__(self, source: Callable[[], float] = time.monotonic) -> None:
        self._source = source
        # The time of the pause, None while the clock runs, and the seconds of earlier pauses. A reader takes both at
        # once.
        self._state: tuple[float | None, float] = (None, 0.0)

    def now(self) -> float:
        """Return the seconds of the monotonic clock without the pauses."""
        stopped_at, lost = self._state
        return (self._source() if stopped_at is None else stopped_at) - lost

    def stop(self) -> None:
        """Pause the clock; do nothing if it is paused."""
        stopped_at, lost = self._state
        if stopped_at is None:
            self._state = (self._source(), lost)

    def go_on(self) -> None:
        """Resume the clock; do nothing if it runs."""
        stopped_at, lost = self._state
        if stopped_at is not None:
            self._state = (None, lost + self._source() - stopped_at)


CLOCK = Clock()
"""The clock of this program."""

now = CLOCK.now

__all__ = ["CLOCK", "Clock", "now"]
