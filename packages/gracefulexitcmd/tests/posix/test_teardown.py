"""The processes that a teardown counts and signals, and its report of them."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, cast

import pytest

from gracefulexitcmd.exit import EndedProcess
from gracefulexitcmd.posix import process_table, status, subreaper
from gracefulexitcmd.posix.poller import Poller
from gracefulexitcmd.posix.process_set import ProcessSet
from gracefulexitcmd.posix.teardown import Teardown
from gracefulexitcmd.sequence import Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gracefulexitcmd.posix.process_group import Group


LEADER = process_table.Process(100, "S", 1, 100, 100, start_time=5)
CHILD = process_table.Process(101, "S", 100, 100, 100, start_time=6)

NOW = 7
"""The time of the stop signal, on the clock of start times."""

HELPER = process_table.Process(102, "S", 100, 100, 100, start_time=NOW + 1)


class Crowd(ProcessSet):
    """A set of processes and their group, scripted by a test: one answer after the other.

    It records its signals, for the group and for single processes. It repeats the last answer.
    """

    pid = LEADER.pid
    exit_descriptor = -1

    def __init__(self) -> None:
        super().__init__(since=0)
        self.answers: list[list[process_table.Process] | OSError] = []
        self.sent: list[int] = []
        self.sent_singly: list[tuple[int, int]] = []

    def members(self, *, quickly: bool = False) -> list[process_table.Process]:
        if quickly:
            return [LEADER]
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, OSError):
            raise answer
        return answer

    def found_by(self, process: process_table.Process) -> str:
        return "leader" if process is LEADER else "group"

    def can_end(self, _process: process_table.Process) -> bool:
        return True

    def signal(self, number: int) -> bool:
        self.sent.append(number)
        return True

    def signal_leader(self, number: int) -> None:
        raise AssertionError(f"signal {number} was for the whole group")

    def signal_process(self, process: process_table.Process, number: int) -> None:
        self.sent_singly.append((process.pid, number))

    def collect(self) -> int | None:
        return None

    def close(self) -> bool:
        return True


@pytest.fixture
def group(monkeypatch: pytest.MonkeyPatch) -> Crowd:
    monkeypatch.setattr(process_table, "argv", lambda pid: (f"program-{pid}",))
    monkeypatch.setattr(status, "tasks", lambda _pid: [])
    monkeypatch.setattr(process_table, "portable", True)
    monkeypatch.setattr(process_table, "now", lambda: NOW)
    monkeypatch.setattr(subreaper, "active", False)
    crowd = Crowd()
    monkeypatch.setattr(process_table, "signal_process", crowd.signal_process)
    return crowd


@pytest.fixture
def poller() -> Iterator[Poller]:
    made = Poller()
    yield made
    made.close()


@pytest.fixture
def teardown(group: Crowd, poller: Poller) -> Teardown:
    return Teardown(group, poller, lambda _event: None, cast("Group", group))


def _ended(teardown: Teardown) -> dict[int, str | None]:
    return {process.pid: process.ended_by for process in teardown.census()}


def test_stop_signal_is_followed_by_a_continue(group: Crowd, teardown: Teardown) -> None:
    group.answers = [[LEADER, CHILD]]
    teardown.count(quickly=True)
    teardown.terminate(Stage(signal.SIGINT))
    assert group.sent == [signal.SIGINT, signal.SIGCONT]
    assert [(sent.name, sent.processes) for sent in teardown.signals] == [("SIGINT", 2), ("SIGCONT", 2)]


def test_process_killed_by_stop_signal_is_in_census(group: Crowd, teardown: Teardown) -> None:
    group.answers = [[CHILD], []]
    teardown.count(quickly=True)
    teardown.terminate(Stage(signal.SIGTERM))
    assert not teardown.watch(kill=False)
    assert teardown.census() == (
        EndedProcess(100, ("program-100",), found="leader", ended_by="SIGTERM"),
        EndedProcess(101, ("program-101",), found="group", ended_by="SIGTERM"),
    )


def test_ended_cleanup_process_is_not_in_census(group: Crowd, teardown: Teardown) -> None:
    """It got no signal, so the teardown did not end it."""
    group.answers = [[LEADER], [HELPER], []]
    teardown.terminate(Stage(signal.SIGTERM))
    assert teardown.watch(kill=False)
    assert not teardown.watch(kill=False)
    assert _ended(teardown) == {100: "SIGTERM"}


@pytest.mark.parametrize(
    ("start_time", "parent", "told"),
    [(NOW - 1, 100, True), (NOW, 1, True), (NOW, 100, False), (NOW + 1, 1, False)],
    ids=["before", "at that moment, an orphan", "at that moment, a child", "afterwards"],
)
def test_process_forked_before_signal_gets_it_later(
    group: Crowd, teardown: Teardown, start_time: int, parent: int, told: bool
) -> None:
    """A process forked after the signal may be there to clean up."""
    late = process_table.Process(102, "S", parent, 102, 100, start_time=start_time)
    group.answers = [[LEADER], [LEADER, late], []]
    teardown.terminate(Stage(signal.SIGTERM))
    assert teardown.watch(kill=False)
    assert not teardown.watch(kill=False)
    assert _ended(teardown) == ({100: "SIGTERM", 102: "SIGTERM"} if told else {100: "SIGTERM"})


def test_process_leaving_group_before_signal_gets_it(group: Crowd, teardown: Teardown) -> None:
    """It was counted in the group. The scan outside the group has to notice that it has left."""
    group.answers = [[LEADER, CHILD], [LEADER, CHILD._replace(group=CHILD.pid)]]
    teardown.count(quickly=False)
    teardown.terminate(Stage(signal.SIGTERM))
    assert group.sent_singly == [(CHILD.pid, signal.SIGTERM), (CHILD.pid, signal.SIGCONT)]


@pytest.mark.parametrize(("parent", "told"), [(1, True), (200, False)], ids=["an orphan", "a child"])
def test_process_born_during_signalling_gets_signal(
    group: Crowd, teardown: Teardown, monkeypatch: pytest.MonkeyPatch, parent: int, told: bool
) -> None:
    """Its parent outside of the group got the signal a moment after the group did."""
    clock = iter([NOW, NOW + 1, NOW + 1])
    monkeypatch.setattr(process_table, "now", lambda: next(clock))
    outside = process_table.Process(200, "S", 1, 200, 200, start_time=NOW - 1)
    born = process_table.Process(201, "S", parent, 200, 200, start_time=NOW + 1)
    group.answers = [[LEADER, outside], [outside, born], []]
    teardown.terminate(Stage(signal.SIGTERM))
    assert teardown.watch(kill=False)
    assert ((born.pid, signal.SIGTERM) in group.sent_singly) == told


@pytest.mark.parametrize(("age", "told"), [(1, True), (-1, False)], ids=["older", "younger"])
def test_late_orphan_gets_signal_if_older(group: Crowd, teardown: Teardown, age: int, told: bool) -> None:
    """It became an orphan after the list of children that the first scan used."""
    orphan = process_table.Process(200, "S", 1, 200, 200, start_time=NOW - age)
    group.answers = [[LEADER], [LEADER, orphan]]
    teardown.terminate(Stage(signal.SIGTERM))
    teardown.signal_late()
    assert group.sent_singly == ([(200, signal.SIGTERM), (200, signal.SIGCONT)] if told else [])
    assert teardown.scan_at is None


def test_processes_that_a_late_one_has_started_get_signal(group: Crowd, teardown: Teardown) -> None:
    """It was not yet asked to stop, so they are not there to clean up."""
    late = process_table.Process(200, "S", 1, 200, 200, start_time=NOW - 1)
    child = process_table.Process(201, "S", 200, 200, 200, start_time=NOW + 1)
    grandchild = process_table.Process(202, "S", 201, 200, 200, start_time=NOW + 1)
    group.answers = [[LEADER], [LEADER, grandchild, late, child], [LEADER, HELPER._replace(parent=200)]]
    teardown.terminate(Stage(signal.SIGTERM))
    assert teardown.watch(kill=False)
    assert {pid for pid, _ in group.sent_singly} == {200, 201, 202}
    assert teardown.watch(kill=False)
    assert {pid for pid, _ in group.sent_singly} == {200, 201, 202}


def test_orphan_born_while_late_signal_is_sent_gets_it(
    group: Crowd, teardown: Teardown, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scan before the late signal could not see it yet."""
    clock = iter([NOW, NOW + 5, NOW + 6])
    monkeypatch.setattr(process_table, "now", lambda: next(clock))
    late = process_table.Process(200, "S", 1, 200, 200, start_time=NOW - 1)
    born = process_table.Process(201, "S", 1, 200, 200, start_time=NOW + 5)
    group.answers = [[LEADER], [LEADER, late], [LEADER, born]]
    teardown.terminate(Stage(signal.SIGTERM))
    assert teardown.watch(kill=False)
    assert teardown.watch(kill=False)
    assert {pid for pid, _ in group.sent_singly} == {200, 201}


def test_scan_follows_end_of_a_process_while_a_child_is_spared(
    group: Crowd, teardown: Teardown, poller: Poller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that ended may be its parent: then it is an orphan, and older than the signal."""
    ends = {LEADER.pid: os.pipe(), HELPER.pid: os.pipe()}
    monkeypatch.setattr(process_table, "portable", False)
    monkeypatch.setattr(process_table, "open_pidfd", lambda process: ends[process.pid][0])
    group.answers = [[LEADER], [LEADER, HELPER]]
    teardown.terminate(Stage(signal.SIGTERM))
    assert teardown.watch(kill=False)
    assert teardown.scan_at is None
    os.close(ends[LEADER.pid][1])
    poller.react(poller.wait(None))
    assert teardown.scan_at is not None
    teardown.forget()
    os.close(ends[HELPER.pid][1])


def test_process_leaving_group_as_an_orphan_gets_signal(group: Crowd, teardown: Teardown) -> None:
    """The scan just after the signal does not see the newest orphans."""
    group.answers = [[LEADER, CHILD], [CHILD._replace(parent=1, group=CHILD.pid)]]
    teardown.count(quickly=False)
    group.answers.insert(0, [LEADER])
    teardown.terminate(Stage(signal.SIGTERM))
    assert group.sent_singly == []
    assert teardown.watch(kill=False)
    assert group.sent_singly == [(CHILD.pid, signal.SIGTERM), (CHILD.pid, signal.SIGCONT)]


def test_orphan_born_into_signalled_group_gets_signal(group: Crowd, teardown: Teardown) -> None:
    """It was born in the same clock tick, so it may be younger than the signal to the group."""
    orphan = CHILD._replace(parent=1, start_time=NOW)
    group.answers = [[LEADER], [orphan]]
    teardown.terminate(Stage(signal.SIGTERM))
    assert teardown.watch(kill=False)
    assert group.sent_singly == [(CHILD.pid, signal.SIGTERM), (CHILD.pid, signal.SIGCONT)]


@pytest.mark.parametrize(("start_time", "again"), [(NOW - 1, True), (NOW - 1000, False)], ids=["young", "old"])
def test_process_without_a_program_yet_gets_signal_again(
    group: Crowd, teardown: Teardown, monkeypatch: pytest.MonkeyPatch, start_time: int, again: bool
) -> None:
    """A handler of its parent's program may have had the signal. A shell's subshell that cleans up is older."""
    monkeypatch.setattr("gracefulexitcmd.posix.delivery.FORKING", 5.0)
    forked = CHILD._replace(start_time=start_time, executed=False)
    group.answers = [[LEADER, forked], [LEADER, forked], [LEADER, forked], [LEADER, forked._replace(executed=True)]]
    teardown.count(quickly=False)
    teardown.terminate(Stage(signal.SIGTERM))
    assert (teardown.scan_at is not None) == again
    teardown.signal_late()
    assert group.sent_singly == []
    teardown.signal_late()
    teardown.signal_late()
    assert group.sent_singly == ([(CHILD.pid, signal.SIGTERM), (CHILD.pid, signal.SIGCONT)] if again else [])
    assert teardown.scan_at is None


def test_obedient_process_is_not_counted_as_killed(group: Crowd, teardown: Teardown) -> None:
    group.answers = [[LEADER, CHILD], [LEADER], []]
    teardown.terminate(Stage(signal.SIGTERM))
    teardown.kill()
    assert not teardown.watch(kill=True)
    assert _ended(teardown) == {100: "SIGKILL", 101: "SIGTERM"}
    assert (teardown.record()["forced"], teardown.signals[-1].processes) == (True, 1)


def test_process_that_ends_before_its_kill_keeps_its_arguments(
    group: Crowd, teardown: Teardown, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A zombie has only the name of its program."""
    read = iter([("program", "word"), ("[program]",)])
    monkeypatch.setattr(process_table, "argv", lambda _pid: next(read))
    group.answers = [[LEADER]]
    teardown.terminate(Stage(signal.SIGTERM))
    teardown.kill()
    assert [process.argv for process in teardown.census()] == [("program", "word")]
    assert next(read, None) is None


def test_teardown_without_kill_is_not_forced(group: Crowd, teardown: Teardown) -> None:
    group.answers = [[LEADER], [], []]
    teardown.terminate(Stage(signal.SIGTERM))
    teardown.kill()
    assert not teardown.watch(kill=True)
    assert not teardown.record()["forced"]
    assert _ended(teardown) == {100: "SIGTERM"}


def test_process_born_since_kill_is_killed_too(group: Crowd, teardown: Teardown) -> None:
    group.answers = [[LEADER], [LEADER], [HELPER], []]
    teardown.terminate(Stage(signal.SIGTERM))
    teardown.kill()
    assert teardown.watch(kill=True)
    assert not teardown.watch(kill=True)
    assert group.sent.count(signal.SIGKILL) == 2
    assert _ended(teardown) == {100: "SIGKILL", 102: "SIGKILL"}


def test_teardown_ends_after_two_empty_scans(group: Crowd, teardown: Teardown) -> None:
    """A process that forks and exits may be missed between its parent's end and its own start."""
    group.answers = [[LEADER], [], [HELPER], []]
    teardown.terminate(Stage(signal.SIGTERM))
    assert teardown.watch(kill=False)
    assert not teardown.watch(kill=False)


def test_unkillable_process_has_no_ending_signal(group: Crowd, teardown: Teardown) -> None:
    group.answers = [[LEADER], [LEADER], [LEADER]]
    teardown.terminate(Stage(signal.SIGTERM))
    teardown.kill()
    assert teardown.watch(kill=True)
    assert _ended(teardown) == {100: None}


def test_signals_are_sent_without_a_process_list(group: Crowd, teardown: Teardown) -> None:
    group.answers = [OSError(24, "Too many open files")] * 3
    teardown.count(quickly=True)
    teardown.terminate(Stage(signal.SIGTERM))
    teardown.kill()
    assert teardown.watch(kill=True)
    assert teardown.scan_at is not None
    assert teardown.record()["forced"]
    assert _ended(teardown) == {100: None}


@pytest.mark.parametrize("gone", [True, False], ids=["all gone", "no descriptor free"])
def test_unwatchable_process_is_scanned_again(
    group: Crowd, teardown: Teardown, monkeypatch: pytest.MonkeyPatch, gone: bool, open_pidfd: Callable[[bool], object]
) -> None:
    monkeypatch.setattr(process_table, "portable", False)
    monkeypatch.setattr(process_table, "open_pidfd", lambda _process: open_pidfd(gone))
    group.answers = [[CHILD], []]
    assert teardown.watch(kill=False) is not gone
    assert (teardown.scan_at is None) is gone


@pytest.fixture
def open_pidfd() -> Callable[[bool], object]:
    def open_pidfd(gone: bool) -> None:
        if not gone:
            raise OSError(24, "Too many open files")

    return open_pidfd
