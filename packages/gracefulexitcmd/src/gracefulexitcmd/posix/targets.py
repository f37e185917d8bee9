"""The processes that a stop is for: the group of a command, and everything else in its container."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Protocol

from gracefulexitcmd.posix import process_table
from gracefulexitcmd.sequence import To

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from gracefulexitcmd.posix.linux import Identity, Process
    from gracefulexitcmd.posix.process_group import Group


class Membership(Protocol):
    """Knows who belongs together, and is emptied; `ending` is set when that begins."""

    ending: bool

    def glance(self) -> list[Process]:
        """Those that are quickly found. Raises OSError where no descriptor is free."""

    def members(self, *, recent: bool = False) -> list[Process]:
        """Return those that are alive; with `recent` the last orphans may be missing. Raise OSError as `glance`."""

    def how(self, process: Process) -> str:
        """How a process is known to belong."""

    def may_end(self, process: Process) -> bool:
        """Whether a member can be ended by this user."""

    def kill(self) -> None:
        """Send SIGKILL to those who can be reached all at once, if there are such."""


class Tree:
    """The processes in a command's group, and those that descend from it by parents that live.

    A process that has lost its parents outside of the group is not in it, unless it was seen there before.
    """

    def __init__(self, leader: int) -> None:
        self._leader = leader
        self._seen: set[Identity] = set()

    def see(self, members: Iterable[Process]) -> None:
        """Note which of the members of the container are in the tree."""
        left = {process.pid: process for process in members}
        own: set[int] = set()
        while found := [process for process in left.values() if self._is_own(process, own)]:
            own.update(left.pop(process.pid).pid for process in found)
            self._seen.update(process.identity for process in found)

    def holds(self, process: Process) -> bool:
        """Whether a process was seen in the tree."""
        return process.identity in self._seen

    def _is_own(self, process: Process, own: Collection[int]) -> bool:
        return process.group == self._leader or process.parent in own or self.holds(process)


class Targets:
    """The processes of a container; those of a group that runs in it are signalled as one, which none can outrun.

    Without a tree all that is outside of the group descends from it.
    """

    def __init__(self, container: Membership, group: Group | None = None, tree: Tree | None = None) -> None:
        self._container = container
        self._group = group
        self._tree = tree

    def glance(self) -> list[Process]:
        """Who belongs, as far as that is quickly known. Raises OSError where no descriptor is free."""
        return self._seen(self._container.glance())

    def members(self, *, recent: bool = False) -> list[Process]:
        """Return who belongs and is alive; with `recent` the last orphans may be missing. Raise OSError as `glance`."""
        return self._seen(self._container.members(recent=recent))

    def how(self, process: Process) -> str:
        """How a process is known to belong."""
        return self._container.how(process)

    def part(self, process: Process) -> To:
        """Which part of the targets a member is."""
        if self._group is not None and process.group == self._group.pid:
            return To.LEADER if process.pid == self._group.pid else To.MATES
        return To.DESCENDANTS if self._tree is None or self._tree.holds(process) else To.OTHERS

    def signal(self, number: int, members: Iterable[Process], to: To = To.ALL) -> None:
        """Send a signal to the group as a whole where all of it is meant, and to each other one of `members`."""
        if self._group is not None:
            if To.GROUP in to:
                self._group.signal(number)
            elif To.LEADER in to:
                self._group.signal_leader(number)
        self.signal_each(number, members, to)

    def may_end(self, process: Process) -> bool:
        """Whether a member can be ended by this user."""
        return self._container.may_end(process)

    def kill(self, members: Iterable[Process]) -> None:
        """Send SIGKILL to everybody."""
        self.signal(signal.SIGKILL, members)
        self._container.kill()

    def signal_each(self, number: int, members: Iterable[Process], to: To = To.ALL) -> None:
        """Send a signal to each of `members` that is meant, and that no signal to the group or its leader reaches."""
        single = to & ~(To.GROUP if To.GROUP in to else To.LEADER)
        for process in members:
            if self.part(process) in single:
                process_table.signal_process(process, number)

    def _seen(self, members: list[Process]) -> list[Process]:
        if self._tree is not None:
            self._tree.see(members)
        return members
