"""The descendants of commands, on Windows."""

from __future__ import annotations

import threading

from gracefulexitcmd.windows import calls, process
from gracefulexitcmd.windows.job import JobObject


class ManualContainer:
    """Knows the descendants of all commands that are started in it.

    It must be closed. Its close and the death of this process both kill all remaining processes at once. The methods
    are thread-safe.
    """

    def __init__(self) -> None:
        self.job = JobObject()
        self._lock = threading.Lock()
        self._leaders: dict[int, int] = {}

    def __del__(self) -> None:
        self.close()

    def keep_ledger(self, path: str, name: str, grace: float, key: bytes) -> None:
        """Do nothing: when this program is killed, the system ends the processes of the job."""

    def confine(self) -> bool:
        """Return True: each process is in the job from its start."""
        return True

    def started(self, leader: int, handle: int) -> None:
        """Add the leader of a console group, by its process ID and a handle, before it runs."""
        self.job.assign(handle)
        with self._lock:
            # While a handle is open, no other process and no other group gets its process ID.
            self._leaders[leader] = process.open_leader(leader)

    def ended(self, leader: int) -> None:
        """Forget a leader that has no remaining descendants."""
        with self._lock:
            handle = self._leaders.pop(leader, None)
        if handle is not None:
            calls.close_handle(handle)

    def groups(self) -> list[int]:
        """Return the console groups that may still have members."""
        with self._lock:
            return list(self._leaders)

    def surely_empty(self) -> bool:
        """Return whether no process is left."""
        return not self.job.processes()

    def close(self) -> None:
        """Kill the remaining processes and close all handles; a second close does nothing."""
        self.job.close()
        for leader in self.groups():
            self.ended(leader)
