"""Behaviour of commands in an event loop; the other files test the common behaviour of both forms."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from gracefulexitcmd import AsyncCmd, Cause, Exit
from gracefulexitcmd.posix.poller import Poller

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    Launch = Callable[..., Awaitable[AsyncCmd]]

PIPE = subprocess.PIPE
FOREVER = ["sleep", "1000"]


@pytest.fixture
def launched(program: Callable[..., list[str]]) -> Launch:
    """Start one of the programs and wait until it is ready."""

    async def launched(name: str, *arguments: str, **options: Any) -> AsyncCmd:
        reader, writer = os.pipe()
        command = AsyncCmd(program(name, *arguments), stderr=writer, **options)
        await command.start()
        os.close(writer)
        with os.fdopen(reader) as lines:
            await asyncio.to_thread(lines.readline)
        return command

    return launched


@pytest.mark.usefixtures("path")
async def test_cancelled_task_stops_command_before_it_ends(launched: Launch) -> None:
    command = await launched("trap.sh", "0")
    task = asyncio.create_task(command.wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert command.exit is not None
    assert (command.exit.cause, command.exit.returncode, command.exit.forced) == (Cause.CANCELLED, 0, False)


async def test_task_cancelled_again_still_waits_for_end(launched: Launch) -> None:
    command = await launched("ignore_term.py", grace=0.2)
    task = asyncio.create_task(command.wait())
    await asyncio.sleep(0)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert command.exit is not None
    assert command.exit.forced


async def test_timeout_of_caller_stops_command() -> None:
    command = AsyncCmd(FOREVER)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await command.run()
    assert command.exit is not None
    assert (command.exit.cause, command.exit.returncode) == (Cause.CANCELLED, -signal.SIGTERM)


async def test_failure_in_task_group_stops_other_commands(launched: Launch) -> None:
    """The commands of the other tasks of the group are stopped."""
    commands = [await launched("trap.sh", "0") for _ in range(3)]

    async def fail() -> None:
        await asyncio.sleep(0)
        raise ZeroDivisionError

    with pytest.raises(ExceptionGroup) as error:  # noqa: PT012 - the group's end raises
        async with asyncio.TaskGroup() as tasks:
            for command in commands:
                tasks.create_task(command.wait())
            tasks.create_task(fail())
    assert error.group_contains(ZeroDivisionError)
    assert [command.exit is not None and command.exit.returncode for command in commands] == [0, 0, 0]


async def test_task_cancelled_before_it_runs_starts_nothing() -> None:
    command = AsyncCmd(FOREVER)
    task = asyncio.create_task(command.run())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert command.pid is None


@pytest.mark.usefixtures("path")
async def test_many_tasks_may_wait() -> None:
    command = AsyncCmd(FOREVER)
    await command.start()
    tasks = [asyncio.create_task(command.wait()) for _ in range(50)]
    await asyncio.sleep(0)
    command.cancel()
    ends = await asyncio.gather(*tasks)
    assert len(set(map(id, ends))) == 1
    assert ends[0].cause is Cause.CANCELLED


async def test_loop_continues_while_a_command_runs() -> None:
    """A command that is read and written at once does not block the loop."""
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counter = asyncio.create_task(count())
    ended = await AsyncCmd(["cat"], input=b"x" * 5_000_000, stdout=PIPE).run()
    counter.cancel()
    assert ended.stdout is not None
    assert len(ended.stdout) == 5_000_000
    assert turns > 10


async def test_fifty_commands_run_at_once(descriptors: Callable[[], int]) -> None:
    """Half of them end by themselves, the others are stopped; each has its own Exit."""
    before = descriptors()
    commands = [AsyncCmd(["sh", "-c", f"echo {number}; exit {number}"], stdout=PIPE) for number in range(25)]
    stopped = [AsyncCmd(FOREVER) for _ in range(25)]
    for command in (*commands, *stopped):
        await command.start()
    waiting = [asyncio.create_task(command.wait()) for command in (*commands, *stopped)]
    await asyncio.sleep(0)
    for command in stopped:
        command.cancel()
    ends = await asyncio.gather(*waiting)
    assert [ended.returncode for ended in ends[:25]] == list(range(25))
    assert [ended.stdout for ended in ends[:25]] == [f"{number}\n".encode() for number in range(25)]
    assert {(ended.cause, ended.returncode) for ended in ends[25:]} == {(Cause.CANCELLED, -signal.SIGTERM)}
    assert descriptors() == before


async def test_async_block_stops_running_command_at_its_end() -> None:
    with pytest.raises(ZeroDivisionError):
        async with AsyncCmd(FOREVER) as command:
            raise ZeroDivisionError
    assert command.exit is not None
    assert command.exit.cause is Cause.CANCELLED


async def test_idle_loop_is_not_woken(monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not poll, although a timeout is set."""
    wakes = 0
    real = Poller.wait

    def counted(poller: Poller, timeout: float | None) -> Any:
        nonlocal wakes
        wakes += 1
        return real(poller, timeout)

    monkeypatch.setattr(Poller, "wait", counted)
    ended = await AsyncCmd(["sleep", "0.3"], timeout=1000).run()
    assert ended.ok
    assert wakes == 1


async def test_command_cancelled_by_thread_ends(launched: Launch) -> None:
    command = await launched("ignore_term.py", grace=0.1)
    _, ended = await asyncio.gather(asyncio.to_thread(command.cancel), command.wait())
    assert ended.forced


def test_keyboard_interrupt_stops_command_gracefully(program: Callable[..., list[str]]) -> None:
    """asyncio cancels the main task, and raises KeyboardInterrupt after the task's end."""
    reader, writer = os.pipe()
    command = AsyncCmd(program("trap.sh", "0"), stderr=writer)

    def interrupt() -> None:
        with open(reader) as lines:
            lines.readline()
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(command.run())
    os.close(writer)
    thread.join()
    assert command.exit is not None
    assert (command.exit.cause, command.exit.returncode) == (Cause.CANCELLED, 0)


def test_command_of_closed_loop_can_be_awaited_in_another(descriptors: Callable[[], int]) -> None:
    """An abruptly closed loop loses its waiters, but not the command."""
    gc.collect()
    before = descriptors()
    command = AsyncCmd(["cat"], stdin=subprocess.DEVNULL, stdout=PIPE, grace=10)
    stopped = AsyncCmd(FOREVER, timeout=1000)

    async def begin() -> tuple[asyncio.Task[Exit], asyncio.Task[Exit]]:
        await command.start()
        await stopped.start()
        tasks = asyncio.create_task(command.wait()), asyncio.create_task(stopped.wait())
        await asyncio.sleep(0)
        return tasks

    loop = asyncio.new_event_loop()
    tasks = loop.run_until_complete(begin())
    for task in tasks:
        task._log_destroy_pending = False  # type: ignore[attr-defined]
    loop.close()
    stopped.cancel()
    with asyncio.Runner() as runner:
        assert runner.run(command.wait()).ok
        assert runner.run(stopped.wait()).returncode == -signal.SIGTERM
    for task in tasks:
        task.get_coro().close()
    del tasks, task, loop
    gc.collect()
    assert descriptors() == before


async def test_cancel_racing_with_end_raises_nothing(path: str) -> None:
    """200 rounds: the cause is one of two, and a command that ended by itself got no signal."""
    for turn in range(200 if path == "pidfd" else 50):
        command = AsyncCmd(["true"])
        await command.start()
        asyncio.get_running_loop().call_later(turn % 20 / 10_000, command.cancel)
        ended = await command.wait()
        assert ended.cause in (Cause.EXITED, Cause.CANCELLED)
        assert ended.returncode in (0, -signal.SIGTERM)
        assert (ended.cause is Cause.EXITED) == (ended.signals == ())


ORPHANS = """
import asyncio, os, signal
from gracefulexitcmd import AsyncCmd, ManualContainer, OrphanReaper
from gracefulexitcmd.posix import process_table, subreaper

def zombies():
    found = [process_table.process(pid) for pid in process_table.children(os.getpid())]
    return [process.pid for process in found if process is not None and not process.alive]

async def main():
    subreaper.become()
    with OrphanReaper():
        container = ManualContainer()
        script = "{ exec >/dev/null; exec setsid sh -c 'read line' <fifo; } & echo $!"
        command = AsyncCmd(["sh", "-c", script], container=container, stdout=-1)
        orphan = int((await command.run()).stdout.split()[0])
        with open("fifo", "w") as fifo:
            fifo.write("end")
        while orphan in process_table.children(os.getpid()):
            await asyncio.sleep(0.01)
        container.close()
        print(zombies(), signal.getsignal(signal.SIGCHLD) is signal.SIG_DFL)

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only there orphans come to a subreaper")
def test_orphans_are_reaped_without_signal_handler(tmp_path: Path) -> None:
    """A flood of ended orphans would choke a handler of SIGCHLD."""
    os.mkfifo(tmp_path / "fifo")
    ended = subprocess.run([sys.executable, "-c", ORPHANS], cwd=tmp_path, stdout=PIPE, check=True, timeout=40)
    assert ended.stdout == b"[] True\n"
