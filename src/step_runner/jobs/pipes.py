"""Pipes that the steps of a job write to, and the copying of their output."""

from __future__ import annotations

import array
import asyncio
import contextlib
import fcntl
import os
import stat
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

LONG = 1.0
"""Seconds after which a step counts as long."""

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
        """Move at most `most` bytes out of a pipe. Return their number, 0 at the end. Raise BlockingIOError."""


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
        self._step_has_end = False
        self._spare = False
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
        self._step_has_end = True

    def long_running(self) -> None:
        """Close our copy of the end of a step that takes long: only a certain number of descriptors can be open."""
        if self._step_has_end:
            self.let_go()

    def settled(self) -> None:
        """Move the ended step's output and close our copy of its end.

        If that was the last writer, `reopen` can give the pipe to the next step until the loop closes it.
        """
        if self.write_end is None:
            self.drain()
            return
        self.let_go()
        self._spare = self._moved_all()
        if not self._spare:
            self.drain()
            self._spare = self._moved_all()

    def reopen(self) -> bool:
        """Make this the pipe of the next step; return False if it may have a user, or if a step has changed it.

        A new pipe would take seven more system calls, and the supervisor would have to receive it. The write end is a
        new open file description: no flag that the last step has set, such as O_NONBLOCK, remains.
        """
        spare, self._spare = self._spare and not self.closed, False
        if not spare or sys.platform != "linux":
            return False
        try:
            self.write_end = os.open(f"/proc/self/fd/{self._read_end}", os.O_WRONLY)
        except OSError:  # there is no /proc, or no descriptor is free
            return False
        self.moved = 0
        self._step_has_end = False
        if not _is_as_new(self.write_end):
            self.let_go()
        return self.write_end is not None

    def let_go(self) -> None:
        """Close our copy of the step's end, and give the pipe to no other step."""
        self._spare = False
        if self.write_end is not None:
            os.close(self.write_end)
            self.write_end = None

    def drain(self) -> None:
        """Move what is in the pipe now, but no later output: a flood must not block the loop for ever."""
        left = 0 if self._spare else self._waiting()
        with contextlib.suppress(BlockingIOError):
            while left > 0 and (moved := self._take(left)):
                left -= moved

    def close(self) -> None:
        """Move what is in the pipe, and close it. SIGPIPE ends a process that still writes to it."""
        self.drain()
        self._close()

    def _move(self) -> None:
        if self._moved_all():
            self._close()

    def _moved_all(self) -> bool:
        """Move output; return whether the pipe is empty and has no writer."""
        try:
            moved = self._take(AT_ONCE)
        except BlockingIOError:
            return False
        if moved == USUAL_SIZE:
            self._enlarge()
        return moved == 0

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
        self._timer: asyncio.TimerHandle | None = None

    def __iter__(self) -> Iterator[Pipe]:
        self._open = {pipe for pipe in self._open if not pipe.closed}
        return iter(tuple(self._open))

    def open(self, outlet: Outlet) -> Pipe:
        """Return a pipe without a writer. Raise OSError when no descriptor is free."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LONG, self._steps_run_long)
        spare = next((pipe for pipe in self._open if pipe.outlet is outlet and pipe.reopen()), None)
        if spare is not None:
            return spare
        read_end, write_end = os.pipe()
        os.fchmod(write_end, FOR_ALL_TO_WRITE)
        return self.add(Pipe(read_end, write_end, outlet))

    def add(self, pipe: Pipe) -> Pipe:
        """Add a pipe that was made elsewhere."""
        self._open.add(pipe)
        return pipe

    async def settle(self) -> None:
        """Move all output that was written before the call."""
        for pipe in self:
            pipe.settled()

    def drain(self) -> None:
        """Move that output without waiting."""
        for pipe in self:
            pipe.drain()

    def close(self) -> None:
        """Move all output that was written before the call, and close all pipes."""
        if self._timer is not None:
            self._timer.cancel()
        for pipe in self:
            pipe.close()
        self._open.clear()
        flush()  # otherwise the supervisor would keep the disk space of removed files, and block writers

    def _steps_run_long(self) -> None:
        self._timer = None
        for pipe in self:
            pipe.long_running()


def _is_as_new(write_end: int) -> bool:
    """Return whether a step has left the mode, the owner and the size of its pipe as they were."""
    status = os.fstat(write_end)
    size = fcntl.fcntl(write_end, fcntl.F_GETPIPE_SZ) if sys.platform == "linux" else USUAL_SIZE
    unchanged = (FOR_ALL_TO_WRITE, os.geteuid(), os.getegid())
    return (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == unchanged and size >= USUAL_SIZE
