"""Ends whatever is left in a container."""

from __future__ import annotations

import os
import sys
import warnings
from functools import partial
from typing import TYPE_CHECKING

from gracefulexitcmd.cmd import Waitable
from gracefulexitcmd.duration import check_seconds
from gracefulexitcmd.execution import Execution
from gracefulexitcmd.handlers import HandlersHeldBack
from gracefulexitcmd.ladder import Ladder
from gracefulexitcmd.request import GRACE
from gracefulexitcmd.streams import Streams
from gracefulexitcmd.system import Container, Poller, Teardown

if sys.platform != "win32":
    from gracefulexitcmd.posix import subreaper

if TYPE_CHECKING:
    from collections.abc import Callable

    from gracefulexitcmd.exit import Cause, Exit, Holder
    from gracefulexitcmd.ladder import Event
    from gracefulexitcmd.request import Stopping
    from gracefulexitcmd.system import ProcessSet


class Roundup(Waitable):
    """The stop sequence for a container in which no command runs any more: SIGTERM, `grace` seconds, SIGKILL."""

    def __init__(self, container: ProcessSet, grace: float, *, stopping: Stopping | None = None) -> None:
        """`grace` is in seconds; `stopping` is called just before the first signal, as that of `Cmd` is."""
        self._execution = round_up(container, grace, stopping)

    def run(self) -> Exit:
        """Send the first signal and wait until no process is left; the census of the Exit names those it ended.

        An exception that arrives meanwhile, such as KeyboardInterrupt, goes on when those that are left were killed.
        """
        try:
            with HandlersHeldBack():
                self._execution.round_up()
            return self.wait()
        except BaseException:
            self._hurry()
            raise

    def _hurry(self) -> None:
        with HandlersHeldBack():
            self.cancel(grace=0)
            self._execution.round_up()
            self.wait()


def round_up(container: ProcessSet, grace: float, stopping: Stopping | None) -> Execution:
    """The stop sequence of a container, not yet begun."""
    return Execution(Ladder(grace=grace), partial(_ContainerRun, container), may_be_skipped=False, stopping=stopping)


class _ContainerRun:
    """What there is only while a container is being emptied: nobody leads it, and it writes to no pipe."""

    pid = 0
    status = None

    def __init__(self, container: ProcessSet, tell: Callable[[Event], None]) -> None:
        self.poller = Poller()
        self.teardown = Teardown.emptying(container, self.poller, tell)
        self.streams = Streams(self.poller, tell)

    def send(self, _number: int) -> bool:
        return False

    def holders(self) -> tuple[Holder, ...]:
        return ()

    def let_go(self, _cause: Cause) -> None:
        """The container stays open."""


BLOCKS = "with contain() blocks the event loop until everything in it has ended: write async with"


class contain:  # noqa: N801 - read as a verb, as contextlib has it
    """A container for commands; when the block ends, in whatever way, everything in it is ended gracefully.

    `with contain() as box:` gives the container, which commands are started in with `container=box`; `box.exit` tells
    after the block how it was emptied. `async with` is the same for asyncio and never blocks the loop. `grace` is the
    time between SIGTERM and SIGKILL, on Windows between CTRL_BREAK and TerminateJobObject, in seconds. A command that
    still runs at the end of the block is ended, and can be waited for afterwards. Any thread may start commands in it.
    Raises ValueError where `grace` is not a time. In a running event loop, a plain `with` warns with RuntimeWarning.

    On Linux this process becomes a subreaper and stays one: orphans come to it, also those of other programs that
    it starts, and are reaped by it. What it starts in another way than through a command, and in a process group of
    its own, such as by `Popen(start_new_session=True)`, cannot be told from an orphan, and is ended too.
    """

    def __init__(self, grace: float = GRACE) -> None:
        check_seconds("grace", grace)
        self._grace = grace

    def __enter__(self) -> Container:
        if _has_running_loop():
            warnings.warn(BLOCKS, RuntimeWarning, stacklevel=2)
        return self._open()

    def __exit__(self, *_: object) -> None:
        if os.getpid() == self._owner:  # a process that was forked in the block, and leaves it too, ends nobody
            self._empty()

    async def __aenter__(self) -> Container:
        return self._open()

    async def __aexit__(self, *_: object) -> None:
        if os.getpid() == self._owner:
            await self._empty_async()

    def _open(self) -> Container:
        if sys.platform != "win32":
            subreaper.become()
        self._container = Container()
        self._owner = os.getpid()
        return self._container

    def _empty(self) -> None:
        container = self._container
        try:
            if not container.surely_empty():
                container.exit = Roundup(container, self._grace).run()
        except BaseException:
            with HandlersHeldBack():
                container.exit = Roundup(container, grace=0).run()
            raise
        finally:
            container.close()

    async def _empty_async(self) -> None:
        """A task that is cancelled meanwhile goes on with that when everything has ended, gracefully."""
        from gracefulexitcmd.aio import AsyncRoundup

        roundup = AsyncRoundup(self._container, self._grace)
        try:
            if not self._container.surely_empty():
                await roundup.run()
        finally:
            self._container.exit = roundup.exit or self._container.exit
            self._container.close()


def _has_running_loop() -> bool:
    """Whether this is called by asyncio; a program that has not imported that has no loop."""
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and asyncio._get_running_loop() is not None
