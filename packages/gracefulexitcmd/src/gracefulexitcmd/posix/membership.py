"""Decides which processes belong to which container, by pure functions over a snapshot of the process table.

A process belongs to a container if it has one of these marks, which it can hardly shed all at once:

- it was seen to belong before (pid and start time);
- it is in the process group of a command of the container;
- it is in the container's control group, if there is one: a process born there cannot shed this mark;
- its parent belongs, or another process of its session does, unless a foreign process leads that session;
- the environment that it was started with has the container's cookie.

A process without any of these marks that the subreaper adopted may belong to any container that was open when it
started. It is ended with the last of those containers: never too early, and it is never left for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gracefulexitcmd.posix.process_table import UNKNOWN_SESSION
from gracefulexitcmd.typed import NamedTuple

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from typing import TypeAlias

    from gracefulexitcmd.posix.process_table import Identity, Process

HasCookie: TypeAlias = Callable[[int, str], bool]
"""Whether the process with a pid was started with a cookie in its environment."""


class Evidence(NamedTuple):
    """The known facts about one container.

    `since` is when it began, in clock ticks since boot. `groups` are the process groups of its commands. `known` maps
    earlier members to how each was found. `foreign` are the leaders of other containers' commands. `inside` are the
    pids in its control group.
    """

    cookie: str
    since: int
    groups: Collection[int] = ()
    known: Mapping[Identity, str] = {}
    foreign: Collection[int] = ()
    inside: Collection[int] = ()


class Reaper(NamedTuple):
    """The process that holds the containers; it adopts orphans if it is a subreaper."""

    pid: int
    session: int


def members(evidence: Evidence, table: Mapping[int, Process], reaper: Reaper, has_cookie: HasCookie) -> dict[int, str]:
    """Return the pids that belong to a container, and how each was found.

    `table` holds the living processes by pid. A process that is older than the container never belongs to it. Neither
    does the reaper or one of its ancestors, whatever marks it has.
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
    # Only a process that has lost its parent needs the cookie: the others are found through it, or are not ours.
    started_here = {process.pid for process in young}
    for process in young:
        lost = process.parent not in started_here and process.pid not in evidence.foreign
        if lost and process.pid not in found and has_cookie(process.pid, evidence.cookie):
            found[process.pid] = "cookie"
    _follow(found, young, table, reaper)
    return found


def still_left(groups: Collection[int], processes: Iterable[Process]) -> set[int]:
    """Return those of some groups that still have members; all of them have lost their leaders.

    If a living process has the number of a group, it is another group: the number was free and was reused.
    """
    listed = tuple(processes)
    return set(groups).intersection(process.group for process in listed).difference(process.pid for process in listed)


def suspected_of(since: int, others: Iterable[int], orphan: Process) -> bool:
    """Return whether an unexplained orphan must end with a container: it may belong to this one but to no other.

    `since` is when the container began and `others` when the other containers did, in clock ticks since boot.
    """
    return since <= orphan.start_time and not any(other <= orphan.start_time for other in others)


def _ancestors(pid: int, table: Mapping[int, Process]) -> set[int]:
    """Return the pids of a process and its ancestors, as far as the table shows them."""
    found: set[int] = set()
    while pid not in found:
        found.add(pid)
        pid = table[pid].parent if pid in table else pid
    return found


def _follow(found: dict[int, str], young: list[Process], table: Mapping[int, Process], reaper: Reaper) -> None:
    """Add the children of the found processes and the members of sessions that they made, until none is new.

    A session is made by its leader, setsid(2). So it is foreign if its leader lives and does not belong.
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
