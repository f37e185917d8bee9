"""Counts the threads that wait for one object, so that only the last of them closes it."""

from __future__ import annotations

from abc import ABC, abstractmethod


class Attended(ABC):
    """An object that stays open until `close` was called and every waiter has left, so that each waiter wakes up.

    The caller serialises all calls.
    """

    def __init__(self) -> None:
        self._inside = 0
        self._closing = False

    def wake(self) -> None:
        """Wake all waiters; do nothing after `close`."""
        if not self._closing:
            self._ring()

    def wake_others(self) -> None:
        """Wake all waiters if there is another one than the caller."""
        if self._inside > 1:
            self.wake()

    def enter(self) -> None:
        """Count one more waiter, the caller."""
        self._inside += 1

    def leave(self) -> None:
        """Count one waiter less and wake the others: only this one may have known the deadline."""
        self._inside -= 1
        if self._inside:
            self.wake()
        self._release_when_empty()

    def close(self, *, by_waiter: bool = False) -> None:
        """Wake all waiters for the last time, and release the resources when the last has left.

        `by_waiter` tells that the caller is one of them, and needs no wake-up.
        """
        self._closing = True
        if self._inside > by_waiter:
            self._ring()
        self._release_when_empty()

    def _release_when_empty(self) -> None:
        if self._closing and self._inside == 0:
            self._release()

    @abstractmethod
    def _ring(self) -> None:
        """Wake all waiters."""

    @abstractmethod
    def _release(self) -> None:
        """Release the resources; no waiter is left."""
