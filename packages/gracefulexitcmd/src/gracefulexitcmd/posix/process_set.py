"""Processes that belong together and are ended together."""

from __future__ import annotations

from abc import ABC, abstractmethod

from gracefulexitcmd.posix import membership, process_table, subreaper

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gracefulexitcmd.posix.cgroup import Cgroup
    from gracefulexitcmd.posix.process_table import Identity, Process


class ProcessSet(ABC):
    """Knows which processes belong to it; `since` is when it began, in clock ticks since boot."""

    def __init__(self, since: int) -> None:
        self.ending = False
        """Whether it is being emptied. Its doubtful orphans need not be spared for its sake any more."""
        self._since = since
        self._known: dict[Identity, str] = {}
        self._cgroup: Cgroup | None = None

    @abstractmethod
    def members(self, *, quickly: bool = False) -> list[Process]:
        """Return the living processes that belong to it; with `quickly` some may be missing.

        Raise OSError if no descriptor is free.
        """

    def found_by(self, process: Process) -> str:
        """Return how a process is known to belong: leader, group, cgroup, session, descendant, cookie or suspected."""
        return self._known.get(process.identity, "group")

    def can_end(self, process: Process) -> bool:
        """Return whether a member can be ended: by a signal, or with the control group, which is killed as a whole."""
        return process_table.can_signal(process.pid) is not False or process.pid in self._inside()

    def kill(self) -> None:
        """Send SIGKILL to the whole control group, if there is one; the caller signals the other members."""
        if self._cgroup is not None:
            self._cgroup.kill()

    def _find(
        self, evidence: membership.Evidence, table: Mapping[int, Process], has_cookie: membership.HasCookie
    ) -> list[int]:
        """Return the pids of the members in a table of living processes, and note how each was found."""
        found = membership.members(evidence, table, subreaper.reaper(), has_cookie)
        self._known.update((table[pid].identity, found_by) for pid, found_by in found.items())
        return list(found)

    def _inside(self) -> frozenset[int]:
        return frozenset() if self._cgroup is None else self._cgroup.pids()

    def _now_inside(self) -> list[Process]:
        """Return the living processes in the control group, even one that started after a scan began."""
        inside = filter(None, map(process_table.process, self._inside()))
        return [process for process in inside if process.alive and process.start_time >= self._since]

    def _with_hidden(self, found: list[Process], inside: Iterable[int]) -> list[Process]:
        """Add the processes in the control group that `/proc` does not show.

        A mount with `hidepid` hides processes of other users, proc(5). Nothing more is known of them, so they get no
        parent and the start time of the set. A control group does not list zombies, so they are alive.
        """
        hidden = [
            process_table.Process(pid, "S", 0, 0, 0, self._since)
            for pid in set(inside).difference(process.pid for process in found)
            if process_table.process(pid) is None and process_table.can_signal(pid) is not None
        ]
        self._known.update((process.identity, "cgroup") for process in hidden)
        return found + hidden
