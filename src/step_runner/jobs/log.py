"""A job's log: a file into which steps write directly, and those who follow it."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING

from step_runner.jobs.reader import Reader, opened

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator

    from step_runner.jobs.changes import Changes

LARGEST_CHUNK = 1 << 18
"""Bytes handed on at once: a message costs time of its own, but one that leaves the caches costs more."""

FARTHEST = 1 << 62
"""The largest offset that is asked for: pread(2) refuses one that does not leave room for a chunk below 2**63."""

if sys.platform == "win32":
    # There all who got the file from here write at one common position. O_APPEND would move it behind their backs.
    ONE_AFTER_ANOTHER = os.O_BINARY
else:
    ONE_AFTER_ANOTHER = os.O_APPEND


CUT = b"a step has cut the log: what stood before is lost\n"
"""Written when the log is shorter than it was: whoever writes into a file can also truncate it."""


class JobLog:
    """The output of all steps and the runner's own lines, in the order in which they were written.

    Both streams of a step go to one file that is only appended to, so nothing is copied and no byte is changed.
    """

    def __init__(self, path: str, changes: Changes) -> None:
        self.path = path
        self._changes = changes
        self._final_size: int | None = None
        self._size = 0
        self._followers: set[asyncio.Event] = set()
        self.stdout = self.stderr = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | ONE_AFTER_ANOTHER, 0o600)

    def notice(self, line: str) -> None:
        """Write a line of the runner's own, on a line of its own.

        It is dropped after the end of the log, and where it cannot be written: no step fails, and no stop is kept
        from a command, because the disk is full.
        """
        if self._final_size is not None:
            return
        text = f"{line}\n".encode(errors="replace")
        with contextlib.suppress(OSError):
            size = os.fstat(self.stdout).st_size
            broken = size > 0 and self._last_byte(size) != b"\n"
            before = (b"\n" if broken else b"") + (CUT if size < self._size else b"")
            self._size = size + os.write(self.stdout, before + text)

    def end(self) -> None:
        """Say that nothing more will be written: followers get what there is, then their end.

        What a process that is spared for another job writes afterwards belongs to no log.
        """
        if self._final_size is None:
            self._final_size = os.fstat(self.stdout).st_size
            os.close(self.stdout)
            for follower in self._followers:
                follower.set()

    async def follow(self, offset: int) -> AsyncIterator[bytes]:
        """The bytes from `offset` on, in chunks, as they are written, until the log has ended.

        One empty chunk stands where the log ended at the time of the call, for those who want no more than that.
        """
        try:
            reader = self._reader()
        except FileNotFoundError:  # the job is being closed, or somebody has taken the log of one that has ended
            return
        with reader, self._changes.of(reader.descriptor) as changed:
            self._followers.add(changed)
            try:
                async for chunk in self._read(reader, min(offset, FARTHEST), changed):
                    yield chunk
            finally:
                self._followers.discard(changed)

    async def _read(self, reader: Reader, offset: int, changed: asyncio.Event) -> AsyncIterator[bytes]:
        there_now = reader.size() if self._final_size is None else self._final_size
        while offset < there_now and (chunk := reader.read(min(LARGEST_CHUNK, there_now - offset), offset)):
            offset += len(chunk)
            yield chunk
        yield b""
        while True:
            # Whether it has ended is asked first: what was written before is then surely read.
            final = self._final_size
            changed.clear()
            most = LARGEST_CHUNK if final is None else min(LARGEST_CHUNK, max(0, final - offset))
            if chunk := reader.read(most, offset):
                offset += len(chunk)
                yield chunk
            elif final is not None:
                return
            else:
                await changed.wait()

    def _reader(self) -> Reader:
        """As long as steps write there is no need of the file's name, which somebody may have taken away."""
        if self._final_size is None and sys.platform != "win32":
            return Reader(os.dup(self.stdout))
        return opened(self.path)

    def _last_byte(self, size: int) -> bytes:
        if sys.platform == "win32":  # where to read here would move the position at which others write
            with opened(self.path) as reader:
                return reader.read(1, size - 1)
        return os.pread(self.stdout, 1, size - 1)
