"""Puts what a job runs into a control group of its own, once it has run for a while."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    from gracefulexitcmd import Container

CONFINED_AFTER = 1.0
"""Seconds from the start of a step until all that is there is moved: most jobs are over then, and need not wait."""


@functools.cache
def _mover() -> ThreadPoolExecutor:
    """Moves one job after another: the kernel does it no faster, and other work needs threads as well."""
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="confine")


class Confinement:
    """Moves what is in a container, and what further steps start there; it must be ended."""

    def __init__(self, container: Container) -> None:
        self._container = container
        self._timer: asyncio.TimerHandle | None = None
        self._moves: set[asyncio.Task[None]] = set()

    def step_started(self) -> None:
        """Move everything soon: no later, however many short steps follow."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(CONFINED_AFTER, self._begin)

    async def end(self) -> None:
        """Move nothing any more, and wait for what is being moved."""
        if self._timer is not None:
            self._timer.cancel()
        await asyncio.gather(*self._moves)

    def _begin(self) -> None:
        self._timer = None
        move = asyncio.get_running_loop().create_task(self._move())
        self._moves.add(move)
        move.add_done_callback(self._moves.discard)

    async def _move(self) -> None:
        with contextlib.suppress(RuntimeError, OSError):  # no thread or no descriptor is free: other evidence must do
            await asyncio.get_running_loop().run_in_executor(_mover(), self._container.confine)
