"""Which processes belong to which container: pure functions over a picture of the process table.

A process belongs to a container by what it cannot easily shed all at once:

- it was seen to belong before (pid and start time);
- it is in the process group of a command of the container;
- it is in the container's control group, where there is one: a process born there cannot shed that;
- its parent belongs, or it is in a session with one that does, unless a foreign process leads it;
- it carries the container's cookie in the environment that it was started with.

A process that shed all of these, and was adopted by the subreaper, is suspected of every container that was there
when it started, and belongs to the last of them that is left: never ended too early, never left for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeAlias

from gracefulexitcmd.named_tuple import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from gracefulexitcmd.posix.linux import Identity, Process

UNKNOWN_SESSION = 0
"""What stands for the session of a process where the system does not tell it."""

HasCookie: TypeAlias = Callable[[int, str], bool]
"""Whether the process with a pid was started with a cookie in its environment."""


class Evidence(NamedTuple):
    """What is known of one container.

    `since` is its beginning, in clock ticks since boot; `foreign` are leaders of commands of other containers;
    `inside` are the pids in its control group.
    """

    cookie: str
    since: int
    groups: Collection[int] = ()
    known: Mapping[Identity, str] = {}
    foreign: Collection[int] = ()
    inside: Collection[int] = ()


class Reaper(NamedTuple):
    """The process that holds the containers; orphans come to it if it is a subreaper."""

    pid: int
    group: int
    session: int


def members(evidence: Evidence, table: Mapping[int, Process], reaper: Reaper, has_cookie: HasCookie) -> dict[int, str]:
    """The pids that belong to a container, and how that is known.

    `table` holds the living processes by pid. Nothing older than the container belongs to it, and never the reaper
    or one of its ancestors, whatever speaks for it.
    """
    spared = _ancestors(reaper.pid, table)
    young = [
        process for process in table.values() if process.start_time >= evidence.since and process.pid not in spared
    ]
    found: dict[int, str] = {}
    for process in young:
        if process.identity in evidence.known:
            found[process.pid] = evidence.known[process.identity]
        elif process.group in evidence.groups:
            found[process.pid] = "leader" if process.pid == process.group else "group"
        elif process.pid in evidence.inside:
            found[process.pid] = "cgroup"
    _follow(found, young, table, reaper)
    # Only a process that has lost its parents can need the cookie: others are found through them, or are not ours.
    started_here = {process.pid for process in young}
    for process in young:
        lost = process.parent not in started_here and process.pid not in evidence.foreign
        if lost and process.pid not in found and has_cookie(process.pid, evidence.cookie):
            found[process.pid] = "cookie"
    _follow(found, young, table, reaper)
    return found


def still_left(groups: Collection[int], processes: Iterable[Process]) -> set[int]:
    """Those of some groups, all without their leaders, that still have members.

    A group whose number is that of a process is another one: the number was free, and was given away.
    """
    listed = tuple(processes)
    return set(groups).intersection(process.group for process in listed).difference(process.pid for process in listed)


def suspected_of(since: int, others: Iterable[int], orphan: Process) -> bool:
    """Whether an unexplained orphan is to be ended with a container: it may be its own, and no other one's.

    `since` is the beginning of the container, `others` those of the others.
    """
    return since <= orphan.start_time and not any(other <= orphan.start_time for other in others)


def _ancestors(pid: int, table: Mapping[int, Process]) -> set[int]:
    """A process and those above it, as far as the table goes."""
    found: set[int] = set()
    while pid not in found:
        found.add(pid)
        pid = table[pid].parent if pid in table else pid
    return found


def _follow(found: dict[int, str], young: list[Process], table: Mapping[int, Process], reaper: Reaper) -> None:
    """Add the children of those found, and the processes in the sessions that they have made, until none is new.

    Only its leader has made a session, setsid(2): one whose leader lives, and does not belong, is a foreign one.
    """
    grown = True
    while grown:
        before = len(found)
        sessions = {table[pid].session for pid in found} - {reaper.session, UNKNOWN_SESSION}
        sessions = {leader for leader in sessions if leader in found or leader not in table}
        for process in young:
            if process.pid in found:
                continue
            if process.parent in found:
                found[process.pid] = "descendant"
            elif process.session in sessions:
                found[process.pid] = "session"
        grown = len(found) > before
