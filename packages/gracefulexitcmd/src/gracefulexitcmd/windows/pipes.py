"""Reading and writing a command's pipes without ever waiting for them."""

from __future__ import annotations

import ctypes
import itertools
import msvcrt
import os
from ctypes import wintypes

from gracefulexitcmd.chunks import Chunks
from gracefulexitcmd.named_tuple import NamedTuple
from gracefulexitcmd.windows import calls

CHUNK = 1 << 16
"""Bytes in one read, and for which a pipe has room."""

BURST = 16
"""Chunks read in one go before others get their turn: 1 MiB."""

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
    """A pipe that a command writes to."""
    return _pipe(ACCESS_INBOUND, GENERIC_WRITE | READ_ATTRIBUTES, 0)


def pipe_to_write() -> Ends:
    """A pipe that a command reads from."""
    return _pipe(ACCESS_OUTBOUND, GENERIC_READ | READ_ATTRIBUTES, os.O_RDONLY)


def _pipe(our_access: int, their_access: int, flags: int) -> Ends:
    # What CreatePipe makes cannot do overlapped operations. Nobody else can be first with a name that is not known.
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
    """One overlapped operation at a time on a handle; `event` is signalled when it is over."""

    def __init__(self, handle: int) -> None:
        self.event: int = calls.create_event(None, True, False, None)
        self._handle = handle
        self._pending = False
        self._overlapped = calls.Overlapped()

    def anew(self) -> calls.Overlapped:
        """What the next call is to be given."""
        self._overlapped = calls.Overlapped(event=self.event)
        return self._overlapped

    def begun(self, succeeded: bool) -> bool:
        """Note that the operation was begun, by what the call returned; False when the other end is gone."""
        self._pending = succeeded or calls.last_error() == calls.ERROR_IO_PENDING
        if not self._pending:
            calls.set_event(self.event)
        return self._pending

    def transferred(self, *, wait: bool = False) -> int | None:
        """How many bytes were transferred, None as long as it is not over. Raises BrokenPipeError."""
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
        """Cancel it, and close the handle; returns how many bytes were transferred all the same."""
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
    """Our end of a pipe that a command writes to, and the bytes that came out of it and were not taken."""

    def __init__(self, handle: int, most: int | None = None) -> None:
        self.closed = False
        self._handle = handle
        self._operation: _Operation | None = None
        operation = self._operation = _Operation(handle)
        self.ready = operation.event
        """The event that is signalled when there is something to read."""
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
        """How many bytes were dropped from the front."""
        return self._chunks.dropped

    def take(self, buffer: memoryview) -> int | None:
        """Fill a buffer; returns the number of bytes, 0 at the end of the pipe, None where there is nothing now."""
        if not self._chunks:
            self.read(bursts=1)
        if self._chunks:
            return self._chunks.take(buffer)
        return 0 if self.closed or self._operation is None else None

    def is_readable(self, _seconds: float) -> bool:
        """Whoever reads waits for the command as a whole."""
        return False

    def read(self, bursts: int = BURST) -> None:
        """Take what is there, at most one burst; `closed` is set at the end of the pipe."""
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
        """Take what is left of what was written so far, and close this end."""
        self.read()
        if self._operation is not None:
            operation, self._operation = self._operation, None
            self._take(operation.close())

    def _begin(self, operation: _Operation) -> None:
        done = calls.read_file(self._handle, self._buffer, CHUNK, None, operation.anew())
        self.closed = not operation.begun(done)

    def _take(self, count: int) -> None:
        if count:
            self._chunks.add(self._buffer.raw[:count])


class Feed:
    """Our end of a pipe that a command reads from, and the bytes that still have to go into it.

    With `last` it ends with them.
    """

    def __init__(self, handle: int, content: bytes | None) -> None:
        self._handle = handle
        self._operation: _Operation | None = None
        operation = self._operation = _Operation(handle)
        self.ready = operation.event
        """The event that is signalled when there is room."""
        self.last = content is not None
        self._content = content or b""
        self._chunk = b""
        if self.last:
            self._begin(operation)

    def __del__(self) -> None:
        self.close()

    @property
    def left(self) -> int:
        """Bytes that are not written yet."""
        return len(self._content)

    def add(self, content: bytes) -> None:
        """Have bytes written after those that are left."""
        idle = not self._content
        self._content += content
        if idle and content and self._operation is not None:
            self._begin(self._operation)

    def write(self) -> bool:
        """Put in what fits; True when the last was written or nobody reads any more."""
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
        """Close this end, so that the command finds the end of its input; it may be closed twice."""
        if self._operation is not None:
            operation, self._operation = self._operation, None
            operation.close()

    def _begin(self, operation: _Operation) -> bool:
        self._chunk = self._content[:CHUNK]
        done = calls.write_file(self._handle, self._chunk, len(self._chunk), None, operation.anew())
        return operation.begun(done)
