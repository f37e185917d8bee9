"""Decides which processes have missed a stop signal, from their births and from what they did around it."""

from __future__ import annotations

from gracefulexitcmd import clock
from gracefulexitcmd.posix import process_table

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from gracefulexitcmd.posix.process_table import Process

FORKING = 0.1
"""Seconds around a signal in which a new process may still have the handlers of the program that it was forked from."""


class Delivery:
    """One stop signal and the processes that need it again; births are in clock ticks since boot, as in proc(5).

    A process born after the signal is there to clean up, and must not have it. One born before must, even if it was
    found late. So must one that lost it: it was between fork(2) and execve(2), with the handler of its parent's
    program.
    """

    def __init__(self, name: str) -> None:
        """Begin to send the signal of this name."""
        self.name = name
        self.began = process_table.now()
        """The clock tick of its first receiver."""
        self._ended = self.began
        self._sent_at = clock.now()
        self._forked: set[int] = set()
        self._leaving: set[int] = set()

    @property
    def age(self) -> float:
        """Seconds since it was sent."""
        return clock.now() - self._sent_at

    def extend(self) -> None:
        """Note that some have got it one by one until now, so a process born meanwhile may be older than theirs."""
        self._ended = process_table.now()

    def note_grouped(self, grouped: Iterable[Process]) -> None:
        """Note which of the group's members are so young that they may leave it before a signal to the group."""
        self._leaving = {one.pid for one in self._young(grouped)}

    def note_forked(self, processes: Iterable[Process], receivers: Collection[int]) -> bool:
        """Note which of the receivers have no program yet; return whether to look at them again soon."""
        young = self._young(processes) if self.age < FORKING else []
        self._forked = {one.pid for one in young if not one.executed and one.pid in receivers}
        return bool(self._forked)

    def was_there(self, found: Process, living: Collection[int]) -> bool:
        """Return whether a process is older than the signal.

        One born while it was being sent counts as older only if it is an orphan. A process that starts another one to
        clean up waits for it, so that one has a living parent.
        """
        meanwhile = self.began <= found.start_time <= self._ended and found.parent not in living
        return found.start_time < self.began or meanwhile

    def missed_by(self, found: Process, living: Collection[int], *, had: bool, grouped: bool) -> bool:
        """Return whether a process should have had it, and has not, or not with its present program.

        `had` is whether it was sent to the process, `grouped` whether the process is in the group that gets signals as
        a whole.
        """
        has_left = found.pid in self._leaving and not grouped
        has_program = found.pid in self._forked and found.executed
        return has_left or has_program or (not had and self.was_there(found, living))

    def passed_by(self, late: Process) -> bool:
        """Return whether it may have gone to the late one's group already, before its birth or its program's start."""
        return late.pid in self._forked or late.start_time >= self.began

    def settle(self) -> None:
        """Forget who might leave the group: all that did were seen."""
        self._leaving.clear()

    def _young(self, processes: Iterable[Process]) -> list[Process]:
        """Return those that were born at most FORKING seconds before it."""
        return [one for one in processes if one.start_time >= self.began - FORKING * process_table.TICKS]
