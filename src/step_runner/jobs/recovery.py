"""Processes and directories of jobs whose step runner was killed."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING

from gracefulexitcmd import AsyncTermination, recover
from step_runner import shown, temporary
from step_runner.jobs import ledger_key
from step_runner.jobs.workspace import LEDGER, PREFIX, REMOVED
from step_runner.removal import remove
from step_runner.runner import notices

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gracefulexitcmd import Orphaned, SignalSent, Stage


AT_ONCE = 8
"""Number of jobs scanned at the same time. A job whose processes have got their signal no longer counts."""


class Recovery:
    """Terminates the orphaned jobs in the directory for temporary files, and removes their directories.

    It calls `say` with each action, and `complain` with each failure.
    """

    def __init__(self, say: Callable[[str], None], complain: Callable[[str], None]) -> None:
        self._say = say
        self._complain = complain
        self._terminations: set[AsyncTermination] = set()
        self._killed = False

    async def finish(self) -> None:
        """Terminate all orphaned jobs and remove their files. Each job keeps its own grace period."""
        at_once = asyncio.Semaphore(AT_ONCE)
        await asyncio.gather(*(self._finish(directory, at_once) for directory in _directories(PREFIX)))
        for directory in _directories(REMOVED):
            await asyncio.to_thread(remove, directory)

    def kill(self, hurried: str) -> None:
        """Kill all orphaned jobs without further grace, for this reason."""
        self._killed = True
        for termination in self._terminations:
            termination.cancel(grace=0, hurried=hurried)

    async def _finish(self, directory: str, at_once: asyncio.Semaphore) -> None:
        await at_once.acquire()
        with contextlib.ExitStack() as place:
            place.callback(at_once.release)
            await asyncio.sleep(0)  # let the loop serve others
            try:
                with recover(os.path.join(directory, LEDGER), ledger_key.usable()) as left:
                    if left is not None:
                        job = f'job "{shown.name(left.name)}"'
                        await self._terminate(left, job, place.close)
                        await asyncio.to_thread(remove, directory)
                        self._say(f"removed the files of {job} of a killed step runner: {directory}")
            except OSError as error:  # such as no free descriptor: leave this job to the next server
                self._complain(f"processes of a killed step runner cannot be ended: see {directory}: {error.strerror}")

    async def _terminate(self, left: Orphaned, job: str, give_place: Callable[[], None]) -> None:
        def stopping(sent: SignalSent, ahead: tuple[Stage, ...]) -> None:
            if sent.processes:
                give_place()
                what = f"background processes of {job} of a killed step runner"
                self._say(notices.stopping(what, sent, ahead))

        termination = AsyncTermination(left, 0 if self._killed else left.grace, stopping=stopping)
        self._terminations.add(termination)
        try:
            termination.begin()
            ended = await termination.wait()
        finally:
            self._terminations.discard(termination)
        for line in notices.ended(ended):
            self._say(f"{job}: {line}")


def remove_own() -> None:
    """Remove what workers of this process have left. Their processes have already ended."""
    for directory in _directories(REMOVED):
        remove(directory)
    for directory in _directories(PREFIX):
        with recover(os.path.join(directory, LEDGER), ledger_key.usable(), watched_here=True) as left:
            if left is not None:
                remove(directory)


def _directories(prefix: str) -> Iterator[str]:
    """Yield this user's job directories with this prefix, orphaned or not."""
    with contextlib.suppress(OSError), os.scandir(temporary.directory()) as entries:
        for entry in entries:
            if entry.name.startswith(prefix) and _is_own_directory(entry):
                yield entry.path


def _is_own_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_uid == os.geteuid()
    except OSError:  # it was removed meanwhile
        return False
