"""The processes of a job that is being stopped: their identities, their signals, and the end of the last one."""

from __future__ import annotations

from functools import partial

from gracefulexitcmd import clock
from gracefulexitcmd.census import Census
from gracefulexitcmd.exit import EndedProcess, SignalSent
from gracefulexitcmd.ladder import Event
from gracefulexitcmd.windows import calls, console, process

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from gracefulexitcmd.sequence import Stage
    from gracefulexitcmd.windows.container import ManualContainer
    from gracefulexitcmd.windows.job import JobObject
    from gracefulexitcmd.windows.poller import Poller

BREAK = "CTRL_BREAK"
FORCE = "TerminateJobObject"

SCAN_AGAIN = 0.01
"""Seconds between two scans for processes that this user may not wait for."""

SPARE_HANDLES = 8
"""The number of handles that a poller keeps free for other uses than members."""


class Teardown(Census):
    """The targets of a stop, from the first signal until the last process has ended.

    `leader` maps the process ID of the started process to its argv; `groups` returns the console groups to signal;
    `report` receives the events.
    """

    def __init__(
        self,
        job: JobObject,
        leader: dict[int, tuple[str, ...]],
        groups: Callable[[], Collection[int]],
        poller: Poller,
        report: Callable[[Event], None],
    ) -> None:
        super().__init__()
        self.scan_at: float | None = None
        """When to scan again, on the monotonic clock, if no handle reports the end of a member; else None."""
        self._job = job
        self._leader = leader
        self._groups = groups
        self._poller = poller
        self._report = report
        self._watched: set[int] = set()

    @classmethod
    def emptying(cls, container: ManualContainer, poller: Poller, report: Callable[[Event], None]) -> Teardown:
        """Make the teardown of all that is in a container."""
        return cls(container.job, {}, container.groups, poller, report)

    receivers_alive = True
    """A break reaches all members, so any remaining member has been signalled."""

    def count(self, *, quickly: bool) -> None:
        """Scan before the stop signal, so that the census includes processes that it ends at once."""
        self._scan()

    def scan(self) -> bool:
        """Scan before a further signal is sent; return whether any process is left."""
        self._scan()
        return bool(self._alive)

    def next_signal(self, _stage: Stage) -> SignalSent:
        """Return the signal that `terminate` is about to send, and the number of its targets."""
        return SignalSent(BREAK, clock.now() - self.started_at, len(self._alive))

    def terminate(self, _stage: Stage) -> None:
        """Send CTRL_BREAK to each console group. Count the whole job as signalled: Windows does not list a group."""
        sent_at = clock.now()
        reached = [console.send_break(group) for group in self._groups()]
        if any(reached):
            self._note(BREAK, sent_at, self._alive)
        else:
            self._report(Event.UNREACHABLE)

    def signal_late(self) -> None:
        """Do nothing: the job lists all its processes at any time."""

    def kill(self) -> None:
        """Kill all processes of the job."""
        if self._scan():
            sent_at = clock.now()
            self._job.terminate()
            self._note(FORCE, sent_at, self._alive)

    def watch(self, *, kill: bool) -> bool:
        """Report the end of any remaining process as an event; return False if no process is left.

        With `kill`, kill the job once more: a process may have been added to it meanwhile.
        """
        self.forget()
        if not self._scan():
            return False
        if kill:
            self._job.terminate()
            self._last_signal.update(dict.fromkeys(self._alive, FORCE))
        self._wait_for(self._alive)
        return True

    def forget(self) -> None:
        """Stop waiting for processes."""
        self.scan_at = None
        while self._watched:
            handle = self._watched.pop()
            self._poller.forget(handle)
            calls.close_handle(handle)

    def left(self) -> list[tuple[int, tuple[str, ...]]]:
        """Return the process IDs and arguments of the remaining processes."""
        return [(pid, self._found[pid].argv) for pid in self._scan()]

    def _scan(self) -> set[int]:
        """Scan the job; return the process IDs of the remaining processes."""
        self._alive = set(self._job.processes())
        for pid in self._alive - self._found.keys():
            leader = self._leader.get(pid)
            argv, found_by = (_argv(pid), "job") if leader is None else (leader, "leader")
            self._found[pid] = EndedProcess(pid, argv, found_by, None)
        return self._alive

    def _wait_for(self, pids: Collection[int]) -> None:
        """Wait for as many processes as the poller has room for; the end of one of them starts another scan."""
        for pid in pids:
            if self._poller.room <= SPARE_HANDLES:
                return
            self._watch(pid)
        if not self._watched:
            self.scan_at = clock.now() + SCAN_AGAIN

    def _watch(self, pid: int) -> None:
        handle = process.open_member(pid)
        if handle is None:
            return
        if not self._job.holds(handle):  # it has ended, and another process has its ID
            calls.close_handle(handle)
            return
        self._watched.add(handle)
        self._poller.watch(handle, partial(self._ended, handle))

    def _ended(self, handle: int) -> None:
        if handle in self._watched:
            self._report(Event.SCAN_DUE)


def _argv(pid: int) -> tuple[str, ...]:
    handle = process.open_member(pid)
    if handle is None:
        return ()
    try:
        return process.argv(handle)
    finally:
        calls.close_handle(handle)
