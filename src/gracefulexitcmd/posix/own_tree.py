"""A command's own processes, and the others of its container, where each are to be stopped in their own way."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gracefulexitcmd.posix.linux import Identity, Process
    from gracefulexitcmd.posix.targets import Membership


class _Part(ABC):
    """Some of the members of a container."""

    ending = False

    def __init__(self, container: Membership) -> None:
        self._container = container

    @abstractmethod
    def chosen(self, members: list[Process]) -> list[Process]:
        """Those of the members that belong to the part."""

    def glance(self) -> list[Process]:
        """Those that are quickly found."""
        return self.chosen(self._container.glance())

    def members(self) -> list[Process]:
        """Those that are alive."""
        return self.chosen(self._container.members())

    def how(self, process: Process) -> str:
        """How a process is known to belong."""
        return self._container.how(process)

    def may_end(self, process: Process) -> bool:
        """Whether a member can be ended by this user."""
        return self._container.may_end(process)

    def kill(self) -> None:  # noqa: B027 - no part needs another one
        """Nobody can be reached all at once: others share the control group."""


class OwnTree(_Part):
    """Of the members of a container those that are in a command's group, or descend from it by parents that live.

    Who has lost its parents outside of the group belongs to the container alone, unless it was seen before.
    """

    def __init__(self, container: Membership, leader: int) -> None:
        super().__init__(container)
        self._leader = leader
        self._known: set[Identity] = set()

    def chosen(self, members: list[Process]) -> list[Process]:
        """Those of the members that are in the tree."""
        left = {process.pid: process for process in members}
        own: dict[int, Process] = {}
        while found := [process for process in left.values() if self._is_own(process, own)]:
            own.update((process.pid, left.pop(process.pid)) for process in found)
        self._known.update(process.identity for process in own.values())
        return list(own.values())

    def _is_own(self, process: Process, own: dict[int, Process]) -> bool:
        return process.group == self._leader or process.parent in own or process.identity in self._known


class Others(_Part):
    """Of the members of a container those who are not in a command's own tree."""

    def __init__(self, container: Membership, leader: int) -> None:
        super().__init__(container)
        self._tree = OwnTree(container, leader)

    def glance(self) -> list[Process]:
        """Those that are alive: there is no quicker way to know who is not in the tree."""
        return self.members()

    def chosen(self, members: list[Process]) -> list[Process]:
        """Those of the members that are outside of the tree."""
        own = {process.pid for process in self._tree.chosen(members)}
        return [process for process in members if process.pid not in own]
