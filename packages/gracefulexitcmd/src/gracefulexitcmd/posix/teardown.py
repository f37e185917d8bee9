"""Ends a set of processes by the stop sequence: finds its members, signals them, and detects the end of the last."""

from __future__ import annotations

import contextlib
import os
import signal
from functools import partial

from gracefulexitcmd import clock
from gracefulexitcmd.census import Census
from gracefulexitcmd.exit import EndedProcess, SignalSent
from gracefulexitcmd.ladder import Event
from gracefulexitcmd.posix import process_table, status, subreaper
from gracefulexitcmd.posix.delivery import Delivery
from gracefulexitcmd.posix.orphans import RECENT
from gracefulexitcmd.reason import Reason, Why  # a late import could fail for lack of descriptors
from gracefulexitcmd.sequence import To

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence
    from typing import Any

    from gracefulexitcmd.posix.poller import Poller
    from gracefulexitcmd.posix.process_group import Group
    from gracefulexitcmd.posix.process_set import ProcessSet
    from gracefulexitcmd.posix.process_table import Identity, Process
    from gracefulexitcmd.sequence import Stage

SCAN_AGAIN = 0.01
"""Seconds between two scans if the system cannot report the end of a process that is not a child."""

MOST_SCANS = 10
"""Scans in a row of which all processes end, with others in their place, before any of them can be waited for."""

MOST_EXPLAINED = 200
"""Processes for which the reason for not ending is read at most: SIGKILL must not be delayed for long."""


class Teardown(Census):
    """Signals a set of processes until none is left; `group` gets each signal as a whole, so no member escapes by fork.

    With `shared` other commands run in the set, too. Then an orphan outside the group belongs to one of them, unless
    it was seen before as a descendant of the group. Without `shared` all processes outside the group descend from it.
    """

    def __init__(
        self,
        processes: ProcessSet,
        poller: Poller,
        report: Callable[[Event], None],
        group: Group | None = None,
        *,
        shared: bool = False,
    ) -> None:
        super().__init__()
        self.scan_at: float | None = None
        """The time of the next scan, in seconds of the monotonic clock; None if events report the ends of members."""
        self._processes = processes
        self._group = group
        self._own: set[Identity] | None = set() if shared else None
        self._poller = poller
        self._report = report
        self._counted: dict[int, Process] = {}
        self._stage: Stage | None = None
        self._delivery: Delivery | None = None
        self._unseen = False
        self._spares = False
        self._pidfds: set[int] = set()

    @classmethod
    def emptying(cls, processes: ProcessSet, poller: Poller, report: Callable[[Event], None]) -> Teardown:
        """Return the teardown of a whole set in which no command runs any more."""
        processes.ending = True
        return cls(processes, poller, report)

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

    def scan(self) -> bool:
        """Scan before a further signal is sent; return whether any process is left."""
        return self._scan() != []

    def next_signal(self, stage: Stage) -> SignalSent:
        """Return the signal that `terminate` is about to send, with the number of counted processes that get it."""
        return SignalSent(stage.signal.name, clock.now() - self.started_at, len(self._receivers(stage.to)))

    def terminate(self, stage: Stage) -> None:
        """Send the stage's signal to its processes, then SIGCONT: a stopped process could not act on the signal."""
        self._stage, born = stage, set[int]()
        delivery = None if stage.signal is signal.SIGKILL else Delivery(stage.signal.name)
        sent_at = clock.now()
        counted = [process for pid, process in self._counted.items() if pid in self._alive]
        if delivery is None:
            receivers = self._receivers(stage.to)
            self._explain([process for process in counted if process.pid in receivers])
        else:
            self._delivery = delivery
        for number in _signals(stage):
            self._signal(number, counted, stage.to)
        with contextlib.suppress(OSError):
            born = self._signal_uncounted(stage, delivery)
        self._note(stage.signal.name, sent_at, self._receivers(stage.to) - born)
        if delivery is not None:
            self.signals.append(self.signals[-1].replace(name=signal.SIGCONT.name))
            self._note_forked(delivery, self._counted.values())
            delivery.note_grouped(filter(self._is_grouped, counted))

    def kill(self) -> None:
        """Send SIGKILL to all."""
        self.scan_at = None
        members = self._scan()
        self._explain(members or ())
        sent_at = clock.now()
        self._kill(members or ())
        if members != []:
            self._note(signal.SIGKILL.name, sent_at, self._alive)

    def watch(self, *, kill: bool) -> bool:
        """Report SCAN_DUE when the remaining processes have ended; return False if none is left.

        With `kill` send SIGKILL to each process found: it was born since the last SIGKILL. Do not wait for processes
        that this user may not signal, such as a setuid program: the census shows that they were not ended.
        """
        self.forget()
        for _ in range(MOST_SCANS):
            members = self._scan()
            if members is not None and not any(map(self._processes.can_end, members)):
                return False
            if kill:
                self._kill(members or ())
                self._note_late(members or ())
                self._last_signal.update(dict.fromkeys(self._alive, "SIGKILL"))
            else:
                self._signal_late(members or ())
            if self._wait_for(members):
                return True
        self.scan_at = clock.now() + SCAN_AGAIN
        return True

    def forget(self) -> None:
        """Stop waiting for processes to end."""
        self.scan_at = None
        while self._pidfds:
            self._drop(self._pidfds.pop())

    @property
    def receivers_alive(self) -> bool:
        """Whether the last scan found any process that the last stage was for."""
        return self._stage is None or self._unseen or bool(self._receivers(self._stage.to))

    def _signal_uncounted(self, stage: Stage, delivery: Delivery | None) -> set[int]:
        """Signal the members that did not get the signal with the group; return those born into the group since.

        Only a scan finds them. They are outside the group, were born into it since, or left it between the count and
        the signal. The newest orphans may not be seen yet: `signal_late` is due when all of them can be.
        """
        self.scan_at = clock.now() + RECENT if subreaper.active else None
        members = self._members(quickly=subreaper.active)
        uncounted = [process for process in members if not self._is_counted(process)]
        self._count(uncounted)
        for number in _signals(stage):
            self._signal_each(number, uncounted, stage.to)
        if delivery is None:
            return set()
        living = {process.pid for process in members}
        grouped = [process for process in uncounted if self._part(process) in stage.to & To.GROUP]
        born = {process.pid for process in grouped if not delivery.was_there(process, living)}
        if not all(map(self._is_grouped, self._counted.values())):
            delivery.extend()
        return born

    def _is_counted(self, process: Process) -> bool:
        """Return whether it was counted, as the same part of the set that it is now."""
        counted = self._counted.get(process.pid)
        return counted is not None and self._part(counted) == self._part(process)

    def signal_late(self) -> None:
        """Send the stop signal to processes older than the signal that became orphans too late to be seen then."""
        self.scan_at = None
        self._signal_late(self._scan() or ())

    def _note_forked(self, delivery: Delivery, processes: Iterable[Process]) -> None:
        """Plan a scan for receivers that had no program yet, in as long as since the signal."""
        if delivery.note_forked(processes, self._last_signal):
            again = clock.now() + max(SCAN_AGAIN, delivery.age)
            self.scan_at = again if self.scan_at is None else min(self.scan_at, again)

    def _signal_late(self, members: Sequence[Process]) -> None:
        """Send the stop signal to the members that should have had it but were found only now.

        Some were spared for the sake of another container that has ended since. Others were born while the signal was
        being sent.
        """
        stage, delivery = self._stage, self._delivery
        if stage is not None and (late := self._late(members, stage)):
            # Also in the group, if it has had the signal.
            single = [one for one in late if delivery is None or delivery.passed_by(one)]
            for number in _signals(stage):
                self._signal_each(number, [one for one in late if one not in single], stage.to)
                for one in single:
                    process_table.signal_process(one, number)
            self._last_signal.update({one.pid: stage.signal.name for one in late})
            if delivery is not None:
                delivery.extend()
        if delivery is not None:
            self._note_forked(delivery, members)
            delivery.settle()

    def _late(self, members: Sequence[Process], stage: Stage) -> list[Process]:
        """Return the members that missed the signal, and what they have started, which does not clean up yet."""
        late: dict[int, Process] = {}
        living, receivers = {one.pid for one in members}, self._receivers(stage.to)
        found = [one for one in members if one.pid in receivers and self._is_late(one, stage, living)]
        while found:
            late.update((one.pid, one) for one in found)
            unsignalled = receivers.difference(self._last_signal, late)
            found = [one for one in members if one.pid in unsignalled and one.parent in late]
        return list(late.values())

    def _is_late(self, found: Process, stage: Stage, living: Collection[int]) -> bool:
        sent = self._last_signal.get(found.pid)
        if stage.signal is signal.SIGKILL or self._delivery is None:
            return sent != signal.SIGKILL.name
        spared = sent is None and self._processes.found_by(found) == "suspected"
        grouped = self._is_grouped(found)
        return spared or self._delivery.missed_by(found, living, had=sent is not None, grouped=grouped)

    def _scan(self) -> list[Process] | None:
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
            self._counted[process.pid] = process
            if process.pid not in self._found:
                argv, name = _named(process.pid)
                found_by = self._processes.found_by(process)
                self._found[process.pid] = EndedProcess(process.pid, argv, found_by, None, name)
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
                    self._explained(member.pid, why=why)
        for member in members:
            argv, name = _named(member.pid)
            if argv and not argv[0].startswith("["):  # else it has ended meanwhile, and only its name is left
                self._explained(member.pid, argv=argv, name=name)

    def _explained(self, pid: int, **facts: Any) -> None:
        self._found[pid] = self._found[pid].replace(**facts)

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

    def _receivers(self, to: To) -> set[int]:
        """Return the pids of known living processes in these parts of the set."""
        if to == To.ALL:
            return set(self._alive)
        return {pid for pid in self._alive if self._part(self._counted[pid]) & to}

    def _note_late(self, members: Iterable[Process]) -> None:
        """Note the processes that are killed without an earlier signal, because they started after it."""
        if self._delivery is None or not process_table.has_proc:
            return
        for one in members:
            if one.pid not in self._last_signal and one.start_time >= self._delivery.began:
                self._explained(one.pid, why=Why(Reason.LATE, self._delivery.name))

    def _wait_for(self, members: list[Process] | None) -> bool:
        if members is None or process_table.portable:
            self.scan_at = clock.now() + SCAN_AGAIN
            return True
        self._spares = any(one.pid not in self._last_signal for one in members)
        receivers = set() if self._stage is None else self._receivers(self._stage.to)
        try:
            for member in [one for one in members if one.pid in receivers] or members:
                if (pidfd := process_table.open_pidfd(member)) is not None:
                    self._pidfds.add(pidfd)
                    self._poller.watch(pidfd, partial(self._ended, pidfd))
        except OSError:  # too few descriptors are free to watch each process
            self.scan_at = clock.now() + SCAN_AGAIN
        return bool(self._pidfds) or self.scan_at is not None

    def _ended(self, pidfd: int) -> None:
        if pidfd in self._pidfds:
            self._pidfds.discard(pidfd)
            self._drop(pidfd)
            if not self._pidfds:
                self._report(Event.SCAN_DUE)
            elif self._spares:  # one that was spared as a child of this process is an orphan now
                self.scan_at = clock.now() + SCAN_AGAIN

    def _drop(self, pidfd: int) -> None:
        self._poller.forget(pidfd)
        os.close(pidfd)


def _named(pid: int) -> tuple[tuple[str, ...], str]:
    """Return the arguments of a process, and the name of its program if they are a title."""
    argv = process_table.argv(pid)
    return argv, process_table.title_holder(pid, argv)


def _signals(stage: Stage) -> tuple[signal.Signals, ...]:
    return (stage.signal,) if stage.signal is signal.SIGKILL else (stage.signal, signal.SIGCONT)
