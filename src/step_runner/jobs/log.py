"""A job's log: a file that only this process writes, and its followers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from typing import TYPE_CHECKING

from step_runner.runner.context import Streams

if sys.platform == "win32":
    from step_runner.jobs.windows_pipes import Pipes
    from step_runner.windows_file import GENERIC_READ, OPEN_EXISTING, SHARE_ALL, open_file
else:
    from gracefulexitcmd.pipes import move
    from step_runner.jobs.pipes import Pipes

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

LARGEST_CHUNK = 1 << 20
"""Most bytes of one chunk. Each message has a fixed cost, so chunks should be large."""

SMALLEST_CHUNK = 1 << 14
ALL_CHUNKS = 1 << 25
"""Bytes of the chunks of all followers of a server.

gRPC holds about three chunks for each until its client reads them.
"""

BINARY = getattr(os, "O_BINARY", 0)
"""Windows translates line breaks without this flag."""


class JobLog:
    """The output of all steps and the runner's own lines, in the order of writing.

    Both streams of a step share one pipe. Its bytes are moved into the file unchanged.
    """

    _following = 0
    """Number of followers of all logs in this process."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.lost: OSError | None = None
        """The error that lost output, such as a full disk; None while nothing was lost."""
        self._size = 0
        self._ended = False
        self._followers: set[asyncio.Event] = set()
        self._pipes = Pipes()
        # Not O_APPEND: splice(2) refuses it. The supervisor shares the file position, and continues there after our
        # end.
        self.descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | BINARY, 0o600)
        self._file = os.fstat(self.descriptor)

    def open(self) -> Streams:
        """Return one pipe for both streams of a step. Raise OSError when no descriptor is free."""
        pipe = self._pipes.open(self)
        return Streams(pipe, pipe)

    async def settle(self) -> None:
        """Wait until all output that steps have written so far is in the log."""
        await self._pipes.settle()

    def notice(self, line: str) -> None:
        """Write a line of the runner's own after all earlier output, at the start of a line.

        The line is dropped after the end of the log, or when it cannot be written. A full disk thus fails no step and
        delays no stop.
        """
        if self._ended:
            return
        self._pipes.drain()
        with contextlib.suppress(OSError):
            broken = self._size > 0 and _read_at(self.descriptor, 1, self._size - 1) != b"\n"
            self._append(b"\n" * broken + f"{line}\n".encode(errors="replace"))

    if sys.platform != "win32":

        def take(self, source: int, most: int) -> int:
            """Move bytes from a pipe into the file. After the first loss drop the rest too: the log has no gap."""
            if self.lost is None:
                try:
                    return self._grown(move(source, self.descriptor, most))
                except BlockingIOError:
                    raise
                except OSError as error:
                    self.lost = error
            return len(os.read(source, most))

    def write(self, content: bytes) -> None:
        """Write bytes that were already read from a pipe."""
        if self.lost is None:
            try:
                self._append(content)
            except OSError as error:
                self.lost = error

    def end(self) -> None:
        """End the log: followers get the rest of it, then its end.

        Later output of a process that may belong to another job goes to no log.
        """
        if not self._ended:
            self._pipes.close()
            self._ended = True
            os.close(self.descriptor)
            self._wake()

    async def follow(self, offset: int) -> AsyncGenerator[bytes, None]:
        """Yield the bytes from `offset` on in chunks, as they are written, until the log ends.

        Yield one empty chunk at the end of what the log held at the call: some clients want no more than that.
        """
        try:
            descriptor = self._opened()
        except OSError:  # the job is being closed, or the log of an ended job was removed
            return
        grown = asyncio.Event()
        self._followers.add(grown)
        JobLog._following += 1
        chunks = self._read(descriptor, offset, grown)
        try:
            async for chunk in chunks:
                yield chunk
        finally:
            await chunks.aclose()
            self._followers.discard(grown)
            JobLog._following -= 1
            os.close(descriptor)

    async def _read(self, descriptor: int, offset: int, grown: asyncio.Event) -> AsyncGenerator[bytes, None]:
        there_now: int | None = self._size
        while True:
            if there_now is not None and offset >= there_now:
                there_now = None
                yield b""
            # Read the end flag first: all earlier output is then in the file.
            ended = self._ended
            grown.clear()
            # Each follower may hold a few chunks.
            largest = max(SMALLEST_CHUNK, min(LARGEST_CHUNK, ALL_CHUNKS // JobLog._following))
            most = min(largest, self._size - offset)
            if most > 0 and (chunk := _read_at(descriptor, most, offset)):
                offset += len(chunk)
                yield chunk
            elif ended:
                return
            else:
                await grown.wait()

    def _append(self, content: bytes) -> None:
        view = memoryview(content)
        if sys.platform == "win32":  # a read by a follower through this descriptor has moved the position
            os.lseek(self.descriptor, self._size, os.SEEK_SET)
        while view:
            view = view[self._grown(os.write(self.descriptor, view)) :]

    def _grown(self, count: int) -> int:
        if count:
            self._size += count
            self._wake()
        return count

    def _wake(self) -> None:
        for follower in self._followers:
            follower.set()

    def _opened(self) -> int:
        """Return a descriptor to read from.

        While steps write, it is a copy of ours: a step may have removed the file's name. Raise FileNotFoundError when
        a step has replaced the log with another file.
        """
        if sys.platform == "win32":  # a read at an offset moves the position on Windows
            return open_file(self.path, GENERIC_READ, SHARE_ALL, OPEN_EXISTING)
        if not self._ended:
            return os.dup(self.descriptor)
        # An open of a FIFO would block until it has a writer (fifo(7)), and a symbolic link can lead anywhere.
        descriptor = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
        if not os.path.samestat(os.fstat(descriptor), self._file):
            os.close(descriptor)
            raise FileNotFoundError(self.path)
        return descriptor


def _read_at(descriptor: int, most: int, offset: int) -> bytes:
    if sys.platform == "win32":
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.read(descriptor, most)
    return os.pread(descriptor, most, offset)
