"""What goes through a command's pipes while it runs."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from gracefulexitcmd.ladder import Event

if TYPE_CHECKING:
    import sys
    from collections.abc import Callable, Mapping

    if sys.platform == "win32":
        from gracefulexitcmd.windows.pipes import Feed, Pipe
        from gracefulexitcmd.windows.poller import Poller
    else:
        from gracefulexitcmd.posix.output import Feed, Pipe
        from gracefulexitcmd.posix.poller import Poller


class Streams:
    """Reads what a command writes, and writes its input, whenever the poller says that it can be done.

    `pipes` are those that the command writes to, by name; `tell` hears when the last of them was read to its end.
    """

    def __init__(
        self,
        poller: Poller,
        tell: Callable[[Event], None],
        pipes: Mapping[str, Pipe] = {},
        feed: Feed | None = None,
    ) -> None:
        self._poller = poller
        self._tell = tell
        self._pipes = pipes
        self._feed = feed
        self._open = set(pipes.values())
        self._finished = False
        for pipe in self._open:
            poller.watch(pipe.ready, partial(self._read, pipe))
        if feed is not None:
            poller.watch(feed.ready, self._write, write=True)

    @property
    def held(self) -> list[int]:
        """Our ends, until `finish`."""
        feed = [] if self._feed is None else [self._feed.ready]
        return [] if self._finished else [*feed, *(pipe.ready for pipe in self._pipes.values())]

    def read(self) -> set[Pipe]:
        """Take what was written so far; returns the pipes that somebody can still write to."""
        for pipe in self._open:
            pipe.read()
        return {pipe for pipe in self._open if not pipe.closed}

    def finish(self) -> None:
        """Take what was written so far, and close our ends."""
        self._finished = True
        self._close_feed()
        for pipe in self._pipes.values():
            pipe.finish()

    def content(self, name: str) -> bytes | None:
        """All bytes that came out of a pipe, None where there was none."""
        return self._pipes[name].content if name in self._pipes else None

    def __bool__(self) -> bool:
        """Whether there is something to read."""
        return bool(self._open)

    def _read(self, pipe: Pipe) -> None:
        pipe.read()
        if pipe.closed:
            self._poller.forget(pipe.ready)
            self._open.discard(pipe)
            if not self._open:
                self._tell(Event.OUTPUT_CLOSED)

    def _write(self) -> None:
        if self._feed is not None and self._feed.write():
            self._close_feed()

    def _close_feed(self) -> None:
        if self._feed is not None:
            feed, self._feed = self._feed, None
            self._poller.forget(feed.ready)
            feed.close()
