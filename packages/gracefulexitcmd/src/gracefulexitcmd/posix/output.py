"""Reads and writes a command's pipes without blocking."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import sys

from gracefulexitcmd.chunks import Chunks

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

CHUNK = 1 << 16
"""Bytes of one read: the default capacity of a pipe on Linux, pipe(7)."""

BURST = 16
"""Chunks read before other descriptors get their turn: 1 MiB, the default limit of a pipe's capacity, pipe(7)."""


class Pipe:
    """The read end of a pipe, and at most the last `most` bytes that were read from it and not taken."""

    def __init__(self, descriptor: int, most: int | None = None) -> None:
        os.set_blocking(descriptor, False)
        self.ready = descriptor
        """The descriptor, which becomes readable when the pipe has bytes or has ended."""
        self.closed = False
        self._finished = False
        self._chunks = Chunks(most)

    @property
    def inode(self) -> int:
        """The number that identifies the pipe in `/proc`."""
        return os.fstat(self.ready).st_ino

    @property
    def content(self) -> bytes:
        """All bytes read so far."""
        return self._chunks.content

    @property
    def dropped(self) -> int:
        """The number of bytes that were dropped from the beginning."""
        return self._chunks.dropped

    def read(self) -> None:
        """Read the available bytes, at most one burst; set `closed` at the end of the pipe."""
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
        """Fill a buffer; return the number of bytes, 0 at the end of the pipe, None if there are none now."""
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
        """Wait at most so many seconds for bytes or the end of the pipe; return whether one of them came."""
        return ready(self.ready, select.POLLIN, seconds)

    def finish(self) -> None:
        """Read what was written so far, at most one burst, and close this end."""
        if not self.closed:
            self.read()
        self._finished = True
        os.close(self.ready)


class Feed:
    """The write end of a pipe, and the bytes that must still be written; with `last` no others follow."""

    def __init__(self, descriptor: int, content: bytes | None) -> None:
        os.set_blocking(descriptor, False)
        self.ready = descriptor
        """The descriptor, which becomes writable when there is room."""
        self.last = content is not None
        self._left = memoryview(content or b"")

    @property
    def left(self) -> int:
        """The number of bytes that are not written yet."""
        return len(self._left)

    def add(self, content: bytes) -> None:
        """Add bytes after those that are left."""
        self._left = memoryview(bytes(self._left) + content if self._left else content)

    def write(self) -> bool:
        """Write what fits, at most one burst; return True if the last byte was written or the read end is closed."""
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
        """Close this end, so that the command reads the end of its input."""
        os.close(self.ready)


def holders(inodes: Iterable[int]) -> Iterator[int]:
    """Yield the pids of the other processes that hold a pipe with one of these inodes open, as `/proc` shows them."""
    wanted = {f"pipe:[{inode}]" for inode in inodes}
    for name in os.listdir("/proc"):
        if name.isdecimal() and int(name) != os.getpid() and wanted.intersection(_open_files(name)):
            yield int(name)


def _open_files(pid: str) -> Iterator[str]:
    with contextlib.suppress(OSError):
        for descriptor in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                yield os.readlink(f"/proc/{pid}/fd/{descriptor}")


def move(source: int, destination: int, most: int) -> int:
    """Move at most `most` bytes from a pipe to a descriptor; return how many, 0 at the end of the pipe.

    Raise BlockingIOError if there are no bytes to move now, and another OSError if they cannot be written. Bytes are
    lost then only if splice(2) does not support the destination.
    """
    if sys.platform == "linux":
        try:
            return os.splice(source, destination, most, flags=os.SPLICE_F_NONBLOCK)
        except OSError as error:
            if error.errno != errno.EINVAL:  # EINVAL: a file opened with O_APPEND, some terminals; splice(2)
                raise
    chunk = os.read(source, min(most, CHUNK))
    write_all(destination, chunk)
    return len(chunk)


def write_all(descriptor: int, content: bytes) -> None:
    """Write all bytes, even if another program has made the descriptor non-blocking. Raise OSError."""
    view = memoryview(content)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:
            ready(descriptor, select.POLLOUT)


def ready(descriptor: int, event: int, seconds: float | None = None) -> bool:
    """Wait for an event of poll(2) or the end of the pipe, at most so many seconds; return whether one of them came."""
    poll = select.poll()
    poll.register(descriptor, event)
    return bool(poll.poll(None if seconds is None else seconds * 1000))
