"""Moves the processes of a long-running job into a control group of their own."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    from gracefulexitcmd import ManualContainer

CONFINED_AFTER = 1.0
"""Seconds from the start of a step to the move. Most jobs have ended by then, and need not wait for it."""


@functools.cache
def _mover() -> ThreadPoolExecutor:
    """Moves one job at a time: the kernel moves several no faster, and other work needs threads too."""
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="confine")


class Confinement:
    """Moves the processes of a container, and those that later steps start in it. The caller must call `end`."""

    def __init__(self, container: ManualContainer) -> None:
        self._container = container
        self._timer: asyncio.TimerHandle | None = None
        self._moves: set[asyncio.Task[None]] = set()

    def step_started(self) -> None:
        """Schedule a move of all processes. Later steps do not delay it, however short they are."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(CONFINED_AFTER, self._begin)

    async def end(self) -> None:
        """End all moves, and wait for a move in progress."""
        if self._timer is not None:
            self._timer.cancel()
        await asyncio.gather(*self._moves)

    def _begin(self) -> None:
        self._timer = None
        move = asyncio.get_running_loop().create_task(self._move())
        self._moves.add(move)
        move.add_done_callback(self._moves.discard)

    async def _move(self) -> None:
        with contextlib.suppress(RuntimeError, OSError):  # no thread or descriptor is free: rely on the other evidence
            await asyncio.get_running_loop().run_in_executor(_mover(), self._container.confine)
