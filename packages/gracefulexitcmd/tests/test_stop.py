"""A command that is cancelled or timed out gets its signal, the grace period, and SIGKILL."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from tests.support.commands import FOREVER, on_every_path
from tests.support.living import lives

from gracefulexitcmd import PIPE, AsyncCmd, Cause, Cmd, Exit, SignalSent, Stage

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.commands import Launch, Program, Start, Wait

    from gracefulexitcmd.cmd import BaseCmd


@on_every_path
@pytest.mark.parametrize("status", [0, 7])
def test_trap_runs_and_its_status_is_returned(launch: Launch, wait: Wait, status: int) -> None:
    command, _ = launch("trap.sh", str(status), stdout=PIPE)
    command.cancel()
    ended = wait(command)
    assert (ended.cause, ended.returncode, ended.forced) == (Cause.CANCELLED, status, False)
    assert ended.exit_status == 128 + signal.SIGTERM
    assert ended.stdout == b"trapped\n"
    assert [sent.name for sent in ended.signals] == ["SIGTERM", "SIGCONT"]
    assert {process.ended_by for process in ended.census} == {"SIGTERM"}
    assert command.signals == ended.signals


@on_every_path
def test_process_ignoring_stop_signal_is_killed_after_grace(launch: Launch, wait: Wait) -> None:
    """A process that ignores SIGTERM gets SIGKILL at the end of the grace period."""
    command, _ = launch("ignore_term.py", grace=0.15)
    command.cancel()
    ended = wait(command)
    assert (ended.cause, ended.returncode, ended.forced) == (Cause.CANCELLED, -signal.SIGKILL, True)
    assert ended.exit_status == 128 + signal.SIGKILL
    term, _, kill = ended.signals
    assert (kill.name, kill.processes) == ("SIGKILL", 1)
    assert kill.after - term.after >= 0.15
    assert [(process.pid, process.found, process.ended_by) for process in ended.census] == [
        (command.pid, "leader", "SIGKILL")
    ]
    assert ended.census[0].argv[-1].endswith("ignore_term.py")


@on_every_path
def test_child_outliving_leader_is_killed_after_grace(launch: Launch, wait: Wait) -> None:
    """The grace period holds for a child although the leader has ended."""
    command, _ = launch("leader_obeys.sh", grace=1000)
    command.cancel()
    assert command.pid is not None
    os.waitid(os.P_PID, command.pid, os.WEXITED | os.WNOWAIT)
    command.cancel(grace=0.15)
    ended = wait(command)
    assert (ended.cause, ended.returncode, ended.forced) == (Cause.CANCELLED, -signal.SIGTERM, True)
    assert ended.signals[-1].after - ended.signals[0].after >= 0.15
    assert {(process.found, process.ended_by) for process in ended.census} == {
        ("leader", "SIGTERM"),
        ("group", "SIGKILL"),
    }


def test_stopping_callback_runs_before_first_signal(program: Program) -> None:
    """The callback runs once, just before the stop signal is sent."""
    calls: list[object] = []

    def stopping(sent: SignalSent, ahead: tuple[Stage, ...]) -> None:
        calls.append((sent.name, sent.processes, [round(stage.wait or 0) for stage in ahead]))
        calls.append(psutil.Process(command.pid).status() != psutil.STATUS_ZOMBIE)

    command = Cmd(FOREVER, grace=100, stopping=stopping)
    with command:
        command.cancel()
        command.cancel(grace=0)
    assert calls == [("SIGTERM", 1, [100]), True]


def test_slow_stopping_callback_does_not_shorten_grace(program: Program) -> None:
    argv = program("ignore_term.py")
    reader, writer = os.pipe()
    command = Cmd(argv, grace=0.2, stderr=writer, stopping=lambda _sent, _grace: time.sleep(0.3))
    with open(reader) as lines, command:
        os.close(writer)
        assert lines.readline() == "ready\n"
        command.cancel()
        ended = command.wait()
    term, *_, kill = ended.signals
    assert (term.name, kill.name) == ("SIGTERM", "SIGKILL")
    assert kill.after - term.after > 0.1, "else they would have been sent together"


def test_other_signals_reach_whole_group() -> None:
    waiting = "trap '{} exit 7' USR1; echo; while :; do :; done"
    script = f"({waiting.format('echo child;')}) & {waiting.format('wait; echo leader;')}"
    reader, writer = os.pipe()
    with Cmd(["sh", "-c", script], stdout=writer) as command, open(reader) as lines:
        os.close(writer)
        assert [lines.readline(), lines.readline()] == ["\n", "\n"]
        assert command.send_signal(signal.SIGUSR1)
        assert command.wait().returncode == 7
        assert lines.read() == "child\nleader\n"
        assert not command.send_signal(signal.SIGUSR1)


def test_unstarted_command_gets_no_signal() -> None:
    assert not Cmd(["true"]).send_signal(signal.SIGUSR1)


@on_every_path
@pytest.mark.parametrize("name", ["fork_at_term.sh", "double_fork.py", "refork.py"])
def test_group_is_empty_when_command_has_ended(launch: Launch, wait: Wait, name: str, path: str) -> None:
    """No process of the group remains, whichever stage it obeys."""
    if (name, path) == ("refork.py", "number and ps"):
        pytest.skip("ps takes longer than each of these processes lives, and may miss them all")
    command, _ = launch(name, grace=0.1)
    command.cancel()
    ended = wait(command)
    assert ended.forced
    assert all(process.ended_by is not None for process in ended.census)
    assert not [process for process in psutil.process_iter() if _group(process.pid) == command.pid and lives(process)]


def test_background_process_of_ended_command_continues() -> None:
    """A container ends such a process."""
    ended = Cmd(["sh", "-c", "sleep 1000 >/dev/null & echo $!"], stdout=PIPE).run()
    assert ended.ok
    background = psutil.Process(int(ended.stdout or b""))
    assert background.status() != psutil.STATUS_ZOMBIE
    background.kill()


def _group(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None


@on_every_path
def test_stopped_process_handles_stop_signal(launch: Launch, wait: Wait) -> None:
    command, _ = launch("stop_itself.sh", stdout=PIPE)
    assert command.pid is not None
    os.waitid(os.P_PID, command.pid, os.WSTOPPED | os.WNOWAIT)
    command.cancel()
    ended = wait(command)
    assert (ended.returncode, ended.stdout, ended.forced) == (0, b"trapped\n", False)


@on_every_path
def test_timeout_stops_like_cancel(start: Start, wait: Wait, program: Program) -> None:
    ended = wait(start(FOREVER, timeout=0.1))
    assert (ended.cause, ended.returncode, ended.forced) == (Cause.TIMEOUT, -signal.SIGTERM, False)
    assert ended.signals[0].after >= 0.1
    assert ended.exit_status == 128 + signal.SIGTERM


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGUSR1])
def test_stop_signal_may_be_chosen(start: Start, wait: Wait, number: signal.Signals) -> None:
    command = start(FOREVER, stop_signal=number)
    command.cancel()
    ended = wait(command)
    assert (ended.returncode, ended.signals[0].name, ended.exit_status) == (-number, number.name, 128 + number)


def test_cancel_before_start_prevents_start(kind: type[BaseCmd], result: Callable[[Any], Any], tmp_path: Path) -> None:
    command: Any = kind(["touch", str(tmp_path / "file")])
    command.cancel()
    command.cancel()
    result(command.start())
    ended: Exit = result(command.wait())
    assert (ended.cause, ended.returncode, ended.signals, command.pid) == (Cause.CANCELLED, None, (), None)
    assert not (tmp_path / "file").exists()


@on_every_path
def test_cancel_after_end_does_nothing(start: Start, wait: Wait) -> None:
    command = start(["true"])
    ended = wait(command)
    command.cancel()
    command.cancel(grace=0)
    assert wait(command) is ended is command.exit
    assert (ended.cause, ended.signals) == (Cause.EXITED, ())


@on_every_path
def test_second_cancel_shortens_the_delay(launch: Launch, wait: Wait) -> None:
    command, _ = launch("ignore_term.py", grace=1000)
    command.cancel()
    command.cancel(grace=0.1)
    ended = wait(command)
    assert ended.forced
    assert [sent.name for sent in ended.signals] == ["SIGTERM", "SIGCONT", "SIGKILL"]


def test_second_cancel_never_lengthens_the_delay(launch: Launch, wait: Wait) -> None:
    command, _ = launch("ignore_term.py", grace=0.1)
    command.cancel()
    command.cancel(grace=1000)
    assert wait(command).forced


@pytest.mark.parametrize("timeout", [1e7, 1e300], ids=["months", "for ever"])
def test_timeout_may_exceed_limit_of_system_call(start: Start, wait: Wait, timeout: float) -> None:
    assert wait(start(["true"], timeout=timeout)).ok


def test_block_stops_running_command_at_its_end(program: Program) -> None:
    with pytest.raises(ZeroDivisionError), Cmd(FOREVER) as command:
        raise ZeroDivisionError
    assert command.exit is not None
    assert (command.exit.cause, command.exit.returncode) == (Cause.CANCELLED, -signal.SIGTERM)


def test_block_leaves_ended_command_alone() -> None:
    with Cmd(["true"]) as command:
        command.wait()
    assert command.exit is not None
    assert command.exit.ok


def test_timeout_holds_during_read() -> None:
    with Cmd(["sh", "-c", "echo x; exec sleep 1000"], stdout=PIPE, text=True, timeout=0.1) as command:
        assert list(command.stdout) == ["x\n"]
    assert command.exit is not None
    assert command.exit.cause is Cause.TIMEOUT


async def test_async_timeout_holds_without_waiter() -> None:
    command = AsyncCmd(["sleep", "1000"], stdout=PIPE, timeout=0.05)
    await command.start()
    assert command.pid is not None
    leader = psutil.Process(command.pid)
    while lives(leader):  # noqa: ASYNC110 - nothing may wait for the command
        await asyncio.sleep(0.01)
    assert (await command.wait()).cause is Cause.TIMEOUT


def test_block_left_during_output_ends_command() -> None:
    """The end of its process ends the command, long before the end of the grace period."""
    with Cmd(["yes"], stdout=PIPE, grace=1000) as command:
        for _line in command.stdout:
            break
    assert command.exit is not None
    assert (command.exit.cause, command.exit.forced) == (Cause.CANCELLED, False)


def test_asyncio_block_left_during_output_ends_command() -> None:
    """The end of its process ends the command, long before the end of the grace period."""

    async def leave() -> None:
        async with AsyncCmd(["sh", "-c", "echo line; exec sleep 1000"], stdout=PIPE, grace=1000) as command:
            assert await command.stdout.readline() == b"line\n"
        assert command.exit is not None
        assert (command.exit.cause, command.exit.forced) == (Cause.CANCELLED, False)

    asyncio.run(leave())


def test_wait_times_out_and_command_continues() -> None:
    with Cmd(["sleep", "1000"]) as command:
        with pytest.raises(TimeoutError, match=r"not ended after 0\.05 s"):
            command.wait(timeout=0.05)
        assert command.poll() is None


async def test_async_wait_times_out_and_command_continues() -> None:
    """A wait that gives up does not stop the command."""
    async with AsyncCmd(["sleep", "1000"]) as command:
        with pytest.raises(TimeoutError, match=r"not ended after 0\.05 s"):
            await command.wait(timeout=0.05)
        assert command.poll() is None
