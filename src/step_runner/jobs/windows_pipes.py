"""The pipes that the steps of a job write to, on Windows, where the event loop reads them by overlapped operations."""

from __future__ import annotations

import asyncio
import ctypes
import os
from asyncio.windows_utils import PipeHandle
from ctypes import wintypes
from typing import TYPE_CHECKING, Protocol

from gracefulexitcmd.pipes import pipe_to_read
from step_runner.windows_file import declared

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MOST_READ = 1 << 16
"""Bytes that the loop may have read and not handed over: asyncio's read size for a pipe."""

_PIPE_ARGUMENTS = (wintypes.HANDLE, ctypes.c_void_p, wintypes.DWORD, ctypes.c_void_p)
_peek = declared(
    ctypes.WinDLL("kernel32", use_last_error=True),
    "PeekNamedPipe",
    wintypes.BOOL,
    *_PIPE_ARGUMENTS,
    ctypes.POINTER(wintypes.DWORD),
    ctypes.c_void_p,
)


class Outlet(Protocol):
    """Where the bytes of a pipe go."""

    def write(self, content: bytes) -> None:
        """Take bytes that have come out of a pipe."""


class Pipe(asyncio.Protocol):
    """A pipe of one step. `write_end` is the step's, which gets it when it is started."""

    def __init__(self, outlet: Outlet) -> None:
        """Move what comes to the outlet from now on. Raises OSError where no pipe can be had."""
        self.closed = False
        self.outlet = outlet
        self.moved = 0
        """The number of bytes that have come out of it."""
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._handle, write_end = pipe_to_read()
        self.write_end: int | None = write_end
        loop = asyncio.get_running_loop()
        self._transport: asyncio.ReadTransport | None = None
        self._opening = loop.create_task(loop.connect_read_pipe(lambda: self, PipeHandle(self._handle)))

    def resume(self) -> None:
        """Move what comes."""
        self._flowing.set()
        if self._transport is not None:
            self._transport.resume_reading()

    def pause(self) -> None:
        """Leave what comes in the pipe: the step's next write blocks while the pipe is full."""
        self._flowing.clear()
        if self._transport is not None:
            self._transport.pause_reading()

    def started(self, _send: Callable[[int], object]) -> None:
        """The step has its end: close it here."""
        self.let_go()

    def let_go(self) -> None:
        """Close the step's end here."""
        if self.write_end is not None:
            os.close(self.write_end)
            self.write_end = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The loop reads from now on."""
        assert isinstance(transport, asyncio.ReadTransport)
        self._transport = transport
        if not self._flowing.is_set():
            transport.pause_reading()

    def data_received(self, data: bytes) -> None:
        """Something was written."""
        if not self.closed:
            self.moved += len(data)
            self.outlet.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody can write any more."""
        self.closed = True
        self._flowing.set()

    async def settle(self) -> None:
        """Wait until what has been written up to now was moved, and not for what is written meanwhile."""
        await self._opening
        enough = self.moved + MOST_READ + self._waiting()
        while not self.closed and self.moved < enough and self._waiting():
            await self._next_round()
        # The loop learns of a completed read in its next round, and hands its bytes over at the end of that round.
        # Where the pipe was paused in that moment they come one round after it goes on.
        for _ in range(3):
            await self._next_round()

    def close(self) -> None:
        """Close it; all that wrote to it have ended with their Job Object, and what they wrote was moved."""
        self.closed = True
        self._flowing.set()
        self.let_go()
        if self._transport is not None:
            self._transport.close()

    async def _next_round(self) -> None:
        await self._flowing.wait()
        await asyncio.sleep(0)

    def _waiting(self) -> int:
        count = wintypes.DWORD()
        try:
            _peek(self._handle, None, 0, None, ctypes.byref(count), None)
        except OSError:  # the other end is closed
            return 0
        return count.value


class Pipes:
    """All pipes of a job that somebody may still write to."""

    def __init__(self) -> None:
        self._open: list[Pipe] = []

    def __iter__(self) -> Iterator[Pipe]:
        return (pipe for pipe in self._open if not pipe.closed)

    def open(self, outlet: Outlet) -> Pipe:
        """Make a pipe. Raises OSError where none can be had."""
        pipe = Pipe(outlet)
        self._open.append(pipe)
        return pipe

    async def settle(self) -> None:
        """Wait until what has been written up to now was moved."""
        for pipe in self._open:
            await pipe.settle()
        self._open = [pipe for pipe in self._open if not pipe.closed]

    def drain(self) -> None:
        """Nothing can be moved before the loop has its turn."""

    def close(self) -> None:
        """Close all."""
        for pipe in self._open:
            pipe.close()
