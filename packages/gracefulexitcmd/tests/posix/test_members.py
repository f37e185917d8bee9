"""Who is counted when a command is stopped, and what is said of them."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, cast

import pytest

from gracefulexitcmd.exit import EndedProcess
from gracefulexitcmd.posix import linux, process_table, status
from gracefulexitcmd.posix.members import Members
from gracefulexitcmd.posix.poller import Poller
from gracefulexitcmd.sequence import Stage, To

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from gracefulexitcmd.posix.targets import Targets

LEADER = linux.Process(100, "S", 1, 100, 100, start_time=5)
CHILD = linux.Process(101, "S", 100, 100, 100, start_time=6)

NOW = 7
"""On the clock of start times, when the stop signal is sent."""

HELPER = linux.Process(102, "S", 100, 100, 100, start_time=NOW + 1)


class Crowd:
    """Targets that are what a test says they are, one answer after the other, and that tell what they were sent.

    The last answer is given again and again.
    """

    def __init__(self) -> None:
        self.answers: list[list[linux.Process] | OSError] = []
        self.sent: list[int] = []
        self.sent_singly: list[tuple[int, int]] = []

    def glance(self) -> list[linux.Process]:
        return [LEADER]

    def members(self, *, recent: bool = False) -> list[linux.Process]:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, OSError):
            raise answer
        return answer

    def how(self, process: linux.Process) -> str:
        return "leader" if process is LEADER else "group"

    def may_end(self, _process: linux.Process) -> bool:
        return True

    def part(self, process: linux.Process) -> To:
        if process.group != LEADER.pid:
            return To.DESCENDANTS
        return To.LEADER if process is LEADER else To.MATES

    def signal(self, number: int, _members: Iterable[linux.Process], _to: To = To.ALL) -> None:
        self.sent.append(number)

    def kill(self, members: Iterable[linux.Process]) -> None:
        self.signal(signal.SIGKILL, members)

    def signal_each(self, number: int, members: Iterable[linux.Process], _to: To = To.ALL) -> None:
        self.sent_singly += [(process.pid, number) for process in members if self.part(process) not in To.GROUP]


@pytest.fixture
def group(monkeypatch: pytest.MonkeyPatch) -> Crowd:
    monkeypatch.setattr(process_table, "argv", lambda pid: (f"program-{pid}",))
    monkeypatch.setattr(status, "tasks", lambda _pid: [])
    monkeypatch.setattr(process_table, "portable", True)
    monkeypatch.setattr(process_table, "now", lambda: NOW)
    return Crowd()


@pytest.fixture
def poller() -> Iterator[Poller]:
    made = Poller()
    yield made
    made.close()


@pytest.fixture
def members(group: Crowd, poller: Poller) -> Members:
    return Members(cast("Targets", group), poller, lambda _event: None)


def _ended(members: Members) -> dict[int, str | None]:
    return {process.pid: process.ended_by for process in members.census()}


def test_stop_signal_is_followed_by_a_continue(group: Crowd, members: Members) -> None:
    group.answers = [[LEADER, CHILD]]
    members.count(quickly=True)
    members.terminate(Stage(signal.SIGINT))
    assert group.sent == [signal.SIGINT, signal.SIGCONT]
    assert [(sent.name, sent.processes) for sent in members.signals] == [("SIGINT", 2), ("SIGCONT", 2)]


def test_who_dies_of_the_signal_at_once_is_in_the_census(group: Crowd, members: Members) -> None:
    group.answers = [[CHILD], []]
    members.count(quickly=True)
    members.terminate(Stage(signal.SIGTERM))
    assert not members.watch(kill=False)
    assert members.census() == (
        EndedProcess(100, ("program-100",), found="leader", ended_by="SIGTERM"),
        EndedProcess(101, ("program-101",), found="group", ended_by="SIGTERM"),
    )


def test_who_was_started_to_clean_up_and_ended_is_not_in_the_census(group: Crowd, members: Members) -> None:
    """It was sent nothing, so it did not have to be ended."""
    group.answers = [[LEADER], [HELPER], []]
    members.terminate(Stage(signal.SIGTERM))
    assert members.watch(kill=False)
    assert not members.watch(kill=False)
    assert _ended(members) == {100: "SIGTERM"}


@pytest.mark.parametrize(
    ("start_time", "parent", "told"),
    [(NOW - 1, 100, True), (NOW, 1, True), (NOW, 100, False), (NOW + 1, 1, False)],
    ids=["before", "at that moment, an orphan", "at that moment, a child", "afterwards"],
)
def test_who_was_born_before_the_signal_and_found_after_it_is_told(
    group: Crowd, members: Members, start_time: int, parent: int, told: bool
) -> None:
    """Who was born afterwards is there to clean up; so may be who was born at that moment of a parent that lives."""
    late = linux.Process(102, "S", parent, 102, 100, start_time=start_time)
    group.answers = [[LEADER], [LEADER, late], []]
    members.terminate(Stage(signal.SIGTERM))
    assert members.watch(kill=False)
    assert not members.watch(kill=False)
    assert _ended(members) == ({100: "SIGTERM", 102: "SIGTERM"} if told else {100: "SIGTERM"})


def test_who_leaves_the_group_before_its_signal_is_told(group: Crowd, members: Members) -> None:
    """It was counted in the group, so the look for those outside has to see that it has left."""
    group.answers = [[LEADER, CHILD], [LEADER, CHILD._replace(group=CHILD.pid)]]
    members.count(quickly=False)
    members.terminate(Stage(signal.SIGTERM))
    assert group.sent_singly == [(CHILD.pid, signal.SIGTERM), (CHILD.pid, signal.SIGCONT)]


@pytest.mark.parametrize(("parent", "told"), [(1, True), (200, False)], ids=["an orphan", "a child"])
def test_who_is_born_while_the_signal_goes_round_is_told(
    group: Crowd, members: Members, monkeypatch: pytest.MonkeyPatch, parent: int, told: bool
) -> None:
    """The parent outside of the group was found, and told, a moment after the group was."""
    clock = iter([NOW, NOW + 1])
    monkeypatch.setattr(process_table, "now", lambda: next(clock))
    outside = linux.Process(200, "S", 1, 200, 200, start_time=NOW - 1)
    born = linux.Process(201, "S", parent, 200, 200, start_time=NOW + 1)
    group.answers = [[LEADER, outside], [outside, born], []]
    members.terminate(Stage(signal.SIGTERM))
    assert members.watch(kill=False)
    assert ((born.pid, signal.SIGTERM) in group.sent_singly) == told


@pytest.mark.parametrize(("age", "told"), [(1, True), (-1, False)], ids=["older", "younger"])
def test_late_orphan_gets_the_stop_signal_if_it_is_older(group: Crowd, members: Members, age: int, told: bool) -> None:
    """It became an orphan too late to be on the list of children that the first look used."""
    orphan = linux.Process(200, "S", 1, 200, 200, start_time=NOW - age)
    group.answers = [[LEADER], [LEADER, orphan]]
    members.terminate(Stage(signal.SIGTERM))
    members.terminate_late()
    assert group.sent_singly == ([(200, signal.SIGTERM), (200, signal.SIGCONT)] if told else [])
    assert members.look_at is None


def test_who_obeyed_is_not_counted_among_the_killed(group: Crowd, members: Members) -> None:
    group.answers = [[LEADER, CHILD], [LEADER], []]
    members.terminate(Stage(signal.SIGTERM))
    members.kill()
    assert not members.watch(kill=True)
    assert _ended(members) == {100: "SIGKILL", 101: "SIGTERM"}
    assert (members.forced, members.signals[-1].processes) == (True, 1)


def test_force_was_not_needed_where_nobody_was_left_to_kill(group: Crowd, members: Members) -> None:
    group.answers = [[LEADER], [], []]
    members.terminate(Stage(signal.SIGTERM))
    members.kill()
    assert not members.watch(kill=True)
    assert not members.forced
    assert _ended(members) == {100: "SIGTERM"}


def test_who_was_born_since_the_kill_is_killed_too(group: Crowd, members: Members) -> None:
    group.answers = [[LEADER], [LEADER], [HELPER], []]
    members.terminate(Stage(signal.SIGTERM))
    members.kill()
    assert members.watch(kill=True)
    assert not members.watch(kill=True)
    assert group.sent.count(signal.SIGKILL) == 2
    assert _ended(members) == {100: "SIGKILL", 102: "SIGKILL"}


def test_nobody_is_left_when_two_looks_in_a_row_find_nobody(group: Crowd, members: Members) -> None:
    """One that forks and exits may be missed between its parent's end and its own beginning."""
    group.answers = [[LEADER], [], [HELPER], []]
    members.terminate(Stage(signal.SIGTERM))
    assert members.watch(kill=False)
    assert not members.watch(kill=False)


def test_who_does_not_die_was_ended_by_nothing(group: Crowd, members: Members) -> None:
    group.answers = [[LEADER], [LEADER], [LEADER]]
    members.terminate(Stage(signal.SIGTERM))
    members.kill()
    assert members.watch(kill=True)
    assert _ended(members) == {100: None}


def test_where_nobody_can_be_listed_signals_are_sent_and_nobody_is_thought_gone(group: Crowd, members: Members) -> None:
    group.answers = [OSError(24, "Too many open files")] * 3
    members.count(quickly=True)
    members.terminate(Stage(signal.SIGTERM))
    members.kill()
    assert members.watch(kill=True)
    assert members.look_at is not None
    assert members.forced
    assert _ended(members) == {100: None}


@pytest.mark.parametrize("gone", [True, False], ids=["all gone", "no descriptor free"])
def test_who_cannot_be_watched_is_looked_at_again(
    group: Crowd, members: Members, monkeypatch: pytest.MonkeyPatch, gone: bool, open_pidfd: Callable[[bool], object]
) -> None:
    monkeypatch.setattr(process_table, "portable", False)
    monkeypatch.setattr(linux, "open_pidfd", lambda _process: open_pidfd(gone))
    group.answers = [[CHILD], []]
    assert members.watch(kill=False) is not gone
    assert (members.look_at is None) is gone


@pytest.fixture
def open_pidfd() -> Callable[[bool], object]:
    def open_pidfd(gone: bool) -> None:
        if not gone:
            raise OSError(24, "Too many open files")

    return open_pidfd
