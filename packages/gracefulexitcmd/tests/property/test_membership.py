"""In every process table no foreign process is claimed, and no process by two containers."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from gracefulexitcmd.posix import membership
from gracefulexitcmd.posix.membership import Evidence, Reaper
from gracefulexitcmd.posix.process_table import Process

RUNNER, SHELL = 3, 2
REAPER = Reaper(RUNNER, session=SHELL)
SINCE = 10
PIDS = st.integers(min_value=1, max_value=14)
TIMES = st.integers(min_value=0, max_value=20)


class Life(NamedTuple):
    """The actions of a process after its fork; one that has ended has left its children to the reaper."""

    own_group: bool
    own_session: bool
    sheds_cookie: bool
    gone: bool


LIVES = st.lists(st.tuples(st.integers(min_value=0), st.builds(Life, *[st.booleans()] * 4)), max_size=12)


class World(NamedTuple):
    """A process table made by forks, and the truth about it."""

    table: dict[int, Process]
    owner: dict[int, str]
    cookies: dict[int, str]


SYSTEM = {
    1: Process(1, "S", 0, 1, 1, 0),
    SHELL: Process(SHELL, "S", 1, SHELL, SHELL, 1),
    RUNNER: Process(RUNNER, "S", SHELL, RUNNER, SHELL, 2),
    4: Process(4, "S", SHELL, 4, SHELL, 3),
}
LEADERS = {"a": 20, "b": 30}


def world(lives: list[tuple[int, Life]]) -> World:
    """Draw two commands, a neighbour (4), and processes that earlier processes have forked one by one."""
    table = dict(SYSTEM)
    owner, cookies = {4: "nobody"}, {}
    for name, leader in LEADERS.items():
        table[leader] = Process(leader, "S", RUNNER, leader, SHELL, SINCE)
        owner[leader] = cookies[leader] = name
    gone = set()
    for at, (choice, life) in enumerate(lives):
        pid = 40 + at
        parent = sorted(owner)[choice % len(owner)]
        mother = table[parent]
        session = pid if life.own_session else mother.session
        group = pid if life.own_session or life.own_group else mother.group
        table[pid] = Process(pid, "S", parent, group, session, SINCE + 1 + at)
        owner[pid] = owner[parent]
        if parent in cookies and not life.sheds_cookie:
            cookies[pid] = cookies[parent]
        if life.gone:
            gone.add(pid)
    return World({pid: _reparented(each, gone) for pid, each in table.items() if pid not in gone}, owner, cookies)


def _reparented(process: Process, gone: set[int]) -> Process:
    return process._replace(parent=RUNNER) if process.parent in gone else process


def members(world: World, name: str) -> dict[int, str]:
    foreign = set(LEADERS.values()) - {LEADERS[name]}
    evidence = Evidence(name, SINCE, {LEADERS[name]}, foreign=foreign)
    return membership.members(evidence, world.table, REAPER, lambda pid, cookie: world.cookies.get(pid) == cookie)


@given(LIVES)
def test_container_claims_only_its_own_processes(lives: list[tuple[int, Life]]) -> None:
    """Two containers therefore never have hard evidence for the same process."""
    here = world(lives)
    for name in LEADERS:
        assert {here.owner[pid] for pid in members(here, name)} <= {name}


@given(LIVES)
def test_process_keeping_cookie_or_parents_is_found(lives: list[tuple[int, Life]]) -> None:
    here = world(lives)
    for name in LEADERS:
        found = members(here, name)
        for pid, process in here.table.items():
            if here.cookies.get(pid) == name or process.parent in found:
                assert pid in found


TABLES = st.lists(st.builds(Process, PIDS, st.just("S"), PIDS, PIDS, st.integers(0, 14), TIMES), max_size=12)
EVIDENCES = st.builds(
    Evidence,
    st.just("c"),
    TIMES,
    st.frozensets(PIDS, max_size=3),
    st.dictionaries(st.tuples(PIDS, TIMES), st.just("cookie"), max_size=3),
    st.frozensets(PIDS, max_size=2),
)


@given(TABLES, EVIDENCES, st.frozensets(PIDS))
def test_older_processes_and_ancestors_are_never_claimed(
    processes: list[Process], evidence: Evidence, carriers: frozenset[int]
) -> None:
    """This holds even in an inconsistent table, such as one read while it changed."""
    table = {process.pid: process for process in processes} | SYSTEM
    found = membership.members(evidence, table, REAPER, lambda pid, _: pid in carriers)
    assert not {1, SHELL, RUNNER} & set(found)
    assert all(table[pid].start_time >= evidence.since for pid in found)


@given(st.lists(TIMES, min_size=1, max_size=5), TIMES)
def test_orphan_gets_last_possible_container(beginnings: list[int], start_time: int) -> None:
    """An orphan has one container once all others that could be its own are closed."""
    orphan = Process(50, "S", RUNNER, 50, 50, start_time)
    possible = [since <= start_time for since in beginnings]
    suspected = [membership.suspected_of(since, beginnings[:at], orphan) for at, since in enumerate(beginnings)]
    assert suspected == [is_possible and not any(possible[:at]) for at, is_possible in enumerate(possible)]
    assert sum(suspected) == any(possible)
