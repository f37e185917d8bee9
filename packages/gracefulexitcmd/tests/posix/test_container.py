"""All processes that a program has started in a container end with it, and no others.

The program is a separate process: a process cannot stop being a subreaper for the sake of a test.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.cgroups import needs_birth, needs_cgroup
from tests.support.crowd import MANY, SHAPES, Crowd

from gracefulexitcmd import Cmd, ManualContainer
from gracefulexitcmd.posix import process_table, start
from gracefulexitcmd.posix.container import reap_orphans
from gracefulexitcmd.posix.orphans import COOKIE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from gracefulexitcmd.posix.spawn import Child

    Program = Callable[..., list[str]]

REAPERS = ("subreaper", pytest.param("both", marks=needs_cgroup), pytest.param("cgroup", marks=needs_cgroup), "plain")


@pytest.fixture
def crowd() -> Iterator[Crowd]:
    crowd = Crowd()
    yield crowd
    crowd.kill()


@pytest.fixture
def contained(program: Program, crowd: Crowd) -> Callable[..., subprocess.Popen[str]]:
    """Return a function that starts the program: `contained(reaper, scenario, *shapes)`."""

    def start(reaper: str, scenario: str, *shapes: str) -> subprocess.Popen[str]:
        _, _, _, path = program("contained.py")
        command = [sys.executable, path, reaper, scenario, crowd.mark, *shapes]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    return start


@pytest.fixture
def report(contained: Callable[..., subprocess.Popen[str]]) -> Callable[..., dict[str, Any]]:
    """Return a function that runs the program and returns its report: `report(reaper, scenario, *shapes)`."""

    def run(*arguments: str) -> dict[str, Any]:
        with contained(*arguments) as process:
            output, _ = process.communicate()
        assert process.returncode == 0
        facts: dict[str, Any] = json.loads(output or "{}")
        return facts

    return run


def ended_by(shape: str) -> str:
    """Return the signal that ends a shape."""
    return "SIGKILL" if shape in ("ignores_term", "reforks") else "SIGTERM"


FOUND_AT_CANCEL = dict.fromkeys(SHAPES, "group") | {
    "setsid": "descendant",
    "hidden": "suspected",
    "closed": "cookie",
    "reforks": "cookie",
}
"""The evidence for a shape while its command lives."""

FOUND_AT_THE_END = FOUND_AT_CANCEL | {"setsid": "cookie"}
"""The evidence after the command has ended by itself."""


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("scenario", "found"), [("cancel", FOUND_AT_CANCEL), ("end", FOUND_AT_THE_END)])
def test_every_shape_ends_with_subreaper(
    report: Callable[..., dict[str, Any]], crowd: Crowd, scenario: str, found: dict[str, str], shape: str
) -> None:
    census = report("subreaper", scenario, shape)["census"]
    assert crowd.survivors() == []
    # A process that lives for a moment may end before its environment is read.
    ways = {found[shape]} | ({"descendant", "suspected"} if shape == "reforks" else set())
    assert {how for how, _ in census} <= ways
    # A process that lives for a moment may have ended by itself since the count.
    assert shape == "reforks" or ended_by(shape) in {signal for _, signal in census}


@needs_cgroup
@pytest.mark.parametrize("reaper", ["both", "cgroup"])
@pytest.mark.parametrize("scenario", ["cancel", "end"])
def test_every_shape_ends_with_hard_evidence_in_cgroup(
    report: Callable[..., dict[str, Any]], crowd: Crowd, reaper: str, scenario: str
) -> None:
    """All members are known by hard evidence, except one that may end before its environment is read."""
    census = report(reaper, scenario, *(shape for shape in SHAPES if shape != "reforks"))["census"]
    assert crowd.survivors() == []
    ways = {how for how, _ in census}
    assert "cgroup" in ways
    assert "suspected" not in ways


@pytest.mark.parametrize("scenario", ["cancel", "end"])
def test_unmarked_processes_survive_without_subreaper(
    report: Callable[..., dict[str, Any]], crowd: Crowd, scenario: str
) -> None:
    """They have shed parents, group, session and environment. One that re-forks all the time may survive by chance."""
    report("plain", scenario, *(shape for shape in SHAPES if shape != "reforks"))
    (survivor,) = crowd.living()
    assert survivor.cmdline()[-1] == "hidden"


def test_orphan_of_single_command_is_known_by_cookie(report: Callable[..., dict[str, Any]], crowd: Crowd) -> None:
    """An orphan that keeps its environment needs neither a subreaper nor a container of the caller."""
    assert report("plain", "alone", "closed") == {"census": [["cookie", "SIGTERM"]]}
    assert crowd.survivors() == []


def test_unmarked_processes_survive_single_command(report: Callable[..., dict[str, Any]], crowd: Crowd) -> None:
    """A command without a container finds no process that shed parents, group, session and environment."""
    report("plain", "alone", *(shape for shape in SHAPES if shape != "reforks"))
    assert [arguments.split()[-1] for arguments in crowd.survivors()] == ["hidden"]


@pytest.mark.parametrize("scenario", ["leave", "error"])
def test_contained_processes_are_ended_and_reaped_after_block(
    report: Callable[..., dict[str, Any]], crowd: Crowd, scenario: str
) -> None:
    assert report("subreaper", scenario, *SHAPES) == {"zombie": None}
    assert crowd.survivors() == []


def test_container_spares_other_children_of_program(report: Callable[..., dict[str, Any]]) -> None:
    """Other children of the program are neither ended nor reaped."""
    assert report("subreaper", "others", "hidden", "closed") == {"status": 7, "lives": True}


@pytest.mark.parametrize("reaper", REAPERS)
def test_end_of_one_container_spares_another(
    contained: Callable[..., subprocess.Popen[str]], crowd: Crowd, reaper: str
) -> None:
    first, second = Crowd(f"{crowd.mark}-first"), Crowd(f"{crowd.mark}-second")
    # None is stopped: the kernel sends SIGHUP to a newly orphaned group with a stopped member.
    with contained(reaper, "two", "in_group", "setsid", "double_fork", "closed", "many") as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        assert first.survivors() == []
        assert len(second.living()) == 4 + MANY + 1
        process.communicate("end the second\n")
    assert second.survivors() == []


def living_after_first(program: subprocess.Popen[str], crowd: Crowd) -> tuple[int, int]:
    """Return how many processes of each container live when the first has ended; none may live after the second."""
    first, second = Crowd(f"{crowd.mark}-first"), Crowd(f"{crowd.mark}-second")
    with program as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        living = len(first.living()), len(second.living())
        process.communicate("end the second\n")
    assert crowd.survivors() == []
    return living


@needs_birth
def test_hidden_process_ends_with_its_own_container(
    contained: Callable[..., subprocess.Popen[str]], crowd: Crowd
) -> None:
    """It is born in the container's control group, and never moved there."""
    assert living_after_first(contained("born", "two", "hidden"), crowd) == (0, 1)


def test_unexplained_orphan_ends_with_last_container(
    contained: Callable[..., subprocess.Popen[str]], crowd: Crowd
) -> None:
    """An orphan without evidence is ended with the last container."""
    assert living_after_first(contained("subreaper", "two", "hidden"), crowd) == (1, 1)


def test_orphan_arriving_during_stop_gets_stop_signal(report: Callable[..., dict[str, Any]], crowd: Crowd) -> None:
    """The other container that it could belong to has ended meanwhile."""
    assert report("subreaper", "late", "hidden")["census"] == [["suspected", "SIGTERM"]]
    assert crowd.survivors() == []


@pytest.mark.parametrize("reaper", ["subreaper", pytest.param("both", marks=needs_cgroup)])
def test_outer_container_ends_orphans_of_killed_inner_program(
    contained: Callable[..., subprocess.Popen[str]], crowd: Crowd, reaper: str
) -> None:
    """The orphans of a killed inner program belong to the outer container."""
    with contained(reaper, "nested", *SHAPES) as process:
        process.communicate()
    assert process.returncode == 0
    assert crowd.survivors() == []


def test_nested_containers_keep_all_cookies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(COOKIE, "outer")
    container = ManualContainer()
    assert container.environment({"A": "1"}) == {"A": "1", COOKIE: f"outer:{container.cookie}"}
    container.close()


def test_command_without_recorded_pid_keeps_its_status(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Another thread that reaps orphans waits until the command that is being started is known."""
    real = start.start
    reaping = threading.Thread(target=reap_orphans)

    def slow(*arguments: Any) -> tuple[Child, bool]:
        process, inside = real(*arguments)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        reaping.start()
        reaping.join(0.2)
        return process, inside

    monkeypatch.setattr(start, "start", slow)
    assert Cmd(["sh", "-c", "exit 5"]).run().returncode == 5
    reaping.join()


def test_containers_answer_many_threads() -> None:
    container = ManualContainer()
    asking = threading.Event()
    failures: list[Exception] = []

    def ask() -> None:
        while not asking.is_set():
            try:
                container.surely_empty()
                reap_orphans()
            except Exception as error:
                failures.append(error)
                return

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    statuses = [Cmd(["true"], container=container).run().returncode for _ in range(30)]
    asking.set()
    for thread in threads:
        thread.join()
    container.close()
    assert (failures, statuses) == ([], [0] * 30)


def test_group_with_reused_number_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scan sees the new leader once. The group stays forgotten after the new leader's end."""
    container = ManualContainer()
    now = process_table.ticks_since_boot() + 1000
    leader = process_table.Process(4_000_001, "S", 1, 4_000_001, 4_000_001, now)
    member = process_table.Process(4_000_002, "S", 1, 4_000_001, 4_000_001, now)
    container.started(leader.pid)
    container.ended(leader.pid, group_empty=False)
    seen = []
    for processes in ([leader, member], [leader._replace(state="Z"), member], [member]):
        monkeypatch.setattr(process_table, "processes", lambda processes=processes: processes)
        seen.append(container.members())
    container.close()
    assert seen == [[], [], []]
