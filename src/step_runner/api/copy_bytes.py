"""Copies bytes between a pair of descriptors and a connection, until either side ends."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import stat
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

MOST_AT_ONCE = 1024 * 1024
"""Bytes to move with one splice(2)."""

MOST_HELD = 256 * 1024
"""Bytes to read at once, and to hold until the other side takes them."""

SILENCE = 0.5
"""Seconds without a byte from the server, after the end of stdin, until the connection is closed."""

BROKEN = select.POLLERR | select.POLLHUP | select.POLLNVAL


def copy_bytes(source: int, sink: int, connection: socket.socket, held: bytes = b"") -> None:
    """Copy bytes from `source` to the connection and from the connection to `sink` until either has ended.

    `held` was read from `source` before. Each byte is written as soon as the other side takes it. Nothing is read
    before the last bytes are written, so a slow reader slows the other side down. Bytes read before an end are still
    written. At the end of `source` the connection is shut down for writing; the server may send until it is silent for
    SILENCE seconds. The two descriptors stay blocking, because other processes may share them.
    """
    connection.setblocking(False)
    there = _Direction(source, connection.fileno(), held)
    back = _Direction(connection.fileno(), sink)
    closed = False
    while not back.ended:
        running = [direction for direction in (there, back) if not direction.ended]
        ready = _wait(running, sink, SILENCE if closed else None)
        if not ready or ready.get(sink, 0) & BROKEN:
            return
        for direction in running:
            direction.step(ready)
        if there.source_ended and not closed:
            closed = True
            with contextlib.suppress(OSError):  # the server has ended it already
                connection.shutdown(socket.SHUT_WR)


class _Direction:
    """A copy from one descriptor to another, which reads only after all bytes before were written."""

    def __init__(self, source: int, sink: int, held: bytes = b"") -> None:
        self.source_ended = False
        self.sink_broken = False
        self._source = source
        self._sink = sink
        self._send = _sender(sink)
        self._never_blocks = _is_kind(sink, stat.S_ISSOCK)
        self._held = memoryview(held)
        self._buffer = memoryview(bytearray(MOST_HELD))
        self._splices = sys.platform == "linux" and (_is_kind(source, stat.S_ISFIFO) or _is_kind(sink, stat.S_ISFIFO))
        self._sink_is_full = False

    @property
    def ended(self) -> bool:
        return self.source_ended or self.sink_broken

    @property
    def waits_for(self) -> tuple[int, int]:
        """The descriptor that must be ready before the next step, and its event of poll(2)."""
        to_write = self._held or self._sink_is_full
        return (self._sink, select.POLLOUT) if to_write else (self._source, select.POLLIN)

    def step(self, ready: Mapping[int, int]) -> None:
        """Move bytes once, if that is possible without waiting."""
        descriptor, event = self.waits_for
        if not ready.get(descriptor, 0) & (event | BROKEN):
            return
        if self._held:
            self._write()
        elif self._splices:
            self._splice()
        else:
            self._read()

    def _splice(self) -> None:
        """Move bytes within the kernel. splice(2) needs a pipe on one side."""
        assert sys.platform == "linux"
        try:
            moved = os.splice(self._source, self._sink, MOST_AT_ONCE, flags=os.SPLICE_F_NONBLOCK | os.SPLICE_F_MOVE)
        except BlockingIOError:  # poll(2) waited for one side, so the other one is not ready
            self._sink_is_full = not self._sink_is_full
        except OSError as error:
            self._splices = self._sink_is_full = False
            # EINVAL, splice(2): one side cannot splice, or appends. Any other error: read finds which side is broken.
            self.sink_broken = error.errno in (errno.EPIPE, errno.ECONNRESET)
        else:
            self._sink_is_full = False
            self.source_ended = moved == 0

    def _read(self) -> None:
        try:
            self._held = self._buffer[: os.readv(self._source, [self._buffer])]
        except BlockingIOError:
            return
        except OSError:  # a reset connection, a terminal that hung up, a descriptor that was closed from the start
            self._held = self._buffer[:0]
        self.source_ended = not self._held
        if self._held and self._never_blocks:
            self._write()

    def _write(self) -> None:
        try:
            self._held = self._held[self._send(self._held) :]
        except BlockingIOError:
            return
        except (BrokenPipeError, ConnectionResetError):
            self.sink_broken = True


def _sender(sink: int) -> Callable[[memoryview], int]:
    """Return a function that writes to a ready descriptor without blocking, and returns the number of bytes."""
    if _is_kind(sink, stat.S_ISSOCK):
        sending = socket.socket(fileno=os.dup(sink))
        return lambda held: sending.send(held, socket.MSG_DONTWAIT)
    # A pipe that is ready for writing takes PIPE_BUF bytes without blocking, but perhaps no more: pipe(7).
    return lambda held: os.write(sink, held[: select.PIPE_BUF])


def _is_kind(descriptor: int, kind: Callable[[int], bool]) -> bool:
    try:
        return kind(os.fstat(descriptor).st_mode)
    except OSError:  # closed from the start
        return False


def _wait(running: Iterable[_Direction], sink: int, most: float | None) -> dict[int, int]:
    """Return the descriptors that are ready, with their events; none after `most` seconds."""
    # poll(2) reports POLLERR and POLLHUP without being asked. That is wanted for the sink only: on another
    # descriptor that no direction waits for, they would end each poll at once. So it is not registered.
    events = {sink: 0}
    for direction in running:
        descriptor, event = direction.waits_for
        events[descriptor] = events.get(descriptor, 0) | event
    poll = select.poll()
    for descriptor, mask in events.items():
        poll.register(descriptor, mask)
    return dict(poll.poll(None if most is None else most * 1000))
