"""Keeps the orphans that this process adopted as a subreaper, and the container that each belongs to.

An orphan is attributed once, when it is first seen. Otherwise each of many containers would read the evidence of every
orphan again and again. The kernel gives orphans to the first living thread of the subreaper (find_new_reaper in
kernel/exit.c). That is the main thread, so its list of children holds all of them.
"""

from __future__ import annotations

import contextlib
import os
import threading

from gracefulexitcmd import clock
from gracefulexitcmd.posix import process_table, subreaper

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from gracefulexitcmd.posix.container import ManualContainer
    from gracefulexitcmd.posix.process_table import Process


COOKIE = "GRACEFULEXITCMD_COOKIE"
"""The environment variable that identifies a process even after it has left its group, its session and its parent.

Containers can be nested, so it holds the cookies of all of them, separated by colons.
"""


RECENT = 0.02
"""Seconds for which all containers share one list of children: the time to read it grows with the children."""


class Orphans:
    """All orphans of this process, in the containers that own them; every method may be called from any thread.

    A container keeps the marks of its processes: its cookie, the leaders that run, the groups that are left, and the
    members known so far.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        """It is reentrant, because a signal handler that reaps may interrupt the thread that holds it."""
        self.all_noted = False
        """Whether the last list of children held only leaders and orphans."""
        self._owners: list[ManualContainer] = []
        self._leaders: dict[int, ManualContainer] = {}
        self._unexplained: dict[int, Process] = {}
        self._noted: dict[int, dict[int, Process]] = {}
        """The orphans by pid, each with its place: those of its container, or the unexplained ones."""
        self._unread: list[int] = []
        self._listed_at = float("-inf")

    def owners(self) -> list[ManualContainer]:
        """Return the containers that are open."""
        return self._owners.copy()

    def opened(self, owner: ManualContainer) -> None:
        """Note a container, to which orphans can belong from now on."""
        self._owners.append(owner)

    def closed(self, owner: ManualContainer) -> None:
        """Forget a container: the next list of children shows its orphans as new ones."""
        with self.lock:
            if owner in self._owners:
                self._owners.remove(owner)
            for leader in tuple(owner._running):
                self.command_ended(leader, owner)
            for pid in [pid for pid in owner._orphans if self._noted.get(pid) is owner._orphans]:
                del self._noted[pid]

    def leads(self, pid: int) -> bool:
        """Return whether a process is the leader of a running command."""
        return pid in self._leaders

    def command_started(self, leader: int, owner: ManualContainer) -> None:
        """Note that a child is a command; an orphan that had its pid is gone, and was reaped by other code."""
        with self.lock:
            self._leaders[leader] = owner
            self._forget(leader)

    def command_ended(self, leader: int, owner: ManualContainer) -> None:
        """Forget a leader that was reaped, unless a later command has got its pid."""
        with self.lock:
            if self._leaders.get(leader) is owner:
                del self._leaders[leader]

    def of(self, owner: ManualContainer, since: float | None = None) -> list[int]:
        """Return the pids of a container's orphans, adopted until `since` as in `adopt`; reap those that have ended."""
        with self.lock:
            self._reap(owner._orphans)
            self.adopt(since)
            for _ in range(process_table.MOST_SCANS):
                if not self._reap(owner._orphans):
                    break
                self.adopt()  # the children of those that were reaped have become orphans
            return list(owner._orphans)

    def unexplained(self) -> list[Process]:
        """Return the orphans without any mark of a container."""
        return list(self._unexplained.values())

    def explain(self, members: Collection[int], owner: ManualContainer) -> None:
        """Give those of the unexplained orphans that are members of a container to it."""
        with self.lock:
            explained = self._unexplained.keys() & members
            for pid in explained if explained and owner in self._owners else ():
                self._note(self._unexplained.pop(pid), owner._orphans)

    def adopt(self, since: float | None = None) -> None:
        """Find the orphans adopted until `since`, by default until now, and reap those that have ended already.

        `since` is in seconds of the monotonic clock. Raise OSError if no descriptor is free.
        """
        with self.lock:
            if since is not None and self._listed_at >= since:
                return
            for pid in self._unexplained.keys() & self._unread:
                self._forget(pid)
            self._unread.clear()
            for _ in range(process_table.MOST_SCANS):  # some fork and exit faster than they can be reaped
                began = clock.now()
                new = self._new()
                self.all_noted = not new
                if not sum(map(self._adopt, new)):
                    self._listed_at = began
                    return

    def reap_ended(self) -> tuple[bool, bool]:
        """Reap all orphans that have ended; return whether any is left, and whether any child had ended.

        Raise OSError as `adopt` does.

        It takes one waitid(2) if none has ended. The kernel reports only the first child that has ended, which may be a
        command that another thread reaps. So each orphan is tried.
        """
        with self.lock:
            found = False
            while _any_ended():
                found = True
                if not (self._reap(self._noted) or self._reap(self._unnoted())):
                    break  # a command, or a child that the program started in another way
            if self._owners:
                return True, found
            self.adopt()
            return bool(self._unexplained), found

    def unlisted(self, owner: ManualContainer) -> Iterator[Process]:
        """Yield new orphans with the owner's cookie, each as soon as it is seen, the youngest first.

        Some fork and exit all the time, and would be gone before a whole scan ends. Raise OSError if no descriptor is
        free.
        """
        for pid in self._new():
            if carries(pid, owner.cookie) and (found := process_table.process(pid)) is not None and found.alive:
                yield found

    def _new(self) -> list[int]:
        """Return the children that are neither leaders nor noted, the youngest first: some live only for a moment.

        Forget the orphans that are gone, because other code has reaped them.
        """
        listed = [*map(int, process_table.children_text(os.getpid(), os.getpid()).split())]
        new = set(listed).difference(self._leaders, self._noted)
        if len(self._leaders) + len(self._noted) + len(new) > len(listed):
            for gone in set(self._noted).difference(listed):
                self._forget(gone)
        return [pid for pid in reversed(listed) if pid in new] if new else []

    def _adopt(self, pid: int) -> bool:
        """Note a new child, or reap it; return whether it was reaped."""
        carried = cookies(pid)  # first: it may end at any moment
        found = process_table.process(pid)
        if found is None or found.group == os.getpgrp():
            return False
        if not found.alive:
            return subreaper.reap(pid)
        owner, mark = next(self._marks(found, carried or ()), (None, ""))
        if owner is not None:
            owner._known.setdefault(found.identity, mark)
            self._note(found, owner._orphans)
            return False
        self._note(found, self._unexplained)
        if carried is None:  # it executes a new program, or belongs to another user: read its environment again
            self._unread.append(pid)
        return False

    def _marks(self, found: Process, carried: Collection[str]) -> Iterator[tuple[ManualContainer, str]]:
        """Yield the containers of which an orphan has a mark, and the mark; the best comes first."""
        yield from ((one, one._known[found.identity]) for one in self._owners if found.identity in one._known)
        yield from ((one, "group") for one in self._owners if found.group in one._running)
        # If a process has the number of a group, it is another group: the number was free and was reused.
        left = [one for one in self._owners if found.group in one._left]
        yield from ((one, "group") for one in left if process_table.process(found.group) is None)
        yield from ((one, "cookie") for one in self._owners if one.cookie in carried)

    def _reap(self, pids: Iterable[int]) -> bool:
        """Reap those orphans that have ended; return whether any had."""
        ended = [pid for pid in tuple(pids) if subreaper.reap(pid)]
        for pid in ended:
            self._forget(pid)
        return bool(ended)

    def _unnoted(self) -> Iterator[int]:
        """Yield the orphans that are not noted yet, which may still have marks that show where they belong."""
        for pid in self._new():
            with contextlib.suppress(ProcessLookupError):
                if os.getpgid(pid) != os.getpgrp():
                    yield pid

    def _note(self, orphan: Process, place: dict[int, Process]) -> None:
        place[orphan.pid] = orphan
        self._noted[orphan.pid] = place

    def _forget(self, pid: int) -> None:
        if (place := self._noted.pop(pid, None)) is not None:
            place.pop(pid, None)


def cookies(pid: int) -> list[str] | None:
    """Return the cookies in the environment that a process was started with; None if that cannot be read."""
    environ = process_table.environ(pid)
    if not environ:
        return None
    start = f"{COOKIE}=".encode()
    found = next((entry[len(start) :] for entry in environ.split(b"\0") if entry.startswith(start)), b"")
    return os.fsdecode(found).split(":")


def carries(pid: int, cookie: str) -> bool:
    """Return whether a process was started with a cookie in its environment; False if that may not be read."""
    return cookie in (cookies(pid) or ())


def _any_ended() -> bool:
    """Return whether any child has ended and was not reaped."""
    try:
        return os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return False
