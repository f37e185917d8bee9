"""Finds every process that a container's commands have started, even one that has another parent now."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from itertools import chain

from gracefulexitcmd import clock
from gracefulexitcmd.posix import cgroup, membership, process_table, subreaper
from gracefulexitcmd.posix.orphans import COOKIE, RECENT, Orphans, carries, cookies
from gracefulexitcmd.posix.process_set import ProcessSet

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
    from contextlib import AbstractContextManager

    from gracefulexitcmd.posix.ledger import Ledger
    from gracefulexitcmd.posix.process_table import Identity, Process

_orphans = Orphans()

_COOKIE = COOKIE.encode()

REAP_WITHIN = 0.1
"""Seconds that an orphan may stay a zombie, unless a look for ended ones takes long."""

REAP_AT_LATEST = 1.0
"""Seconds that it may stay a zombie at most."""

LOOKING = 0.002
"""Largest share of a processor for looks that find nothing. With thousands of orphans one takes a millisecond."""

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
        self.suspicious = True
        """Whether an orphan without any mark may belong to it."""
        self.spared_session: int | None = None
        """A session that has no members of this container."""
        self._running: set[int] = set()
        self._left: set[int] = set()
        self._orphans: dict[int, Process] = {}
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

    @property
    def cookies(self) -> str:
        """The value of the environment variable that marks the processes started in it."""
        outer = os.environ.get(COOKIE)
        return f"{outer}:{self.cookie}" if outer else self.cookie

    def environment(self, env: Mapping[str, str] | None) -> dict[str, str] | dict[bytes, bytes]:
        """Return an environment with the cookie in it, by default the one of this process.

        The default is in bytes: decoding it, and encoding it again for the kernel, takes a tenth of a start. Reading
        the variables one by one takes another tenth, so the dictionary inside `os.environb` is copied.
        """
        if env is None:
            variables: dict[bytes, bytes] = dict(getattr(os.environb, "_data", os.environb))
            outer, own = variables.get(_COOKIE), self.cookie.encode()
            variables[_COOKIE] = b"%b:%b" % (outer, own) if outer else own
            return variables
        return {**env, COOKIE: self.cookies}

    def starting(self) -> AbstractContextManager[object]:
        """Have no other thread reap new children until `started`, while the block runs: a command looks like an orphan.

        The block is short, as a start returns when the child has executed its program. Raise RuntimeError if the
        container is closed.
        """
        if self._closed:
            raise RuntimeError("the container is closed: start the command inside the block of `contain`")
        self.ending = False
        self._starts += 1
        return _orphans.lock

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
        if not group_empty:
            self._left.add(leader)
        self._running.discard(leader)
        _orphans.command_ended(leader, self)

    def surely_empty(self) -> bool:
        """Return whether it is known without a scan that no process is left."""
        if not subreaper.active or self._has_group():
            return False
        starts = self._starts
        try:
            # If no member was found after the last start, no new one can be born. The scan waits for a start in another
            # thread, which may be the last one.
            seen_empty = self._seen_empty == starts or not (_orphans.of(self) or self._has_group())
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
        processes, has_cookie = self._candidates(inside, quickly=quickly)
        evidence = self._evidence(processes, inside)
        if not quickly:
            self._left.intersection_update(evidence.groups)
        found = self._found_in(processes, evidence, has_cookie)
        if not found and not _orphans.all_noted:
            found = list(self._fleeting())
        found = self._with_hidden(found, inside)
        if not found and not quickly:
            self._seen_empty = starts
        return found

    def _has_group(self) -> bool:
        """Return whether a process group, or the control group, may have a process."""
        return bool(self._running or self._left or self._inside())

    def _candidates(self, inside: frozenset[int], *, quickly: bool) -> tuple[list[Process], membership.HasCookie]:
        """Return the processes that can be members, with a test for their cookies.

        A subreaper has them all in the trees of its own, and reads cookies only on demand.
        """
        if subreaper.active:
            own = _orphans.of(self, clock.now() - RECENT if quickly else None)
            unexplained = [orphan.pid for orphan in _orphans.unexplained()]
            return list(process_table.trees({*self._running, *inside, *own, *unexplained})), carries
        return scan(process_table.trees(self._running) if quickly else process_table.processes(), self._since)

    def _found_in(
        self, processes: list[Process], evidence: membership.Evidence, has_cookie: membership.HasCookie
    ) -> list[Process]:
        table = living(processes)
        found = self._find(evidence, table, has_cookie)
        if suspects := self._suspects(processes, found):
            self._known.update(dict.fromkeys(suspects, "suspected"))
            found = self._find(evidence, table, has_cookie)
        _orphans.explain(found, self)
        return [table[pid] for pid in found]

    def kill(self) -> None:
        """Send SIGKILL to the control group, if there is one, and to processes that fork faster than the scan."""
        super().kill()
        with contextlib.suppress(OSError):
            for process in self._fleeting():
                process_table.signal_process(process, signal.SIGKILL)

    def close(self) -> None:
        """Forget its members, and remove its control group if no process is in it."""
        _orphans.closed(self)
        self._ledger = None
        with self._confining:
            self._closed = True
            if self._cgroup is not None:
                self._cgroup.remove()

    def _fleeting(self) -> Iterator[Process]:
        """Yield processes that fork and exit all the time, and so would be gone before a whole scan ends.

        Each is yielded as soon as it is seen, the youngest orphan first. It takes long if many jobs run. A list of
        children that holds only known ones shows that no process forks and exits: it would hold one of its ancestors.
        Raise OSError if no descriptor is free.
        """
        for process in chain(self._now_inside(), _orphans.unlisted(self) if subreaper.active else ()):
            self._known[process.identity] = "cookie"
            yield process

    def _evidence(self, processes: Iterable[Process], inside: frozenset[int]) -> membership.Evidence:
        left = membership.still_left(self._left, processes)
        # Go through the processes, not through the leaders: with many jobs there are many leaders outside of them.
        foreign = {one.pid for one in processes if _orphans.leads(one.pid)} - self._running
        return membership.Evidence(self.cookie, self._since, self._running | left, self._known, foreign, inside)

    def _may_own(self, orphan: Process) -> bool:
        """Return whether an unexplained orphan, one without any mark, can belong to it."""
        return self.suspicious and orphan.start_time >= self._since and orphan.session != self.spared_session

    def _suspects(self, processes: list[Process], found: Collection[int]) -> list[Identity]:
        """Return the unexplained orphans that must end with this container."""
        possible = [one for one in _orphans.unexplained() if one.pid not in found and self._may_own(one)]
        if not possible or not subreaper.active:
            return []
        others = [other for other in open_containers() if other is not self]
        rivals = [other._since for other in others if not other.ending]
        possible = [orphan for orphan in possible if membership.suspected_of(self._since, rivals, orphan)]
        table, reaper = living(processes), subreaper.reaper()
        # The evidence of each other container costs a scan, so it is collected only if it decides.
        evidences = [other._evidence(processes, other._inside()) for other in others if possible]
        explained = {pid for each in evidences for pid in membership.members(each, table, reaper, carries)}
        return [orphan.identity for orphan in possible if orphan.pid not in explained]


def reap_orphans() -> float | None:
    """Reap the adopted orphans that have ended; return the seconds until the next look, None if no orphan is left."""
    began = time.thread_time()
    try:
        left, found = _orphans.reap_ended()
    except OSError:  # no descriptor is free: reap them later
        return REAP_WITHIN
    if not left:
        return None
    took = 0.0 if found else time.thread_time() - began
    return min(max(REAP_WITHIN, took / LOOKING), REAP_AT_LATEST)


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


def open_containers() -> list[ManualContainer]:
    """Return all containers of this process that are not closed."""
    return _orphans.owners()


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
