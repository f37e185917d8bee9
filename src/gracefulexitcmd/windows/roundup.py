"""Ends whatever is left in a container, on Windows."""

from __future__ import annotations

import contextlib
import signal
import time
from functools import partial
from typing import TYPE_CHECKING

from gracefulexitcmd.cmd import Waitable
from gracefulexitcmd.execution import Execution
from gracefulexitcmd.exit import Cause, Exit
from gracefulexitcmd.ladder import Event, Ladder
from gracefulexitcmd.request import GRACE
from gracefulexitcmd.windows.container import Container
from gracefulexitcmd.windows.members import Members
from gracefulexitcmd.windows.poller import Poller

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gracefulexitcmd.windows.pipes import Pipe


class Roundup(Waitable):
    """The stop sequence for a container in which no command runs any more: CTRL_BREAK, `grace` seconds, force."""

    def __init__(self, container: Container, grace: float) -> None:
        self._execution = round_up(container, grace)

    def run(self) -> Exit:
        """Wait until nobody is left; the census of the Exit names who had to be ended."""
        self._execution.round_up()
        return self.wait()


def round_up(container: Container, grace: float) -> Execution:
    """The stop sequence of a container, not yet begun."""
    return Execution(Ladder(grace=grace), partial(_ContainerRun, container))


class _ContainerRun:
    """What there is only while a container is being emptied."""

    pid = 0
    stop_signal = signal.SIGTERM
    open_pipes: tuple[Pipe, ...] = ()

    def __init__(self, container: Container, tell: Callable[[Event], None]) -> None:
        self._started_at = time.monotonic()
        self.poller = Poller()
        self.members = Members(
            container.job,
            {},
            container.groups,
            self.poller,
            changed=partial(tell, Event.LOOK_DUE),
            unreachable=partial(tell, Event.UNREACHABLE),
        )

    def abandon_output(self) -> None:
        """There is none."""

    def end(self, ladder: Ladder) -> Exit:
        """Give back everything that was held, and say what happened."""
        self.members.forget()
        self.poller.close()
        return Exit(
            cause=Cause.EXITED,
            status=None,
            duration=time.monotonic() - self._started_at,
            forced=self.members.forced,
            signals=tuple(self.members.signals),
            census=self.members.census(),
        )


@contextlib.contextmanager
def contain(grace: float = GRACE) -> Iterator[Container]:
    """A container for commands; when the block ends, in whatever way, everything in it is ended gracefully.

    `grace` is the time between CTRL_BREAK and TerminateJobObject, in seconds. A command that still runs at the end of
    the block is ended, and whoever started it can wait for it afterwards.
    """
    container = Container()
    try:
        yield container
    finally:
        if not container.surely_empty():
            Roundup(container, grace).run()
        container.close()
