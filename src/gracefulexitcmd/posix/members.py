"""The processes that are being stopped: who they are, what they were sent, when the last has gone."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from gracefulexitcmd.exit import EndedProcess, SignalSent
from gracefulexitcmd.ladder import Event
from gracefulexitcmd.posix import linux, process_table
from gracefulexitcmd.posix.targets import Targets

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from gracefulexitcmd.posix.poller import Poller
    from gracefulexitcmd.posix.targets import Membership

LOOK_AGAIN = 0.01
"""Seconds between two looks where the system cannot tell when a process that is not a child ends."""

MOST_LOOKS = 10
"""Looks in a row at processes that are gone, with others in their place, before they can be waited for."""


class _Found(NamedTuple):
    process: linux.Process
    argv: tuple[str, ...]
    how: str


class Members:
    """The targets of a stop, from the first signal until nobody is left."""

    def __init__(self, targets: Targets, poller: Poller, tell: Callable[[Event], None]) -> None:
        self.look_at: float | None = None
        """When to look again, on the monotonic clock, where nobody tells that a member ended."""
        self.signals: list[SignalSent] = []
        self.started_at = time.monotonic()
        self._targets = targets
        self._poller = poller
        self._tell = tell
        self._found: dict[int, _Found] = {}
        self._last_signal: dict[int, str] = {}
        self._stop_signal: signal.Signals | None = None
        self._told_at = 0
        self._alive: set[int] = set()
        self._pidfds: set[int] = set()

    @property
    def held(self) -> frozenset[int]:
        """The descriptors that are held, until `forget`."""
        return frozenset(self._pidfds)

    def count(self, *, leader_alive: bool) -> None:
        """Count before the stop signal, so that who dies of it at once is in the census.

        As long as the leader lives a glance will do: to look through all processes takes milliseconds.
        """
        with contextlib.suppress(OSError):
            self._count(self._targets.glance() if leader_alive else self._targets.members())

    def next_signal(self, stop_signal: signal.Signals) -> SignalSent:
        """What `terminate` is about to send, and to how many as far as they were counted."""
        return SignalSent(stop_signal.name, time.monotonic() - self.started_at, len(self._alive))

    def terminate(self, stop_signal: signal.Signals) -> None:
        """Send the stop signal to everybody, then SIGCONT: a stopped process must be able to act."""
        self._stop_signal = stop_signal
        self._told_at = process_table.now()
        sent_at = time.monotonic()
        counted = [found.process for found in self._found.values()]
        for number in (stop_signal, signal.SIGCONT):
            self._targets.signal(number, counted)
        with contextlib.suppress(OSError):
            self._signal_uncounted(stop_signal)
        self._note(stop_signal, sent_at)
        self.signals.append(SignalSent("SIGCONT", sent_at - self.started_at, len(self._alive)))

    def kill(self) -> None:
        """Send SIGKILL to everybody."""
        members = self._look()
        self._name_anew(members or ())
        sent_at = time.monotonic()
        self._targets.kill(members or ())
        if members != []:
            self._note(signal.SIGKILL, sent_at)

    def watch(self, *, kill: bool) -> bool:
        """Have it told when those who are left have ended; False when nobody is left.

        With `kill` whoever is found is sent SIGKILL: it was born since the last one. Nobody is waited for whom this
        user may not signal, such as a setuid program: the census tells that it was not ended.
        """
        self.forget()
        for _ in range(MOST_LOOKS):
            members = self._look()
            if members is not None and not any(map(self._targets.may_end, members)):
                return False
            if kill:
                self._targets.kill(members or ())
                self._last_signal.update(dict.fromkeys(self._alive, "SIGKILL"))
            else:
                self._terminate_late(members or ())
            if self._wait_for(members):
                return True
        self.look_at = time.monotonic() + LOOK_AGAIN
        return True

    def forget(self) -> None:
        """Stop waiting for anybody."""
        self.look_at = None
        while self._pidfds:
            self._drop(self._pidfds.pop())

    @property
    def forced(self) -> bool:
        """Whether somebody was sent SIGKILL."""
        return any(sent.name == signal.SIGKILL.name for sent in self.signals)

    def census(self) -> tuple[EndedProcess, ...]:
        """What became of everybody who was sent a signal, or is alive.

        What a process started to clean up, and what ended by itself, did not have to be ended.
        """
        return tuple(
            EndedProcess(pid, argv, how, ended_by=None if pid in self._alive else self._last_signal.get(pid))
            for pid, (_, argv, how) in self._found.items()
            if pid in self._last_signal or pid in self._alive
        )

    def _signal_uncounted(self, stop_signal: signal.Signals) -> None:
        """Those in the group have had their signal with it; the others are found only by looking everywhere."""
        uncounted = [process for process in self._targets.members() if process.pid not in self._found]
        self._count(uncounted)
        for number in (stop_signal, signal.SIGCONT):
            self._targets.signal_each(number, uncounted)

    def _terminate_late(self, members: Sequence[linux.Process]) -> None:
        """Send the stop signal to those who should have had it, but were found only now.

        Some were spared for the sake of another container that has ended since, some born while the others were told.
        """
        living = {one.pid for one in members}
        late = [one for one in members if one.pid not in self._last_signal and self._missed(one, living)]
        if self._stop_signal is not None and late:
            for number in (self._stop_signal, signal.SIGCONT):
                self._targets.signal_each(number, late)
            self._last_signal.update({one.pid: self._stop_signal.name for one in late})

    def _missed(self, found: linux.Process, living: Collection[int]) -> bool:
        """Whether it was there before the stop signal, as far as the clock of start times can tell.

        Of those born at that moment only who has lost its parent was: who is told and starts something to clean up
        waits for it. Whatever was born later is there to clean up.
        """
        at_the_moment = found.start_time == self._told_at and found.parent not in living
        return self._targets.how(found) == "suspected" or found.start_time < self._told_at or at_the_moment

    def _look(self) -> list[linux.Process] | None:
        """Who is left, None where that cannot be told.

        Nobody is left when two looks in a row find nobody: proc(5) warns that a list of children may miss some when
        others end while it is read.
        """
        try:
            members = self._targets.members() or self._targets.members()
        except OSError:
            return None
        self._count(members)
        self._alive = {member.pid for member in members}
        return members

    def _count(self, processes: Iterable[linux.Process]) -> None:
        for process in processes:
            if process.pid not in self._found:
                self._found[process.pid] = _Found(process, process_table.argv(process.pid), self._targets.how(process))
                self._alive.add(process.pid)

    def _name_anew(self, members: Iterable[linux.Process]) -> None:
        """Say what is killed now: who was counted between fork and exec is another program since."""
        for member in members if process_table.has_proc else ():
            if argv := process_table.argv(member.pid):
                self._found[member.pid] = self._found[member.pid]._replace(argv=argv)

    def _note(self, number: signal.Signals, at: float) -> None:
        self._last_signal.update(dict.fromkeys(self._alive, number.name))
        self.signals.append(SignalSent(number.name, at - self.started_at, len(self._alive)))

    def _wait_for(self, members: list[linux.Process] | None) -> bool:
        if members is None or process_table.portable:
            self.look_at = time.monotonic() + LOOK_AGAIN
            return True
        try:
            for member in members:
                if (pidfd := linux.open_pidfd(member)) is not None:
                    self._pidfds.add(pidfd)
                    self._poller.watch(pidfd, partial(self._ended, pidfd))
        except OSError:  # not enough descriptors are free to have each of them watched
            self.look_at = time.monotonic() + LOOK_AGAIN
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


def members_of(container: Membership, poller: Poller, tell: Callable[[Event], None]) -> Members:
    """Everybody in a container, which is emptied from now on."""
    container.ending = True
    return Members(Targets(container), poller, tell)
