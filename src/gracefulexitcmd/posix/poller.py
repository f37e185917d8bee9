"""Waiting for several descriptors at once, through one descriptor that a thread or an event loop can wait for."""

from __future__ import annotations

import contextlib
import os
import selectors
from collections.abc import Callable
from typing import TypeAlias

Reaction: TypeAlias = Callable[[], object]
Ready: TypeAlias = list[tuple[selectors.SelectorKey, int]]

LONGEST_WAIT = 86_400.0
"""Seconds; epoll_wait(2) takes no more milliseconds than fit into an int, 24 days."""


class Poller:
    """Descriptors, and what to call when one of them is ready.

    It stays open until `close` was called and everybody who entered has left, so that a thread that waits in it
    always wakes. The caller serialises all calls but `wait`.
    """

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._wake_reader, self._wake_writer = os.pipe()
        # Of several that were woken only one finds something to read.
        os.set_blocking(self._wake_reader, False)
        os.set_blocking(self._wake_writer, False)
        self._inside = 0
        self._closing = False
        try:
            self.watch(self._wake_reader, self._woken)
        except OSError:
            self.close()
            raise

    @property
    def held(self) -> tuple[int, int]:
        """The descriptors that are held, until `close`, besides the selector's own."""
        return self._wake_reader, self._wake_writer

    def fileno(self) -> int:
        """The descriptor that is readable when a watched one is ready."""
        return self._selector.fileno()

    def watch(self, descriptor: int, then: Reaction, *, write: bool = False) -> None:
        """Call `then` whenever the descriptor is readable, or writable with `write`."""
        self._selector.register(descriptor, selectors.EVENT_WRITE if write else selectors.EVENT_READ, then)

    def forget(self, descriptor: int) -> None:
        """Stop watching; the descriptor is not closed. Nothing happens when it was not watched."""
        if descriptor in self._selector.get_map():
            self._selector.unregister(descriptor)

    def wait(self, timeout: float | None) -> Ready:
        """What is ready, after blocking for at most `timeout` seconds, and a day, if nothing is."""
        return self._selector.select(timeout if timeout is None else min(timeout, LONGEST_WAIT))

    def react(self, ready: Ready) -> None:
        """Call what was to be called for what is ready, unless it is not watched any more."""
        watched = self._selector.get_map()
        for key, _ in ready:
            if not self._closing and watched.get(key.fd) is key:
                key.data()

    def wake(self) -> None:
        """Make the poller ready for everybody who waits for it; does nothing after the end."""
        if not self._closing:
            self._write()

    def enter(self) -> None:
        """Say that somebody is going to wait."""
        self._inside += 1

    def leave(self) -> None:
        """Say that one of those who waited has gone; the others are woken, as nobody but him may know the time."""
        self._inside -= 1
        if self._inside:
            self.wake()
        self._close_when_empty()

    def close(self) -> None:
        """Wake everybody for the last time, and close when the last has left."""
        self._closing = True
        if self._inside:
            self._write()
        self._close_when_empty()

    def _write(self) -> None:
        with contextlib.suppress(BlockingIOError):  # full: everybody is being woken
            os.write(self._wake_writer, b"w")

    def _woken(self) -> None:
        # The last wake is left in the pipe, so that it reaches everybody.
        if not self._closing:
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake_reader, 4096)

    def _close_when_empty(self) -> None:
        if self._closing and self._inside == 0:
            self._selector.close()
            os.close(self._wake_reader)
            os.close(self._wake_writer)
