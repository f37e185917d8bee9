"""Finds every process that a container's commands have started, even one that has another parent now."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from itertools import chain

from gracefulexitcmd import clock
from gracefulexitcmd.posix import cgroup, membership, process_table, subreaper
from gracefulexitcmd.posix.orphans import COOKIE, RECENT, Orphan, Orphans, cookies
from gracefulexitcmd.posix.process_set import ProcessSet

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
    from contextlib import AbstractContextManager

    from gracefulexitcmd.posix.ledger import Ledger
    from gracefulexitcmd.posix.process_table import Identity, Process

_orphans = Orphans()

REAP_WITHIN = 0.1
"""Seconds that an orphan may stay a zombie."""

when_opened: set[Callable[[], object]] = set()
"""Functions to call, in any thread, after a container was opened."""


def _forget() -> None:
    """Reset the state in a forked process: it has no command, and no thread there would release the lock."""
    global _orphans
    _orphans = Orphans()
    when_opened.clear()


os.register_at_fork(after_in_child=_forget)


class ManualContainer(ProcessSet):
    """A container that a program empties when it decides to, by `Termination` or `AsyncTermination`, and closes.

    It knows all processes that its commands have started, on Linux even those that hide. It is weaker than that of
    `contain` unless this process is a subreaper, which `contain`, `contain=True` and `supervise` make it. Only a
    subreaper adopts orphans: without one a process that sheds its parent, group, session and environment is not found.
    Every method may be called from any thread.
    """

    def __init__(self) -> None:
        super().__init__(process_table.now())
        self.cookie = os.urandom(8).hex()
        outer = os.environ.get(COOKIE)
        self.cookies = f"{outer}:{self.cookie}" if outer else self.cookie
        """The value of the environment variable that marks the processes started in it."""
        self.suspicious = True
        """Whether an orphan without any mark may belong to it."""
        self.spared_session: int | None = None
        """A session that has no members of this container."""
        self._running: set[int] = set()
        self._left: set[int] = set()
        self._confining = threading.RLock()
        self._closed = False
        self._outside = False
        """Whether a command was started outside of the control group."""
        self._starts = 0
        self._seen_empty = -1
        self._ledger: Ledger | None = None
        _orphans.opened(self)
        for listener in tuple(when_opened):
            listener()

    def keep_ledger(self, path: str, name: str, grace: float, key: bytes) -> None:
        """Write a new ledger file, from which this container can be emptied after this program was killed.

        `recover` reads it and trusts only what was sealed with the same key. `grace` is then the time between SIGTERM
        and SIGKILL, in seconds. Write nothing on systems without `/proc`. Raise OSError if the file cannot be made.
        """
        from gracefulexitcmd.posix import ledger  # json costs milliseconds, which a plain command should not pay

        if process_table.has_proc:
            group = cgroup.planned(self.cookie)
            directory = None if group is None else group.path
            entry = ledger.Entry(name, ledger.place(), self.cookie, self._since, grace, directory, ledger.owners())
            self._ledger = ledger.Ledger(path, entry, key)

    def environment(self, env: Mapping[str, str] | None) -> dict[str, str] | dict[bytes, bytes]:
        """Return an environment with the cookie in it, by default the one of this process.

        The default is in bytes: decoding it, and encoding it again for the kernel, takes a tenth of a start. Reading
        the variables one by one takes another tenth, so the dictionary inside `os.environb` is copied.
        """
        if env is None:
            variables: Mapping[bytes, bytes] = getattr(os.environb, "_data", os.environb)
            return {**variables, COOKIE.encode(): self.cookies.encode()}
        return {**env, COOKIE: self.cookies}

    def starting(self) -> AbstractContextManager[object]:
        """Have no other thread reap new children until `started`: one that is not noted yet may be a command."""
        self.ending = False
        self._starts += 1
        return _orphans.starting()

    def birthplace(self) -> cgroup.Cgroup | None:
        """Return the control group to start a command in, which the first call makes; None if that is not possible."""
        return (self._cgroup or self._made()) if cgroup.can_spawn_inside() else None

    def started(self, leader: int, *, inside: bool = False) -> None:
        """Note a command that was started in it, by the pid of its leader, which is also its process group.

        `inside` tells whether it was started in the control group.
        """
        self._outside = self._outside or not inside
        self._running.add(leader)
        _orphans.command_started(leader, self)
        if self._ledger is not None:
            self._ledger.started(leader)

    def confine(self) -> bool:
        """Move all members into a control group of version 2 if one can be made: a process born there cannot hide.

        The kernel waits before it moves a process, so this takes milliseconds. It is worth while for commands that run
        longer than that. Call it again for commands that start later. Return whether there is a control group. Nothing
        is moved if all commands were started in the group.
        """
        with self._confining:
            group = self._made()
            if group is None or not self._outside:
                return group is not None
            inside = group.pids()
            for process in self.members():
                if process.pid not in inside:
                    _move(process, group)
            return True

    def _made(self) -> cgroup.Cgroup | None:
        """Return its control group, which the first call makes; None if none can be made, or it is closed."""
        with self._confining:
            if self._cgroup is None and not self._closed:
                self._cgroup = cgroup.make(self.cookie)
            return None if self._closed else self._cgroup

    def ended(self, leader: int, *, group_empty: bool) -> None:
        """Note that a command's leader was reaped; its process group may still have members."""
        self._running.discard(leader)
        _orphans.command_ended(leader, self, left=not group_empty)
        if not group_empty:
            self._left.add(leader)

    def surely_empty(self) -> bool:
        """Return whether it is known without a scan that no process is left."""
        if not subreaper.active or self._has_group():
            return False
        starts = self._starts
        try:
            # If no member was found after the last start, no new one can be born. The scan waits for a start in another
            # thread, which may be the last one.
            seen_empty = self._seen_empty == starts or not (self._own_orphans() or self._has_group())
            if not seen_empty or any(map(self._may_own, _orphans.unexplained())):
                return False
            self._seen_empty = starts
            return True
        except OSError:  # no descriptor is free
            return False

    def members(self, *, quickly: bool = False) -> list[Process]:
        """Return the living processes that belong to it.

        With `quickly` some orphans may be missing: those of the last RECENT seconds, or all of them without a
        subreaper. Raise OSError if no descriptor is free.
        """
        starts, inside = self._starts, self._inside()
        if quickly and not subreaper.active:
            return self._found_in(*self._scan(process_table.trees(self._running)), inside)
        candidates = self._candidates(inside, clock.now() - RECENT if quickly else None)
        processes, has_cookie = self._scan(candidates)
        left = frozenset(self._left)
        gone = left - membership.still_left(left, processes)
        self._left -= gone
        _orphans.group_empty(gone)
        found = self._found_in(processes, has_cookie, inside) or list(self._fleeting(again=not _orphans.all_noted))
        found = self._with_hidden(found, inside)
        if not found and not quickly:
            self._seen_empty = starts
        return found

    def _has_group(self) -> bool:
        """Return whether a process group, or the control group, may have a process."""
        return bool(self._running or self._left or self._inside())

    def _scan(self, candidates: Iterable[Process]) -> tuple[list[Process], membership.HasCookie]:
        """Return the candidates and a test for their cookies; with a subreaper cookies are read only on demand."""
        return (list(candidates), carries) if subreaper.active else scan(candidates, self._since)

    def _found_in(
        self, processes: Iterable[Process], has_cookie: membership.HasCookie, inside: frozenset[int]
    ) -> list[Process]:
        table = living(processes)
        evidence = self._evidence(table, inside)
        reaper = subreaper.reaper()
        found = membership.members(evidence, table, reaper, has_cookie)
        if suspects := self._suspects(table, found, reaper):
            evidence = evidence._replace(known={**evidence.known, **suspects})
            found = membership.members(evidence, table, reaper, has_cookie)
        new = {
            table[pid].identity: found_by for pid, found_by in found.items() if table[pid].identity not in self._known
        }
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
        """Forget its members, and remove its control group if no process is in it."""
        _orphans.closed(self, self._running | self._left, self._known)
        self._ledger = None
        with self._confining:
            self._closed = True
            if self._cgroup is not None:
                self._cgroup.remove()

    def _fleeting(self, *, again: bool = True) -> Iterator[Process]:
        """Yield processes that fork and exit all the time, and so would be gone before a whole scan ends.

        Each is yielded as soon as it is seen, the youngest orphan first. With `again` the orphans are listed once
        more, which takes long if many jobs run. A list that holds only known children shows that no process forks and
        exits: it would hold one of its ancestors. Raise OSError if no descriptor is free.
        """
        new = _orphans.unlisted(self) if again and subreaper.active else iter(())
        for process in chain(filter(None, map(process_table.process, self._inside())), new):
            if process.alive:
                self._known[process.identity] = "cookie"
                yield process

    def _evidence(self, table: Mapping[int, Process], inside: frozenset[int]) -> membership.Evidence:
        left = membership.still_left(frozenset(self._left), table.values())
        # Go through the table, not through the leaders: with many jobs there are many leaders outside it.
        foreign = {pid for pid in table if pid in _orphans.leaders and pid not in self._running}
        return membership.Evidence(self.cookie, self._since, self._running | left, self._known, foreign, inside)

    def _candidates(self, inside: frozenset[int], since: float | None) -> Iterable[Process]:
        """Return the processes that can be members: with a subreaper only the trees of this process, else all."""
        if not subreaper.active:
            return process_table.processes()
        own = self._own_orphans(since)
        return process_table.trees({*self._running, *inside, *own, *map(_pid, _orphans.unexplained())})

    def _own_orphans(self, since: float | None = None) -> set[int]:
        """Return the pids of its living orphans, adopted until `since` on the monotonic clock; reap the others."""
        own = _orphans.of(self, since)
        for orphan in own:
            self._known.setdefault(orphan.process.identity, orphan.found)
        return {orphan.process.pid for orphan in own}

    def _may_own(self, orphan: Orphan) -> bool:
        """Return whether an unexplained orphan, one without any mark, can belong to it."""
        started = orphan.process.start_time
        return self.suspicious and started >= self._since and orphan.process.session != self.spared_session

    def _suspects(
        self, table: Mapping[int, Process], found: Collection[int], reaper: membership.Reaper
    ) -> dict[Identity, str]:
        """Return the unexplained orphans that must end with this container."""
        possible = [
            one.process for one in _orphans.unexplained() if one.process.pid not in found and self._may_own(one)
        ]
        if not possible or not subreaper.active:
            return {}
        others = [other for other in open_containers() if other is not self]
        rivals = [other._since for other in others if not other.ending]
        possible = [process for process in possible if membership.suspected_of(self._since, rivals, process)]
        # The evidence of each other container costs a scan, so it is collected only if it decides.
        evidences = [other._evidence(table, other._inside()) for other in others if possible]
        explained = {pid for each in evidences for pid in membership.members(each, table, reaper, carries)}
        return {process.identity: "suspected" for process in possible if process.pid not in explained}


def reap_orphans() -> bool:
    """Reap the adopted orphans that have ended; return whether any is left."""
    try:
        return _orphans.reap_ended()
    except OSError:  # no descriptor is free: reap them later
        return True


def reap_forever() -> None:
    """Reap orphans as they end, for ever; it is the work of a separate thread.

    A handler for SIGCHLD would interrupt itself as soon as children end faster than it returns.
    """
    pause = threading.Event()
    while True:
        with contextlib.suppress(ChildProcessError):  # there is no child yet
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
        reap_orphans()
        # The child that has ended may be a command that another thread is about to reap.
        pause.wait(REAP_WITHIN)


def any_open() -> bool:
    """Return whether any container is open, so that orphans can come from it."""
    return bool(_orphans.owners())


def open_containers() -> list[ManualContainer]:
    """Return all containers of this process that are not closed."""
    return _orphans.owners()


def _pid(orphan: Orphan) -> int:
    return orphan.process.pid


def _move(process: Process, to: cgroup.Cgroup) -> None:
    """Move exactly this process; if a new process has its pid by now, move that one back."""
    to.add(process.pid)
    now = process_table.process(process.pid)
    if now is not None and now.identity != process.identity and (home := cgroup.own()) is not None:
        home.add(process.pid)


def living(processes: Iterable[Process]) -> dict[int, Process]:
    """Return the living processes by pid."""
    return {process.pid: process for process in processes if process.alive}


def scan(processes: Iterable[Process], since: int) -> tuple[list[Process], membership.HasCookie]:
    """Return all of them, and a test for the cookies of those born since, which are read as soon as each is seen.

    Some processes fork and exit within a moment. Read later, their cookies would be gone, and their children would
    never be attributed.
    """
    seen: list[Process] = []
    carried: dict[int, list[str]] = {}
    for process in processes:
        seen.append(process)
        if process.alive and process.start_time >= since:
            carried[process.pid] = cookies(process.pid) or []
    return seen, lambda pid, cookie: cookie in carried.get(pid, ())


def carries(pid: int, cookie: str) -> bool:
    """Return whether a process was started with a cookie in its environment; False if that may not be read."""
    return cookie in (cookies(pid) or ())
