"""Reading a command's pipes without ever waiting for them."""

from __future__ import annotations

import errno
import os
import select
import sys

CHUNK = 1 << 16
"""Bytes in one read: the default capacity of a pipe on Linux, pipe(7)."""

BURST = 16
"""Chunks read in one go before others get their turn: 1 MiB, as much as a pipe can hold by default."""


class Pipe:
    """The read end of a pipe and the bytes that came out of it so far."""

    def __init__(self, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        self.ready = descriptor
        """The descriptor, which becomes readable when there is something to read."""
        self.inode = os.fstat(descriptor).st_ino
        self.closed = False
        self._chunks: list[bytes] = []

    @property
    def content(self) -> bytes:
        """All bytes read so far."""
        return b"".join(self._chunks)

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
            self._chunks.append(chunk)

    def finish(self) -> None:
        """Take what is left of what was written so far, and close this end."""
        self.read()
        os.close(self.ready)


class Feed:
    """The write end of a pipe and the bytes that still have to go into it."""

    def __init__(self, descriptor: int, content: bytes) -> None:
        os.set_blocking(descriptor, False)
        self.ready = descriptor
        """The descriptor, which becomes writable when there is room."""
        self._left = memoryview(content)

    def write(self) -> bool:
        """Put in what fits, at most one burst; True when all was written or nobody reads any more."""
        try:
            for _ in range(BURST):
                self._left = self._left[os.write(self.ready, self._left[:CHUNK]) :]
                if not self._left:
                    return True
        except BlockingIOError:
            return False
        except BrokenPipeError:
            return True
        return False

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
