"""One of this program's own outputs on Windows, written by a thread, as a write there can only block."""

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
from typing import TYPE_CHECKING

from step_runner.cli.framed_output import FramedOutput

if TYPE_CHECKING:
    from collections.abc import Callable

MOST = 1 << 16
"""Bytes in memory that make an outlet stall: as many as a pipe of a step holds."""

PATIENCE = 0.5
"""Seconds without progress after which the reader of an abandoned output is waited for no longer."""

GONE = (errno.EPIPE, errno.EINVAL)
"""How a pipe says that its reader is gone: Microsoft's C runtime makes EINVAL of ERROR_NO_DATA."""


class Outlet(FramedOutput):
    """Writes in a thread of its own."""

    reader_gone = GONE

    def __init__(
        self,
        descriptor: int,
        framed: Callable[[bytes], bytes],
        stalled: Callable[[Outlet, bool], object],
        gone: Callable[[], object],
    ) -> None:
        super().__init__(descriptor, framed, stalled, gone)
        self._loop = asyncio.get_running_loop()
        self._queue: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._left = 0
        self._total = 0
        self._slow = False

    def write(self, content: bytes) -> None:
        """Write it as it is, as soon as there is room; once abandoned, drop what would fill our memory."""
        if self._closed or not content or (self._left > MOST and not self._patient):
            return
        self._left += len(content)
        self._written.clear()
        self._queue.put(content)
        if self._thread is None:
            # A daemon: it may be blocked for ever when this program exits.
            self._thread = threading.Thread(target=self._write_on, daemon=True)
            self._thread.start()
        self._stall(self._left > MOST and self._patient)

    def abandon(self) -> None:
        """Wait no longer for a reader that takes nothing for PATIENCE seconds."""
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
        """Write in the thread, piece by piece, and report each to the loop."""
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
            self._stalled(self, slow)


def are_one(first: int, second: int) -> bool:
    """Whether two outputs are one open file. Windows 8.1 cannot tell, and then they are two."""
    try:
        compare = ctypes.WinDLL("kernelbase").CompareObjectHandles
    except AttributeError:
        return False
    compare.restype, compare.argtypes = wintypes.BOOL, (wintypes.HANDLE, wintypes.HANDLE)
    return bool(compare(msvcrt.get_osfhandle(first), msvcrt.get_osfhandle(second)))
