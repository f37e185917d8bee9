"""Writes to one of this program's own outputs on Windows, in a thread, because every write there may block."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import msvcrt
import os
import queue
import threading
from ctypes import wintypes

from step_runner.cli.framed_output import FramedOutput

MOST = 1 << 16
"""Bytes in memory from which on an outlet stalls: the capacity of a step's pipe."""

PATIENCE = 0.5
"""Seconds without progress after which an abandoned output no longer waits for its reader."""


class Outlet(FramedOutput):
    """Writes in a separate thread."""

    reader_gone = (errno.EPIPE, errno.EINVAL)
    """The errors of a pipe without a reader: Microsoft's C runtime maps ERROR_NO_DATA to EINVAL."""

    def _open(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._left = 0
        self._total = 0
        self._slow = False

    def write(self, content: bytes) -> None:
        """Write bytes without a frame, as soon as there is room. After `abandon` drop bytes beyond MOST in memory."""
        if self._closed or not content or (self._left > MOST and not self._patient):
            return
        self._left += len(content)
        self._written.clear()
        self._queue.put(content)
        if self._thread is None:
            # A daemon thread: a write may block it for ever, and that must not keep this program from exiting.
            self._thread = threading.Thread(target=self._write_on, daemon=True)
            self._thread.start()
        self._stall(self._left > MOST and self._patient)

    def abandon(self) -> None:
        """Stop waiting for a reader that takes nothing for PATIENCE seconds."""
        if self._patient:
            self._patient = False
            self._stall(False)
            self._loop.call_later(PATIENCE, self._check, self._total)

    def _check(self, total: int) -> None:
        if self._left and self._total == total:
            self._close()
        elif not self._closed:
            self._loop.call_later(PATIENCE, self._check, self._total)

    def _write_on(self) -> None:
        """Write in the thread, piece by piece. Report each piece to the loop."""
        error: OSError | None = None
        while error is None:
            view = memoryview(self._queue.get())
            count = len(view)
            try:
                while view:
                    view = view[os.write(self.descriptor, view) :]
            except OSError as problem:
                error = problem
            with contextlib.suppress(RuntimeError):  # the loop was closed: nothing waits for this output any more
                self._loop.call_soon_threadsafe(self._progress, count, error)

    def _progress(self, count: int, error: OSError | None) -> None:
        if self._closed:
            return
        if error is not None:
            self._fail(error)
            return
        self._total += count
        self._left -= count
        if not self._left:
            self._written.set()
            self._stall(False)

    def _close(self) -> None:
        self._closed = True
        self._left = 0
        self._written.set()
        self._stall(False)

    def _stall(self, slow: bool) -> None:
        if slow is not self._slow:
            self._slow = slow
            self._screen.stalled(self, slow)


def are_one(first: int, second: int) -> bool:
    """Return whether two outputs are one open file; always False on Windows 8.1, which cannot compare them."""
    try:
        compare = ctypes.WinDLL("kernelbase").CompareObjectHandles
    except AttributeError:
        return False
    compare.restype, compare.argtypes = wintypes.BOOL, (wintypes.HANDLE, wintypes.HANDLE)
    return bool(compare(msvcrt.get_osfhandle(first), msvcrt.get_osfhandle(second)))
