"""What several threads wait for at once, and only the last of them may close."""

from __future__ import annotations

from abc import ABC, abstractmethod


class Attended(ABC):
    """Stays open until `close` was called and everybody who entered has left, so that who waits in it always wakes.

    The caller serialises all calls.
    """

    def __init__(self) -> None:
        self._inside = 0
        self._closing = False

    def wake(self) -> None:
        """Wake everybody who waits; does nothing after the end."""
        if not self._closing:
            self._ring()

    def wake_others(self) -> None:
        """Wake everybody if more than one waits: whoever calls it is one of them."""
        if self._inside > 1:
            self.wake()

    def enter(self) -> None:
        """Say that somebody is going to wait."""
        self._inside += 1

    def leave(self) -> None:
        """Say that one of those who waited has gone; the others are woken, as nobody but him may know the time."""
        self._inside -= 1
        if self._inside:
            self.wake()
        self._release_when_empty()

    def close(self) -> None:
        """Wake everybody for the last time, and close when the last has left."""
        self._closing = True
        if self._inside:
            self._ring()
        self._release_when_empty()

    def _release_when_empty(self) -> None:
        if self._closing and self._inside == 0:
            self._release()

    @abstractmethod
    def _ring(self) -> None:
        """Make it ready for everybody who waits."""

    @abstractmethod
    def _release(self) -> None:
        """Give back what it holds; nobody waits any more."""
