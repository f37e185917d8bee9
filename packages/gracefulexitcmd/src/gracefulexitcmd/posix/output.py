"""Reading a command's pipes without ever waiting for them."""

from __future__ import annotations

import errno
import os
import select
import sys

from gracefulexitcmd.chunks import Chunks

CHUNK = 1 << 16
"""Bytes in one read: the default capacity of a pipe on Linux, pipe(7)."""

BURST = 16
"""Chunks read in one go before others get their turn: 1 MiB, as much as a pipe can hold by default."""


class Pipe:
    """The read end of a pipe and the bytes that came out of it and were not taken; at most the last `most` of them."""

    def __init__(self, descriptor: int, most: int | None = None) -> None:
        os.set_blocking(descriptor, False)
        self.ready = descriptor
        """The descriptor, which becomes readable when there is something to read."""
        self.inode = os.fstat(descriptor).st_ino
        self.closed = False
        self._finished = False
        self._chunks = Chunks(most)
        self._poll: select.poll | None = None

    @property
    def content(self) -> bytes:
        """All bytes read so far."""
        return self._chunks.content

    @property
    def dropped(self) -> int:
        """How many bytes were dropped from the front."""
        return self._chunks.dropped

    def read(self) -> None:
        """Take what is there, at most one burst; `closed` is set at the end of the pipe."""
        for _ in range(BURST):
            try:
                chunk = os.read(self.ready, CHUNK)
            except BlockingIOError:
                return
            if not chunk:
                self.closed = True
                return
            self._chunks.add(chunk)

    def take(self, buffer: memoryview) -> int | None:
        """Fill a buffer; returns the number of bytes, 0 at the end of the pipe, None where there is nothing now."""
        if self._chunks:
            return self._chunks.take(buffer)
        if self.closed or self._finished:
            return 0
        try:
            count = os.readv(self.ready, [buffer])
        except BlockingIOError:
            return None
        self.closed = count == 0
        return count

    def is_readable(self, seconds: float) -> bool:
        """Wait for bytes, or the end."""
        if self._poll is None:
            self._poll = select.poll()
            self._poll.register(self.ready, select.POLLIN)
        return bool(self._poll.poll(seconds * 1000))

    def finish(self) -> None:
        """Take what is left of what was written so far, and close this end."""
        self.read()
        self._finished = True
        os.close(self.ready)


class Feed:
    """The write end of a pipe and the bytes that still have to go into it; with `last` it ends with them."""

    def __init__(self, descriptor: int, content: bytes | None) -> None:
        os.set_blocking(descriptor, False)
        self.ready = descriptor
        """The descriptor, which becomes writable when there is room."""
        self.last = content is not None
        self._left = memoryview(content or b"")

    @property
    def left(self) -> int:
        """Bytes that are not written yet."""
        return len(self._left)

    def add(self, content: bytes) -> None:
        """Have bytes written after those that are left."""
        self._left = memoryview(bytes(self._left) + content if self._left else content)

    def write(self) -> bool:
        """Put in what fits, at most one burst; True when the last was written or nobody reads any more."""
        try:
            for _ in range(BURST):
                if not self._left:
                    return self.last
                self._left = self._left[os.write(self.ready, self._left[:CHUNK]) :]
        except BlockingIOError:
            return False
        except BrokenPipeError:
            return True
        return self.last and not self._left

    def close(self) -> None:
        """Close this end, so that the command finds the end of its input."""
        os.close(self.ready)


def move(source: int, destination: int, most: int) -> int:
    """Move at most so many bytes from a pipe to where they go; returns how many, 0 at the end of the pipe.

    Raises BlockingIOError where there is nothing to move now, other OSErrors where it cannot be written; bytes are
    lost then only if the destination is one that splice(2) does not know.
    """
    if sys.platform == "linux":
        try:
            return os.splice(source, destination, most, flags=os.SPLICE_F_NONBLOCK)
        except OSError as error:
            if error.errno != errno.EINVAL:  # a file that is only appended to, some terminals
                raise
    chunk = os.read(source, min(most, CHUNK))
    write_all(destination, chunk)
    return len(chunk)


def write_all(descriptor: int, content: bytes) -> None:
    """Write everything, also where another program has made the descriptor non-blocking. Raises OSError."""
    view = memoryview(content)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:
            poll = select.poll()
            poll.register(descriptor, select.POLLOUT)
            poll.poll()
