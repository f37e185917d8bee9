"""Transfers the bytes of a command's pipes while it runs."""

from __future__ import annotations

from functools import partial

from gracefulexitcmd.ladder import Event

TYPE_CHECKING = False

if TYPE_CHECKING:
    import sys
    from collections.abc import Callable, Mapping
    from typing import Any

    if sys.platform == "win32":
        from gracefulexitcmd.windows.pipes import Feed, Pipe
        from gracefulexitcmd.windows.poller import Poller
    else:
        from gracefulexitcmd.posix.output import Feed, Pipe
        from gracefulexitcmd.posix.poller import Poller

ROOM = 1 << 16
"""Bytes that are kept for a command that does not read them yet; after them a writer has to wait."""


class Streams:
    """Reads a command's output and writes its input whenever the poller reports that this is possible.

    `pipes` are the pipes that the command writes to, by name. `report` is called when the last of them was read to its
    end. The output of a pipe is collected until a caller takes from it. From then on it goes to that caller alone,
    until `collect`.
    """

    def __init__(
        self,
        poller: Poller,
        report: Callable[[Event], None],
        pipes: Mapping[str, Pipe] = {},
        feed: Feed | None = None,
    ) -> None:
        self._poller = poller
        self._report = report
        self._pipes = pipes
        self._feed = feed
        self._open = set(pipes.values())
        self._taken: set[Pipe] = set()
        self._waiting: dict[Pipe, Callable[[], object]] = {}
        self._room: Callable[[], object] | None = None
        self._finished = False
        for pipe in self._open:
            poller.watch(pipe.ready, partial(self._read, pipe))
        if feed is not None:
            self._watch_feed(feed)

    @property
    def held(self) -> list[int]:
        """The descriptors of our ends, until `finish`."""
        feed = [] if self._feed is None else [self._feed.ready]
        return [] if self._finished else [*feed, *(pipe.ready for pipe in self._pipes.values())]

    def take(self, name: str, buffer: memoryview, then: Callable[[], object] | None) -> int | None:
        """Fill a buffer with the output of a pipe; return the number of bytes, 0 at its end.

        Return None if there are no bytes now: a given `then` is called when there are.
        """
        pipe = self._pipes[name]
        if self._finished:
            self._taken.add(pipe)
            return pipe.take(buffer) or 0
        if pipe not in self._taken:
            self._taken.add(pipe)
            self._poller.forget(pipe.ready)
        count = pipe.take(buffer)
        if count == 0:
            self._closed(pipe)
        elif count is None and then is not None:
            self._waiting[pipe] = then
            self._poller.forget(pipe.ready)
            self._poller.watch(pipe.ready, partial(self._announce, pipe))
        return count

    def is_readable(self, name: str, seconds: float) -> bool:
        """Wait at most `seconds` for bytes in a pipe; return False if none came or this system cannot wait so."""
        return not self._finished and self._pipes[name].is_readable(seconds)

    def collect(self) -> None:
        """Collect again the output of pipes that callers took from; they can still take it."""
        for pipe in () if self._finished else self._taken & self._open:
            self._poller.forget(pipe.ready)
            self._poller.watch(pipe.ready, partial(self._read, pipe))

    def give(self, content: bytes, then: Callable[[], object]) -> bool:
        """Write bytes to the command; return False if too many are waiting, and call `then` when there is room.

        Raise BrokenPipeError if the command does not read any more.
        """
        if self._feed is None:
            raise BrokenPipeError("the command does not read its stdin any more")
        if self._feed.left >= ROOM:
            self._room = then
            return False
        self._feed.add(content)
        self._write()
        if self._feed is not None:
            self._watch_feed(self._feed)
        return True

    def end_input(self) -> None:
        """Close the command's stdin after all given bytes have been written."""
        if self._feed is not None:
            self._feed.last = True
            self._write()

    def read(self) -> set[Pipe]:
        """Read what was written so far; return the pipes that a process can still write to."""
        for pipe in self._open:
            pipe.read()
        return {pipe for pipe in self._open if not pipe.closed}

    def finish(self) -> None:
        """Read what was written so far, and close our ends."""
        self._finished = True
        self._close_feed()
        for pipe in self._pipes.values():
            pipe.finish()
        for waiting in self._waiting.values():
            waiting()

    def record(self, decode: Callable[[bytes], Any]) -> dict[str, Any]:
        """Return the fields of an Exit about pipes; none if there are none.

        They are the decoded output of each pipe, unless a caller took from it, and the number of bytes dropped from the
        beginning of the output, because there were too many.
        """
        if not self._pipes:
            return {}
        output = {name: decode(pipe.content) for name, pipe in self._pipes.items() if pipe not in self._taken}
        return {**output, "dropped": sum([pipe.dropped for pipe in self._pipes.values()])}

    @property
    def ended(self) -> bool:
        """Whether there were pipes, and all of them were read to their end."""
        return bool(self._pipes) and not self._open

    def __bool__(self) -> bool:
        """Return whether a pipe is open to read from."""
        return bool(self._open)

    def _read(self, pipe: Pipe) -> None:
        pipe.read()
        self._announce(pipe)
        if pipe.closed:
            self._closed(pipe)

    def _announce(self, pipe: Pipe) -> None:
        """Wake the caller that waits for bytes, once: it takes them itself."""
        waiting = self._waiting.pop(pipe, None)
        if waiting is not None:
            self._poller.forget(pipe.ready)
            waiting()

    def _closed(self, pipe: Pipe) -> None:
        self._poller.forget(pipe.ready)
        if pipe in self._open:
            self._open.discard(pipe)
            if not self._open:
                self._report(Event.OUTPUT_CLOSED)

    def _watch_feed(self, feed: Feed) -> None:
        self._poller.forget(feed.ready)
        if feed.left or feed.last:
            self._poller.watch(feed.ready, self._write, write=True)

    def _write(self) -> None:
        if self._feed is None:
            return
        over = self._feed.write()
        has_room = over or self._feed.left < ROOM
        if over:
            self._close_feed()
        elif not self._feed.left:
            self._poller.forget(self._feed.ready)
        if self._room is not None and has_room:
            room, self._room = self._room, None
            room()

    def _close_feed(self) -> None:
        if self._feed is not None:
            feed, self._feed = self._feed, None
            self._poller.forget(feed.ready)
            feed.close()
