"""Whom a stop is for: the group of a command, and everybody else in its container."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gracefulexitcmd import posix

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gracefulexitcmd.container import Container
    from gracefulexitcmd.linux import Process


class Targets:
    """The processes of a container; those of a group that runs in it are signalled as one, which none can outrun."""

    def __init__(self, container: Container, group: posix.Group | None = None) -> None:
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

    def signal_each(self, number: int, members: Iterable[Process]) -> None:
        """Send a signal to each of `members` outside of the group."""
        for process in members:
            if self._group is None or process.group != self._group.pid:
                posix.signal_process(process, number)
