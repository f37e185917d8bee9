"""What the jobs of a killed step runner have left behind: their processes and their directories."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from functools import partial
from typing import TYPE_CHECKING

from gracefulexitcmd import AsyncRoundup
from gracefulexitcmd.posix.remains import remains
from step_runner.jobs.workspace import LEDGER, PREFIX, REMOVED
from step_runner.removal import remove
from step_runner.runner import notices

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gracefulexitcmd import Exit, SignalSent
    from gracefulexitcmd.posix.remains import Remains


AT_ONCE = 8
"""How many jobs are finished at the same time."""


class Leftovers:
    """Ends gracefully what was left in the directory for temporary files, and removes it; `say` is told of it."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._roundups: set[AsyncRoundup] = set()
        self._killed = False

    async def finish(self) -> None:
        """End and remove everything that is left; a job's own graceful exit delay applies."""
        at_once = asyncio.Semaphore(AT_ONCE)
        await asyncio.gather(*(self._finish(directory, at_once) for directory in _directories(PREFIX)))
        for directory in _directories(REMOVED):
            await asyncio.to_thread(remove, directory)

    def kill(self) -> None:
        """End what is left without any more delay."""
        self._killed = True
        for roundup in self._roundups:
            roundup.cancel(grace=0)

    async def _finish(self, directory: str, at_once: asyncio.Semaphore) -> None:
        try:
            async with at_once:
                await asyncio.sleep(0)  # others are served in between
                await self._finish_one(directory)
        except OSError as error:  # no descriptor is free, say; the others go on, and the next server finds this one
            self._say(f"what a killed step runner has left in {directory} cannot be ended: {error.strerror}")

    async def _finish_one(self, directory: str) -> None:
        with remains(os.path.join(directory, LEDGER)) as left:
            if left is not None:
                self._tell(await self._round_up(left), left)
                await asyncio.to_thread(remove, directory)
                self._say(f'removed what job "{left.name}" of a killed step runner has left in {directory}')

    async def _round_up(self, left: Remains) -> Exit:
        grace = 0 if self._killed else left.grace
        roundup = AsyncRoundup(left, grace, stopping=partial(self._tell_stop, left.name))
        roundup.begin()
        self._roundups.add(roundup)
        try:
            return await roundup.wait()
        finally:
            self._roundups.discard(roundup)

    def _tell_stop(self, name: str, sent: SignalSent, grace: float) -> None:
        if sent.processes:
            self._say(notices.stopping(f'what job "{name}" of a killed step runner has left behind', sent, grace))

    def _tell(self, ended: Exit, left: Remains) -> None:
        for line in notices.ended(ended):
            self._say(f'job "{left.name}": {line}')


def remove_own() -> None:
    """Remove what was left by workers that this process watched; their processes have ended."""
    for directory in _directories(REMOVED):
        remove(directory)
    for directory in _directories(PREFIX):
        with remains(os.path.join(directory, LEDGER), watched_here=True) as left:
            if left is not None:
                remove(directory)


def _directories(prefix: str) -> Iterator[str]:
    """The directories of this user's jobs whose names begin so, whether they are left over or not."""
    with contextlib.suppress(OSError), os.scandir(tempfile.gettempdir()) as entries:
        for entry in entries:
            if entry.name.startswith(prefix) and _is_own_directory(entry):
                yield entry.path


def _is_own_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_uid == os.geteuid()
    except OSError:  # it is gone
        return False
