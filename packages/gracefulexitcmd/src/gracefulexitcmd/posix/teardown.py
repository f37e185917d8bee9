"""Ends a set of processes by the stop sequence: finds its members, signals them, and detects the end of the last."""

from __future__ import annotations

import contextlib
import os
import signal
from functools import partial
from typing import TYPE_CHECKING

from gracefulexitcmd import clock
from gracefulexitcmd.exit import EndedProcess, SignalSent
from gracefulexitcmd.ladder import Event
from gracefulexitcmd.named_tuple import NamedTuple
from gracefulexitcmd.posix import process_table, status, subreaper
from gracefulexitcmd.posix.orphans import RECENT
from gracefulexitcmd.reason import Reason, Why  # a late import could fail for lack of descriptors
from gracefulexitcmd.sequence import To

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from gracefulexitcmd.posix.poller import Poller
    from gracefulexitcmd.posix.process_group import Group
    from gracefulexitcmd.posix.process_set import ProcessSet
    from gracefulexitcmd.posix.process_table import Identity, Process
    from gracefulexitcmd.sequence import Stage

LOOK_AGAIN = 0.01
"""Seconds between two scans if the system cannot report the end of a process that is not a child."""

MOST_LOOKS = 10
"""Scans in a row of which all processes end, with others in their place, before any of them can be waited for."""


MOST_EXPLAINED = 200
"""Processes for which the reason for not ending is read at most: SIGKILL must not be delayed for long."""


class _Found(NamedTuple):
    process: Process
    argv: tuple[str, ...]
    name: str
    how: str


class Teardown:
    """Signals a set of processes until none is left; `group` gets each signal as a whole, so no member escapes by fork.

    With `shared` other commands run in the set, too. Then an orphan outside the group belongs to one of them, unless
    it was seen before as a descendant of the group. Without `shared` all processes outside the group descend from it.
    """

    def __init__(
        self,
        processes: ProcessSet,
        poller: Poller,
        tell: Callable[[Event], None],
        group: Group | None = None,
        *,
        shared: bool = False,
    ) -> None:
        self.look_at: float | None = None
        """The time of the next scan, in seconds of the monotonic clock; None if events report the ends of members."""
        self.signals: list[SignalSent] = []
        self.started_at = clock.now()
        self._processes = processes
        self._group = group
        self._own: set[Identity] | None = set() if shared else None
        self._poller = poller
        self._tell = tell
        self._found: dict[int, _Found] = {}
        self._last_signal: dict[int, str] = {}
        self._stage: Stage | None = None
        self._asked: str | None = None
        self._why: dict[int, Why] = {}
        self._told_at = self._told_until = 0
        self._alive: set[int] = set()
        self._unseen = False
        self._born: set[int] = set()
        self._pidfds: set[int] = set()

    @classmethod
    def emptying(cls, processes: ProcessSet, poller: Poller, tell: Callable[[Event], None]) -> Teardown:
        """Return the teardown of a whole set in which no command runs any more."""
        processes.ending = True
        return cls(processes, poller, tell)

    @property
    def held(self) -> frozenset[int]:
        """The descriptors that stay open until `forget`."""
        return frozenset(self._pidfds)

    def count(self, *, quickly: bool) -> None:
        """Count the members before the stop signal, so that one that dies of it at once is in the census.

        With `quickly` do not scan all processes of the system, which takes milliseconds.
        """
        with contextlib.suppress(OSError):
            self._count(self._members(quickly=quickly or subreaper.active))

    def look(self) -> bool:
        """Scan before a further signal is sent; return whether any process is left."""
        return self._look() != []

    def next_signal(self, stage: Stage) -> SignalSent:
        """Return the signal that `terminate` is about to send, with the number of counted processes that get it."""
        return SignalSent(stage.signal.name, clock.now() - self.started_at, len(self._told(stage.to)))

    def terminate(self, stage: Stage) -> None:
        """Send the stage's signal to its processes, then SIGCONT: a stopped process could not act on the signal."""
        self._stage, self._born = stage, set()
        if stage.signal is not signal.SIGKILL:
            self._asked = stage.signal.name
            self._told_at = self._told_until = process_table.now()
        sent_at = clock.now()
        counted = [found.process for pid, found in self._found.items() if pid in self._alive]
        if stage.signal is signal.SIGKILL:
            told = self._told(stage.to)
            self._explain([process for process in counted if process.pid in told])
        for number in _signals(stage):
            self._signal(number, counted, stage.to)
        with contextlib.suppress(OSError):
            self._signal_uncounted(stage)
        told = self._told(stage.to) - self._born
        for number in _signals(stage):
            self._note(number, sent_at, told)

    def kill(self) -> None:
        """Send SIGKILL to all."""
        self.look_at = None
        members = self._look()
        self._explain(members or ())
        sent_at = clock.now()
        self._kill(members or ())
        if members != []:
            self._note(signal.SIGKILL, sent_at, self._alive)

    def watch(self, *, kill: bool) -> bool:
        """Report LOOK_DUE when the remaining processes have ended; return False if none is left.

        With `kill` send SIGKILL to each process found: it was born since the last SIGKILL. Do not wait for processes
        that this user may not signal, such as a setuid program: the census shows that they were not ended.
        """
        self.forget()
        for _ in range(MOST_LOOKS):
            members = self._look()
            if members is not None and not any(map(self._processes.can_end, members)):
                return False
            if kill:
                self._kill(members or ())
                self._note_late(members or ())
                self._last_signal.update(dict.fromkeys(self._alive, "SIGKILL"))
            else:
                self._terminate_late(members or ())
            if self._wait_for(members):
                return True
        self.look_at = clock.now() + LOOK_AGAIN
        return True

    def forget(self) -> None:
        """Stop waiting for processes to end."""
        self.look_at = None
        while self._pidfds:
            self._drop(self._pidfds.pop())

    @property
    def told_alive(self) -> bool:
        """Whether the last scan found any process that the last stage was for."""
        return self._stage is None or self._unseen or bool(self._told(self._stage.to))

    @property
    def forced(self) -> bool:
        """Whether SIGKILL was sent."""
        return any(sent.name == signal.SIGKILL.name for sent in self.signals)

    def census(self) -> tuple[EndedProcess, ...]:
        """Return the end of each process that got a signal or is alive.

        Leave out a process that was started to clean up and that ended by itself.
        """
        return tuple(
            EndedProcess(
                pid, argv, how, None if pid in self._alive else self._last_signal.get(pid), name, self._why.get(pid)
            )
            for pid, (_, argv, name, how) in self._found.items()
            if pid in self._last_signal or pid in self._alive
        )

    def _signal_uncounted(self, stage: Stage) -> None:
        """Signal the members that did not get the signal with the group; only a scan finds them.

        They are outside the group, were born into it since, or left it between the count and the signal. The newest
        orphans may not be seen yet: `terminate_late` is due when all of them can be.
        """
        self.look_at = clock.now() + RECENT if subreaper.active else None
        members = self._members(quickly=subreaper.active)
        uncounted = [process for process in members if not self._is_counted(process)]
        self._count(uncounted)
        living = {process.pid for process in members}
        grouped = [process for process in uncounted if self._part(process) in stage.to & To.GROUP]
        if stage.signal is not signal.SIGKILL:
            self._born = {process.pid for process in grouped if not self._was_there(process, living)}
        for number in _signals(stage):
            self._signal_each(number, uncounted, stage.to)
        if len(uncounted) > len(grouped) and stage.signal is not signal.SIGKILL:
            self._told_until = process_table.now()

    def _is_counted(self, process: Process) -> bool:
        """Return whether it was counted, as the same part of the set that it is now."""
        counted = self._found.get(process.pid)
        return counted is not None and self._part(counted.process) == self._part(process)

    def terminate_late(self) -> None:
        """Send the stop signal to processes older than the signal that became orphans too late to be seen then."""
        self.look_at = None
        if self._terminate_late(self._look() or ()):
            self._told_until = process_table.now()

    def _terminate_late(self, members: Sequence[Process]) -> bool:
        """Send the stop signal to the members that should have had it but were found only now; return if any were.

        Some were spared for the sake of another container that has ended since. Others were born while the signal was
        being sent.
        """
        if self._stage is None:
            return False
        living, told = {one.pid for one in members}, self._told(self._stage.to)
        late = [one for one in members if one.pid in told and self._is_late(one, self._stage, living)]
        for number in _signals(self._stage) if late else ():
            self._signal_each(number, late, self._stage.to)
        self._last_signal.update({one.pid: self._stage.signal.name for one in late})
        return bool(late)

    def _is_late(self, found: Process, stage: Stage, living: Collection[int]) -> bool:
        if stage.signal is signal.SIGKILL:
            return self._last_signal.get(found.pid) != signal.SIGKILL.name
        return found.pid not in self._last_signal and self._missed(found, living)

    def _missed(self, found: Process, living: Collection[int]) -> bool:
        """Return whether it should have had the stop signal; a process born later is there to clean up."""
        return self._processes.found_by(found) == "suspected" or self._was_there(found, living)

    def _was_there(self, found: Process, living: Collection[int]) -> bool:
        """Return whether it is older than the stop signal, as far as the clock of start times can show.

        A process born while the signal was being sent counts as older only if it is an orphan. A process that starts
        another one to clean up waits for it, so that one has a living parent.
        """
        meanwhile = self._told_at <= found.start_time <= self._told_until and found.parent not in living
        return found.start_time < self._told_at or meanwhile

    def _look(self) -> list[Process] | None:
        """Scan for the members and return those that are left; None if no descriptor is free.

        The list is empty only after two empty scans in a row: proc(5) warns that a list of children may miss some if
        others end while it is read.
        """
        try:
            members = self._members() or self._members()
        except OSError:
            self._unseen = True
            return None
        self._unseen = False
        self._count(members)
        self._alive = {member.pid for member in members}
        return members

    def _count(self, processes: Iterable[Process]) -> None:
        for process in processes:
            if (found := self._found.get(process.pid)) is not None:
                self._found[process.pid] = found._replace(process=process)
            else:
                self._found[process.pid] = _Found(process, *_named(process.pid), self._processes.found_by(process))
                self._alive.add(process.pid)

    def _explain(self, members: Sequence[Process]) -> None:
        """Note why each member is killed now, and its arguments again: it may have been counted before its exec."""
        if not process_table.has_proc:
            return
        self._note_late(members)
        for member in members[:MOST_EXPLAINED]:
            if member.pid in self._last_signal and self._processes.can_end(member):
                sent = signal.Signals[self._last_signal[member.pid]]
                if sent is not signal.SIGKILL and (why := status.why(status.tasks(member.pid), sent)) is not None:
                    self._why[member.pid] = why
        for member in members:
            argv, name = _named(member.pid)
            if argv:
                self._found[member.pid] = self._found[member.pid]._replace(argv=argv, name=name)

    def _members(self, *, quickly: bool = False) -> list[Process]:
        found = self._processes.members(quickly=quickly)
        if self._own is not None:
            self._note_own(found, self._own)
        return found

    def _note_own(self, found: Iterable[Process], own: set[Identity]) -> None:
        """Note which members are in the group, or descend from it through living parents."""
        left = {process.pid: process for process in found}
        pids: set[int] = set()
        while new := [
            one for one in left.values() if self._is_grouped(one) or one.parent in pids or one.identity in own
        ]:
            pids.update(left.pop(process.pid).pid for process in new)
            own.update(process.identity for process in new)

    def _is_grouped(self, process: Process) -> bool:
        return self._group is not None and process.group == self._group.pid

    def _part(self, process: Process) -> To:
        """Return which part of the set a member is."""
        if self._is_grouped(process):
            return To.LEADER if process.pid == process.group else To.MATES
        return To.DESCENDANTS if self._own is None or process.identity in self._own else To.OTHERS

    def _signal(self, number: int, members: Iterable[Process], to: To = To.ALL) -> None:
        """Send a signal to the group as a whole if `to` includes all of it, and to each of the other `members`."""
        if self._group is not None:
            if To.GROUP in to:
                self._group.signal(number)
            elif To.LEADER in to:
                self._group.signal_leader(number)
        self._signal_each(number, members, to)

    def _signal_each(self, number: int, members: Iterable[Process], to: To) -> None:
        """Send a signal to each of `members` in `to` that no signal to the group or its leader reaches."""
        single = to & ~(To.GROUP if To.GROUP in to else To.LEADER)
        for process in members:
            if self._part(process) in single:
                process_table.signal_process(process, number)

    def _kill(self, members: Iterable[Process]) -> None:
        self._signal(signal.SIGKILL, members)
        self._processes.kill()

    def _told(self, to: To) -> set[int]:
        """Return the pids of known living processes in these parts of the set."""
        if to == To.ALL:
            return set(self._alive)
        return {pid for pid in self._alive if self._part(self._found[pid].process) & to}

    def _note_late(self, members: Iterable[Process]) -> None:
        """Note the processes that are killed without an earlier signal, because they started after it."""
        for one in members if process_table.has_proc and self._asked is not None else ():
            if one.pid not in self._last_signal and one.start_time >= self._told_at:
                self._why[one.pid] = Why(Reason.LATE, str(self._asked))

    def _note(self, number: signal.Signals, at: float, told: Collection[int]) -> None:
        if number is not signal.SIGCONT:
            self._last_signal.update(dict.fromkeys(told, number.name))
        self.signals.append(SignalSent(number.name, at - self.started_at, len(told)))

    def _wait_for(self, members: list[Process] | None) -> bool:
        if members is None or process_table.portable:
            self.look_at = clock.now() + LOOK_AGAIN
            return True
        told = set() if self._stage is None else self._told(self._stage.to)
        try:
            for member in [one for one in members if one.pid in told] or members:
                if (pidfd := process_table.open_pidfd(member)) is not None:
                    self._pidfds.add(pidfd)
                    self._poller.watch(pidfd, partial(self._ended, pidfd))
        except OSError:  # too few descriptors are free to watch each process
            self.look_at = clock.now() + LOOK_AGAIN
        return bool(self._pidfds) or self.look_at is not None

    def _ended(self, pidfd: int) -> None:
        if pidfd in self._pidfds:
            self._pidfds.discard(pidfd)
            self._drop(pidfd)
            if not self._pidfds:
                self._tell(Event.LOOK_DUE)

    def _drop(self, pidfd: int) -> None:
        self._poller.forget(pidfd)
        os.close(pidfd)


def _named(pid: int) -> tuple[tuple[str, ...], str]:
    """Return the arguments of a process, and the name of its program if they are a title."""
    argv = process_table.argv(pid)
    return argv, process_table.title_holder(pid, argv)


def _signals(stage: Stage) -> tuple[signal.Signals, ...]:
    return (stage.signal,) if stage.signal is signal.SIGKILL else (stage.signal, signal.SIGCONT)
