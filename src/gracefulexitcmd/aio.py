"""A command that is ended gracefully, for asyncio."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from gracefulexitcmd.cmd import BaseCmd, Stoppable
from gracefulexitcmd.roundup import round_up

if sys.platform == "win32":
    from gracefulexitcmd.windows.driver import Driver
else:
    from gracefulexitcmd.posix.container import REAP_WITHIN, any_open, reap_orphans, when_opened
    from gracefulexitcmd.posix.driver import Driver

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from gracefulexitcmd.exit import Exit
    from gracefulexitcmd.request import Stopping
    from gracefulexitcmd.system import Membership


class AsyncWaitable(Stoppable):
    """Something that a task can wait for."""

    _driver: Driver | None = None

    async def wait(self) -> Exit:
        """Wait until it has ended; any number of tasks of one loop may wait, and of a new loop when that
        one was closed.

        A task that is cancelled while it waits stops the command gracefully; CancelledError goes on when the
        command has ended.
        """
        if self._execution.exit is not None:
            return self._execution.exit
        if self._driver is not None and self._driver.loop.is_closed():
            self._driver.abandon()
            self._driver = None
        if self._driver is None:
            self._driver = Driver(self._execution)
        try:
            return await asyncio.shield(self._driver.ended)
        except asyncio.CancelledError:
            self.cancel()
            await _despite_cancellation(self._driver.ended)
            raise


class AsyncCmd(BaseCmd, AsyncWaitable):
    """A command that is ended gracefully, for asyncio; the arguments are those of `Cmd`.

    `async with AsyncCmd(...) as command:` starts it and makes sure that it has ended at the end of the block.
    """

    async def start(self) -> None:
        """Start the command. Raises OSError where that is not possible, RuntimeError at a second start."""
        self._execution.start()

    async def run(self) -> Exit:
        """Start the command and wait for it."""
        await self.start()
        return await self.wait()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cancel()
        await self.wait()


class AsyncRoundup(AsyncWaitable):
    """The stop sequence for a container in which no command runs any more: SIGTERM, `grace` seconds, SIGKILL."""

    def __init__(self, container: Membership, grace: float, *, stopping: Stopping | None = None) -> None:
        """`stopping` is told of the first signal, as that of `Cmd`."""
        self._execution = round_up(container, grace, stopping)

    def begin(self) -> None:
        """Send the first signal; `wait` is for the end."""
        self._execution.round_up()

    async def run(self) -> Exit:
        """Wait until nobody is left; the census of the Exit names who had to be ended."""
        self.begin()
        return await self.wait()


class OrphanReaper:
    """Reaps, while the block runs, the orphans that come to this process and end; it must be a subreaper.

    It looks ten times a second as long as there is a container or an orphan, and has no handler for SIGCHLD: a loop's
    wake-up pipe cannot hold as many as may come at once, and then Python's handler waits for a lock that the thread
    which it has interrupted may hold. On Windows, where no process has to be reaped, it does nothing.
    """

    def __enter__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._due: asyncio.TimerHandle | None = None
        if sys.platform != "win32":
            when_opened.add(self._container_opened)
        self._look_later()

    def __exit__(self, *_: object) -> None:
        if sys.platform != "win32":
            when_opened.discard(self._container_opened)
        if self._due is not None:
            self._due.cancel()

    def _container_opened(self) -> None:
        self._loop.call_soon_threadsafe(self._look_later)

    def _look_later(self) -> None:
        if sys.platform != "win32" and self._due is None:
            self._due = self._loop.call_later(REAP_WITHIN, self._look)

    def _look(self) -> None:
        self._due = None
        if sys.platform != "win32":
            left = reap_orphans()
            if left or any_open():
                self._look_later()


async def _despite_cancellation(ended: asyncio.Future[Exit]) -> None:
    """Wait for the end even if the task is cancelled again; the delay bounds how long that can take."""
    while not ended.done():
        try:
            await asyncio.shield(ended)
        except asyncio.CancelledError:
            continue
