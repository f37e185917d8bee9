"""A job's log: a file into which steps write directly, and those who follow it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator

    from step_runner.jobs.changes import Changes

LARGEST_CHUNK = 1 << 20
"""Bytes handed on at once: a message costs about the same whatever its size, so few large ones are best."""


class JobLog:
    """The output of all steps and the runner's own lines, in the order in which they were written.

    Both streams of a step go to one file that is only appended to, so nothing is copied and no byte is changed.
    """

    def __init__(self, path: str, changes: Changes) -> None:
        self.path = path
        self._changes = changes
        self._ended = False
        self._followers: set[asyncio.Event] = set()
        flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_APPEND | os.O_CLOEXEC
        self.stdout = self.stderr = os.open(path, flags, 0o600)

    def notice(self, line: str) -> None:
        """Write a line of the runner's own, on a line of its own; after the end of the log it is dropped."""
        if self._ended:
            return
        size = os.fstat(self.stdout).st_size
        broken = size > 0 and os.pread(self.stdout, 1, size - 1) != b"\n"
        text = f"{line}\n".encode(errors="surrogateescape")
        os.write(self.stdout, b"\n" + text if broken else text)

    def end(self) -> None:
        """Say that nothing more will be written: followers get what there is, then their end."""
        if not self._ended:
            self._ended = True
            os.close(self.stdout)
            for follower in self._followers:
                follower.set()

    async def follow(self, offset: int) -> AsyncIterator[bytes]:
        """The bytes from `offset` on, in chunks, as they are written, until the log has ended."""
        descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            with self._changes.of(self.path) as changed:
                self._followers.add(changed)
                try:
                    async for chunk in self._read(descriptor, offset, changed):
                        yield chunk
                finally:
                    self._followers.discard(changed)
        finally:
            os.close(descriptor)

    async def stored(self, offset: int) -> AsyncIterator[bytes]:
        """The bytes from `offset` on that are there now, in chunks; what is written meanwhile is left out."""
        descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            end = os.fstat(descriptor).st_size
            while offset < end:
                chunk = os.pread(descriptor, min(LARGEST_CHUNK, end - offset), offset)
                offset += len(chunk)
                yield chunk
        finally:
            os.close(descriptor)

    async def _read(self, descriptor: int, offset: int, changed: asyncio.Event) -> AsyncIterator[bytes]:
        while True:
            # Whether it has ended is asked first: what was written before is then surely read.
            ended = self._ended
            changed.clear()
            if chunk := os.pread(descriptor, LARGEST_CHUNK, offset):
                offset += len(chunk)
                yield chunk
            elif ended:
                return
            else:
                await changed.wait()
