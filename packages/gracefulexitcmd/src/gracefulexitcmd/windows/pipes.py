"""Reads and writes a command's pipes without blocking."""

from __future__ import annotations

import ctypes
import itertools
import msvcrt
import os
from ctypes import wintypes

from gracefulexitcmd.chunks import Chunks
from gracefulexitcmd.typed import NamedTuple
from gracefulexitcmd.windows import calls

CHUNK = 1 << 16
"""The size of one read and of a pipe's buffer, in bytes."""

BURST = 16
"""The maximum number of chunks in one turn, 1 MiB; then other handles get their turn."""

ACCESS_INBOUND, ACCESS_OUTBOUND = 1, 2
FIRST_INSTANCE = 0x80000
OVERLAPPED = 0x40000000
REJECT_REMOTE_CLIENTS = 8
GENERIC_READ, GENERIC_WRITE = 0x80000000, 0x40000000
READ_ATTRIBUTES = 0x80
OPEN_EXISTING = 3

_numbers = itertools.count()


class Ends(NamedTuple):
    """Our end of a pipe as a handle for overlapped operations, and the command's as a descriptor."""

    ours: int
    theirs: int


def pipe_to_read() -> Ends:
    """Make a pipe that a command writes to. Raise OSError."""
    return _pipe(ACCESS_INBOUND, GENERIC_WRITE | READ_ATTRIBUTES, 0)


def pipe_to_write() -> Ends:
    """Make a pipe that a command reads from. Raise OSError."""
    return _pipe(ACCESS_OUTBOUND, GENERIC_READ | READ_ATTRIBUTES, os.O_RDONLY)


def _pipe(our_access: int, their_access: int, flags: int) -> Ends:
    # Pipes of CreatePipe cannot do overlapped operations. Another process cannot guess the name and create it first.
    name = rf"\\.\pipe\gracefulexitcmd-{os.getpid()}-{next(_numbers)}-{os.urandom(8).hex()}"
    mode = our_access | FIRST_INSTANCE | OVERLAPPED
    ours: int = calls.create_pipe(name, mode, REJECT_REMOTE_CLIENTS, 1, CHUNK, CHUNK, 0, None)
    try:
        theirs = calls.create_file(name, their_access, 0, None, OPEN_EXISTING, 0, None)
    except OSError:
        calls.close_handle(ours)
        raise
    return Ends(ours, msvcrt.open_osfhandle(theirs, flags))


class _Operation:
    """One overlapped operation at a time on a handle; `event` is signalled when it completes."""

    def __init__(self, handle: int) -> None:
        self.event: int = calls.create_event(None, True, False, None)
        self._handle = handle
        self._pending = False
        self._overlapped = calls.Overlapped()

    def restarted(self) -> calls.Overlapped:
        """Return a new OVERLAPPED for the next call."""
        self._overlapped = calls.Overlapped(event=self.event)
        return self._overlapped

    def begun(self, succeeded: bool) -> bool:
        """Record the start of the operation, given the call's result; return False if the other end is closed."""
        self._pending = succeeded or calls.last_error() == calls.ERROR_IO_PENDING
        if not self._pending:
            calls.set_event(self.event)
        return self._pending

    def transferred(self, *, wait: bool = False) -> int | None:
        """Return the number of bytes transferred, None while the operation is pending. Raise BrokenPipeError."""
        count = wintypes.DWORD()
        if not self._pending:
            raise BrokenPipeError
        if calls.overlapped_result(self._handle, self._overlapped, ctypes.byref(count), wait):
            self._pending = False
            return count.value
        if calls.last_error() == calls.ERROR_IO_INCOMPLETE:
            return None
        self._pending = False
        raise BrokenPipeError

    def close(self) -> int:
        """Cancel it and close the handle; return the number of bytes that it transferred before."""
        count = 0
        if self._pending:
            calls.cancel_io(self._handle, self._overlapped)
            try:
                count = self.transferred(wait=True) or 0
            except BrokenPipeError:
                count = 0
        calls.close_handle(self._handle)
        calls.close_handle(self.event)
        return count


class Pipe:
    """Our end of a pipe that a command writes to, and the bytes read from it that were not taken."""

    def __init__(self, handle: int, most: int | None = None) -> None:
        self.closed = False
        self._handle = handle
        self._operation: _Operation | None = None
        operation = self._operation = _Operation(handle)
        self.ready = operation.event
        """The event that is signalled when the pipe is readable."""
        self._buffer = ctypes.create_string_buffer(CHUNK)
        self._chunks = Chunks(most)
        self._begin(operation)

    def __del__(self) -> None:
        self.finish()

    @property
    def content(self) -> bytes:
        """All bytes read so far."""
        return self._chunks.content

    @property
    def dropped(self) -> int:
        """The number of bytes dropped from the front."""
        return self._chunks.dropped

    def take(self, buffer: memoryview) -> int | None:
        """Fill a buffer; return the number of bytes, 0 at the end of the pipe, None if nothing is readable now."""
        if not self._chunks:
            self.read(bursts=1)
        if self._chunks:
            return self._chunks.take(buffer)
        return 0 if self.closed or self._operation is None else None

    def is_readable(self, _seconds: float) -> bool:
        """Return False: a reader waits for the whole command."""
        return False

    def read(self, bursts: int = BURST) -> None:
        """Read the available bytes, at most `bursts` chunks; set `closed` at the end of the pipe."""
        for _ in range(bursts):
            if self.closed or self._operation is None:
                return
            try:
                count = self._operation.transferred()
            except BrokenPipeError:
                self.closed = True
                return
            if count is None:
                return
            self._take(count)
            self._begin(self._operation)

    def finish(self) -> None:
        """Read the bytes that were written so far, and close this end."""
        self.read()
        if self._operation is not None:
            operation, self._operation = self._operation, None
            self._take(operation.close())

    def _begin(self, operation: _Operation) -> None:
        done = calls.read_file(self._handle, self._buffer, CHUNK, None, operation.restarted())
        self.closed = not operation.begun(done)

    def _take(self, count: int) -> None:
        if count:
            self._chunks.add(self._buffer.raw[:count])


class Feed:
    """Our end of a pipe that a command reads from, and the bytes that are still to be written.

    If `last` is true, the pipe ends after these bytes.
    """

    def __init__(self, handle: int, content: bytes | None) -> None:
        self._handle = handle
        self._operation: _Operation | None = None
        operation = self._operation = _Operation(handle)
        self.ready = operation.event
        """The event that is signalled when the pipe is writable."""
        self.last = content is not None
        self._content = content or b""
        self._chunk = b""
        if self.last:
            self._begin(operation)

    def __del__(self) -> None:
        self.close()

    @property
    def left(self) -> int:
        """The number of bytes that are not written yet."""
        return len(self._content)

    def add(self, content: bytes) -> None:
        """Append bytes to those that are not written yet."""
        idle = not self._content
        self._content += content
        if idle and content and self._operation is not None:
            self._begin(self._operation)

    def write(self) -> bool:
        """Write as much as fits; return True after the last byte, or if the read end is closed."""
        if self._operation is None:
            return True
        if not self._chunk:
            return self.last and not self._content
        try:
            count = self._operation.transferred()
        except BrokenPipeError:
            return True
        if count is None:
            return False
        self._content = self._content[count:]
        self._chunk = b""
        if not self._content:
            return self.last
        return not self._begin(self._operation)

    def close(self) -> None:
        """Close this end, so that the command reads the end of its input; a second close does nothing."""
        if self._operation is not None:
            operation, self._operation = self._operation, None
            operation.close()

    def _begin(self, operation: _Operation) -> bool:
        self._chunk = self._content[:CHUNK]
        done = calls.write_file(self._handle, self._chunk, len(self._chunk), None, operation.restarted())
        return operation.begun(done)
