"""Everything that some commands have started in their turn, on Windows."""

from __future__ import annotations

import threading

from gracefulexitcmd.exit import NOTHING_TO_END
from gracefulexitcmd.windows import calls, process
from gracefulexitcmd.windows.job import JobObject


class Container:
    """Knows the processes that commands started in it have started.

    It must be closed, which ends at once who is left in it, as does the death of this process. Every method may be
    called from any thread.
    """

    def __init__(self) -> None:
        self.exit = NOTHING_TO_END
        """How everything in it was ended by `contain`."""
        self.job = JobObject()
        self._lock = threading.Lock()
        self._leaders: dict[int, int] = {}

    def __del__(self) -> None:
        self.close()

    def keep_ledger(self, path: str, name: str, grace: float, key: bytes) -> None:
        """Nothing has to be written down: when this program is killed, the system empties the job."""

    def confine(self) -> bool:
        """Everybody is in the job from the start."""
        return True

    def started(self, leader: int, handle: int) -> None:
        """Take in a process that leads a console group, by its number and a handle, before it runs."""
        self.job.assign(handle)
        with self._lock:
            # As long as somebody has a handle, no other process and no other group gets its number.
            self._leaders[leader] = process.open_leader(leader)

    def ended(self, leader: int) -> None:
        """Note that nobody is left of what this leader has started."""
        with self._lock:
            handle = self._leaders.pop(leader, None)
        if handle is not None:
            calls.close_handle(handle)

    def groups(self) -> list[int]:
        """The console groups that may still have members."""
        with self._lock:
            return list(self._leaders)

    def surely_empty(self) -> bool:
        """Whether nobody is left."""
        return not self.job.processes()

    def close(self) -> None:
        """End who is left, and forget everything; it may be closed twice."""
        self.job.close()
        for leader in self.groups():
            self.ended(leader)
