"""Moves the processes of a long-running job into a control group of their own."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

    from gracefulexitcmd import ManualContainer

CONFINED_AFTER = 1.0
"""Seconds from the start of a step to the move. Most jobs have ended by then, and need not wait for it."""

QUIET = 0.3
"""Seconds without the start of a job before a move: while the kernel moves a process, no process can start.

The move takes cgroup_threadgroup_rwsem, which fork(2) needs too, and waits for an RCU grace period (kernel/cgroup).
"""

PATIENCE = 3.0
"""Most seconds of a wait for a quiet moment."""

_last_start = float("-inf")
"""The time of the last start of a job, in seconds of the monotonic clock."""


@functools.cache
def _mover() -> ThreadPoolExecutor:
    """Moves one job at a time: the kernel moves several no faster, and other work needs threads too."""
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="confine")


class Confinement:
    """Moves the processes of a container, and those that later steps start in it. The caller must call `end`."""

    def __init__(self, container: ManualContainer) -> None:
        self._container = container
        self._is_new = True
        self._timer: asyncio.TimerHandle | None = None
        self._moves: list[Future[None]] = []
        self._over = threading.Event()

    def step_started(self) -> None:
        """Schedule a move of all processes. Later steps do not delay it, however short they are."""
        global _last_start
        if self._is_new:
            self._is_new = False
            _last_start = time.monotonic()
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(CONFINED_AFTER, self._begin)

    async def end(self) -> None:
        """End all moves, and wait for a move in progress."""
        if self._timer is not None:
            self._timer.cancel()
        self._over.set()
        for move in self._moves:
            if not move.cancel():
                await asyncio.wrap_future(move)

    def _begin(self) -> None:
        self._timer = None
        self._moves = [move for move in self._moves if not move.done()]
        with contextlib.suppress(RuntimeError):  # no thread is free: rely on the other evidence
            self._moves.append(_mover().submit(self._move))

    def _move(self) -> None:
        latest = time.monotonic() + PATIENCE
        while not self._over.is_set() and (now := time.monotonic()) < latest and now < _last_start + QUIET:
            self._over.wait(min(latest, _last_start + QUIET) - now)
        if not self._over.is_set():
            with contextlib.suppress(RuntimeError, OSError):  # no descriptor is free
                self._container.confine()
