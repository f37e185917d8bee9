"""Waits for several descriptors at once, through one descriptor for a thread or an event loop."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Callable

from gracefulexitcmd.attendance import Attended

TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import TypeAlias

Reaction: TypeAlias = Callable[[], object]
Ready: TypeAlias = list[tuple[int, Reaction]]
"""Ready descriptors, each with the reaction that it had when it became ready."""

LONGEST_WAIT = 86_400.0
"""Seconds of one wait; epoll_wait(2) takes its milliseconds as an int, at most 24 days."""

if sys.platform == "linux":
    # The classes of `selectors` take a tenth of a short run.
    _READ, _WRITE = select.EPOLLIN, select.EPOLLOUT

    def _selector() -> select.epoll:
        return select.epoll(flags=select.EPOLL_CLOEXEC)

else:
    import selectors

    _READ, _WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE

    class _selector(selectors.DefaultSelector):  # noqa: N801 - in place of the function
        def poll(self, timeout: float | None) -> list[tuple[int, int]]:
            return [(key.fd, events) for key, events in self.select(timeout)]


class Poller(Attended):
    """Calls a function when a descriptor is ready. The caller serialises all calls except `wait`."""

    def __init__(self) -> None:
        super().__init__()
        if _known_bell is None:
            _bell()  # now: a wake-up must not fail for lack of descriptors
        self._rung: int | None = None
        self._selector = _selector()
        self._watched: dict[int, Reaction] = {}

    def fileno(self) -> int:
        """Return the descriptor that is readable when a watched one is ready."""
        return self._selector.fileno()

    def watch(self, descriptor: int, then: Reaction, *, write: bool = False) -> None:
        """Call `then` whenever the descriptor is readable, or writable with `write`."""
        self._selector.register(descriptor, _WRITE if write else _READ)
        self._watched[descriptor] = then

    def forget(self, descriptor: int) -> None:
        """Stop watching a descriptor without closing it; do nothing if it is not watched."""
        if self._watched.pop(descriptor, None) is not None:
            self._selector.unregister(descriptor)

    def wait(self, timeout: float | None) -> Ready:
        """Return the ready descriptors; block at most `timeout` seconds, and at most a day, until one is ready."""
        ready = self._selector.poll(LONGEST_WAIT if timeout is None else min(timeout, LONGEST_WAIT))
        return [(descriptor, self._watched[descriptor]) for descriptor, _ in ready if descriptor in self._watched]

    def react(self, ready: Ready) -> None:
        """Call the reaction of each ready descriptor that is still watched."""
        for descriptor, then in ready:
            if self._watched.get(descriptor) is then and not self._closing:
                then()

    def _ring(self) -> None:
        if self._rung is None:
            self._rung = _bell()
            self.watch(self._rung, self._woken)

    def _woken(self) -> None:
        # The last wake-up stays, so that it reaches every waiter.
        if not self._closing and self._rung is not None:
            self.forget(self._rung)
            self._rung = None

    def _release(self) -> None:
        self._selector.close()


_known_bell: tuple[int, int] | None = None
"""A descriptor and the inode of its pipe."""


def _bell() -> int:
    """Return a descriptor that is always readable: a pipe without a writer is at its end, pipe(7).

    The first poller makes it, and it stays open for all later ones: to make one takes a fiftieth of a short run. A
    program that becomes a daemon closes it, and another file may get its number.
    """
    global _known_bell
    known = _known_bell
    if known is not None and _inode(known[0]) == known[1]:
        return known[0]
    reader, writer = os.pipe()
    os.close(writer)
    if _known_bell is not known and _known_bell is not None:  # another thread has made one meanwhile
        os.close(reader)
        return _known_bell[0]
    _known_bell = reader, os.fstat(reader).st_ino
    return reader


def _inode(descriptor: int) -> int | None:
    """Return the inode of an open file; None if the descriptor is closed."""
    try:
        return os.fstat(descriptor).st_ino
    except OSError:
        return None
