"""A stream that is read before its bytes are asked for, so that the line and the disk are busy at the same time."""

from __future__ import annotations

import io
import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

PIECE = 1 << 20
"""Bytes that are read at once."""

_AHEAD = 4  # pieces


class ReadAhead(io.RawIOBase):
    """Reads a stream in a thread of its own, at most 4 MiB ahead; what that raises is raised where it was to be read.

    Closing it ends the thread, as soon as the stream gives up the piece that it is waiting for, and not the stream.
    """

    def __init__(self, source: io.RawIOBase, abandon: Callable[[], None] = lambda: None) -> None:
        """Where a `with` block for it raises before the end, `abandon` is called, which has the stream give up."""
        self._source = source
        self._abandon = abandon
        self._pieces: SimpleQueue[bytes | Exception] = SimpleQueue()
        self._room = threading.Semaphore(_AHEAD)
        self._stopping = False
        self._rest = memoryview(b"")
        self._ended = False
        self._thread = threading.Thread(target=self._fill, name="read ahead", daemon=True)
        self._thread.start()

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fill a buffer with the next bytes and return how many they are, 0 at the end."""
        if not self._rest and not self._ended:
            self._rest = memoryview(self._next())
        count = min(len(buffer), len(self._rest))
        memoryview(buffer)[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A stream can take any time for a piece that nobody wants any more.
        if kind and not self._ended:
            self._abandon()
        self.close()

    def close(self) -> None:
        """End the thread."""
        self._stopping = True
        self._room.release()
        self._thread.join()
        super().close()

    def _next(self) -> bytes:
        piece = self._pieces.get()
        self._room.release()
        self._ended = not piece or isinstance(piece, Exception)
        if isinstance(piece, Exception):
            raise piece
        return piece

    def _fill(self) -> None:
        try:
            while self._put(self._source.read(PIECE) or b""):
                pass
        except Exception as error:
            self._pieces.put(error)

    def _put(self, piece: bytes) -> bool:
        """Hand a piece over when there is room; false after the last one."""
        self._room.acquire()
        self._pieces.put(piece)
        return bool(piece) and not self._stopping
