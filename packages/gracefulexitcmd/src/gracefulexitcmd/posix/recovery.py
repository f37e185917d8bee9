"""Finds processes left by a killed program, through the ledger of their container."""

from __future__ import annotations

import contextlib
import os

from gracefulexitcmd.posix import cgroup, ledger, membership, process_table, subreaper
from gracefulexitcmd.posix.container import living, scan
from gracefulexitcmd.posix.orphans import COOKIE
from gracefulexitcmd.posix.process_set import ProcessSet

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gracefulexitcmd.posix.process_table import Identity, Process


class Orphaned(ProcessSet):
    """Knows which processes are left, as far as evidence shows: this process does not adopt their orphans.

    A process is known by the control group, by the cookie, or as a leader or a descendant of one. It is also known by
    a process group or session that it shares with one of these. Only processes of this user and those in the control
    group are signalled. None of them is older than the container. The ledger gives `name` and `grace` (seconds).
    """

    def __init__(self, entry: ledger.Entry, leaders: tuple[Identity, ...]) -> None:
        super().__init__(entry.since)
        self.name = entry.name
        self.grace = entry.grace
        self._entry = entry
        self._leaders = frozenset(leaders)
        self._gone = not ledger.same_boot(entry)
        self._cgroup = cgroup.existing(entry.cgroup) if entry.cgroup and not self._gone else None

    def members(self, *, quickly: bool = False) -> list[Process]:
        """Return the living processes that belong to it; `quickly` changes nothing, because there is no quick scan."""
        if self._gone:
            return []
        processes, has_cookie = scan(process_table.processes(), self._since)
        table = living(processes)
        inside = self._inside()
        found = self._touchable(self._found_in(table, has_cookie, inside), inside)
        self._known.update({table[pid].identity: found_by for pid, found_by in found.items()})
        return self._with_hidden([table[pid] for pid in found] or self._left_inside(), inside)

    def close(self) -> None:
        """Remove the control group if no process is in it."""
        if self._cgroup is not None:
            self._cgroup.remove()

    def _found_in(
        self, table: Mapping[int, Process], has_cookie: membership.HasCookie, inside: frozenset[int]
    ) -> dict[int, str]:
        known = {identity: "leader" for identity in self._leaders if identity not in self._known} | self._known
        evidence = membership.Evidence(self._entry.cookie, self._since, known=known, inside=inside)
        found = membership.members(evidence, table, subreaper.reaper(), has_cookie)
        # The kernel does not reuse the number of a group while it has a member, so this number means one group only.
        groups = {table[pid].group for pid in found} & {pid for pid, _ in self._leaders}
        return membership.members(evidence._replace(groups=groups), table, subreaper.reaper(), has_cookie) | found

    def _touchable(self, found: Mapping[int, str], inside: frozenset[int]) -> dict[int, str]:
        """Return those of this user and those in the control group, where no file of another user can put a process."""
        return {
            pid: found_by for pid, found_by in found.items() if pid in inside or process_table.owner(pid) == os.getuid()
        }

    def _left_inside(self) -> list[Process]:
        """Return the processes in the control group that were started after the scan."""
        inside = filter(None, map(process_table.process, self._inside()))
        return [process for process in inside if process.alive and process.start_time >= self._since]


@contextlib.contextmanager
def recover(path: str, keys: Sequence[bytes], *, watched_here: bool = False) -> Iterator[Orphaned | None]:
    """Yield the processes left in the container of an abandoned ledger, for `Termination` or `AsyncTermination` to end.

    Yield None if the ledger is not abandoned, or if this process is in that container.

    The ledger is trusted only if one of the keys has sealed it; `ManualContainer.keep_ledger` takes that key. With
    `watched_here` the ledger is one of a worker that this process watched.
    """
    with ledger.abandoned(path, keys, watched_here=watched_here) as found:
        if found is None or found.entry.cookie in os.environ.get(COOKIE, "").split(":"):
            yield None
            return
        left = Orphaned(found.entry, found.leaders)
        yield left
        left.close()
