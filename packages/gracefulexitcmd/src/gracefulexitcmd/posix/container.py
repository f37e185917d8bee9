"""All processes that some commands have started in their turn, also those that have another parent now."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from itertools import chain
from typing import TYPE_CHECKING

from gracefulexitcmd import clock
from gracefulexitcmd.exit import NOTHING_TO_END
from gracefulexitcmd.posix import cgroup, linux, membership, process_table, subreaper
from gracefulexitcmd.posix.orphans import COOKIE, RECENT, Orphan, Orphans, cookies
from gracefulexitcmd.posix.process_set import ProcessSet

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
    from contextlib import AbstractContextManager

    from gracefulexitcmd.posix.ledger import Ledger

# A signal handler that reaps may interrupt the thread that holds it.
_lock = threading.RLock()
_containers: set[Container] = set()
_orphans = Orphans()

REAP_WITHIN = 0.1
"""Seconds that an orphan may stay a zombie."""

when_opened: set[Callable[[], object]] = set()
"""What is to be called, in any thread, when a container was opened."""


def _forget() -> None:
    """Begin anew in a forked process: it has started no command, and the thread that held the lock is not there."""
    global _lock, _orphans
    _lock = threading.RLock()
    _orphans = Orphans()
    _containers.clear()
    when_opened.clear()


os.register_at_fork(after_in_child=_forget)


class Container(ProcessSet):
    """Knows the processes that commands started in it have started, on Linux also those that went into hiding.

    `contain` makes one, empties it and closes it. Made by itself it is weaker on Linux: orphans come only to a
    subreaper, which `contain`, `contain=True` and `supervise` make of this process. Without that a process that has
    shed parents, group, session and environment is not found. It must be closed. Every method may be called from any
    thread.
    """

    def __init__(self) -> None:
        super().__init__(process_table.now())
        self.exit = NOTHING_TO_END
        """How everything in it was ended by `contain`."""
        self.cookie = os.urandom(8).hex()
        self.suspicious = True
        """Whether an orphan that nothing explains may be its own."""
        self.spared_session: int | None = None
        """A session without members of this container."""
        self._running: set[int] = set()
        self._left: set[int] = set()
        self._confining = threading.Lock()
        self._closed = False
        self._starts = 0
        self._seen_empty = -1
        self._ledger: Ledger | None = None
        with _lock:
            _containers.add(self)
            _orphans.opened(self)
        for listener in tuple(when_opened):
            listener()

    def keep_ledger(self, path: str, name: str, grace: float, key: bytes) -> None:
        """Write down, in a new file, what it takes to empty this container when this program was killed.

        `remains` reads it and believes what was sealed with the same key; `grace` is the time between SIGTERM and
        SIGKILL then, in seconds. Without `/proc` nothing is written. Raises OSError where the file cannot be made.
        """
        from gracefulexitcmd.posix import ledger  # json costs milliseconds, which a plain command should not pay

        if process_table.has_proc:
            group = cgroup.planned(self.cookie)
            directory = None if group is None else group.path
            entry = ledger.Entry(name, ledger.place(), self.cookie, self._since, grace, directory, ledger.owners())
            self._ledger = ledger.Ledger(path, entry, key)

    @property
    def cookies(self) -> str:
        """The value of the variable that marks what is started in it."""
        outer = os.environ.get(COOKIE)
        return f"{outer}:{self.cookie}" if outer else self.cookie

    def environment(self, env: Mapping[str, str] | None) -> dict[str, str] | dict[bytes, bytes]:
        """An environment, by default this process's own, with the cookie in it.

        That is in bytes: to decode it, and to encode it again for the system, takes a tenth of a start. To ask for one
        variable after the other takes another tenth, which the dictionary inside of `os.environb` spares.
        """
        if env is None:
            variables: Mapping[bytes, bytes] = getattr(os.environb, "_data", os.environb)
            return {**variables, COOKIE.encode(): self.cookies.encode()}
        return {**env, COOKIE: self.cookies}

    def starting(self) -> AbstractContextManager[None]:
        """Keep the status of new children until `started`: one whose number is not noted yet is a command."""
        self.ending = False
        self._starts += 1
        return _orphans.starting()

    def started(self, leader: int) -> None:
        """Note a command that was started in it, by the number of its leader and group."""
        self._running.add(leader)
        _orphans.command_started(leader, self)
        if self._ledger is not None:
            self._ledger.started(leader)

    def confine(self) -> bool:
        """Move all members into a control group of version 2, if one can be made: a process born there cannot hide.

        It takes milliseconds, because the kernel waits before it moves a process, so it is worth while for commands
        that run for longer than a moment; those that start afterwards have to be moved as well. Return whether there
        is a group.
        """
        with self._confining:
            if self._cgroup is None and not self._closed:
                self._cgroup = cgroup.make(self.cookie)
            if self._cgroup is None or self._closed:
                return False
            inside = self._cgroup.pids()
            for process in self.members():
                if process.pid not in inside:
                    _move(process, self._cgroup)
            return True

    def ended(self, leader: int, *, group_empty: bool) -> None:
        """Note that a command's leader was reaped; its group may live on."""
        self._running.discard(leader)
        _orphans.command_ended(leader, self, left=not group_empty)
        if not group_empty:
            self._left.add(leader)

    def surely_empty(self) -> bool:
        """Whether no process is left, as far as that is known without a search."""
        if self._running or self._left or self._inside() or not subreaper.active:
            return False
        try:
            # What has been seen empty since the last start stays empty.
            seen_empty = self._seen_empty == self._starts or not self._own_orphans()
            return seen_empty and not any(map(self._may_own, _orphans.unexplained()))
        except OSError:  # no descriptor is free
            return False

    def members(self, *, quickly: bool = False) -> list[linux.Process]:
        """Return the processes that belong to it and are alive.

        With `quickly` those may be missing that became orphans in the last RECENT seconds; without a subreaper all
        orphans, whatever their age. Raise OSError if no descriptor is free.
        """
        starts, inside = self._starts, self._inside()
        if quickly and not subreaper.active:
            return self._found_in(*self._look(process_table.trees(self._running)), inside)
        candidates = self._candidates(inside, clock.now() - RECENT if quickly else None)
        processes, has_cookie = self._look(candidates)
        left = frozenset(self._left)
        gone = left - membership.still_left(left, processes)
        self._left -= gone
        _orphans.group_empty(gone)
        found = self._found_in(processes, has_cookie, inside) or list(self._fleeting(again=not _orphans.all_noted))
        found = self._with_hidden(found, inside)
        if not found and not quickly:
            self._seen_empty = starts
        return found

    def _look(self, candidates: Iterable[linux.Process]) -> tuple[list[linux.Process], membership.HasCookie]:
        """Return all candidates, and which cookies they have; with a subreaper cookies are seldom asked for."""
        return (list(candidates), carries) if subreaper.active else look(candidates, self._since)

    def _found_in(
        self, processes: Iterable[linux.Process], has_cookie: membership.HasCookie, inside: frozenset[int]
    ) -> list[linux.Process]:
        table = living(processes)
        evidence = self._evidence(table, inside)
        reaper = subreaper.reaper()
        found = membership.members(evidence, table, reaper, has_cookie)
        if suspects := self._suspects(table, found, reaper):
            evidence = evidence._replace(known={**evidence.known, **suspects})
            found = membership.members(evidence, table, reaper, has_cookie)
        new = {table[pid].identity: how for pid, how in found.items() if table[pid].identity not in self._known}
        self._known.update(new)
        _orphans.remember(new.items(), self)
        return [table[pid] for pid in found]

    def kill(self) -> None:
        """Send SIGKILL to the control group, if there is one, and to processes that fork faster than the scan."""
        super().kill()
        with contextlib.suppress(OSError):
            for process in self._fleeting():
                process_table.signal_process(process, signal.SIGKILL)

    def close(self) -> None:
        """Forget all; the control group is removed if no process is in it."""
        with _lock:
            _containers.discard(self)
            _orphans.closed(self, self._running | self._left, self._known)
        if self._ledger is not None:
            self._ledger.close()
            self._ledger = None
        with self._confining:
            self._closed = True
            if self._cgroup is not None:
                self._cgroup.remove()

    def _fleeting(self, *, again: bool = True) -> Iterator[linux.Process]:
        """Return processes that would be gone after a scan of all others, because they fork and exit all the time.

        Each is given as soon as it is seen, of the orphans the youngest first; with `again` the orphans are listed
        once more, which takes long beside many jobs. If a list has only known children, none forks and exits: one of
        its ancestors would be on it. Raise OSError.
        """
        new = _orphans.unlisted(self) if again and subreaper.active else iter(())
        for process in chain(filter(None, map(linux.process, self._inside())), new):
            if process.alive:
                self._known[process.identity] = "cookie"
                yield process

    def _evidence(self, table: Mapping[int, linux.Process], inside: frozenset[int]) -> membership.Evidence:
        left = membership.still_left(frozenset(self._left), table.values())
        # Only those in the table are asked for: with many jobs there are many other leaders.
        foreign = {pid for pid in table if pid in _orphans.leaders and pid not in self._running}
        return membership.Evidence(self.cookie, self._since, self._running | left, self._known, foreign, inside)

    def _candidates(self, inside: frozenset[int], since: float | None) -> Iterable[linux.Process]:
        """Return the processes among which members can be: with a subreaper only its own trees, else all."""
        if not subreaper.active:
            return process_table.processes()
        own = self._own_orphans(since)
        return process_table.trees({*self._running, *inside, *own, *map(_pid, _orphans.unexplained())})

    def _own_orphans(self, since: float | None = None) -> set[int]:
        """Return the living orphans that belong to it and came until `since`; those that have ended are reaped."""
        own = _orphans.of(self, since)
        for orphan in own:
            self._known.setdefault(orphan.process.identity, orphan.found)
        return {orphan.process.pid for orphan in own}

    def _may_own(self, orphan: Orphan) -> bool:
        """Whether an orphan that nothing explains can be its own."""
        started = orphan.process.start_time
        return self.suspicious and started >= self._since and orphan.process.session != self.spared_session

    def _suspects(
        self, table: Mapping[int, linux.Process], found: Collection[int], reaper: membership.Reaper
    ) -> dict[linux.Identity, str]:
        """Return the orphans that nothing explains and that are to be ended with this container."""
        possible = [
            one.process for one in _orphans.unexplained() if one.process.pid not in found and self._may_own(one)
        ]
        if not possible or not subreaper.active:
            return {}
        others = [other for other in open_containers() if other is not self]
        rivals = [other._since for other in others if not other.ending]
        possible = [process for process in possible if membership.suspected_of(self._since, rivals, process)]
        # What the others know costs a look at each of them: it is asked for only if that decides.
        evidences = [other._evidence(table, other._inside()) for other in others if possible]
        explained = {pid for each in evidences for pid in membership.members(each, table, reaper, carries)}
        return {process.identity: "suspected" for process in possible if process.pid not in explained}


def reap_orphans() -> bool:
    """Reap the orphans that came to this process and have ended; return whether any is left."""
    try:
        return _orphans.reap_ended()
    except OSError:  # no descriptor is free: they can be reaped later
        return True


def reap_forever() -> None:
    """Reap orphans as they end, in a thread of its own.

    A handler for SIGCHLD would do so as well, until children end faster than it returns, and it interrupts itself.
    """
    pause = threading.Event()
    while True:
        with contextlib.suppress(ChildProcessError):  # there is no child yet
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
        reap_orphans()
        # A command may have ended, whose status another thread is about to take.
        pause.wait(REAP_WITHIN)


def any_open() -> bool:
    """Whether there is a container, from which orphans could come."""
    return bool(_containers)


def open_containers() -> list[Container]:
    """All containers of this process that are not closed."""
    with _lock:
        return list(_containers)


def _pid(orphan: Orphan) -> int:
    return orphan.process.pid


def _move(process: linux.Process, to: cgroup.Cgroup) -> None:
    """Move exactly this process: one that was given its number meanwhile is moved back."""
    to.add(process.pid)
    now = linux.process(process.pid)
    if now is not None and now.identity != process.identity and (home := cgroup.own()) is not None:
        home.add(process.pid)


def living(processes: Iterable[linux.Process]) -> dict[int, linux.Process]:
    """Those that are alive, by pid."""
    return {process.pid: process for process in processes if process.alive}


def look(processes: Iterable[linux.Process], since: int) -> tuple[list[linux.Process], membership.HasCookie]:
    """All of them, and which cookies those born since have, read as soon as each is seen.

    Some live for a moment only, fork and exit: where the next one belongs would never be known.
    """
    seen: list[linux.Process] = []
    carried: dict[int, list[str]] = {}
    for process in processes:
        seen.append(process)
        if process.alive and process.start_time >= since:
            carried[process.pid] = cookies(process.pid) or []
    return seen, lambda pid, cookie: cookie in carried.get(pid, ())


def carries(pid: int, cookie: str) -> bool:
    """Whether a process was started with a cookie in its environment; False where that may not be seen."""
    return cookie in (cookies(pid) or ())
