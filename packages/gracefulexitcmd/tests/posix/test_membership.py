"""The container of each process, case by case."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gracefulexitcmd.posix import membership, process_table
from gracefulexitcmd.posix.membership import Evidence, Reaper
from gracefulexitcmd.posix.process_table import Process

if TYPE_CHECKING:
    from collections.abc import Mapping

SHELL, RUNNER = 50, 100
REAPER = Reaper(pid=RUNNER, session=SHELL)
LEADER = 200
SINCE = 10
EVIDENCE = Evidence(cookie="mine", since=SINCE, groups={LEADER})


def process(pid: int, parent: int, group: int, session: int = SHELL, start_time: int = SINCE + 5) -> Process:
    return Process(pid, "S", parent, group, session, start_time)


def table(*processes: Process) -> dict[int, Process]:
    """Return the process table after a shell has started the runner, plus the given processes."""
    system = (
        process(1, 0, 1, 1, start_time=0),
        process(SHELL, 1, SHELL, start_time=1),
        process(RUNNER, SHELL, RUNNER, start_time=2),
    )
    return {each.pid: each for each in (*system, *processes)}


def found(
    *processes: Process,
    evidence: Evidence = EVIDENCE,
    cookies: Mapping[int, str] | None = None,
    reaper: Reaper = REAPER,
) -> dict[int, str]:
    carried = cookies or {}
    return membership.members(evidence, table(*processes), reaper, lambda pid, cookie: carried.get(pid) == cookie)


COMMAND = process(LEADER, RUNNER, LEADER)


@pytest.mark.parametrize(
    ("processes", "cookies", "expected"),
    [
        pytest.param([], {}, {}, id="no process"),
        pytest.param([COMMAND], {}, {200: "leader"}, id="leader"),
        pytest.param([process(201, 1, LEADER)], {}, {201: "group"}, id="group without its leader"),
        pytest.param([COMMAND, process(201, 200, 201, 201)], {}, {200: "leader", 201: "descendant"}, id="descendant"),
        pytest.param(
            [process(201, 1, LEADER), process(202, 201, 202, 202), process(203, 202, 203, 203)],
            {},
            {201: "group", 202: "descendant", 203: "descendant"},
            id="descendant of a descendant",
        ),
        pytest.param(
            [COMMAND, process(201, 200, 201, 201), process(202, 1, 202, 201)],
            {},
            {200: "leader", 201: "descendant", 202: "session"},
            id="orphan in a session of theirs",
        ),
        pytest.param([process(300, 1, 300, 300)], {300: "mine"}, {300: "cookie"}, id="cookie"),
        pytest.param(
            [process(300, 1, 300, 300), process(301, 300, 301, 301)],
            {300: "mine"},
            {300: "cookie", 301: "descendant"},
            id="child of one with the cookie",
        ),
        pytest.param([process(300, 1, 300, 300)], {300: "other"}, {}, id="another cookie"),
        pytest.param([process(300, SHELL, 300)], {}, {}, id="neighbour in the runner's session"),
        pytest.param([process(300, RUNNER, RUNNER)], {}, {}, id="the runner's own child"),
    ],
)
def test_evidence_gives_reason_of_membership(
    processes: list[Process], cookies: dict[int, str], expected: dict[int, str]
) -> None:
    assert found(*processes, cookies=cookies) == expected


def test_known_member_keeps_its_first_evidence() -> None:
    evidence = EVIDENCE._replace(known={(300, 15): "descendant"})
    assert found(process(300, 1, 300, 300, start_time=15), evidence=evidence) == {300: "descendant"}


def test_process_with_reused_number_is_not_known() -> None:
    evidence = EVIDENCE._replace(known={(300, 15): "descendant"})
    assert found(process(300, 1, 300, 300, start_time=16), evidence=evidence) == {}


@pytest.mark.parametrize(
    ("old", "evidence", "cookies"),
    [
        pytest.param(process(300, 1, LEADER, start_time=9), EVIDENCE, {}, id="group"),
        pytest.param(process(300, 1, 300, 300, start_time=9), EVIDENCE, {300: "mine"}, id="cookie"),
        pytest.param(process(300, LEADER, 300, 300, start_time=9), EVIDENCE, {}, id="descendant"),
        pytest.param(
            process(300, 1, 300, start_time=9), EVIDENCE._replace(known={(300, 9): "cookie"}), {}, id="seen before"
        ),
    ],
)
def test_process_older_than_the_container_never_belongs(
    old: Process, evidence: Evidence, cookies: dict[int, str]
) -> None:
    assert 300 not in found(COMMAND, old, evidence=evidence, cookies=cookies)


@pytest.mark.parametrize("pid", [1, SHELL, RUNNER])
def test_reaper_and_its_ancestors_never_belong(pid: int) -> None:
    """This holds even with all evidence against it: a runner in a job, or in a terminal opened later."""
    evidence = Evidence("mine", since=0, groups={1, SHELL, RUNNER}, known={(pid, table()[pid].start_time): "cookie"})
    assert pid not in found(evidence=evidence, cookies={pid: "mine"})


@pytest.mark.parametrize(
    "session", [pytest.param(SHELL, id="the reaper's own"), pytest.param(process_table.UNKNOWN_SESSION, id="unknown")]
)
def test_session_older_than_members_proves_nothing(session: int) -> None:
    member = process(LEADER, RUNNER, LEADER, session)
    assert found(member, process(300, 1, 300, session)) == {LEADER: "leader"}


def test_session_of_live_foreign_leader_proves_nothing() -> None:
    """It may be the session of the runner's terminal, if the job was requested from another one."""
    user, other = process(300, 1, 300, 300, start_time=5), process(301, 300, 301, 300)
    member = process(LEADER, 1, LEADER, 300)
    assert found(member, user, other) == {LEADER: "leader"}
    assert found(member, other) == {LEADER: "leader", 301: "session"}, "its leader, who may have belonged, is gone"


def test_inherited_cookie_claims_no_command_of_another() -> None:
    """Another container's command may have inherited the environment of a command."""
    evidence = EVIDENCE._replace(foreign={300})
    assert found(process(300, RUNNER, 300), evidence=evidence, cookies={300: "mine"}) == {}


# Groups without a leader.


@pytest.mark.parametrize(
    ("processes", "expected"),
    [
        pytest.param([process(201, 1, LEADER)], {LEADER}, id="a member lives"),
        pytest.param([process(300, 1, 300)], set(), id="no member"),
        pytest.param([process(LEADER, 1, LEADER)], set(), id="the number leads another group"),
        pytest.param([process(LEADER, 1, LEADER), process(201, 1, LEADER)], set(), id="another group with members"),
        pytest.param(
            [process(LEADER, 1, LEADER)._replace(state="Z"), process(201, 1, LEADER)],
            set(),
            id="another group, whose leader is a zombie",
        ),
    ],
)
def test_groups_with_members_are_listed(processes: list[Process], expected: set[int]) -> None:
    assert membership.still_left({LEADER}, processes) == expected


# Processes that have shed all marks.

ORPHAN = process(300, RUNNER, 300, 300, start_time=30)


@pytest.mark.parametrize(
    ("since", "others", "expected"),
    [
        pytest.param(10, [], True, id="the only container"),
        pytest.param(30, [], True, id="both began at once"),
        pytest.param(31, [], False, id="older than the container"),
        pytest.param(10, [20], False, id="another one could be its own"),
        pytest.param(20, [10], False, id="the other way round"),
        pytest.param(10, [31], True, id="the other one began later"),
        pytest.param(10, [31, 20], False, id="one of two others"),
    ],
)
def test_orphan_belongs_to_last_remaining_container(since: int, others: list[int], expected: bool) -> None:
    assert membership.suspected_of(since, others, ORPHAN) is expected
