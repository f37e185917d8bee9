"""Copies bytes between a pair of descriptors and a connection in two threads, for systems without poll(2)."""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_AT_ONCE = 256 * 1024
"""Bytes to read at once."""

MOST_AHEAD = 16
"""Chunks to read ahead of their reader."""

LAST_WORDS = 1.0
"""Seconds that the server has to close the connection after the end of `source`."""


class ReadAhead:
    """The bytes of a descriptor, read by a thread of its own from the start; `ended` is set at its end."""

    def __init__(self, source: int) -> None:
        self.ended = threading.Event()
        self._chunks: queue.Queue[bytes] = queue.Queue(MOST_AHEAD)
        threading.Thread(target=self._read, args=(source,), daemon=True).start()

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._chunks.get, b"")

    def _read(self, source: int) -> None:
        with contextlib.suppress(OSError):
            while chunk := os.read(source, MOST_AT_ONCE):
                self._chunks.put(chunk)
        self.ended.set()
        self._chunks.put(b"")


def copy_in_threads(source: ReadAhead, sink: int, connection: socket.socket) -> None:
    """Copy bytes from `source` to the connection and from the connection to `sink` until either has ended.

    Bytes read before an end are still written. At the end of `source` the connection is shut down for writing; the
    server then has LAST_WORDS seconds to close it.
    """
    back = threading.Thread(target=_receive, args=(connection, sink), daemon=True)
    there = threading.Thread(target=_send, args=(source, connection, back), daemon=True)
    back.start()
    there.start()
    back.join()


def _send(source: ReadAhead, connection: socket.socket, back: threading.Thread) -> None:
    with contextlib.suppress(OSError):
        for chunk in source:
            connection.sendall(chunk)
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_WR)
    back.join(LAST_WORDS)
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RD)


def _receive(connection: socket.socket, sink: int) -> None:
    with contextlib.suppress(OSError):
        while chunk := connection.recv(MOST_AT_ONCE):
            rest = memoryview(chunk)
            while rest:
                rest = rest[os.write(sink, rest) :]
