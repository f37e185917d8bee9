"""Waits for several descriptors at once, through one descriptor for a thread or an event loop."""

from __future__ import annotations

# The module `weakref` takes as long to import as four of this package.
import _weakref
import os
import selectors
import threading
from collections.abc import Callable

from gracefulexitcmd.attendance import Attended

TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import TypeAlias

Reaction: TypeAlias = Callable[[], object]
Ready: TypeAlias = list[tuple[selectors.SelectorKey, int]]

LONGEST_WAIT = 86_400.0
"""Seconds of one wait; epoll_wait(2) takes its milliseconds as an int, at most 24 days."""

SIGNALS_EVERY = 2.0
"""Seconds of one wait in the main thread. CPython runs a handler late if the signal arrives between its last check for
signals and the system call: that call is not interrupted, signal(7)."""


class _AlwaysReady:
    """A descriptor that is always readable: a pipe without a writer is at its end, pipe(7)."""

    def __init__(self) -> None:
        self.descriptor, writer = os.pipe()
        os.close(writer)


_shared: _weakref.ref[_AlwaysReady] | None = None
"""The one that all pollers share, as long as one of them is open."""


class Poller(Attended):
    """Calls a function when a descriptor is ready. The caller serialises all calls except `wait`."""

    def __init__(self) -> None:
        super().__init__()
        self._bell = _always_ready()
        self._selector = selectors.DefaultSelector()
        self._watched: dict[int, Reaction] = {}

    def fileno(self) -> int:
        """Return the descriptor that is readable when a watched one is ready."""
        return self._selector.fileno()

    def watch(self, descriptor: int, then: Reaction, *, write: bool = False) -> None:
        """Call `then` whenever the descriptor is readable, or writable with `write`."""
        self._selector.register(descriptor, selectors.EVENT_WRITE if write else selectors.EVENT_READ, then)
        self._watched[descriptor] = then

    def forget(self, descriptor: int) -> None:
        """Stop watching a descriptor without closing it; do nothing if it is not watched."""
        if self._watched.pop(descriptor, None) is not None:
            self._selector.unregister(descriptor)

    def wait(self, timeout: float | None) -> Ready:
        """Return the ready descriptors; block at most `timeout` seconds, and at most a day, until one is ready.

        The main thread blocks at most SIGNALS_EVERY seconds.
        """
        longest = SIGNALS_EVERY if threading.get_ident() == threading.main_thread().ident else LONGEST_WAIT
        return self._selector.select(longest if timeout is None else min(timeout, longest))

    def react(self, ready: Ready) -> None:
        """Call the reaction of each ready descriptor that is still watched."""
        for key, _ in ready:
            then = self._watched.get(key.fd)
            if then is not None and then is key.data and not self._closing:
                then()

    def _ring(self) -> None:
        if self._bell.descriptor not in self._watched:
            self.watch(self._bell.descriptor, self._woken)

    def _woken(self) -> None:
        # The last wake-up stays, so that it reaches every waiter.
        if not self._closing:
            self.forget(self._bell.descriptor)

    def _release(self) -> None:
        self._selector.close()
        del self._bell


def _always_ready() -> _AlwaysReady:
    global _shared
    found = None if _shared is None else _shared()
    if found is None:
        found = _AlwaysReady()
        descriptor = found.descriptor
        # Not by __del__: while it runs, a weak reference still returns the object, here to another thread.
        _shared = _weakref.ref(found, lambda _: os.close(descriptor))
    return found
