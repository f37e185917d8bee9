"""The orphans that came to this process as a subreaper, and the container that each belongs to.

An orphan is attributed once, when it is first seen: with many containers, each would otherwise ask every orphan for its
evidence again and again. Orphans come to the main thread, because the kernel gives them to the first living thread of
the subreaper (find_new_reaper in kernel/exit.c), so its list of children holds all of them.
"""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING

from gracefulexitcmd import clock
from gracefulexitcmd.named_tuple import NamedTuple
from gracefulexitcmd.posix import linux, subreaper

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Protocol

    from gracefulexitcmd.posix.linux import Identity, Process

    class Owner(Protocol):
        """What an orphan can belong to."""

        cookie: str


COOKIE = "GRACEFULEXITCMD_COOKIE"
"""The variable by which a process is known even when it has left its group, its session and its parent.

Containers can be nested, so it holds the cookies of all of them, with a colon between.
"""


RECENT = 0.02
"""Seconds for which all containers share one list of the children: reading it takes as long as there are children."""

MOST_BLOCKED = 10
"""Attempts in a row to reap orphans, all of them met by a child that is not an orphan, before each is asked."""


class Orphan(NamedTuple):
    """A living child that was not started here; `owner` is None where nothing explains it."""

    process: Process
    owner: Owner | None
    found: str
    settled: bool = True
    """Whether its environment could be read: it is empty while a program is being executed, and for other users."""


class Orphans:
    """All orphans of this process; every method may be called from any thread."""

    def __init__(self) -> None:
        # A signal handler that reaps may interrupt the thread that holds it.
        self._lock = threading.RLock()
        self._leaders: dict[int, Owner] = {}
        self._left: dict[int, Owner] = {}
        self._cookies: dict[str, Owner] = {}
        self._known: dict[Identity, tuple[Owner, str]] = {}
        self._orphans: dict[int, Orphan] = {}
        self._owned: dict[Owner, set[int]] = {}
        self._unexplained: set[int] = set()
        self._maybe_commands: list[Orphan] = []
        self._starting: set[object] = set()
        self._blocked = 0
        self._noted: set[bytes] = set()
        self._listed = b""
        self._listed_at = float("-inf")
        self._all_noted = False

    @property
    def all_noted(self) -> bool:
        """Whether the last `adopt` saw no child but leaders and orphans that it knew."""
        return self._all_noted

    @property
    def leaders(self) -> Mapping[int, Owner]:
        """The leaders of the commands that run, and what each belongs to."""
        return self._leaders

    def opened(self, owner: Owner) -> None:
        """Note what orphans can belong to from now on."""
        with self._lock:
            self._cookies[owner.cookie] = owner
            self._owned[owner] = set()

    def closed(self, owner: Owner, groups: Iterable[int], known: Iterable[Identity]) -> None:
        """Forget it, the groups that its commands had, and its members; an orphan that is left explains nothing."""
        with self._lock:
            self._cookies.pop(owner.cookie, None)
            for group in groups:
                self._forget_leader(group)
                self._left.pop(group, None)
            for identity in known:
                self._known.pop(identity, None)
            for pid in self._owned.pop(owner, ()):
                self._forget(pid)

    @contextlib.contextmanager
    def starting(self) -> Iterator[None]:
        """Until `command_started` is called in it: a child that is not noted yet may be a command."""
        token = object()
        self._starting.add(token)
        try:
            yield
        finally:
            self._starting.discard(token)

    def command_started(self, leader: int, owner: Owner) -> None:
        """Note the leader of a command, which is a child but not an orphan."""
        with self._lock:
            self._forget(leader)
            self._leaders[leader] = owner
            self._noted.add(_word(leader))
            self._maybe_commands = [each for each in self._maybe_commands if each.process.pid != leader]

    def command_ended(self, leader: int, owner: Owner, *, left: bool) -> None:
        """Note that a leader was reaped; with `left` its group has members."""
        with self._lock:
            self._forget_leader(leader)
            if left:
                self._left[leader] = owner

    def group_empty(self, groups: Iterable[int]) -> None:
        """Note that groups without a leader have no members any more."""
        with self._lock:
            for group in groups:
                self._left.pop(group, None)

    def remember(self, processes: Iterable[tuple[Identity, str]], owner: Owner) -> None:
        """Note members, which stay members as orphans."""
        with self._lock:
            for identity, found in processes:
                self._known[identity] = (owner, found)
                orphan = self._orphans.get(identity[0])
                if orphan is not None and orphan.owner is not owner and orphan.process.identity == identity:
                    self._forget(identity[0])
                    self._note(orphan._replace(owner=owner, found=found))

    def of(self, owner: Owner, since: float | None = None) -> list[Orphan]:
        """Return the living orphans that belong to it and came until `since`, as `adopt` has it; reap the others."""
        with self._lock:
            self._reap_owned(owner)
            self.adopt(since)
            for _ in range(linux.MOST_LOOKS):
                if not self._reap_owned(owner):
                    break
                self.adopt()  # the children of those that were reaped have become orphans
            maybe = [each for each in self._maybe_commands if each.owner is owner]
            return [*maybe, *(self._orphans[pid] for pid in self._owned.get(owner, ()))]

    def unexplained(self) -> list[Orphan]:
        """The orphans that nothing explains."""
        with self._lock:
            return [self._orphans[pid] for pid in self._unexplained]

    def adopt(self, since: float | None = None) -> None:
        """Find the orphans that came until `since`, by default until now, and reap those that have ended already.

        `since` is a time of the monotonic clock. While a command is being started a new child is not reaped, and left
        out if nothing explains it: it may be that command. Raise OSError if no descriptor is free.
        """
        with self._lock:
            if since is not None and self._listed_at >= since:
                return
            for pid in [pid for pid in self._unexplained if not self._orphans[pid].settled]:
                self._forget(pid)
            for _ in range(linux.MOST_LOOKS):  # some fork and exit faster than they can be reaped
                self._maybe_commands.clear()
                began = clock.now()
                new, starting = self._new()
                self._all_noted = not new
                if not sum([self._adopt(pid, starting=starting) for pid in new]):
                    self._listed_at = began
                    return

    def reap_ended(self) -> bool:
        """Reap all orphans that have ended; returns whether any is left. Raises OSError as `adopt` does.

        It takes one call of waitid(2) where none has ended. The kernel names only the first child that has ended:
        while that is a command, which its own waiter reaps, the others have to wait for a moment.
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

    def unlisted(self, owner: Owner) -> Iterator[Process]:
        """New orphans with the owner's cookie, each as soon as it is seen, the youngest first.

        Some fork and exit all the time, and would be gone when all others had been looked at. Raises OSError.
        """
        for pid in self._unnoted(linux.children_text(os.getpid(), os.getpid()).split()):
            if owner.cookie not in (cookies(pid) or ()):
                continue
            if (found := linux.process(pid)) is not None and found.alive:
                yield found

    def _new(self) -> tuple[list[int], bool]:
        """The children that were not there the last time and are not leaders, and whether one may be a command.

        Those that are gone are forgotten.
        """
        text = linux.children_text(os.getpid(), os.getpid())
        # Asked after the list was read, and before the leaders: a command that was noted meanwhile is among them.
        starting = bool(self._starting)
        if text == self._listed:
            return [], starting
        listed = text.split()
        for gone in self._noted.difference(listed):
            self._forget(int(gone))
        self._listed = text
        return self._unnoted(listed), starting

    def _unnoted(self, listed: Sequence[bytes]) -> list[int]:
        """Return the children that are neither orphans nor leaders, the youngest first: some live for a moment only.

        With many jobs nearly all are leaders, and each job asks: sets are faster than a look at every child.
        """
        new = set(listed).difference(self._noted)
        return [int(word) for word in reversed(listed) if word in new] if new else []

    def _adopt(self, pid: int, *, starting: bool) -> bool:
        """Note a new child, or reap it; returns whether it was reaped."""
        carried = cookies(pid)  # first: it may end at any moment
        found = linux.process(pid)
        if found is None or found.group == os.getpgrp() or starting or not found.alive:
            self._changed()  # look at it again the next time
        if found is None or found.group == os.getpgrp() or pid in self._leaders:
            return False
        if not found.alive:
            return not starting and subreaper.reap(pid)
        orphan = Orphan(found, *self._attributed(found, carried or ()), settled=carried is not None)
        if starting:
            self._maybe_commands.append(orphan)
        else:
            self._note(orphan)
        return False

    def _attributed(self, found: Process, carried: Iterable[str]) -> tuple[Owner | None, str]:
        if found.identity in self._known:
            return self._known[found.identity]
        if found.group in self._leaders:
            return self._leaders[found.group], "group"
        # A group whose number is that of a process is another one: the number was free, and was given away.
        if found.group in self._left and linux.process(found.group) is None:
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
        """Note that a child on the last list may be another one, or another's, on the next."""
        self._noted.discard(_word(pid))
        self._listed = b""

    def _reap_child(self, pid: int) -> bool:
        """Reap a child that has ended, if it is an orphan."""
        if pid in self._orphans:
            self._forget(pid)
            return subreaper.reap(pid)
        found = linux.process(pid)
        is_orphan = found is not None and found.group != os.getpgrp()
        # Asked last: a command that was noted meanwhile is not taken for an orphan.
        return is_orphan and not self._starting and pid not in self._leaders and subreaper.reap(pid)

    def _reap_behind(self) -> None:
        """Ask each orphan, where the same child stays in front of them: nothing here may know when it is reaped."""
        self._blocked += 1
        if self._blocked < MOST_BLOCKED:
            return
        self.adopt()
        self._reap_each(tuple(self._orphans.values()))

    def _reap_owned(self, owner: Owner) -> bool:
        return self._reap_each(self._orphans[pid] for pid in tuple(self._owned.get(owner, ())) if pid in self._orphans)

    def _reap_each(self, orphans: Iterable[Orphan]) -> bool:
        """Reap those that have ended; return whether there were any."""
        now = ((orphan.process.pid, linux.again(orphan.process.identity)) for orphan in orphans)
        ended = [pid for pid, process in now if process is None or not process.alive]
        return sum([self._reap_child(pid) for pid in ended]) > 0


def cookies(pid: int) -> list[str] | None:
    """The cookies in the environment that a process was started with; None where no environment is seen."""
    environ = linux.environ(pid)
    if not environ:
        return None
    start = f"{COOKIE}=".encode()
    found = next((entry[len(start) :] for entry in environ.split(b"\0") if entry.startswith(start)), b"")
    return os.fsdecode(found).split(":")


def _word(pid: int) -> bytes:
    """Return a number as it stands in a list of children."""
    return b"%d" % pid


def _first_ended() -> int | None:
    """The first child that has ended and was not reaped."""
    try:
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return None if ended is None else ended.si_pid
