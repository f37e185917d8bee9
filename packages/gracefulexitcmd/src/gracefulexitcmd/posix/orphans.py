"""Keeps the orphans that this process adopted as a subreaper, and the container that each belongs to.

An orphan is attributed once, when it is first seen. Otherwise each of many containers would read the evidence of every
orphan again and again. The kernel gives orphans to the first living thread of the subreaper (find_new_reaper in
kernel/exit.c). That is the main thread, so its list of children holds all of them.
"""

from __future__ import annotations

import os
import threading

from gracefulexitcmd import clock
from gracefulexitcmd.posix import process_table, subreaper
from gracefulexitcmd.typed import NamedTuple

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from gracefulexitcmd.posix.container import ManualContainer
    from gracefulexitcmd.posix.process_table import Identity, Process


COOKIE = "GRACEFULEXITCMD_COOKIE"
"""The environment variable that identifies a process even after it has left its group, its session and its parent.

Containers can be nested, so it holds the cookies of all of them, separated by colons.
"""


RECENT = 0.02
"""Seconds for which all containers share one list of children: the time to read it grows with the children."""

MOST_BLOCKED = 10
"""Attempts in a row that meet a zombie that is not an orphan; after them each orphan is checked."""


class Orphan(NamedTuple):
    """A living child that this process did not start; `owner` is None if no mark shows where it belongs."""

    process: Process
    owner: ManualContainer | None
    found: str
    settled: bool = True
    """Whether its environment could be read: it is empty while it executes a new program, and for other users."""


class Orphans:
    """All orphans of this process; every method may be called from any thread."""

    def __init__(self) -> None:
        # The lock is reentrant, because a signal handler that reaps may interrupt the thread that holds it.
        self._lock = threading.RLock()
        self._leaders: dict[int, ManualContainer] = {}
        self._left: dict[int, ManualContainer] = {}
        self._cookies: dict[str, ManualContainer] = {}
        self._known: dict[Identity, tuple[ManualContainer, str]] = {}
        self._orphans: dict[int, Orphan] = {}
        self._owned: dict[ManualContainer, set[int]] = {}
        self._unexplained: set[int] = set()
        self._blocked = 0
        self._noted: set[bytes] = set()
        self._listed = b""
        self._listed_at = float("-inf")
        self._all_noted = False

    @property
    def all_noted(self) -> bool:
        """Whether the last `adopt` saw only known children: leaders and orphans."""
        return self._all_noted

    @property
    def leaders(self) -> Mapping[int, ManualContainer]:
        """The leaders of the running commands, and the owner of each."""
        return self._leaders

    def owners(self) -> list[ManualContainer]:
        """Return the owners that are open."""
        return list(self._owned)

    def opened(self, owner: ManualContainer) -> None:
        """Note an owner, to which orphans can belong from now on."""
        with self._lock:
            self._cookies[owner.cookie] = owner
            self._owned[owner] = set()

    def closed(self, owner: ManualContainer, groups: Iterable[int], known: Iterable[Identity]) -> None:
        """Forget an owner, the process groups of its commands and its members; its orphans lose their attribution."""
        with self._lock:
            self._cookies.pop(owner.cookie, None)
            for group in groups:
                self._forget_leader(group)
                self._left.pop(group, None)
            for identity in known:
                self._known.pop(identity, None)
            for pid in self._owned.pop(owner, ()):
                self._forget(pid)

    def starting(self) -> AbstractContextManager[object]:
        """Have no other thread adopt or reap a child while the block runs; call `command_started` in it.

        Until then a command looks like an orphan. The block is short, as a start returns when the child has executed
        its program.
        """
        return self._lock

    def command_started(self, leader: int, owner: ManualContainer) -> None:
        """Note the leader of a command, which is a child but not an orphan."""
        with self._lock:
            self._forget(leader)
            self._leaders[leader] = owner
            self._noted.add(_word(leader))

    def command_ended(self, leader: int, owner: ManualContainer, *, left: bool) -> None:
        """Note that a leader was reaped; with `left` its group has members."""
        with self._lock:
            self._forget_leader(leader)
            if left:
                self._left[leader] = owner

    def group_empty(self, groups: Iterable[int]) -> None:
        """Note that these groups, which have lost their leaders, have no members any more."""
        with self._lock:
            for group in groups:
                self._left.pop(group, None)

    def remember(self, processes: Iterable[tuple[Identity, str]], owner: ManualContainer) -> None:
        """Note members of an owner, which stay members when they become orphans."""
        with self._lock:
            for identity, found in processes:
                self._known[identity] = (owner, found)
                orphan = self._orphans.get(identity[0])
                if orphan is not None and orphan.owner is not owner and orphan.process.identity == identity:
                    self._forget(identity[0])
                    self._note(orphan._replace(owner=owner, found=found))

    def of(self, owner: ManualContainer, since: float | None = None) -> list[Orphan]:
        """Return the owner's living orphans, adopted until `since` as in `adopt`; reap those that have ended."""
        with self._lock:
            self._reap_owned(owner)
            self.adopt(since)
            for _ in range(process_table.MOST_SCANS):
                if not self._reap_owned(owner):
                    break
                self.adopt()  # the children of those that were reaped have become orphans
            return [self._orphans[pid] for pid in self._owned.get(owner, ())]

    def unexplained(self) -> list[Orphan]:
        """Return the orphans without any mark of an owner."""
        with self._lock:
            return [self._orphans[pid] for pid in self._unexplained]

    def adopt(self, since: float | None = None) -> None:
        """Find the orphans adopted until `since`, by default until now, and reap those that have ended already.

        `since` is in seconds of the monotonic clock. Raise OSError if no descriptor is free.
        """
        with self._lock:
            if since is not None and self._listed_at >= since:
                return
            for pid in [pid for pid in self._unexplained if not self._orphans[pid].settled]:
                self._forget(pid)
            for _ in range(process_table.MOST_SCANS):  # some fork and exit faster than they can be reaped
                began = clock.now()
                new = self._new()
                self._all_noted = not new
                if not sum(map(self._adopt, new)):
                    self._listed_at = began
                    return

    def reap_ended(self) -> bool:
        """Reap all orphans that have ended; return whether any is left. Raise OSError as `adopt` does.

        It takes one waitid(2) if none has ended. The kernel reports only the first child that has ended. While that is
        a command, which another thread reaps, the orphans after it have to wait for a moment.
        """
        with self._lock:
            while (ended := _first_ended()) is not None:
                if not self._reap_child(ended):
                    self._reap_behind()
                    break
            else:
                self._blocked = 0
            if self._cookies:
                return True
            self.adopt()
            return bool(self._orphans)

    def unlisted(self, owner: ManualContainer) -> Iterator[Process]:
        """Yield new orphans with the owner's cookie, each as soon as it is seen, the youngest first.

        Some fork and exit all the time, and would be gone before a whole scan ends. Raise OSError if no descriptor is
        free.
        """
        for pid in self._unnoted(process_table.children_text(os.getpid(), os.getpid()).split()):
            if owner.cookie not in (cookies(pid) or ()):
                continue
            if (found := process_table.process(pid)) is not None and found.alive:
                yield found

    def _new(self) -> list[int]:
        """Return the children that are new and not leaders; forget the children that are gone."""
        text = process_table.children_text(os.getpid(), os.getpid())
        if text == self._listed:
            return []
        listed = text.split()
        for gone in self._noted.difference(listed):
            self._forget(int(gone))
        self._listed = text
        return self._unnoted(listed)

    def _unnoted(self, listed: Sequence[bytes]) -> list[int]:
        """Return the children that are neither orphans nor leaders, the youngest first: some live only for a moment.

        With many jobs nearly all children are leaders, and each job calls this: sets are faster than a loop.
        """
        new = set(listed).difference(self._noted)
        return [int(word) for word in reversed(listed) if word in new] if new else []

    def _adopt(self, pid: int) -> bool:
        """Note a new child, or reap it; return whether it was reaped."""
        carried = cookies(pid)  # first: it may end at any moment
        found = process_table.process(pid)
        if found is None or found.group == os.getpgrp() or not found.alive:
            self._changed()  # read the list again the next time
        if found is None or found.group == os.getpgrp():
            return False
        if not found.alive:
            return subreaper.reap(pid)
        self._note(Orphan(found, *self._attributed(found, carried or ()), settled=carried is not None))
        return False

    def _attributed(self, found: Process, carried: Iterable[str]) -> tuple[ManualContainer | None, str]:
        if found.identity in self._known:
            return self._known[found.identity]
        if found.group in self._leaders:
            return self._leaders[found.group], "group"
        # If a process has the number of a group, it is another group: the number was free and was reused.
        if found.group in self._left and process_table.process(found.group) is None:
            return self._left[found.group], "group"
        return next((self._cookies[one] for one in carried if one in self._cookies), None), "cookie"

    def _note(self, orphan: Orphan) -> None:
        pid = orphan.process.pid
        self._orphans[pid] = orphan
        self._noted.add(_word(pid))
        (self._unexplained if orphan.owner is None else self._owned[orphan.owner]).add(pid)

    def _forget(self, pid: int) -> None:
        orphan = self._orphans.pop(pid, None)
        if orphan is not None:
            self._changed(pid)
            self._unexplained.discard(pid)
            if orphan.owner in self._owned:
                self._owned[orphan.owner].discard(pid)

    def _forget_leader(self, pid: int) -> None:
        if self._leaders.pop(pid, None) is not None:
            self._changed(pid)

    def _changed(self, pid: int = 0) -> None:
        """Note that a pid on the last list may be another child, or have another owner, on the next."""
        self._noted.discard(_word(pid))
        self._listed = b""

    def _reap_child(self, pid: int) -> bool:
        """Reap a child that has ended if it is an orphan; return whether it was reaped."""
        if pid in self._orphans:
            self._forget(pid)
            return subreaper.reap(pid)
        found = process_table.process(pid)
        is_orphan = found is not None and found.group != os.getpgrp() and pid not in self._leaders
        return is_orphan and subreaper.reap(pid)

    def _reap_behind(self) -> None:
        """Check each orphan after MOST_BLOCKED attempts that met a zombie command, which may stay unreaped for long."""
        self._blocked += 1
        if self._blocked < MOST_BLOCKED:
            return
        self.adopt()
        self._reap_each(tuple(self._orphans.values()))

    def _reap_owned(self, owner: ManualContainer) -> bool:
        owned = tuple(self._owned.get(owner, ()))
        return bool(owned) and self._reap_each(self._orphans[pid] for pid in owned if pid in self._orphans)

    def _reap_each(self, orphans: Iterable[Orphan]) -> bool:
        """Reap those that have ended; return whether any was reaped."""
        now = ((orphan.process.pid, process_table.again(orphan.process.identity)) for orphan in orphans)
        ended = [pid for pid, process in now if process is None or not process.alive]
        return sum([self._reap_child(pid) for pid in ended]) > 0


def cookies(pid: int) -> list[str] | None:
    """Return the cookies in the environment that a process was started with; None if that cannot be read."""
    environ = process_table.environ(pid)
    if not environ:
        return None
    start = f"{COOKIE}=".encode()
    found = next((entry[len(start) :] for entry in environ.split(b"\0") if entry.startswith(start)), b"")
    return os.fsdecode(found).split(":")


def _word(pid: int) -> bytes:
    """Return a pid as it is written in a list of children."""
    return b"%d" % pid


def _first_ended() -> int | None:
    """Return the pid of the first child that has ended and was not reaped; None if there is none."""
    try:
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return None if ended is None else ended.si_pid
