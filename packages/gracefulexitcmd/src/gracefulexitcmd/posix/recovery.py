"""Finds processes left by a killed program, through the ledger of their container."""

from __future__ import annotations

import contextlib
import os

from gracefulexitcmd.posix import cgroup, ledger, membership, process_table
from gracefulexitcmd.posix.container import living, scan
from gracefulexitcmd.posix.orphans import COOKIE
from gracefulexitcmd.posix.process_set import ProcessSet

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

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
        self._leaders = leaders
        self._known = dict.fromkeys(leaders, "leader")
        self._gone = not ledger.same_boot(entry)
        self._cgroup = cgroup.existing(entry.cgroup) if entry.cgroup and not self._gone else None

    def members(self, *, quickly: bool = False) -> list[Process]:
        """Return the living processes that belong to it; `quickly` changes nothing, because there is no quick scan."""
        if self._gone:
            return []
        processes, has_cookie = scan(process_table.processes(), self._since)
        table, inside = living(processes), self._inside()
        evidence = membership.Evidence(self._entry.cookie, self._since, known=self._known, inside=inside)
        found = self._find(evidence, table, has_cookie)
        # The kernel does not reuse the number of a group while it has a member, so this number means one group only.
        groups = {table[pid].group for pid in found} & {pid for pid, _ in self._leaders}
        found = self._find(evidence._replace(groups=groups), table, has_cookie)
        # No file of another user can put a process into the control group.
        ours = [table[pid] for pid in found if pid in inside or process_table.owner(pid) == os.getuid()]
        return self._with_hidden(ours or self._now_inside(), inside)

    def close(self) -> None:
        """Remove the control group if no process is in it."""
        if self._cgroup is not None:
            self._cgroup.remove()


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
