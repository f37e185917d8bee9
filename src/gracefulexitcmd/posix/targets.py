"""Whom a stop is for: the group of a command, and everybody else in its container."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Protocol

from gracefulexitcmd.posix import process_group, process_table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gracefulexitcmd.posix.linux import Process


class Membership(Protocol):
    """Knows who belongs together, and is emptied; `ending` is set when that begins."""

    ending: bool

    def glance(self) -> list[Process]:
        """Those that are quickly found. Raises OSError where no descriptor is free."""

    def members(self) -> list[Process]:
        """Those that are alive. Raises OSError where no descriptor is free."""

    def how(self, process: Process) -> str:
        """How a process is known to belong."""

    def may_end(self, process: Process) -> bool:
        """Whether a member can be ended by this user."""

    def kill(self) -> None:
        """Send SIGKILL to those who can be reached all at once, if there are such."""


class Targets:
    """The processes of a container; those of a group that runs in it are signalled as one, which none can outrun."""

    def __init__(self, container: Membership, group: process_group.Group | None = None) -> None:
        self._container = container
        self._group = group

    def glance(self) -> list[Process]:
        """Who belongs, as far as that is quickly known. Raises OSError where no descriptor is free."""
        return self._container.glance()

    def members(self) -> list[Process]:
        """Who belongs and is alive. Raises OSError where no descriptor is free."""
        return self._container.members()

    def how(self, process: Process) -> str:
        """How a process is known to belong."""
        return self._container.how(process)

    def signal(self, number: int, members: Iterable[Process]) -> None:
        """Send a signal to the group as a whole, and to each of `members` outside of it."""
        if self._group is not None:
            self._group.signal(number)
        self.signal_each(number, members)

    def may_end(self, process: Process) -> bool:
        """Whether a member can be ended by this user."""
        return self._container.may_end(process)

    def kill(self, members: Iterable[Process]) -> None:
        """Send SIGKILL to everybody."""
        self.signal(signal.SIGKILL, members)
        self._container.kill()

    def signal_each(self, number: int, members: Iterable[Process]) -> None:
        """Send a signal to each of `members` outside of the group."""
        for process in members:
            if self._group is None or process.group != self._group.pid:
                process_table.signal_process(process, number)
