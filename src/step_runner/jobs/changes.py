"""Tells those who wait for a file when it grows: by inotify(7) on Linux, elsewhere by looking again and again."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import struct
import sys
from itertools import chain
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

LOOK_AGAIN = 0.02
"""Seconds between two looks where the system does not tell of changes."""

IN_MODIFY = 0x2
IN_Q_OVERFLOW = 0x4000
EVENT = struct.Struct("iIII")
"""struct inotify_event: watch descriptor, mask, cookie, length of the name, which a watched file does not have."""


class Changes:
    """Watches any number of files for one event loop."""

    def __init__(self) -> None:
        self._waiting: dict[int, set[asyncio.Event]] = {}
        self._descriptor = _open_inotify()
        if self._descriptor is not None:
            asyncio.get_running_loop().add_reader(self._descriptor, self._read)

    @contextlib.contextmanager
    def of(self, descriptor: int) -> Iterator[asyncio.Event]:
        """An event that is set whenever an open file has grown, for as long as the block lasts."""
        grown = asyncio.Event()
        watch = self._watch(descriptor)
        if watch is None:
            ticking = asyncio.get_running_loop().create_task(_tick(grown))
            try:
                yield grown
            finally:
                ticking.cancel()
            return
        self._waiting.setdefault(watch, set()).add(grown)
        try:
            yield grown
        finally:
            self._unwatch(watch, grown)

    def close(self) -> None:
        """Stop watching."""
        if self._descriptor is not None:
            asyncio.get_running_loop().remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = None

    def _watch(self, descriptor: int) -> int | None:
        if self._descriptor is None:
            return None
        # The same number comes back for a file that is watched already.
        path = b"/proc/self/fd/%d" % descriptor  # proc(5): leads to the file itself, whatever became of its name
        watch: int = _libc().inotify_add_watch(self._descriptor, path, IN_MODIFY)
        return watch if watch >= 0 else None

    def _unwatch(self, watch: int, grown: asyncio.Event) -> None:
        self._waiting[watch].discard(grown)
        if not self._waiting[watch]:
            del self._waiting[watch]
            if self._descriptor is not None:
                _libc().inotify_rm_watch(self._descriptor, watch)

    def _read(self) -> None:
        assert self._descriptor is not None
        with contextlib.suppress(BlockingIOError):
            for watch, mask, _, _ in EVENT.iter_unpack(os.read(self._descriptor, EVENT.size * 1024)):
                # When the queue was full, nobody knows whose file has grown.
                told = chain(*self._waiting.values()) if mask & IN_Q_OVERFLOW else self._waiting.get(watch, ())
                for grown in told:
                    grown.set()


async def _tick(grown: asyncio.Event) -> None:
    while True:
        await asyncio.sleep(LOOK_AGAIN)
        grown.set()


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)


def _open_inotify() -> int | None:
    """An inotify descriptor; None where there is none to be had, because of the system or of a limit."""
    if sys.platform != "linux":
        return None
    descriptor: int = _libc().inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    return descriptor if descriptor >= 0 else None
