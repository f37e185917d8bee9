"""Passes bytes between a pair of descriptors and a connection, until either side ends."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import time
from typing import TYPE_CHECKING

from step_runner.errors import StepRunnerError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MOST_AT_ONCE = 256 * 1024
"""Bytes that are read at once, and held for as long as the other side does not take them."""

LAST_WORDS = 1.0
"""Seconds that the server has to end the connection after the other side has ended its own."""

BROKEN = select.POLLERR | select.POLLHUP | select.POLLNVAL


def dial(path: str) -> socket.socket:
    """A connection to a server's socket. Raises StepRunnerError where nobody listens."""
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(path)
    except OSError as error:
        connection.close()
        reason = (error.strerror or str(error)).lower()
        advice = f"start a server with: step-runner serve --socket {path}"
        raise StepRunnerError(f"dialing: {path}: {reason}: {advice}") from error
    return connection


def pump(source: int, sink: int, connection: socket.socket) -> None:
    """Pass bytes from `source` to the connection and from the connection to `sink` until either has ended.

    Every byte is passed on as soon as it can be, and nothing is read before the last bytes could be handed on, so
    who is slow slows the other side down. What was read before an end is still delivered. When `source` has ended
    the server is told so, and has LAST_WORDS to end the connection. The two descriptors stay blocking, because
    others may share them.
    """
    connection.setblocking(False)
    there = _Direction(source, connection.fileno(), MOST_AT_ONCE)
    # A pipe that is ready for writing takes PIPE_BUF bytes without blocking, and perhaps no more.
    back = _Direction(connection.fileno(), sink, select.PIPE_BUF)
    last_moment: float | None = None
    while not back.ended:
        running = [direction for direction in (there, back) if not direction.ended]
        ready = _wait(running, sink, last_moment)
        if not ready or ready.get(sink, 0) & BROKEN:
            return
        for direction in running:
            direction.step(ready)
        if there.source_ended and last_moment is None:
            last_moment = time.monotonic() + LAST_WORDS
            _half_close(connection)


class _Direction:
    """Bytes on their way from one descriptor to another: read only when the last ones are gone."""

    def __init__(self, source: int, sink: int, largest_write: int) -> None:
        self.source_ended = False
        self.sink_broken = False
        self._source = source
        self._sink = sink
        self._largest_write = largest_write
        self._held = memoryview(b"")

    @property
    def ended(self) -> bool:
        return self.source_ended or self.sink_broken

    @property
    def waits_for(self) -> tuple[int, int]:
        """The descriptor that has to be ready before the next step, and the event of poll(2)."""
        return (self._sink, select.POLLOUT) if self._held else (self._source, select.POLLIN)

    def step(self, ready: Mapping[int, int]) -> None:
        """Read or write once, where that is possible without waiting."""
        descriptor, event = self.waits_for
        if not ready.get(descriptor, 0) & (event | BROKEN):
            return
        with contextlib.suppress(BlockingIOError):
            self._write() if self._held else self._read()

    def _read(self) -> None:
        try:
            self._held = memoryview(os.read(self._source, MOST_AT_ONCE))
        except BlockingIOError:
            raise
        except OSError:  # a reset connection, a terminal that hung up, a descriptor that was closed from the start
            self._held = memoryview(b"")
        self.source_ended = not self._held

    def _write(self) -> None:
        try:
            written = os.write(self._sink, self._held[: self._largest_write])
        except (BrokenPipeError, ConnectionResetError):
            self.sink_broken = True
        else:
            self._held = self._held[written:]


def _wait(running: Iterable[_Direction], sink: int, last_moment: float | None) -> dict[int, int]:
    """The descriptors that are ready, with their events; none when the last moment has come."""
    # An end of the sink alone is told without being asked for; another descriptor that nothing waits for must not
    # be looked at, or its end would be told again and again.
    events = {sink: 0}
    for direction in running:
        descriptor, event = direction.waits_for
        events[descriptor] = events.get(descriptor, 0) | event
    poll = select.poll()
    for descriptor, mask in events.items():
        poll.register(descriptor, mask)
    left = None if last_moment is None else max(0.0, last_moment - time.monotonic()) * 1000
    return dict(poll.poll(left))


def _half_close(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # the server has ended it already
        connection.shutdown(socket.SHUT_WR)
