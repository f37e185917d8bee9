"""Ends whatever is left in a container."""

from __future__ import annotations

import contextlib
import os
import sys
from functools import partial
from typing import TYPE_CHECKING

from gracefulexitcmd.cmd import Waitable
from gracefulexitcmd.execution import Execution
from gracefulexitcmd.handlers import HandlersHeldBack
from gracefulexitcmd.ladder import Ladder
from gracefulexitcmd.request import GRACE
from gracefulexitcmd.streams import Streams
from gracefulexitcmd.system import Container, Poller, members_of

if sys.platform != "win32":
    from gracefulexitcmd.posix import subreaper

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gracefulexitcmd.exit import Cause, Exit, Holder
    from gracefulexitcmd.ladder import Event
    from gracefulexitcmd.request import Stopping
    from gracefulexitcmd.system import Membership


class Roundup(Waitable):
    """The stop sequence for a container in which no command runs any more: SIGTERM, `grace` seconds, SIGKILL."""

    def __init__(self, container: Membership, grace: float, *, stopping: Stopping | None = None) -> None:
        """`stopping` is told of the first signal, as that of `Cmd`."""
        self._execution = round_up(container, grace, stopping)

    def run(self) -> Exit:
        """Wait until nobody is left; the census of the Exit names who had to be ended.

        An exception that arrives meanwhile, such as KeyboardInterrupt, goes on when those who are left were killed.
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


def round_up(container: Membership, grace: float, stopping: Stopping | None) -> Execution:
    """The stop sequence of a container, not yet begun."""
    return Execution(Ladder(grace=grace), partial(_ContainerRun, container), may_be_skipped=False, stopping=stopping)


class _ContainerRun:
    """What there is only while a container is being emptied: nobody leads it, and it writes to no pipe."""

    pid = 0
    status = None

    def __init__(self, container: Membership, tell: Callable[[Event], None]) -> None:
        self.poller = Poller()
        self.members = members_of(container, self.poller, tell)
        self.streams = Streams(self.poller, tell)

    def send(self, _number: int) -> bool:
        return False

    def holders(self) -> tuple[Holder, ...]:
        return ()

    def let_go(self, _cause: Cause) -> None:
        """The container stays open."""


@contextlib.contextmanager
def contain(grace: float = GRACE) -> Iterator[Container]:
    """A container for commands; when the block ends, in whatever way, everything in it is ended gracefully.

    `grace` is the time between SIGTERM and SIGKILL, on Windows between CTRL_BREAK and TerminateJobObject, in seconds.
    A command that still runs at the end of the block is ended, and whoever started it can wait for it afterwards.

    On Linux this process becomes a subreaper and stays one: orphans come to it, also those of other programs that
    it starts, and are reaped by it. What it starts in another way than through a command, and in a process group of
    its own, cannot be told from an orphan, and is ended too.
    """
    if sys.platform != "win32":
        subreaper.become()
    container = Container()
    owner = os.getpid()
    try:
        yield container
    finally:
        if os.getpid() == owner:  # a process that was forked in the block, and leaves it too, ends nobody
            _empty(container, grace)


def _empty(container: Container, grace: float) -> None:
    try:
        if not container.surely_empty():
            Roundup(container, grace).run()
    except BaseException:
        with HandlersHeldBack():
            Roundup(container, grace=0).run()
        raise
    finally:
        container.close()
