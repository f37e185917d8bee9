"""A job's log: a file that only this process writes, and those who follow it."""

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
"""Bytes handed on at once: a message costs time of its own, whatever it holds."""

SMALLEST_CHUNK = 1 << 14
ALL_CHUNKS = 1 << 25
"""Bytes of the chunks of all followers of a server: gRPC holds some three of each until its reader takes them."""

BINARY = getattr(os, "O_BINARY", 0)
"""Windows changes line breaks without it."""


class JobLog:
    """The output of all steps and the runner's own lines, in the order in which they were written.

    Both streams of a step are one pipe. What comes out of it is moved into the file unchanged.
    """

    _following = 0
    """How many follow any log of this process."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.lost: OSError | None = None
        """Why output was lost, once it was: the disk is full, say."""
        self._size = 0
        self._ended = False
        self._followers: set[asyncio.Event] = set()
        self._pipes = Pipes()
        # Not O_APPEND, which splice(2) refuses. The position is shared with the front, which goes on where this ends.
        self.descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | BINARY, 0o600)
        self._file = os.fstat(self.descriptor)

    def open(self) -> Streams:
        """One pipe for both streams of a step. Raises OSError where no descriptor is free."""
        pipe = self._pipes.open(self)
        return Streams(pipe, pipe)

    async def settle(self) -> None:
        """Have all in the log that steps have written up to now."""
        await self._pipes.settle()

    def notice(self, line: str) -> None:
        """Write a line of the runner's own, on a line of its own, behind what steps have written before.

        It is dropped after the end of the log, and where it cannot be written: no step fails, and no stop is kept
        from a command, because the disk is full.
        """
        if self._ended:
            return
        self._pipes.drain()
        with contextlib.suppress(OSError):
            broken = self._size > 0 and _read_at(self.descriptor, 1, self._size - 1) != b"\n"
            self._append(b"\n" * broken + f"{line}\n".encode(errors="replace"))

    if sys.platform != "win32":

        def take(self, source: int, most: int) -> int:
            """Move bytes from a pipe into the file; once some were lost, lose all: none is missing in between."""
            if self.lost is None:
                try:
                    return self._grown(move(source, self.descriptor, most))
                except BlockingIOError:
                    raise
                except OSError as error:
                    self.lost = error
            return len(os.read(source, most))

    def write(self, content: bytes) -> None:
        """Take bytes that have come out of a pipe already."""
        if self.lost is None:
            try:
                self._append(content)
            except OSError as error:
                self.lost = error

    def end(self) -> None:
        """Say that nothing more will be written: followers get what there is, then their end.

        What a process that is spared for another job writes afterwards belongs to no log.
        """
        if not self._ended:
            self._pipes.close()
            self._ended = True
            os.close(self.descriptor)
            self._wake()

    async def follow(self, offset: int) -> AsyncGenerator[bytes, None]:
        """The bytes from `offset` on, in chunks, as they are written, until the log has ended.

        One empty chunk stands where the log ended at the time of the call, for those who want no more than that.
        """
        try:
            descriptor = self._opened()
        except OSError:  # the job is being closed, or somebody has taken the log of one that has ended
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
            # Whether it has ended is asked first: what was written before is then surely read.
            ended = self._ended
            grown.clear()
            most = min(_largest_chunk(JobLog._following), self._size - offset)
            if most > 0 and (chunk := _read_at(descriptor, most, offset)):
                offset += len(chunk)
                yield chunk
            elif ended:
                return
            else:
                await grown.wait()

    def _append(self, content: bytes) -> None:
        view = memoryview(content)
        if sys.platform == "win32":  # a follower that reads by this descriptor has moved the position
            os.lseek(self.descriptor, self._size, os.SEEK_SET)
        while view:
            view = view[self._grown(os.write(self.descriptor, view)) :]

    def _grown(self, count: int) -> int:
        self._size += count
        self._wake()
        return count

    def _wake(self) -> None:
        for follower in self._followers:
            follower.set()

    def _opened(self) -> int:
        """A descriptor to read from; as long as steps write there is no need of a name that one can take away.

        Raises FileNotFoundError where a step has put another file in the place of the log.
        """
        if sys.platform == "win32":  # where to read here moves the position
            return open_file(self.path, GENERIC_READ, SHARE_ALL, OPEN_EXISTING)
        if not self._ended:
            return os.dup(self.descriptor)
        # The opening of a pipe would wait for somebody who writes, a link can lead anywhere.
        descriptor = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
        if not os.path.samestat(os.fstat(descriptor), self._file):
            os.close(descriptor)
            raise FileNotFoundError(self.path)
        return descriptor


def _largest_chunk(followers: int) -> int:
    """Return the bytes of a chunk where so many follow: each may hold back a few of them."""
    return max(SMALLEST_CHUNK, min(LARGEST_CHUNK, ALL_CHUNKS // followers))


def _read_at(descriptor: int, most: int, offset: int) -> bytes:
    if sys.platform == "win32":
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.read(descriptor, most)
    return os.pread(descriptor, most, offset)
