"""Waits for several descriptors at once, through one descriptor for a thread or an event loop."""

from __future__ import annotations

import contextlib
import os
import selectors
from collections.abc import Callable
from typing import TypeAlias

from gracefulexitcmd.attendance import Attended

Reaction: TypeAlias = Callable[[], object]
Ready: TypeAlias = list[tuple[selectors.SelectorKey, int]]

LONGEST_WAIT = 86_400.0
"""Seconds of one wait; epoll_wait(2) takes its milliseconds as an int, at most 24 days."""


class Poller(Attended):
    """Calls a function when a descriptor is ready. The caller serialises all calls except `wait`."""

    def __init__(self) -> None:
        super().__init__()
        self._selector = selectors.DefaultSelector()
        self._wake_reader, self._wake_writer = os.pipe()
        # Several waiters may wake up, but only one of them finds something to read.
        os.set_blocking(self._wake_reader, False)
        os.set_blocking(self._wake_writer, False)
        try:
            self.watch(self._wake_reader, self._woken)
        except OSError:
            self.close()
            raise

    @property
    def held(self) -> tuple[int, int]:
        """The descriptors that stay open until `close`, without the selector's own."""
        return self._wake_reader, self._wake_writer

    def fileno(self) -> int:
        """Return the descriptor that is readable when a watched one is ready."""
        return self._selector.fileno()

    def watch(self, descriptor: int, then: Reaction, *, write: bool = False) -> None:
        """Call `then` whenever the descriptor is readable, or writable with `write`."""
        self._selector.register(descriptor, selectors.EVENT_WRITE if write else selectors.EVENT_READ, then)

    def forget(self, descriptor: int) -> None:
        """Stop watching a descriptor without closing it; do nothing if it is not watched."""
        if descriptor in self._selector.get_map():
            self._selector.unregister(descriptor)

    def wait(self, timeout: float | None) -> Ready:
        """Return the ready descriptors; block at most `timeout` seconds, and at most a day, until one is ready."""
        return self._selector.select(timeout if timeout is None else min(timeout, LONGEST_WAIT))

    def react(self, ready: Ready) -> None:
        """Call the reaction of each ready descriptor that is still watched."""
        watched = self._selector.get_map()
        for key, _ in ready:
            if not self._closing and watched.get(key.fd) is key:
                key.data()

    def _ring(self) -> None:
        with contextlib.suppress(BlockingIOError):  # the pipe is full, so it wakes all waiters already
            os.write(self._wake_writer, b"w")

    def _woken(self) -> None:
        # The last wake-up stays in the pipe, so that it reaches every waiter.
        if not self._closing:
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake_reader, 4096)

    def _release(self) -> None:
        self._selector.close()
        os.close(self._wake_reader)
        os.close(self._wake_writer)
