"""The pipes that the steps of a job write to, and the moving of what comes out of them."""

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
"""Bytes that are moved before others get their turn: as many as an ordinary user can have in a pipe, pipe(7)."""

USUAL_SIZE = 1 << 16
"""Bytes that fit into a pipe by default, pipe(7)."""

MOST_LARGE = 16
"""Pipes of AT_ONCE bytes at a time: together they hold a quarter of the pages that a user may have in pipes.

Past /proc/sys/fs/pipe-user-pages-soft every new pipe of that user, in any program, has room for two pages only.
"""

FOR_ALL_TO_WRITE = 0o622
"""A step that runs as root may have a child that is another user, which opens /dev/stderr.

proc(5) shows the descriptors of a process to nobody but its own user, so the mode opens the pipe to no stranger.
"""

_large = 0


class Outlet(Protocol):
    """Where the bytes of a pipe go."""

    @property
    def descriptor(self) -> int:
        """Where the front is to write to when this process was killed."""

    def take(self, source: int, most: int) -> int:
        """Move at most so many bytes out of a pipe; returns how many, 0 at its end. Raises BlockingIOError."""


class Pipe:
    """A pipe of one step, or a pseudo-terminal. `write_end` is the step's, which gets it when it is started."""

    def __init__(self, read_end: int, write_end: int, outlet: Outlet) -> None:
        """Move what comes to the outlet from now on."""
        self.write_end: int | None = write_end
        self.outlet = outlet
        self.closed = False
        """Whether it was closed, also because nobody could write to it any more."""
        self.moved = 0
        """The number of bytes that have come out of it."""
        self._read_end = read_end
        self._large = False
        self._loop = asyncio.get_running_loop()
        os.set_blocking(read_end, False)
        self._offer = share(read_end, outlet.descriptor)
        self.resume()

    def resume(self) -> None:
        """Move what comes."""
        self._loop.add_reader(self._read_end, self._move)

    def pause(self) -> None:
        """Leave what comes in the pipe: whoever writes to it waits then."""
        self._loop.remove_reader(self._read_end)

    def started(self, send: Callable[[int], object]) -> None:
        """The step has its end. Keep it here as well: that it is closed would wake us just before the step's end."""

    def settled(self) -> None:
        """The step has ended, and what it has written was moved: close its end here, and all if it was the last."""
        if self.write_end is not None:
            self.let_go()
            self._move()

    def let_go(self) -> None:
        """Close the step's end here."""
        if self.write_end is not None:
            os.close(self.write_end)
            self.write_end = None

    def drain(self) -> None:
        """Move what is in the pipe now, and not what is written meanwhile: a flood must not keep us for ever."""
        left = self._waiting()
        with contextlib.suppress(BlockingIOError):
            while left > 0 and (moved := self._take(left)):
                left -= moved

    def close(self) -> None:
        """Move what is in the pipe, and close it. SIGPIPE ends what still writes to it."""
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
        """Give a pipe that was full more room: what writes much need not wait for us so often."""
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
    """All pipes of a job that somebody may still write to."""

    def __init__(self) -> None:
        self._open: set[Pipe] = set()

    def __iter__(self) -> Iterator[Pipe]:
        self._open = {pipe for pipe in self._open if not pipe.closed}
        return iter(tuple(self._open))

    def open(self, outlet: Outlet) -> Pipe:
        """Make a pipe. Raises OSError where no descriptor is free."""
        read_end, write_end = os.pipe()
        os.fchmod(write_end, FOR_ALL_TO_WRITE)
        return self.add(Pipe(read_end, write_end, outlet))

    def add(self, pipe: Pipe) -> Pipe:
        """Take one that was made elsewhere."""
        self._open.add(pipe)
        return pipe

    async def settle(self) -> None:
        """Move what has been written up to now."""
        self.drain()
        for pipe in self:
            pipe.settled()

    def drain(self) -> None:
        """The same, at once."""
        for pipe in self:
            pipe.drain()

    def close(self) -> None:
        """Move what has been written up to now, and close all."""
        for pipe in self:
            pipe.close()
        self._open.clear()
        flush()  # else the front keeps what was removed on the disk, and writers waiting
