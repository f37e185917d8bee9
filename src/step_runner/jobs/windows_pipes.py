"""Pipes that the steps of a job write to, on Windows, where the event loop reads them by overlapped operations."""

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
"""Bytes that the loop may have read but not yet delivered: asyncio's read size for a pipe."""

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
    """The destination of a pipe's bytes."""

    def write(self, content: bytes) -> None:
        """Write bytes that were read from a pipe."""


class Pipe(asyncio.Protocol):
    """A pipe of one step. The step gets `write_end` at its start."""

    def __init__(self, outlet: Outlet) -> None:
        """Open a pipe and start to move its output to the outlet. Raise OSError when no pipe can be opened."""
        self.closed = False
        self.outlet = outlet
        self.moved = 0
        """Number of bytes read from the pipe."""
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._handle, write_end = pipe_to_read()
        self.write_end: int | None = write_end
        loop = asyncio.get_running_loop()
        self._transport: asyncio.ReadTransport | None = None
        self._opening = loop.create_task(loop.connect_read_pipe(lambda: self, PipeHandle(self._handle)))

    def resume(self) -> None:
        """Move the output from now on."""
        self._flowing.set()
        if self._transport is not None:
            self._transport.resume_reading()

    def pause(self) -> None:
        """Leave the output in the pipe: the step's next write blocks while it is full."""
        self._flowing.clear()
        if self._transport is not None:
            self._transport.pause_reading()

    def started(self, _send: Callable[[int], object]) -> None:
        """Close our copy of the step's end: the step has its own."""
        self.let_go()

    def let_go(self) -> None:
        """Close our copy of the step's end."""
        if self.write_end is not None:
            os.close(self.write_end)
            self.write_end = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note that the loop reads from now on."""
        assert isinstance(transport, asyncio.ReadTransport)
        self._transport = transport
        if not self._flowing.is_set():
            transport.pause_reading()

    def data_received(self, data: bytes) -> None:
        """Write output that has arrived."""
        if not self.closed:
            self.moved += len(data)
            self.outlet.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the last writer has closed the pipe."""
        self.closed = True
        self._flowing.set()

    async def settle(self) -> None:
        """Wait until all output that was written before the call is moved, but no later output."""
        await self._opening
        enough = self.moved + MOST_READ + self._waiting()
        while not self.closed and self.moved < enough and self._waiting():
            await self._next_round()
        # The loop notices a completed read in its next round, and delivers the bytes at the end of that round. If the
        # pipe was paused at that moment, it delivers them one round after the pipe resumes.
        for _ in range(3):
            await self._next_round()

    def close(self) -> None:
        """Close the pipe. All its writers have ended with their Job Object, and their output was moved."""
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
    """All pipes of a job that may still have a writer."""

    def __init__(self) -> None:
        self._open: list[Pipe] = []

    def __iter__(self) -> Iterator[Pipe]:
        return (pipe for pipe in self._open if not pipe.closed)

    def open(self, outlet: Outlet) -> Pipe:
        """Return a new pipe. Raise OSError when no pipe can be opened."""
        pipe = Pipe(outlet)
        self._open.append(pipe)
        return pipe

    async def settle(self) -> None:
        """Wait until all output that was written before the call is moved."""
        for pipe in self._open:
            await pipe.settle()
        self._open = [pipe for pipe in self._open if not pipe.closed]

    def drain(self) -> None:
        """Do nothing: only the loop can move output."""

    def close(self) -> None:
        """Close all pipes."""
        for pipe in self._open:
            pipe.close()
