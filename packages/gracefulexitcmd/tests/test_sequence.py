"""The stop sequence against real processes that obey the first signal, a later one, or none."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from typing import TYPE_CHECKING

import psutil
import pytest
from tests.support.living import lives

from gracefulexitcmd import Cmd, Stage, To, contain

if TYPE_CHECKING:
    from collections.abc import Callable

    from gracefulexitcmd import Exit, SignalSent
    from gracefulexitcmd.cmd import BaseCmd

    Launch = Callable[..., tuple[BaseCmd, str]]
    Wait = Callable[[BaseCmd], Exit]

on_every_path = pytest.mark.usefixtures("path")

LONG = 1000
"""Seconds that no test waits: the processes end sooner."""


def _ended_by(ended: Exit) -> dict[str, str | None]:
    """Return the signals that ended the leader and its child."""
    return {"leader" if each.found == "leader" else "child": each.ended_by for each in ended.census}


def _sent(ended: Exit) -> list[tuple[str, int]]:
    """Return the signals sent and their number of receivers, without SIGCONT."""
    return [(each.name, each.processes) for each in ended.signals if each.name != "SIGCONT"]


@on_every_path
@pytest.mark.parametrize("child", ["TERM", "QUIT", "INT"])
@pytest.mark.parametrize("leader", ["INT", "TERM", "QUIT", "none"])
def test_process_ends_at_the_stage_that_it_obeys(launch: Launch, wait: Wait, leader: str, child: str) -> None:
    """Only the leader gets SIGINT. A child that obeys only SIGINT ends by SIGKILL."""
    stages = ["INT", "TERM", "QUIT", "KILL"]
    last = max(stages.index(name) if name in stages else 3 for name in (leader, "none" if child == "INT" else child))

    def hurry() -> None:
        while leader != "none" and lives(obeying):
            time.sleep(0.01)
        command.cancel(grace=0)

    def stopping(sent: SignalSent, _ahead: object) -> None:
        if sent.name == "SIGQUIT" and last == 3:
            hurrying.start()

    hurrying = threading.Thread(target=hurry)
    stop = [(signal.SIGINT, 0.1, "leader"), (signal.SIGTERM, LONG if last == 1 else 0.1), (signal.SIGQUIT, LONG)]
    command, _ = launch("obeys.py", leader, child, stop=stop, stopping=stopping)
    obeying = psutil.Process(command.pid)
    command.cancel()
    ended = wait(command)
    if last == 3:
        hurrying.join()
    assert ended.returncode == -signal.Signals[f"SIG{'KILL' if leader == 'none' else leader}"]
    assert [name for name, _ in _sent(ended)] == [f"SIG{name}" for name in stages[: last + 1]]
    assert f"SIG{stages[last]}" in _ended_by(ended).values()
    assert ended.forced == (last == 3)


@on_every_path
def test_next_stage_begins_when_processes_are_gone(launch: Launch, wait: Wait) -> None:
    command, _ = launch("obeys.py", "INT", "TERM", stop=[(signal.SIGINT, LONG, "leader"), (signal.SIGTERM, LONG)])
    command.cancel()
    assert _sent(wait(command)) == [("SIGINT", 1), ("SIGTERM", 1)]


@on_every_path
def test_stage_without_processes_is_skipped_at_once(launch: Launch, wait: Wait) -> None:
    """This includes a stage whose receivers have ended, while processes with an earlier signal remain."""
    others = (signal.SIGINT, LONG, "others")
    first, _ = launch("obeys.py", "TERM", "TERM", stop=[others, (signal.SIGTERM, LONG)])
    second, _ = launch("obeys.py", "TERM", "QUIT", stop=[(signal.SIGTERM, 0.1), others, (signal.SIGQUIT, LONG)])
    first.cancel()
    second.cancel()
    assert [name for name, _ in _sent(wait(first))] == ["SIGTERM"]
    assert [name for name, _ in _sent(wait(second))] == ["SIGTERM", "SIGQUIT"]


@on_every_path
def test_group_stage_spares_descendants_outside(launch: Launch, wait: Wait) -> None:
    """They get the next signal after the end of the group."""
    stop = [(signal.SIGTERM, LONG, "group"), (signal.SIGINT, LONG)]
    command, _ = launch("obeys.py", "TERM", "INT", "setsid", stop=stop)
    command.cancel()
    ended = wait(command)
    assert _sent(ended) == [("SIGTERM", 1), ("SIGINT", 1)]
    assert _ended_by(ended) == {"leader": "SIGTERM", "child": "SIGINT"}


@on_every_path
def test_rest_stage_spares_leader(launch: Launch, wait: Wait) -> None:
    stop = [Stage(signal.SIGTERM, 0.1, To.ALL & ~To.LEADER), Stage(signal.SIGQUIT, LONG)]
    command, _ = launch("obeys.py", "QUIT", "TERM", stop=stop)
    command.cancel()
    ended = wait(command)
    assert [name for name, _ in _sent(ended)] == ["SIGTERM", "SIGQUIT"]
    assert ended.returncode == -signal.SIGQUIT


def test_longer_waits_shrink_to_grace_period(launch: Launch, wait: Wait) -> None:
    stop = [(signal.SIGINT, LONG), (signal.SIGTERM, LONG * 3)]
    command, _ = launch("obeys.py", "none", "none", stop=stop, grace=0.4)
    command.cancel()
    ended = wait(command)
    kill = ended.signals[-1].after - ended.signals[0].after
    assert 0.4 <= kill < LONG


def test_waits_default_to_grace_period(launch: Launch, wait: Wait) -> None:
    command, _ = launch("obeys.py", "none", "none", stop=[(signal.SIGINT, 0.1), (signal.SIGTERM, 0.1)])
    command.cancel()
    ended = wait(command)
    assert ended.forced
    assert 0.2 <= ended.signals[-1].after - ended.signals[0].after < LONG


def test_second_cancel_without_grace_kills_at_once(launch: Launch, wait: Wait) -> None:
    """Stages without any time left are skipped."""
    stop = [(signal.SIGINT, LONG), (signal.SIGTERM, LONG)]
    command, _ = launch("obeys.py", "none", "none", stop=stop)
    command.cancel()
    command.cancel(grace=0)
    assert _sent(wait(command)) == [("SIGINT", 2), ("SIGKILL", 2)]


def test_own_stage_spares_other_processes_of_container(launch: Launch, wait: Wait) -> None:
    """The others have a stage of their own, and are killed with all remaining processes."""
    with contain() as container:
        other, _ = launch("obeys.py", "TERM", "QUIT", container=container)
        stop = [(signal.SIGTERM, 0.0, "others"), (signal.SIGINT, LONG, "own"), (signal.SIGQUIT, LONG)]
        command, _ = launch("obeys.py", "INT", "INT", "setsid", container=container, stop=stop)
        command.cancel()
        ended = wait(command)
        with contextlib.suppress(RuntimeError):
            wait(other)
    signals, last = _sent(ended)[:2], _sent(ended)[2:]
    assert signals == [("SIGTERM", 2), ("SIGINT", 2)]
    # The process that obeys SIGTERM may still be ending when SIGQUIT is sent: nothing waits for it.
    assert last in ([("SIGQUIT", 1)], [("SIGQUIT", 2)])
    ended_by = sorted(str(each.ended_by) for each in ended.census)
    assert ended_by in (["SIGINT", "SIGINT", "SIGQUIT", obeyed] for obeyed in ("SIGQUIT", "SIGTERM"))


def test_partial_kill_spares_other_processes(launch: Launch, wait: Wait) -> None:
    with contain() as container:
        other, _ = launch("obeys.py", "TERM", "TERM", container=container)
        stop = [(signal.SIGKILL, LONG, "own"), (signal.SIGTERM, LONG)]
        command, _ = launch("obeys.py", "none", "none", "setsid", container=container, stop=stop)
        command.cancel()
        ended = wait(command)
        wait(other)
    assert _sent(ended) == [("SIGKILL", 2), ("SIGTERM", 2)]


def test_callback_receives_each_stage(launch: Launch, wait: Wait) -> None:
    calls: list[list[str]] = []
    command, _ = launch(
        "obeys.py",
        "INT",
        "TERM",
        stop=[(signal.SIGINT, LONG, "leader"), (signal.SIGTERM, LONG)],
        stopping=lambda _sent, ahead: calls.append([stage.signal.name for stage in ahead]),
    )
    command.cancel()
    wait(command)
    assert calls == [["SIGINT", "SIGTERM"], ["SIGTERM"]]


def test_stop_signal_is_a_sequence_of_one() -> None:
    with Cmd(["sleep", "1000"], stop_signal=signal.SIGINT) as command:
        command.cancel()
    assert command.exit is not None
    assert _sent(command.exit) == [("SIGINT", 1)]
