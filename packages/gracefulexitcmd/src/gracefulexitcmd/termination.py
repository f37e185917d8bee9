"""Ends every process that is left in a container."""

from __future__ import annotations

import os
import sys
import warnings
from functools import partial

from gracefulexitcmd.cmd import Waitable
from gracefulexitcmd.container import made, opened
from gracefulexitcmd.duration import check_seconds
from gracefulexitcmd.execution import Execution
from gracefulexitcmd.handlers import HandlersHeldBack
from gracefulexitcmd.ladder import Ladder
from gracefulexitcmd.request import GRACE
from gracefulexitcmd.streams import Streams
from gracefulexitcmd.system import ManualContainer, Poller, Teardown

if sys.platform != "win32":
    from gracefulexitcmd.posix import subreaper

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Callable

    from gracefulexitcmd.container import Container
    from gracefulexitcmd.exit import Cause, Exit, Holder
    from gracefulexitcmd.ladder import Event
    from gracefulexitcmd.request import Stopping
    from gracefulexitcmd.system import ProcessSet


class Termination(Waitable):
    """The stop sequence for a container in which no command runs any more: SIGTERM, `grace` seconds, SIGKILL."""

    def __init__(self, container: Container | ProcessSet, grace: float, *, stopping: Stopping | None = None) -> None:
        """Prepare it; `grace` is in seconds, and `stopping` is called just before the first signal, as by `Cmd`."""
        self._execution = emptying(container, grace, stopping)

    def run(self) -> Exit:
        """Send the first signal, wait until no process is left, and return the Exit; its census lists ended processes.

        If an exception such as KeyboardInterrupt arrives meanwhile, kill the remaining processes and raise it again.
        """
        try:
            with HandlersHeldBack():
                self._execution.terminate_all()
            return self.wait()
        except BaseException:
            self._hurry()
            raise

    def _hurry(self) -> None:
        with HandlersHeldBack():
            self.cancel(grace=0)
            self._execution.terminate_all()
            self.wait()


def emptying(container: Container | ProcessSet, grace: float, stopping: Stopping | None) -> Execution:
    """Return the stop sequence of a container, not yet begun; `grace` is in seconds."""
    run = partial(_ContainerRun, opened(container))
    return Execution(Ladder(grace=grace), run, may_be_skipped=False, stopping=stopping)


class _ContainerRun:
    """Holds what exists only while a container is being emptied: it has no leader and no pipe."""

    pid = 0
    status = None

    def __init__(self, container: ProcessSet, report: Callable[[Event], None]) -> None:
        self.poller = Poller()
        self.teardown = Teardown.emptying(container, self.poller, report)
        self.streams = Streams(self.poller, report)

    def send(self, _number: int) -> bool:
        return False

    def holders(self) -> tuple[Holder, ...]:
        return ()

    def let_go(self, _cause: Cause) -> None:
        """Do nothing: the container stays open."""


BLOCKS = "with contain() blocks the event loop until everything in it has ended: write async with"


class contain:  # noqa: N801 - read as a verb, as contextlib has it
    """A container for commands; however the block ends, all processes in it are ended gracefully.

    `with contain() as box:` gives the container; start commands in it with `container=box`. After the block `box.exit`
    describes how it was emptied. `async with` does the same for asyncio and never blocks the loop. `grace` is the time
    between SIGTERM and SIGKILL, on Windows between CTRL_BREAK and TerminateJobObject, in seconds. A command that still
    runs at the end of the block is ended, and can be waited for afterwards. Any thread may start commands in it. Raise
    ValueError if `grace` is not a time. In a running event loop a plain `with` issues a RuntimeWarning.

    On Linux this process becomes a subreaper and stays one: it adopts and reaps orphans, even those of other programs
    that it starts. Children started outside `Cmd` in a process group of their own, such as by
    `Popen(start_new_session=True)`, look like orphans and are ended too.
    """

    def __init__(self, grace: float = GRACE) -> None:
        check_seconds("grace", grace)
        self._grace = grace

    def __enter__(self) -> Container:
        if _has_running_loop():
            warnings.warn(BLOCKS, RuntimeWarning, stacklevel=2)
        return self._open()

    def __exit__(self, *_: object) -> None:
        if os.getpid() == self._owner:  # a process forked in the block leaves it too, but must not end anything
            self._empty()

    async def __aenter__(self) -> Container:
        return self._open()

    async def __aexit__(self, *_: object) -> None:
        if os.getpid() == self._owner:
            await self._empty_async()

    def _open(self) -> Container:
        if sys.platform != "win32":
            subreaper.become()
        self._opened = ManualContainer()
        self._container = made(self._opened)
        self._owner = os.getpid()
        return self._container

    def _empty(self) -> None:
        try:
            if not self._opened.surely_empty():
                self._container.exit = Termination(self._opened, self._grace).run()
        except BaseException:
            with HandlersHeldBack():
                self._container.exit = Termination(self._opened, grace=0).run()
            raise
        finally:
            self._opened.close()

    async def _empty_async(self) -> None:
        """End all processes; a task that is cancelled meanwhile raises CancelledError after their graceful end."""
        from gracefulexitcmd.aio import AsyncTermination

        termination = AsyncTermination(self._opened, self._grace)
        try:
            if not self._opened.surely_empty():
                await termination.run()
        finally:
            self._container.exit = termination.exit or self._container.exit
            self._opened.close()


def _has_running_loop() -> bool:
    """Return whether the caller runs in an event loop; a program that has not imported asyncio has none."""
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and asyncio._get_running_loop() is not None
