"""Pipes that the steps of a job write to, and the copying of their output."""

from __future__ import annotations

import array
import asyncio
import contextlib
import fcntl
import os
import sys
import termios
from typing import TYPE_CHECKING, Protocol

from gracefulexitcmd.pipes import flush, share, withdraw

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

AT_ONCE = 1 << 20
"""Bytes moved before others get their turn: the largest pipe of an ordinary user, pipe(7)."""

USUAL_SIZE = 1 << 16
"""Default capacity of a pipe in bytes, pipe(7)."""

MOST_LARGE = 16
"""Most pipes of AT_ONCE bytes at a time: together they take a quarter of the user's pages for pipes.

Past /proc/sys/fs/pipe-user-pages-soft each new pipe of that user, in any program, has only two pages.
"""

FOR_ALL_TO_WRITE = 0o622
"""Mode of a pipe. A step that runs as root may have a child of another user, which opens /dev/stderr.

Only a process of the same user can open these descriptors through proc(5): the mode opens the pipe to no stranger.
"""

_large = 0


class Outlet(Protocol):
    """The destination of a pipe's bytes."""

    @property
    def descriptor(self) -> int:
        """The descriptor that the supervisor writes to after this process was killed."""

    def take(self, source: int, most: int) -> int:
        """Move at most `most` bytes out of a pipe. Return their number, 0 at the end. Raises BlockingIOError."""


class Pipe:
    """A pipe of one step, or a pseudo-terminal. The step gets `write_end` at its start."""

    def __init__(self, read_end: int, write_end: int, outlet: Outlet) -> None:
        """Start to move the output to the outlet."""
        self.write_end: int | None = write_end
        self.outlet = outlet
        self.closed = False
        """Whether the pipe is closed, by us or because its last writer has closed it."""
        self.moved = 0
        """Number of bytes moved out of the pipe."""
        self._read_end = read_end
        self._large = False
        self._loop = asyncio.get_running_loop()
        os.set_blocking(read_end, False)
        self._offer = share(read_end, outlet.descriptor)
        self.resume()

    def resume(self) -> None:
        """Move the output from now on."""
        self._loop.add_reader(self._read_end, self._move)

    def pause(self) -> None:
        """Leave the output in the pipe: writers block when it is full."""
        self._loop.remove_reader(self._read_end)

    def started(self, send: Callable[[int], object]) -> None:
        """Note that the step has its end. Keep ours open: closing it would wake the loop just before the step ends."""

    def settled(self) -> None:
        """Move the ended step's output and close our copy of its end. Close the pipe if that was the last writer."""
        if self.write_end is not None:
            self.let_go()
            self._move()

    def let_go(self) -> None:
        """Close our copy of the step's end."""
        if self.write_end is not None:
            os.close(self.write_end)
            self.write_end = None

    def drain(self) -> None:
        """Move what is in the pipe now, but no later output: a flood must not block the loop for ever."""
        left = self._waiting()
        with contextlib.suppress(BlockingIOError):
            while left > 0 and (moved := self._take(left)):
                left -= moved

    def close(self) -> None:
        """Move what is in the pipe, and close it. SIGPIPE ends a process that still writes to it."""
        self.drain()
        self._close()

    def _move(self) -> None:
        moved = 0
        with contextlib.suppress(BlockingIOError):
            moved = self._take(AT_ONCE)
            if moved == 0:
                self._close()
        if moved == USUAL_SIZE:
            self._enlarge()

    def _take(self, most: int) -> int:
        moved = self.outlet.take(self._read_end, most)
        self.moved += moved
        return moved

    def _close(self) -> None:
        self.let_go()
        self.pause()
        os.close(self._read_end)
        self._shrink()
        withdraw(self._offer)
        self.closed = True

    def _waiting(self) -> int:
        count = array.array("i", [0])
        fcntl.ioctl(self._read_end, termios.FIONREAD, count)
        return count[0]

    def _enlarge(self) -> None:
        """Enlarge a pipe that was full, so that a step with much output blocks less often."""
        global _large
        if sys.platform == "linux" and not self._large and _large < MOST_LARGE:
            with contextlib.suppress(OSError):  # the user has too many pages in pipes
                fcntl.fcntl(self._read_end, fcntl.F_SETPIPE_SZ, AT_ONCE)
                self._large = True
                _large += 1

    def _shrink(self) -> None:
        global _large
        if self._large:
            self._large = False
            _large -= 1


class Pipes:
    """All pipes of a job that may still have a writer."""

    def __init__(self) -> None:
        self._open: set[Pipe] = set()

    def __iter__(self) -> Iterator[Pipe]:
        self._open = {pipe for pipe in self._open if not pipe.closed}
        return iter(tuple(self._open))

    def open(self, outlet: Outlet) -> Pipe:
        """Return a new pipe. Raises OSError when no descriptor is free."""
        read_end, write_end = os.pipe()
        os.fchmod(write_end, FOR_ALL_TO_WRITE)
        return self.add(Pipe(read_end, write_end, outlet))

    def add(self, pipe: Pipe) -> Pipe:
        """Add a pipe that was made elsewhere."""
        self._open.add(pipe)
        return pipe

    async def settle(self) -> None:
        """Move all output that was written before the call."""
        self.drain()
        for pipe in self:
            pipe.settled()

    def drain(self) -> None:
        """Move that output without waiting."""
        for pipe in self:
            pipe.drain()

    def close(self) -> None:
        """Move all output that was written before the call, and close all pipes."""
        for pipe in self:
            pipe.close()
        self._open.clear()
        flush()  # otherwise the supervisor would keep the disk space of removed files, and block writers
